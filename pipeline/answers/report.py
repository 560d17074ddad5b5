"""The report: one HTML file about what was decided and why, readable without a network."""

from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from limitlens.data.calendar import format_time
from limitlens.data.contracts import FEEDS
from limitlens.data.lock import building
from limitlens.data.progress import Progress, silent
from limitlens.data.storage import write_text
from limitlens.features.line import LINE_MEANING
from limitlens.limits.attribution import PLAYERS
from limitlens.limits.complaints import complaints
from limitlens.pipeline import tracking
from limitlens.pipeline.answers import report_tables
from limitlens.pipeline.answers.false_positives import false_positives
from limitlens.pipeline.answers.pauses import pauses
from limitlens.pipeline.answers.why import why
from limitlens.pipeline.answers.why_text import VERBS
from limitlens.pipeline.deciding.first_decisions import first_decisions
from limitlens.pipeline.holds import list_holds
from limitlens.pipeline.pages import plots
from limitlens.pipeline.pages.amounts import money
from limitlens.pipeline.pages.chinese import in_language
from limitlens.pipeline.pages.flag_words import (
    archetype_table,
    archetype_words,
    equal_pd_table,
    equal_pd_words,
    not_told_words,
)
from limitlens.pipeline.pages.page import render
from limitlens.pipeline.release.iterations import MOVED_SINCE, caused_by
from limitlens.pipeline.workspace import Workspace

#: Good customers shown that were hit.
_MAX_HIT = 10

#: Features shown that tell false from true positives.
_MAX_CONTRAST = 10


def report(workspace: Workspace, out: Path, progress: Progress = silent, *, language: str = "en") -> Path:
    """Write the report of everything the ledger holds, and store it with the MLflow run of the last decisions.

    Parameters
    ----------
    workspace : Workspace
    out : Path
        HTML file; replaced as a whole.
    progress : callable
    language : {"en", "zh"}

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    WorkspaceError
        Nothing has been decided yet.
    IntegrityError
        The decision on the account card cannot be reproduced from the events.
    """
    with building(workspace.root):
        decisions = read_decisions(workspace)
        progress(f"writing the report of {len(decisions):,} decisions")
        page = render("report.html.j2", report_context(workspace, decisions))
        write_text(in_language(page, language), out)
        if run_id := workspace.ledger.last_mlflow_run():
            tracking.attach(workspace.mlflow, run_id, out)
    return out


def report_context(workspace: Workspace, decisions: pd.DataFrame) -> dict[str, Any]:
    """Everything the page shows, one entry a section."""
    case = telling_account(decisions)
    return {
        "head": _head(workspace, decisions),
        "figures": _figures(decisions),
        "causes": _causes(decisions),
        "first": first_decisions(workspace),
        "actions": report_tables.action_table(decisions),
        "complaints": complaints(decisions),
        "hit": _hit(workspace),
        "card": _card(workspace, *case, decisions) if case else None,
        "others": report_tables.worth_asking(decisions, case[0] if case else None),
        "model": _model(workspace),
        "data": _data(workspace),
    }


#: What the page needs of each decision and its split; all of a large ledger would not fit into memory.
_READ = (
    *("account_id", "as_of", "action", "limit_before_cents", "limit_cents", "can_draw", "status", "phi_behaviour"),
    *(f"{what}_{player}" for what in ("share_cents", "necessary", "sufficient") for player in PLAYERS),
)


def read_decisions(workspace: Workspace) -> pd.DataFrame:
    """Every decision with its split, the change in cents, the age of the line in days, and its segment."""
    sql = f"""
    SELECT {", ".join(_READ)}, state.opened_at AS opened_at, state.can_draw AS could_draw
    FROM current ORDER BY account_id, as_of
    """
    decisions = workspace.ledger.query(sql)
    return decisions.assign(
        change_cents=decisions["limit_cents"] - decisions["limit_before_cents"],
        age_days=(decisions["as_of"] - decisions["opened_at"]).dt.total_seconds() / 86_400,
        segment=decisions["account_id"].map(workspace.events.segments()),
    )


def _head(workspace: Workspace, decisions: pd.DataFrame) -> dict[str, Any]:
    releases = []
    for (version, digest, backtest), group in groupby(
        workspace.ledger.runs(), lambda run: (run.model_version, run.policy_digest, run.backtest)
    ):
        dates, policy = [format_time(run.as_of) for run in group], workspace.policy(digest)
        releases.append(
            {
                "version": version,
                "policy": policy.name,
                "currency": policy.currency,
                "digest": digest[:8],
                "backtest": backtest,
                "dates": dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}",
            }
        )
    return {
        "accounts": decisions["account_id"].nunique(),
        "first": format_time(decisions["as_of"].min().to_pydatetime())[:10],
        "last": format_time(decisions["as_of"].max().to_pydatetime())[:10],
        "releases": releases,
        "moved": [{"version": version, **row} for version, row in sorted(caused_by(workspace).items())],
        "moved_since": MOVED_SINCE,
        "data": workspace.events.digest()[:12],
        "ledger": workspace.ledger.head()[:12],
    }


