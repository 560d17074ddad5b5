"""What reviewers found: how often each sender of cases was right, and how far reviewers agree."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from limitlens.limits.agreement import Agreement, agreement
from limitlens.limits.rates import Rate
from limitlens.limits.verdict import IN_FAVOUR, VERDICTS
from limitlens.pipeline.workspace import Workspace

_SENT_SQL = """
SELECT account_id, as_of, fired_rules
FROM decisions SEMI JOIN (SELECT UNNEST($accounts) AS account_id, UNNEST($times) AS as_of) USING (account_id, as_of)
"""


@dataclass(frozen=True)
class ReviewStats:
    """What the ledger holds of reviews.

    Parameters
    ----------
    verdicts : dict of str to int
        Verdicts, those of second looks left out.
    settled, customers, again : int
        Cases that were settled; customers they are of; those of them with more than one.
    in_favour : dict of str to Rate
        Of settled cases those settled in favour of the customer, by each rule that fired, and ``all``.
    by_reviewer : dict of str to Rate
        The same by who settled it.
    double : Agreement
        Of cases judged twice, the second time without knowing the first verdict.
    """

    verdicts: dict[str, int]
    settled: int
    customers: int
    again: int
    in_favour: dict[str, Rate]
    by_reviewer: dict[str, Rate]
    double: Agreement

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "verdicts": self.verdicts,
            "settled": self.settled,
            "customers": self.customers,
            "again": self.again,
            "in_favour": {name: _plain(rate) for name, rate in self.in_favour.items()},
            "by_reviewer": {name: _plain(rate) for name, rate in self.by_reviewer.items()},
            "double": vars(self.double),
        }


def _plain(rate: Rate) -> dict[str, Any]:
    return {"count": rate.count, "of": rate.of, "interval": list(rate.interval)}


def review_stats(workspace: Workspace) -> ReviewStats:
    """Count what reviewers found.

    Parameters
    ----------
    workspace : Workspace
    """
    verdicts = workspace.ledger.verdicts()
    settled = verdicts[verdicts["settles"]]
    favour = settled["verdict"].isin(IN_FAVOUR)
    spoken = verdicts.loc[~verdicts["blind"], "verdict"].value_counts()
    cases = settled["account_id"].value_counts()
    return ReviewStats(
        verdicts={name: int(spoken.get(name, 0)) for name in VERDICTS},
        settled=len(settled),
        customers=len(cases),
        again=int((cases > 1).sum()),
        in_favour={"all": Rate(int(favour.sum()), len(settled)), **_by_rule(workspace, settled)},
        by_reviewer={
            str(actor): Rate(int(rows.isin(IN_FAVOUR).sum()), len(rows))
            for actor, rows in settled.groupby("actor")["verdict"]
        },
        double=judged_twice(verdicts),
    )


def _by_rule(workspace: Workspace, settled: pd.DataFrame) -> dict[str, Rate]:
    """Rates by each rule that had fired at the decision which was judged."""
    if settled.empty:
        return {}
    keys = {"accounts": settled["account_id"].tolist(), "times": settled["as_of"].dt.to_pydatetime().tolist()}
    sent = workspace.ledger.query(_SENT_SQL, keys).explode("fired_rules").dropna(subset="fired_rules")
    judged = sent.merge(settled[["account_id", "as_of", "verdict"]], on=["account_id", "as_of"])
    return {
        str(rule): Rate(int(rows.isin(IN_FAVOUR).sum()), len(rows))
        for rule, rows in judged.groupby("fired_rules")["verdict"]
    }


def judged_twice(verdicts: pd.DataFrame) -> Agreement:
    """How far reviewers agree on cases that another has judged, too.

    Parameters
    ----------
    verdicts : DataFrame of :data:`limitlens.limits.ledger_tables.VERDICTS`
    """
    settled = verdicts[verdicts["settles"]]
    case = ["account_id", "since"]
    blind = verdicts.loc[verdicts["blind"], [*case, "verdict"]]
    pairs = settled[[*case, "verdict"]].merge(blind, on=case, suffixes=("_first", "_second"))
    return agreement(list(pairs["verdict_first"]), list(pairs["verdict_second"]))
