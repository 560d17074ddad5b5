"""Held lines: which lines a hold touches, and what is decided for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from limitlens.data.contracts import ACCOUNTS
from limitlens.data.engine import Relations, run_sql
from limitlens.data.frames import is_among
from limitlens.data.incidents import QUARANTINED, accounts_of
from limitlens.features.declarations import FeatureSet
from limitlens.features.line import DATA_HOLD
from limitlens.limits.customer_actions import all_paid
from limitlens.limits.hold import Hold, held
from limitlens.limits.iteration import Iteration
from limitlens.pipeline.deciding.point_in_time import Tables, rows_at
from limitlens.pipeline.deciding.silent_lines import silent_lines
from limitlens.pipeline.workspace import Workspace

#: Stands for a hold where the line's own status stopped; it is none of the ledger and nobody has to release it.
SILENT = 0

_KEYS = ["account_id", "as_of"]

#: What is decided for a touched line: with the data as known, as before the fault, and so with all that was overdue
#: then paid, as rows that did not come could say.
OUTCOMES = ("as_known", "before_fault", "if_paid")


@dataclass(frozen=True)
class HeldLines:
    """Decisions that holds touch.

    Parameters
    ----------
    holds : mapping of number to Hold
    pairs : DataFrame with ``account_id, as_of, hold``
        One row a decision and hold.
    """

    holds: Mapping[int, Hold]
    pairs: pd.DataFrame


@dataclass(frozen=True)
class InForce:
    """Holds that nobody has released.

    Parameters
    ----------
    holds : mapping of number to Hold
    slices : mapping of number to Series of str
        Accounts of each hold that touches a slice of them; the others touch every account.
    """

    holds: Mapping[int, Hold]
    slices: Mapping[int, pd.Series]


def in_force(workspace: Workspace) -> InForce:
    """The holds in force of a workspace."""
    holds = workspace.ledger.holds_in_force()
    slices = {number: slice_accounts(hold, workspace) for number, hold in holds.items() if hold.slice_column}
    return InForce(holds, slices)


def held_lines(lines: pd.DataFrame, standing: InForce, relations: Relations) -> HeldLines:
    """Which of some decisions to come the holds in force touch.

    Parameters
    ----------
    lines : DataFrame with ``account_id, as_of``
    standing : InForce
    relations : mapping of source to pyarrow.Table or SQL text
        What is known of the lines.
    """
    pairs = [lines.loc[[], _KEYS].assign(hold=0)]
    for number, hold in standing.holds.items():
        after = lines.loc[lines["as_of"] > hold.since, _KEYS]
        if number in standing.slices:
            after = after[is_among(after["account_id"], standing.slices[number])]
        pairs.append(after.assign(hold=number))
    pairs.append(silent_lines(lines, relations).assign(hold=SILENT))
    return HeldLines(standing.holds, pd.concat(pairs, ignore_index=True))


def released_lines(workspace: Workspace, as_of: datetime) -> list[str]:
    """Accounts whose last decision was held and whom nothing holds any more: they wait for a decision at ``as_of``."""
    in_force = set(workspace.ledger.holds_in_force())
    held = workspace.ledger.last_held().select(["account_id", "holds"]).to_pylist()
    free = [row["account_id"] for row in held if not in_force & set(row["holds"])]
    lines = pd.DataFrame({"account_id": pd.Series(free, dtype=str)}).assign(as_of=pd.Timestamp(as_of).as_unit("us"))
    silent = silent_lines(lines, workspace.events.relations())["account_id"]
    return list(lines.loc[~is_among(lines["account_id"], silent), "account_id"])


def recorded_holds(decisions: pd.DataFrame, workspace: Workspace) -> HeldLines:
    """What :func:`held_lines` gave when decisions of the ledger were made."""
    pairs = decisions.loc[decisions["holds"].notna(), [*_KEYS, "holds"]].explode("holds", ignore_index=True)
    return HeldLines(workspace.ledger.every_hold(), pairs.rename(columns={"holds": "hold"}).astype({"hold": int}))


def with_moments(moments: pd.DataFrame, lines: HeldLines) -> pd.DataFrame:
    """Some moments, and the last one before the fault of each touched line: ``account_id, as_of, known_by``."""
    suspect = lines.pairs[lines.pairs["hold"] != SILENT]
    if suspect.empty:
        return moments
    return pd.concat([moments, _moments_before(suspect, lines.holds)]).drop_duplicates(ignore_index=True)


def with_holds(
    decided: pd.DataFrame,
    lines: pd.DataFrame,
    state: pd.DataFrame,
    touched: HeldLines,
    *,
    now: Iteration,
    tables: Tables,
) -> pd.DataFrame:
    """Decide touched lines in each of :data:`OUTCOMES`, and hold those for which that makes a difference.

    Parameters
    ----------
    decided : DataFrame of n rows with a plain index
        Decisions with the features as known.
    lines : DataFrame of n rows with ``account_id, as_of``
    state : DataFrame of n rows
        State before the decision.
    touched : HeldLines
        Of any decisions.
    now : Iteration
    tables : mapping of feature set digest to feature table
        With the moments of :func:`with_moments`.

    Returns
    -------
    DataFrame of n rows
        The decisions that stand, with ``holds`` and each of the outcomes, null where no hold touched the line.
    """
    names = ["holds", *(f"{name}_{what}" for name in OUTCOMES for what in ("action", "limit_cents"))]
    outcomes = pd.DataFrame(None, index=decided.index, columns=names, dtype=object)
    mine = lines[_KEYS].reset_index(names="row").merge(touched.pairs, on=_KEYS)
    if mine.empty:
        return pd.concat([decided, outcomes], axis=1)
    rows = pd.Index(sorted(mine["row"].unique()))
    at = lines.loc[rows, "as_of"]
    table = rows_at(tables[now.model.features.digest], lines.loc[rows, "account_id"], at, at).set_index(rows)
    as_known = decided.loc[rows]
    earlier = before_fault(table, lines.loc[rows], touched, now.model.features, tables)
    before = now.decide(earlier, state.loc[rows])
    paid = before.copy()
    unpaid = rows[np.isin(rows, mine.loc[mine["hold"].map(lambda n: _of_debt(touched.holds.get(n))), "row"])]
    if len(unpaid):
        paid.loc[unpaid] = now.decide(all_paid(now.model.features, earlier.loc[unpaid]), state.loc[unpaid])
    untold = np.isin(rows, mine.loc[mine["hold"].map(lambda n: n == SILENT or _of_line(touched.holds.get(n))), "row"])
    excepted = now.policy.holding.except_rules
    stay = held(as_known, before, excepted, always=untold) | held(as_known, paid, excepted)
    stood = now.decide(table.assign(**{DATA_HOLD: stay}), state.loc[rows])
    outcomes.loc[rows, "holds"] = mine.groupby("row")["hold"].agg(list)
    for name, outcome in zip(OUTCOMES, (as_known, before, paid), strict=True):
        for what in ("action", "limit_cents"):
            outcomes.loc[rows, f"{name}_{what}"] = outcome[what].astype(object)
    stands: pd.DataFrame = pd.concat([decided.drop(index=rows), stood]).sort_index()
    return stands.join(outcomes)


def _of_debt(hold: Hold | None) -> bool:
    """Whether rows that would say what is owed or paid may be missing."""
    return (
        hold is not None
        and hold.source == "payment"
        and hold.kind not in {"transfer_in", "transfer_out"}
        and hold.fault != "excess"
    )


def _of_line(hold: Hold | None) -> bool:
    """Whether what the line itself is, its limit and segment among it, is in doubt: no features tell a difference."""
    return hold is not None and hold.source == ACCOUNTS.name and hold.slice_column == QUARANTINED


def before_fault(
    table: pd.DataFrame, lines: pd.DataFrame, touched: HeldLines, features: FeatureSet, tables: Tables
) -> pd.DataFrame:
    """Features of some lines, those that read held rows as before the fault; of two faults the earlier counts.

    Parameters
    ----------
    table : DataFrame of n rows
        Features as known.
    lines : DataFrame of n rows with ``account_id, as_of``, indexed like the table
    touched : HeldLines
        Of any decisions.
    features : FeatureSet
        Of the table.
    tables : mapping of feature set digest to feature table
        With the moments of :func:`with_moments`.

    Returns
    -------
    DataFrame of n rows
    """
    restored: pd.DataFrame = table.copy()
    mine = lines[_KEYS].reset_index(names="row").merge(touched.pairs, on=_KEYS)
    for number, hold in sorted(touched.holds.items(), key=lambda one: one[1].since, reverse=True):
        some = mine[mine["hold"] == number]
        columns = list(features.columns_reading(hold.source, hold.kind))
        then = _moments_before(some, touched.holds)
        earlier = rows_at(tables[features.digest], then["account_id"], then["as_of"], then["known_by"])
        restored.loc[some["row"], columns] = earlier[columns].set_axis(some["row"])
    return restored


def _moments_before(pairs: pd.DataFrame, holds: Mapping[int, Hold]) -> pd.DataFrame:
    since = pairs["hold"].map({number: pd.Timestamp(hold.since) for number, hold in holds.items()})
    since = since.astype("datetime64[us, UTC]")
    return pd.DataFrame({"account_id": pairs["account_id"], "as_of": since, "known_by": since})


def slice_accounts(hold: Hold, workspace: Workspace) -> pd.Series:
    """Accounts that belong to the slice of a hold."""
    sql, values = accounts_of(hold.scope, hold.since, None, workspace.events)
    accounts: pd.Series = run_sql(sql, values=values).to_pandas()["account_id"]
    return accounts
