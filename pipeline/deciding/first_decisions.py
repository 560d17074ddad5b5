"""First decisions: with none before them they have no split; what asked for them tells why they came out so."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from limitlens.limits.decision import OPENING_ABOVE_BAND
from limitlens.limits.ledger import Ledger
from limitlens.limits.policy import ACTIONS, Policy
from limitlens.pipeline.pages.amounts import money
from limitlens.pipeline.workspace import Workspace

#: How the names of the buckets of days past due begin; no rule of a policy may be called so.
_PAST_DUE = "past_due_"

_HEADS = (
    ("action", "asked for by"),
    ("lines", "changed", "limit before", "limit decided", "removed", "added", "median PD", "past due"),
)


def first_decisions(workspace: Workspace, run_ids: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """First decisions by action and by what asked for it; of one that began a pause, what that ended in.

    Parameters
    ----------
    workspace : Workspace
    run_ids : sequence of str, optional
        Those of these runs only; default: of every run.

    Returns
    -------
    list of dict
        See :func:`first_table`.
    """
    ledger = workspace.ledger
    runs = [run for run in ledger.runs() if run_ids is None or run.run_id in set(run_ids)]
    policies = {digest: workspace.policy(digest) for digest in {run.policy_digest for run in runs}}
    return first_table(_first(ledger, [run.run_id for run in runs]), policies)


def _first(ledger: Ledger, run_ids: Sequence[str]) -> pd.DataFrame:
    return ledger.query(
        "SELECT action, fired_rules, policy_digest, pd, limit_before_cents, limit_cents "
        "FROM current WHERE phi_state IS NULL AND run_id = ANY($runs) "
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY account_id ORDER BY as_of DESC) = 1 ORDER BY account_id",
        {"runs": list(run_ids)},
    )


def first_table(first: pd.DataFrame, policies: Mapping[str, Policy]) -> list[dict[str, Any]]:
    """Count first decisions by action and by what asked for it.

    Parameters
    ----------
    first : DataFrame with ``action, fired_rules, policy_digest, pd, limit_before_cents, limit_cents``
        One row a first decision.
    policies : mapping of str to Policy
        By digest.

    Returns
    -------
    list of dict, one an action and what asked for it, in the order of the actions, and the last for ``all``
        ``action, asked_by``; ``lines``; ``changed``, of these the limits that changed; ``before_cents`` and
        ``after_cents``, the limits in force before and those decided; ``removed_cents`` and ``added_cents``, what was
        cut and raised between the two; ``median_pd``; ``past_due``, lines with days past due. Every row but ``all``
        is a group of its own, so that their counts and cents sum to those of ``all``. Empty without a first decision.
    """
    asked = [
        _asked_by(fired, policies[by]) for fired, by in zip(first["fired_rules"], first["policy_digest"], strict=True)
    ]
    change = first["limit_cents"] - first["limit_before_cents"]
    lines = pd.DataFrame(
        {
            "action": first["action"],
            "asked_by": asked,
            "changed": change != 0,
            "before_cents": first["limit_before_cents"],
            "after_cents": first["limit_cents"],
            "removed_cents": -change.clip(upper=0),
            "added_cents": change.clip(lower=0),
            "median_pd": first["pd"],
            "past_due": [any(name.startswith(_PAST_DUE) for name in fired) for fired in first["fired_rules"]],
        }
    )
    groups = [_counted(str(action), str(by), rows) for (action, by), rows in lines.groupby(["action", "asked_by"])]
    groups.sort(key=lambda row: (ACTIONS.index(row["action"]), row["asked_by"]))
    return [*groups, _counted("all", "", lines)] if groups else []


def _counted(action: str, asked_by: str, lines: pd.DataFrame) -> dict[str, Any]:
    sums = ("changed", "before_cents", "after_cents", "removed_cents", "added_cents", "past_due")
    counted = {"action": action, "asked_by": asked_by, "lines": len(lines)}
    counted |= {name: int(lines[name].sum()) for name in sums}
    return {**counted, "median_pd": float(lines["median_pd"].median())}


def _asked_by(fired: Sequence[str], policy: Policy) -> str:
    """Of all that fired, what asked for the most severe action."""
    by_rule = {rule.name: rule.action for rule in policy.evidence} | {OPENING_ABOVE_BAND: "review"}
    severity = {name: ACTIONS.index(by_rule.get(name, name.removeprefix("pd_"))) for name in fired}
    return ", ".join(name for name in fired if severity[name] == max(severity.values())) or "no rule, no cut-off"


def first_lines(table: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows of :func:`first_table` for a terminal; nothing without a first decision."""
    if not table:
        return []
    names, numbers = _HEADS
    rows = [(*names, *numbers), *(_cells(row) for row in table)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [
        [
            cell.ljust(width) if place < len(names) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    total = table[-1]
    return [
        f"{total['lines']:,} first decisions, with none before them and so no split; {total['changed']:,} limits "
        f"changed, {money(-total['removed_cents'])} removed, {money(total['added_cents'], signed=True)} added:",
        *(f"  {'  '.join(row)}".rstrip() for row in padded),
    ]


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    cents = [money(row[f"{name}_cents"]) for name in ("before", "after")]
    moved = [money(-row["removed_cents"]), money(row["added_cents"], signed=True)]
    counts = [f"{row[name]:,}" for name in ("lines", "changed")]
    return (row["action"], row["asked_by"], *counts, *cents, *moved, f"{row['median_pd']:.2%}", f"{row['past_due']:,}")
