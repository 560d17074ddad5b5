"""The report: one HTML file about what was decided and why, readable without a network."""

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from limitlens.data.calendar import format_time
from limitlens.data.storage import write_text
from limitlens.limits.attribution import PLAYERS
from limitlens.limits.policy import ACTIONS
from limitlens.pipeline import plots, tracking
from limitlens.pipeline.why import VERBS, Answer, money, value, why
from limitlens.pipeline.workspace import Workspace

#: Closures this soon after opening are counted as early.
_EARLY_DAYS = 7


def write_report(workspace: Workspace, out: Path, progress: Callable[[str], None]) -> Path:
    """Write the report of everything the ledger holds, and store it with the MLflow run of the last decisions.

    Parameters
    ----------
    workspace : Workspace
        At least one date must be decided.
    out : Path
        HTML file; replaced as a whole.
    progress : callable

    Returns
    -------
    Path
        ``out``.
    """
    decisions = read_decisions(workspace)
    progress(f"writing the report of {len(decisions):,} decisions")
    told = telling_account(decisions)
    answer = why(workspace, *told) if told else None
    context = {
        "head": _head(workspace, decisions),
        "figures": _figures(decisions),
        "causes": cause_table(decisions),
        "causes_plot": plots.changes_by_cause(_by_period(decisions)),
        "actions": action_table(decisions),
        "card": _card(answer, decisions) if answer else None,
        "verbs": VERBS,
        "others": _worth_asking(decisions, answer.account_id if answer else ""),
        "model": _model(workspace),
        "data": _data(workspace),
    }
    write_text(template().render(context), out)
    if run_id := workspace.ledger.last_mlflow_run():
        tracking.attach(workspace.mlflow, run_id, out)
    return out


def template() -> jinja2.Template:
    """The page; what is filled in is escaped."""
    folder = files("limitlens.pipeline") / "templates"
    loader = jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8"))
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {"money": money, "signed": lambda cents: money(cents, signed=True), "value": value}
    return environment.get_template("report.html.j2")


def read_decisions(workspace: Workspace) -> pd.DataFrame:
    """Every decision with its split, the change in cents, the age of the line in days, and its segment."""
    decisions = workspace.ledger.current()
    segments = workspace.events.segments()
    opened = pd.to_datetime([state["opened_at"] for state in decisions["state"]], utc=True)
    return decisions.assign(
        change_cents=decisions["limit_cents"] - decisions["limit_before_cents"],
        age_days=(decisions["as_of"] - opened).dt.total_seconds() / 86_400,
        segment=decisions["account_id"].map(segments),
    )


def _head(workspace: Workspace, decisions: pd.DataFrame) -> dict[str, Any]:
    runs = workspace.ledger.runs()
    iterations = {(run.model_version, run.policy_digest): run for run in runs}
    return {
        "first": format_time(decisions["as_of"].min().to_pydatetime())[:10],
        "last": format_time(decisions["as_of"].max().to_pydatetime())[:10],
        "accounts": decisions["account_id"].nunique(),
        "iterations": [
            {"version": version, "policy": workspace.policy(digest).name, "digest": digest[:8]}
            for version, digest in iterations
        ],
        "backtest": any(run.backtest for run in runs),
        "data": workspace.events.digest()[:12],
        "head": workspace.ledger.head()[:12],
    }


def _figures(decisions: pd.DataFrame) -> list[tuple[str, str]]:
    change = decisions["change_cents"]
    early = (decisions["action"] == "close") & (decisions["age_days"] <= _EARLY_DAYS)
    return [
        (f"{len(decisions):,}", "decisions"),
        (f"{int((change != 0).sum()):,}", "limits changed"),
        (money(int(change[change < 0].sum())), "credit removed"),
        (money(int(change[change > 0].sum()), signed=True), "credit added"),
        (f"{int(early.sum()):,}", f"lines closed within {_EARLY_DAYS} days of opening"),
    ]


def cause_table(decisions: pd.DataFrame) -> list[dict[str, Any]]:
    """Cents raised and cut, net, and counts of necessary and sufficient changes, for each player.

    Parameters
    ----------
    decisions : DataFrame
        Decisions with their split; rows without one do not count.
    """
    split = decisions[decisions["phi_behaviour"].notna()]
    changed = split[split["change_cents"] != 0]
    rows = []
    for player in PLAYERS:
        cents = split[f"share_cents_{player}"].astype("int64")
        rows.append(
            {
                "player": player,
                "colour": plots.COLOURS[player],
                "raised": int(cents[cents > 0].sum()),
                "cut": int(cents[cents < 0].sum()),
                "net": int(cents.sum()),
                "necessary": int(changed[f"necessary_{player}"].astype(bool).sum()),
                "sufficient": int(changed[f"sufficient_{player}"].astype(bool).sum()),
            }
        )
    return rows


