"""Verdicts: what a reviewer saw in a case, and when a case is settled."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

#: What speaks against the customer is right; the customer is good; the customer is asked; the data are wrong.
VERDICTS = ("uphold", "overturn", "ask", "wrong_data")

#: After these the line was sent to review without need.
IN_FAVOUR = frozenset({"overturn", "wrong_data"})

#: Code of a verdict → what it stands for; each code belongs to one verdict.
VERDICT_CODES: dict[str, dict[str, str]] = {
    "uphold": {
        "behaviour_confirmed": "the behaviour is as the records say, and speaks against the customer",
        "fraud_suspected": "the customer may not be who he says, or never meant to pay",
        "no_answer": "the customer was asked and did not answer",
    },
    "overturn": {
        "explained": "the customer explained what happened",
        "known_customer": "the history of the customer outweighs it",
        "income_seen": "income or assets were shown that the records lack",
        "own_device": "the device or the place is the customer's own",
    },
    "ask": {
        "confirm_device": "was it the customer who signed in",
        "confirm_draws": "what the cash was for",
        "confirm_income": "what the customer lives on",
    },
    "wrong_data": {
        "late_or_missing": "records came late, or never",
        "duplicated": "records stand twice",
        "wrong_value": "an amount, a time or a kind is wrong",
        "wrong_account": "the records are of somebody else",
    },
}


@dataclass(frozen=True)
class Verdict:
    """What one reviewer said about one case.

    Parameters
    ----------
    account_id : str
    since : datetime
        As-of time of the decision that opened the case: with the account it tells one case from another.
    as_of : datetime
        As-of time of the decision that the reviewer saw.
    at : datetime
        When it was said; what it orders holds from then on.
    verdict : str
        One of :data:`VERDICTS`.
    code : str
        One of :data:`VERDICT_CODES` of the verdict.
    words : str
        What the reviewer saw.
    actor : str
    action : str
        What it orders, one of :data:`limitlens.limits.override.OVERRIDE_ACTIONS`; empty: nothing.
    limit_cents : int or None
        With the action ``limit``.
    needed : int
        How many reviewers had to agree by the policy then.
    blind : bool
        A second look at a case that was settled, by someone who was not shown how; it orders nothing.
    settles : bool
        The case is settled by it.
    """

    account_id: str
    since: datetime
    as_of: datetime
    at: datetime
    verdict: str
    code: str
    words: str
    actor: str
    action: str = ""
    limit_cents: int | None = None
    needed: int = 1
    blind: bool = False
    settles: bool = True

    @property
    def wish(self) -> tuple[str, str, int | None]:
        """What two reviewers must agree on: the verdict and what it orders, not the reason."""
        return self.verdict, self.action, self.limit_cents


def agreeing(verdict: Verdict, earlier: pd.DataFrame) -> int:
    """How many reviewers say the same of a case, the one who speaks now included.

    Parameters
    ----------
    verdict : Verdict
    earlier : DataFrame of :data:`limitlens.limits.ledger_tables.VERDICTS`
        Verdicts on the same case, in the order of recording; of one person the last counts.

    Examples
    --------
    >>> from dataclasses import replace
    >>> at = datetime(2026, 7, 1)
    >>> first = Verdict("A1", at, at, at, "overturn", "explained", "salary in cash", "Chen Wei", "keep")
    >>> agreeing(replace(first, actor="Li Na"), pd.DataFrame([vars(first)]))
    2
    >>> agreeing(replace(first, actor="Li Na", verdict="uphold"), pd.DataFrame([vars(first)]))
    1
    """
    others = earlier[(earlier["actor"] != verdict.actor) & ~earlier["blind"]]
    last = others.drop_duplicates("actor", keep="last")
    wishes = [
        (row["verdict"], row["action"], None if pd.isna(row["limit_cents"]) else int(row["limit_cents"]))
        for row in last.to_dict("records")
    ]
    return 1 + wishes.count(verdict.wish)


#: Verdict → whether the customer is bad by it; any other says nothing of the customer.
_SAYS_BAD = {"uphold": True, "overturn": False}


def agreed(verdicts: pd.DataFrame, known_by: datetime | None = None) -> pd.DataFrame:
    """Settled cases that two reviewers or more judged, and all of them alike; second looks count like any other.

    Who only asked the customer has not judged; who found the data wrong has, and not the customer.

    Parameters
    ----------
    verdicts : DataFrame of :data:`limitlens.limits.ledger_tables.VERDICTS`
        In the order of recording.
    known_by : datetime, optional
        Only what was said before; default: everything.

    Returns
    -------
    DataFrame with ``account_id, as_of, at, bad`` and a plain index
        ``as_of``: of the decision on which the case was settled; ``at``: when the last one spoke; ``bad`` (bool).

    Examples
    --------
    >>> from dataclasses import replace
    >>> at = datetime(2026, 7, 1)
    >>> first = Verdict("A1", at, at, at, "overturn", "explained", "salary in cash", "Chen Wei", "unfreeze")
    >>> second = replace(first, actor="Li Na", blind=True, settles=False)
    >>> agreed(pd.DataFrame([vars(first), vars(second)]))[["account_id", "bad"]].values.tolist()
    [['A1', False]]
    >>> len(agreed(pd.DataFrame([vars(first), vars(replace(second, verdict="uphold"))])))
    0
    """
    case = ["account_id", "since"]
    spoken = verdicts[(verdicts["verdict"] != "ask") & (verdicts["at"] < known_by if known_by else True)]
    last = spoken.drop_duplicates([*case, "actor"], keep="last").groupby(case)
    alike = last["verdict"].agg(["size", "nunique"]).query("size >= 2 and nunique == 1")
    spoke = last["at"].max().rename("spoke")
    settled = spoken[spoken["settles"] & spoken["verdict"].isin(_SAYS_BAD)].join(spoke, on=case)
    counted = settled[pd.MultiIndex.from_frame(settled[case]).isin(alike.index)]
    bad = counted["verdict"].map(_SAYS_BAD).astype(bool)
    return counted[["account_id", "as_of"]].assign(at=counted["spoke"], bad=bad).reset_index(drop=True)


def drawn(cases: Sequence[tuple[str, datetime]], share: float, salt: str) -> list[bool]:
    """Which cases (account, since) a share is drawn of, by a salted hash: the same cases whoever asks, and when.

    Examples
    --------
    >>> drawn([("A1", datetime(2026, 7, 1)), ("A2", datetime(2026, 7, 1))], 1.0, "double")
    [True, True]
    """
    texts = (f"{salt}:{account}:{since.isoformat()}" for account, since in cases)
    return [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 16**8 < share for text in texts]
