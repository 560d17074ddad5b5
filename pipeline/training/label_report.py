"""The page that justifies a label: roll rates, vintages, and what the settings say now."""

from pathlib import Path

import pandas as pd

from limitlens.data.calendar import data_end, format_time, matured_months
from limitlens.data.errors import WorkspaceError
from limitlens.data.progress import Progress, silent
from limitlens.data.storage import write_text
from limitlens.features.spine import book
from limitlens.features.table import build_table
from limitlens.models.label_choice import BUCKETS, early_signs, roll_rates, vintage_curve
from limitlens.models.settings import TrainSettings
from limitlens.pipeline.pages import plots
from limitlens.pipeline.pages.chinese import in_language
from limitlens.pipeline.pages.page import Section, render
from limitlens.pipeline.training.training_table import first_payment
from limitlens.pipeline.workspace import Workspace

#: Months after which an early sign is judged, beyond the horizon.
_EARLY_MONTHS = 3

#: Months between the two looks of a roll rate.
ROLL_MONTHS = 3


def days_past_due(workspace: Workspace, settings: TrainSettings, progress: Progress = silent) -> pd.DataFrame:
    """Days past due of every line at every month start the data reach.

    Returns
    -------
    DataFrame with ``account_id, month, dpd_days, vintage, age_months``

    Raises
    ------
    WorkspaceError
        There are no events, no payment was delivered, or fewer month starts are reached than a roll rate needs.
    """
    end = data_end(workspace.events.known_until())
    if "payment" not in workspace.events.present():
        raise WorkspaceError("days past due need payment, which was not delivered; the label is that of outcomes.")
    features = workspace.feature_set(settings).only(["dpd_days"])
    relations = workspace.relations(features)
    parts: list[pd.DataFrame] = []
    for as_of in matured_months(first_payment(relations), end, 0):
        lines = book([as_of], relations)
        progress(f"days past due at {format_time(as_of)}: {len(lines):,} lines")
        table = build_table(features, lines[["account_id", "as_of", "known_by"]], relations)
        age = (lines["as_of"] - lines["opened_at"]).dt.days // 30
        quarter = lines["opened_at"].dt.tz_localize(None).dt.to_period("Q").astype(str)
        month = as_of.year * 12 + as_of.month
        parts.append(table[["account_id", "dpd_days"]].assign(month=month, vintage=quarter, age_months=age))
    if len(parts) <= ROLL_MONTHS:
        raise WorkspaceError(f"roll rates need {ROLL_MONTHS + 1} month starts at least; deliver more history.")
    return pd.concat(parts, ignore_index=True)


def write_label_report(
    workspace: Workspace, settings: TrainSettings, out: Path, progress: Progress = silent, *, language: str = "en"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the page; returns roll rates and vintage curve.

    Parameters
    ----------
    workspace : Workspace
    settings : TrainSettings
    out : Path
        HTML file; replaced as a whole.
    progress : callable
    language : {"en", "zh"}
    """
    dpd = days_past_due(workspace, settings, progress)
    rolls, vintages = roll_rates(dpd, ROLL_MONTHS), vintage_curve(dpd, settings.default_dpd_days)
    text = render(
        "sections.html.j2",
        {
            "title": "Choice of the label",
            "lead": f"Bad: {settings.default_dpd_days} or more days past due within {settings.horizon_months} months.",
            "warnings": [],
            "head": {"Data digest": workspace.events.digest()[:16], "Lines": f"{dpd['account_id'].nunique():,}"},
            "sections": [_rolls(rolls), _vintages(vintages, settings), _early(dpd, settings)],
            "signers": {},
        },
    )
    write_text(in_language(text, language), out)
    return rolls, vintages


def _rolls(rolls: pd.DataFrame) -> Section:
    shares = {name: rolls[name].map(_percent) for name in BUCKETS.values()}
    table = pd.DataFrame({"days past due": rolls.index, "lines": rolls["lines"].map("{:,}".format), **shares})
    back = {name: rolls.loc[name, ["current", "1-29"]].sum() for name in ("30-59", "60-89", "90+")}
    cured = ", ".join(f"{share:.0%} of those at {name}" for name, share in back.items())
    text = (
        f"Where the lines of a row are {ROLL_MONTHS} months later. A threshold is right where few come back: {cured} "
        "are under 30 days again."
    )
    return Section("Roll rates", text, table)


def _vintages(vintages: pd.DataFrame, settings: TrainSettings) -> Section:
    text = (
        f"Share of the lines opened in a quarter that were {settings.default_dpd_days} or more days past due by their "
        "age; quarters before the first payment on record are left out. A horizon is long enough where the curves have "
        "become flat; a longer one costs recent months of training data."
    )
    picture = ("share gone bad, by months since opening", plots.vintages(vintages))
    return Section("Vintages", text, None, [picture])


def _early(dpd: pd.DataFrame, settings: TrainSettings) -> Section:
    by_months = settings.horizon_months + _EARLY_MONTHS
    signs = early_signs(dpd, settings.default_dpd_days, by_months)
    table = pd.DataFrame(
        {
            "sign": signs.index,
            "lines": signs["lines"].map("{:,}".format),
            f"bad by month {by_months}": signs["bad_share"].map(_percent),
            "of all bad lines": signs["caught_share"].map(_percent),
        }
    )
    text = (
        "What the first months of a new line say. A sign that foretells most of the bad lines is a label of its own "
        "for young portfolios: set horizon_months and default_dpd_days to it."
    )
    return Section("Early signs", text, table)


def _percent(share: float) -> str:
    return "–" if pd.isna(share) else f"{share:.1%}"