def _by_period(decisions: pd.DataFrame) -> pd.DataFrame:
    """Shares in currency by date of the book and by week of the daily decisions, cuts and raises apart."""
    split = decisions[decisions["phi_behaviour"].notna()]
    book = split["as_of"].dt.day == 1
    week = split["as_of"].dt.floor("D") - pd.to_timedelta(split["as_of"].dt.day_of_week, unit="D")
    period = split["as_of"].dt.strftime("%Y-%m-%d\nbook").where(book, week.dt.strftime("%Y-%m-%d\nnew lines, week"))
    columns = {}
    for player in PLAYERS:
        cents = split[f"share_cents_{player}"].astype(float) / 100
        columns[f"up_{player}"] = cents.clip(lower=0).groupby(period).sum()
        columns[f"down_{player}"] = cents.clip(upper=0).groupby(period).sum()
    return pd.DataFrame(columns).sort_index()


def action_table(decisions: pd.DataFrame) -> dict[str, Any]:
    """Counts of actions by segment, and the credit they moved."""
    segments = sorted(decisions["segment"].unique())
    rows = []
    for action in ACTIONS:
        chosen = decisions[decisions["action"] == action]
        counts = [int((chosen["segment"] == segment).sum()) for segment in segments]
        if len(chosen):
            moved = int(chosen["change_cents"].sum())
            rows.append({"action": action, "counts": counts, "all": len(chosen), "moved": moved})
    return {"segments": segments, "rows": rows}


def telling_account(decisions: pd.DataFrame) -> tuple[str, Any] | None:
    """The largest line closed within a week of its opening; else the largest cut; else nothing."""
    cuts = decisions[decisions["phi_behaviour"].notna() & (decisions["change_cents"] < 0)]
    if cuts.empty:
        return None
    closed = cuts[cuts["action"] == "close"]
    early = closed[closed["age_days"] <= _EARLY_DAYS]
    row = (early if len(early) else cuts).sort_values(["change_cents", "account_id"]).iloc[0]
    return str(row["account_id"]), row["as_of"].to_pydatetime()


def _card(answer: Answer, decisions: pd.DataFrame) -> dict[str, Any]:
    mine = decisions[decisions["account_id"] == answer.account_id]
    shares = {player: cents / 100 for player, cents in (answer.share_cents or {}).items()}
    return {
        "answer": answer,
        "early": bool((mine.loc[mine["action"] == "close", "age_days"] <= _EARLY_DAYS).any()),
        "plot": plots.waterfall(answer.limit_before_cents / 100, shares, answer.limit_cents / 100),
        "timeline": [
            {
                "as_of": format_time(row["as_of"].to_pydatetime()),
                "action": row["action"],
                "limit": int(row["limit_cents"]),
                "pd": row["pd"],
                "rules": ", ".join(row["fired_rules"]),
            }
            for row in mine.to_dict("records")
        ],
    }


def _worth_asking(decisions: pd.DataFrame, shown: str) -> list[dict[str, Any]]:
    """For each player, the account it took most from."""
    split = decisions[decisions["phi_behaviour"].notna() & (decisions["account_id"] != shown)]
    found = []
    for player in PLAYERS:
        cents = split[f"share_cents_{player}"].astype("int64")
        if len(cents) and cents.min() < 0:
            row = split.iloc[int(cents.to_numpy().argmin())]
            found.append(
                {
                    "player": player,
                    "account": row["account_id"],
                    "as_of": format_time(row["as_of"].to_pydatetime()),
                    "action": row["action"],
                    "before": int(row["limit_before_cents"]),
                    "after": int(row["limit_cents"]),
                    "share": int(cents.min()),
                }
            )
    return found


def _model(workspace: Workspace) -> dict[str, Any]:
    """Validation of the version that decided last, and its false positives beside its true ones."""
    version = workspace.ledger.runs()[-1].model_version
    registered = workspace.ledger.model(version)
    path = workspace.root / registered.folder / "validation.json"
    validation: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    declared = workspace.iteration(version).model.features.declaration_of
    rows = validation["false_positives"]["contrast"][:10]
    return {
        "version": version,
        "validation": validation,
        "calibration_plot": plots.calibration(validation),
        "contrast_plot": plots.contrast(rows) if rows else "",
        "contrast": [
            {**row, "why": declared[row["feature"]].why if row["feature"] in declared else "the line or an attribute"}
            for row in rows
        ],
    }


def _data(workspace: Workspace) -> dict[str, Any]:
    names = ("rows_in", "accepted", "quarantined", "deduplicated")
    totals: dict[str, dict[str, int]] = {}
    for load in workspace.events.loads():
        for source, counts in load["sources"].items():
            before = totals.get(source, dict.fromkeys(names, 0))
            totals[source] = {name: before[name] + int(counts[name]) for name in names}
    present = workspace.events.present()
    return {
        "sources": [{"source": source, **counts} for source, counts in totals.items() if source in present],
        "absent": [source for source in ("consumption", "payment", "device") if source not in present],
        "quarantine": workspace.events.quarantine_counts(),
    }
