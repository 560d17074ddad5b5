"""Recourse: the least a customer could have done differently for a milder decision, by the same model and policy.

A counterfactual explanation (Wachter, Mittelstadt & Russell, "Counterfactual explanations without opening the black
box", 2017) over actions that are in the customer's hands (Ustun, Spangher & Liu, "Actionable recourse in linear
classification", 2019). Every candidate is decided; nothing is extrapolated. It says what would have been decided, not
what will be.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pandas as pd

from limitlens.features.line import limit_and_age, line_columns
from limitlens.limits.customer_actions import CUSTOMER_ACTIONS, WHOLE, take_actions
from limitlens.limits.iteration import Iteration
from limitlens.limits.policy import ACTIONS, ADVERSE, Condition

#: How far an action is taken unless it is taken wholly, and how many together at most.
FRACTIONS = (0.25, 0.5, 0.75, 1.0)
MAX_TOGETHER = 3

#: Columns that show what an action did, the plainest first; rules that fired may prefer another of them.
SHOWN: dict[str, tuple[str, ...]] = {
    "late_payments": ("past_due_cents", "dpd_days", "missed_count_90d"),
    "frequent_draws": ("draw_count_30d", "draw_sum_30d", "draw_count_2d", "draw_share_2d", "draw_sum_2d"),
    "transfers_out": ("transfer_out_sum_30d", "transfer_out_count_30d", "transfer_out_sum_2d"),
    "high_spending": ("purchase_sum_30d", "purchase_count_30d"),
    "high_utilisation": ("utilisation", "balance_cents"),
}  # fmt: skip


@dataclass(frozen=True)
class Move:
    """A customer action: how far it was taken, and the column that shows it (values in ``unit``, null when missing)."""

    code: str
    fraction: float
    feature: str
    before: float | None
    after: float | None
    unit: str


@dataclass(frozen=True)
class Recourse:
    """Moves that together would have led to a milder decision, and that decision."""

    moves: tuple[Move, ...]
    action: str
    limit_cents: int
    pd: float


def find_recourse(
    iteration: Iteration, table: pd.DataFrame, state: pd.DataFrame, decision: pd.Series
) -> Recourse | None:
    """The nearest feasible change that would have avoided an adverse action, or at least made it milder.

    One action before two, two before three; among them the least sum of fractions, then the order of the actions.

    Parameters
    ----------
    iteration : Iteration
        In force at the decision.
    table, state : DataFrame of one row
        What it read.
    decision : Series with ``action, fired_rules``
        What it decided.

    Returns
    -------
    Recourse or None
        None: the action was not adverse, or no feasible change makes it milder.
    """
    if decision["action"] not in ADVERSE:
        return None
    milder: Recourse | None = None
    useful = _useful(iteration, table, state)
    for size in range(1, min(MAX_TOGETHER, len(useful)) + 1):
        nearest = _nearest(iteration, table, state, decision, _candidates(useful, size))
        if nearest and nearest.action not in ADVERSE:
            return nearest
        if nearest and (milder is None or ACTIONS.index(nearest.action) < ACTIONS.index(milder.action)):
            milder = nearest
    return milder


def _candidates(codes: Sequence[str], size: int) -> pd.DataFrame:
    """How far each action is taken, a row a candidate, the least sum first."""
    taken = [
        dict(zip(chosen, fractions, strict=True))
        for chosen in combinations(codes, size)
        for fractions in product(*((1.0,) if code in WHOLE else FRACTIONS for code in chosen))
    ]
    rows = [[one.get(code, 0.0) for code in codes] for one in sorted(taken, key=lambda one: sum(one.values()))]
    return pd.DataFrame(rows, columns=list(codes))


def _useful(iteration: Iteration, table: pd.DataFrame, state: pd.DataFrame) -> list[str]:
    """Actions that move something they can show."""
    alone = pd.DataFrame(np.eye(len(CUSTOMER_ACTIONS)), columns=list(CUSTOMER_ACTIONS))
    before = _columns(iteration, table, state).iloc[0]
    after = _columns(iteration, *_candidate_rows(iteration, table, state, alone))
    return [code for k, code in enumerate(CUSTOMER_ACTIONS) if _shown_column(code, (), before, after.iloc[k])]


def _candidate_rows(
    iteration: Iteration, table: pd.DataFrame, state: pd.DataFrame, fractions: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Feature rows and states of all candidates."""
    same = np.zeros(len(fractions), np.int64)
    many, states = table.iloc[same].reset_index(drop=True), state.iloc[same].reset_index(drop=True)
    far = {str(code): fractions[code].to_numpy(np.float64) for code in fractions}
    return take_actions(iteration.model.features, many, far), states


def _columns(iteration: Iteration, table: pd.DataFrame, state: pd.DataFrame) -> pd.DataFrame:
    """Features and columns of the line."""
    limit, age = limit_and_age(state)
    return pd.concat([table, line_columns(iteration.model.features, table, limit, age)], axis=1)


def _nearest(
    iteration: Iteration, table: pd.DataFrame, state: pd.DataFrame, decision: pd.Series, fractions: pd.DataFrame
) -> Recourse | None:
    """The first candidate that is not adverse, else the first of the mildest that is milder; all are decided."""
    moved, states = _candidate_rows(iteration, table, state, fractions)
    decided = iteration.decide(moved, states)
    severity = decided["action"].map(lambda action: ACTIONS.index(action) if action in ADVERSE else 0)
    before, after = _columns(iteration, table, state).iloc[0], _columns(iteration, moved, states)
    fired = [c for rule in iteration.policy.evidence if rule.name in set(decision["fired_rules"]) for c in rule.when]
    for i in severity[severity < ACTIONS.index(decision["action"])].sort_values(kind="stable").index:
        taken = {code: fraction for code, fraction in fractions.loc[i].items() if fraction > 0}
        shown = {code: _shown_column(str(code), fired, before, after.loc[i]) for code in taken}
        if all(shown.values()):
            unit = iteration.model.features.declaration_of
            moves = tuple(
                Move(str(code), float(far), shown[code], float(before[shown[code]]), float(after.loc[i, shown[code]]),
                     unit[shown[code]].unit)
                for code, far in taken.items()
            )  # fmt: skip
            row = decided.loc[i]
            return Recourse(moves, str(row["action"]), int(row["limit_cents"]), float(row["pd"]))
    return None


def _shown_column(code: str, fired: Collection[Condition], before: pd.Series, after: pd.Series) -> str:
    """The column that shows what an action did: one by which a rule no longer holds, else the plainest that fell."""
    fell = [name for name in SHOWN[code] if name in before.index and after[name] < before[name]]
    ended = {c.column for c in fired if c.column in fell and after[c.column] <= c.value <= before[c.column]}
    return next((name for name in fell if name in ended), next(iter(fell), ""))