def _figures(decisions: pd.DataFrame) -> list[tuple[str, str]]:
    moved = report_tables.moved(decisions)
    return [
        (f"{len(decisions):,}", "decisions"),
        (f"{moved['changed']:,}", "limits changed"),
        (money(moved["cut"]), "credit removed"),
        (money(moved["raised"], signed=True), "credit added"),
        (f"{report_tables.closed_early(decisions).sum():,}", "lines closed within 7 days of opening"),
    ]


def _causes(decisions: pd.DataFrame) -> dict[str, Any]:
    split = report_tables.is_split(decisions)
    sums = {
        "split among the causes": decisions[split],
        "first decisions, not split": decisions[~split],
        "all": decisions,
    }
    return {
        "rows": report_tables.cause_table(decisions),
        "splits": int(split.sum()),
        "cancelled": int(report_tables.cancelled(decisions).sum()),
        "final": int((decisions["status"] == "final").sum()),
        "colours": plots.COLOURS,
        "meaning": report_tables.MEANING,
        "sums": {label: report_tables.moved(rows) for label, rows in sums.items()},
        "panels": [
            {"caption": panel.caption, "plot": plots.changes_by_cause(panel.changes / 100, f"causes{number}")}
            for number, panel in enumerate(report_tables.cause_panels(decisions))
        ],
    }


def telling_account(decisions: pd.DataFrame) -> tuple[str, datetime] | None:
    """The largest line closed within a week of its opening; else the largest cut; else nothing."""
    cuts = decisions[report_tables.is_split(decisions) & (decisions["change_cents"] < 0)]
    if cuts.empty:
        return None
    early = cuts[report_tables.closed_early(cuts)]
    row = (early if len(early) else cuts).sort_values(["change_cents", "account_id"]).iloc[0]
    return str(row["account_id"]), row["as_of"].to_pydatetime()


def _card(workspace: Workspace, account_id: str, as_of: datetime, decisions: pd.DataFrame) -> dict[str, Any]:
    answer = why(workspace, account_id, as_of)
    mine = decisions[decisions["account_id"] == account_id]
    shares = {player: cents / 100 for player, cents in (answer.split.share_cents or {}).items()}
    return {
        "answer": answer,
        "early": bool(report_tables.closed_early(mine[mine["as_of"] == as_of]).all()),
        "verb": VERBS[answer.decision.action],
        "plot": plots.waterfall(answer.decision.limit_before_cents / 100, shares, answer.decision.limit_cents / 100),
        "verbs": VERBS,
    }


def _hit(workspace: Workspace) -> dict[str, Any]:
    """Good customers that were acted on: how many, by the holdout and by what they did, by which rule, who."""
    measured = false_positives(workspace)
    cases = report_tables.hit(measured)
    return {
        "pauses": pauses(workspace.ledger).sentence(),
        "flags": len(measured.flags),
        "months": measured.horizon_months,
        "known_by": measured.known_by[:10],
        "outcomes": report_tables.outcome_table(measured),
        "by": report_tables.hit_by(measured) if measured.acted_on.of else [],
        "good": len(cases),
        "cases": cases.head(_MAX_HIT).to_dict("records"),
    }


def _model(workspace: Workspace) -> dict[str, Any]:
    """Validation of the version that decided last, and its false positives beside its true ones."""
    version = workspace.ledger.runs()[-1].model_version
    validation = workspace.validation(version)
    declared = workspace.iteration(version).model.features.declaration_of
    meaning = LINE_MEANING | {name: declaration.why for name, declaration in declared.items()}
    contrast, archetypes = (validation["false_positives"].get(name) for name in ("at_equal_pd", "archetypes"))
    rows = [row for row in (contrast or {}).get("features", []) if row["told"]][:_MAX_CONTRAST]
    return {
        "version": version,
        "validation": validation,
        "calibration_plot": plots.calibration(validation),
        "contrast": equal_pd_table(rows, meaning) if rows else None,
        "contrast_plot": plots.contrast(rows) if rows else "",
        "contrast_words": equal_pd_words(contrast) if contrast else None,
        "not_told": not_told_words(contrast) if contrast else "",
        "archetype_words": archetype_words(archetypes) if archetypes else None,
        "archetypes": archetype_table(archetypes) if archetypes and archetypes["told"] else None,
    }


def _data(workspace: Workspace) -> dict[str, Any]:
    names = ("rows_in", "accepted", "quarantined", "deduplicated")
    loads, present = workspace.events.loads(), workspace.events.present()
    none = dict.fromkeys(names, 0)  # loads of an earlier version know fewer sources
    return {
        "loads": len(loads),
        "sources": [
            {
                "source": source,
                **{name: sum(load["sources"].get(source, none)[name] for load in loads) for name in names},
            }
            for source in present
        ],
        "absent": [source for source in FEEDS if source not in present],
        "quarantine": workspace.events.quarantine_counts(),
        "holds": list_holds(workspace, released=True),
    }
