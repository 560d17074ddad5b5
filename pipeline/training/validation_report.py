"""The validation report: what a reviewer reads before signing, as one HTML page and as Markdown.

It is made from the training table and the model alone, on rows the model has not seen: out of time where a later date
exists, else out of fold.
"""

from typing import Any

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray
from limitlens.data.progress import Progress
from limitlens.features.line import LINE_FACTS, LINE_MEANING, NO_LIMIT, limit_and_age
from limitlens.limits.policy import Policy
from limitlens.models.default_risk import predict_pd
from limitlens.models.explanation import additivity_error, shap_values
from limitlens.models.fairness import Fairness, fairness
from limitlens.models.monotonicity import monotonicity
from limitlens.models.settings import TrainSettings
from limitlens.models.stability import stability
from limitlens.models.validation import (
    calibration_by,
    calibration_line,
    calibration_table,
    measure,
    paired_auc_gain,
)
from limitlens.pipeline.pages import plots, small_cells
from limitlens.pipeline.pages.chinese import in_language
from limitlens.pipeline.pages.flag_words import (
    archetype_table,
    archetype_words,
    equal_pd_table,
    equal_pd_words,
    not_told_words,
)
from limitlens.pipeline.pages.page import Section, render
from limitlens.pipeline.training.judged import Judged
from limitlens.pipeline.training.leakage_report import leakage_section, proxy_section
from limitlens.pipeline.training.reasons_report import reasons_section
from limitlens.pipeline.training.tail_report import age_of, tail_sections
from limitlens.pipeline.training.training_table import TrainingTable

#: Rows that are explained, swept and disturbed; the same every time.
_SAMPLE = 1_000
_SWEPT = 60
_COMPARED = 20
_COLUMNS_AT_ONCE = 45

#: What the rows of a split are used for, where its name does not say it.
_USES = {
    "test": "validation",
    "unused": "nothing: its labels reach too far",
    "indeterminate": "nothing: neither good nor bad",
}

#: Features shown one by one.
_SHOWN = 15


def render_validation(
    judged: Judged,
    flags: dict[str, Any],
    reasons: dict[str, Any],
    policy: Policy,
    developer: str,
    *,
    progress: Progress,
) -> dict[str, str]:
    """The report, by file name: ``validation.html``, in Chinese ``validation.zh-CN.html``, and ``validation.md``.

    Parameters
    ----------
    judged : Judged
    flags : dict
        Of :func:`limitlens.pipeline.training.flagged.flagged`.
    reasons : dict
        Of :func:`limitlens.pipeline.training.reasons_report.reasons_figures`.
    policy : Policy
        Released with the model.
    developer : str
        Who trained it.
    progress : callable
    """
    model, metrics = judged.model, measure(judged.bad, judged.pd_)
    sections = validation_sections(judged, flags, reasons, progress)
    warnings = [warning for section in sections for warning in section.warnings]
    for warning in warnings:
        progress(f"warning: {warning}")
    how = "out of fold" if judged.out_of_fold else "out of time"
    context = {
        "title": "Validation of a default-risk model",
        "lead": f"AUC {metrics.auc:.3f}, KS {metrics.ks:.3f}, observed by expected bads "
        f"{metrics.observed_share / metrics.expected_share:.2f}, on {metrics.rows:,} lines {how}.",
        "head": {
            "Model": model.digest[:16],
            "Feature set": f"{model.features.digest[:16]}, {len(model.columns)} inputs",
            "Data contract": model.contract[:16],
            "Policy": f"{policy.name}, {policy.digest[:16]}",
            "Members": ", ".join(f"{name}: {len(scorer.members)}" for name, scorer in model.scorers.items()),
            "Labels until": model.labels_end[:10],
        },
        "warnings": warnings,
        "sections": sections,
        "signers": {"developer": developer, "reviewer, who is not the developer": ""},
    }
    report = {f"validation.{kind}": render(f"sections.{kind}.j2", context) for kind in ("html", "md")}
    return {**report, "validation.zh-CN.html": in_language(report["validation.html"], "zh")}


def validation_sections(
    judged: Judged, flags: dict[str, Any], reasons: dict[str, Any], progress: Progress
) -> list[Section]:
    """Every section of the report, in order.

    Parameters
    ----------
    judged : Judged
    flags, reasons : dict
        As in :func:`render_validation`.
    progress : callable
    """
    progress("explaining the model for the validation report")
    return [
        _data(judged),
        _ranking(judged),
        *tail_sections(judged),
        _calibration(judged),
        _groups("By segment", "segment", judged.rows["segment"], judged),
        _groups("By age of the line", "age of the line", age_of(judged.rows), judged),
        _vintages(judged),
        _stability(judged),
        *_explained(judged),
        *_flags(judged, flags),
        reasons_section(reasons),
        _monotone(judged),
        _sensitivity(judged),
        leakage_section(judged),
        proxy_section(judged),
        *_fairness(judged),
        _limits_of_use(judged),
    ]


def _data(judged: Judged) -> Section:
    settings, rows = judged.model.settings, judged.table.rows
    counts = rows.groupby(["as_of", "split"])["bad"].agg(["size", "sum"]).reset_index()
    if len(counts) > 24:
        counts = rows.groupby("split")["bad"].agg(["size", "sum"]).reset_index().assign(as_of=rows["as_of"].max())
    table = pd.DataFrame(
        {
            "as of": counts["as_of"].dt.strftime("%Y-%m-%d"),
            "used for": counts["split"].replace(_USES),
            "lines": counts["size"].map("{:,}".format),
            "bad": counts["sum"].map("{:,}".format),
            "bad share": (counts["sum"] / counts["size"]).map("{:.2%}".format),
        }
    )
    text = (
        f"A line is bad when it is {settings.default_dpd_days} or more days past due within {settings.horizon_months} "
        f"months after the as-of time, or when the lender delivered that outcome. Lines already in default then are "
        f"left out. Labels look until {judged.model.labels_end[:10]}; no validation row lies before that, "
        "unless it is scored out of fold. Features see what was known before the as-of time and nothing else."
    )
    if len(judged.table.verdicts):
        text += f" {verdict_words(judged.table, settings)}. No figure counts them: all are on outcomes alone."
    return Section("Data and label", text, table)


def verdict_words(table: TrainingTable, settings: TrainSettings) -> str:
    """How many rows stand on verdicts, in a sentence without its full stop.

    Parameters
    ----------
    table : TrainingTable
    settings : TrainSettings
    """
    rows = table.verdicts
    bads = int(rows["bad"].sum()) if len(rows) else 0
    return (
        f"{len(rows):,} rows beside these stand on verdicts on which reviewers agreed, {bads:,} of them bad: members "
        f"learn from them at {settings.verdict_weight:g} of the weight of an outcome"
    )


def _ranking(judged: Judged) -> Section:
    metrics = measure(judged.bad, judged.pd_)
    # Against a coin: the interval of the AUC itself.
    _, low, high = paired_auc_gain(judged.bad, judged.pd_, np.zeros(len(judged.pd_)))
    figures = {
        "lines": f"{metrics.rows:,}",
        "bad": f"{metrics.bads:,}",
        "AUC": f"{metrics.auc:.4f}, 95% [{0.5 + low:.4f}, {0.5 + high:.4f}]",
        "Gini": f"{metrics.gini:.4f}",
        "KS": f"{metrics.ks:.4f}",
        "Brier score": f"{metrics.brier:.4f}",
    }
    how = "out of fold" if judged.out_of_fold else "out of time"
    text = f"How well the PD tells lines that went bad from the others, {how}."
    return Section("Ranking", text, pd.DataFrame({"figure": list(figures), "value": list(figures.values())}))


def _calibration(judged: Judged) -> Section:
    intercept, slope = calibration_line(judged.bad, judged.pd_)
    ratio = judged.bad.mean() / judged.pd_.mean()
    methods = ", ".join(f"{name}: {scorer.calibration.method}" for name, scorer in judged.model.scorers.items())
    text = (
        f"Observed by expected bads {ratio:.3f}; outcomes on the log-odds of the PD: intercept {intercept:+.3f}, slope "
        f"{slope:.3f} (true PDs: 0 and 1). Calibration of each scorer: {methods}. Moved to the level of early arrears: "
        f"{judged.model.recalibration_shift:+.3f} in log-odds (level_months = {judged.model.settings.level_months})."
    )
    table = {"calibration": calibration_table(judged.bad, judged.pd_).to_dict("list")}
    return Section(
        "Calibration", text, None, [("Share that went bad against the PD, by tenth", plots.calibration(table))]
    )


def _groups(title: str, name: str, group: pd.Series, judged: Judged) -> Section:
    calibration = calibration_by(group, judged.bad, judged.pd_)
    aucs = [_auc((group == one).to_numpy(), judged) for one in calibration["group"]]
    table = pd.DataFrame(
        {
            name: calibration["group"],
            "lines": calibration["rows"].map("{:,}".format),
            "bad": calibration["bads"].map("{:,}".format),
            "observed": calibration["observed_share"].map("{:.2%}".format),
            "expected": calibration["expected_share"].map("{:.2%}".format),
            "observed / expected": calibration["ratio"].map("{:.2f}".format),
            "in its riskiest 5%": calibration["riskiest_ratio"].map("{:.2f}".format),
            "Jeffreys p": [_p_value(p) for p in calibration["jeffreys"]],
            "AUC": aucs,
        }
    )
    text = (
        "A Jeffreys p below 0.05: more lines went bad than the PD said, by more than chance; above 0.95: fewer. "
        "In its riskiest 5%: observed / expected there, where a policy acts."
    )
    return Section(title, text, table)


def _p_value(p: float) -> str:
    return f"{p:.3f}{' (PD too low)' if p < 0.05 else ' (PD too high)' if p > 0.95 else ''}"


def _auc(chosen: BoolArray, judged: Judged) -> str:
    bad = judged.bad[chosen]
    return f"{measure(bad, judged.pd_[chosen]).auc:.4f}" if 0 < bad.sum() < len(bad) else "–"


def _vintages(judged: Judged) -> Section:
    quarter = judged.rows["opened_at"].dt.tz_localize(None).dt.to_period("Q").astype(str)
    few = quarter.map(quarter.value_counts()) < 100
    return _groups("By vintage", "opened in", quarter.where(~few, "quarters with under 100 lines"), judged)


def _stability(judged: Judged) -> Section:
    """Training rows against validation rows, for the score and the features that moved most."""
    train = judged.table.split("train")
    names = [name for name in judged.model.features.columns if name in judged.rows]
    by_column = {"PD": stability(judged.learned_pd, judged.pd_)}
    for start in range(0, len(names), _COLUMNS_AT_ONCE):
        some = names[start : start + _COLUMNS_AT_ONCE]
        before = judged.table.with_features(train, some)
        by_column |= {
            name: stability(before[name].to_numpy(np.float64), judged.rows[name].to_numpy(np.float64)) for name in some
        }
    moved = sum(one.moved for one in by_column.values())
    shown = ["PD", *sorted(names, key=lambda name: by_column[name].critical - by_column[name].psi)[:_SHOWN]]
    table = pd.DataFrame(
        {
            "column": shown,
            "PSI": [f"{by_column[name].psi:.4f}" for name in shown],
            "critical value": [f"{by_column[name].critical:.4f}" for name in shown],
            "moved": ["yes" if by_column[name].moved else "no" for name in shown],
        }
    )
    text = (
        f"From the training rows to the validation rows {moved} of {len(by_column)} distributions moved by more than "
        "chance would in one case of a thousand; the critical value follows from the number of rows. Shown are the "
        "PD and the features that moved most. That a distribution holds does not mean that the lines in its tail are "
        "the same."
    )
    return Section("Stability (PSI, CSI)", text, table, names=("column",))


def _explained(judged: Judged) -> list[Section]:
    rows = judged.sample(_SAMPLE)
    limit, age = limit_and_age(rows)
    shap = shap_values(judged.model, rows, limit, age)
    weight = shap.abs().mean().sort_values(ascending=False)
    top = weight.head(_SHOWN)
    declared = judged.model.features.declaration_of
    table = pd.DataFrame(
        {
            "feature": top.index,
            "mean contribution, in log-odds": top.map("{:.3f}".format),
            "why it should matter": [declared[name].why if name in declared else "–" for name in top.index],
        }
    )
    inputs = pd.DataFrame(judged.model.inputs(rows, limit, age), columns=list(judged.model.columns))
    numeric = [name for name in top.index if name in declared or name in LINE_FACTS][:4]
    pictures = [
        (f"{name}: its contribution against its value", plots.dependence(inputs[name], shap[name], name))
        for name in numeric
    ]
    few = judged.sample(_COMPARED)
    error = additivity_error(judged.model, few, *limit_and_age(few))
    text = (
        f"Mean absolute SHAP value over {len(rows):,} validation rows. On {len(few):,} rows they and the base value "
        f"sum to the score of every member within {error:.0e}."
    )
    return [
        Section("What drives the PD", text, table, [("", plots.importance(top))], names=("feature",)),
        Section("How the strongest features act", "Each point is a line.", None, pictures),
    ]


def _flags(judged: Judged, flags: dict[str, Any]) -> list[Section]:
    """Good lines the policy would have flagged, beside the bad ones."""
    contrast, archetypes = flags["at_equal_pd"], flags["archetypes"]
    shown = contrast["features"][:_SHOWN]
    declared = judged.model.features.declaration_of
    meaning = LINE_MEANING | {name: declaration.why for name, declaration in declared.items()}
    title = "False positives at equal PD"
    words = [
        f"The policy would act on {flags['flagged']:,} of {flags['rows']:,} validation lines; "
        f"{flags['false_positives']:,} of them stayed good.",
        equal_pd_words(contrast),
        not_told_words(contrast),
    ]
    table = equal_pd_table(shown, meaning) if shown else None
    pictures = [("The likeliest differences", plots.contrast(shown))] if shown else []
    groups = archetype_table(archetypes) if archetypes["told"] else None
    return [
        Section(title, " ".join(filter(None, words)), table, pictures, names=("feature", "reason code")),
        Section("Groups of flagged lines", archetype_words(archetypes), groups),
    ]


def _monotone(judged: Judged) -> Section:
    rows = judged.sample(_SWEPT)
    sweeps = monotonicity(judged.model, judged.model.inputs(rows, *limit_and_age(rows)))
    wrong = sweeps[sweeps["worst_step"] > 1e-9]
    text = (
        f"{len(sweeps)} features may move the PD in one direction only. Each was swept over its range on {len(rows)} "
        f"lines, all else as it was: {len(wrong)} moved it the other way."
    )
    table = pd.DataFrame(
        {
            "feature": wrong["feature"],
            "declared": wrong["direction"].map({1: "raises the PD", -1: "lowers the PD"}),
            "worst step against it, in log-odds": wrong["worst_step"].map("{:.4f}".format),
        }
    )
    return Section("Monotonicity", text, table if len(wrong) else None, names=("feature",))


def _sensitivity(judged: Judged) -> Section:
    """What the PD does when a source stops coming, without anybody being told."""
    rows = judged.sample(_SAMPLE)
    columns = limit_and_age(rows)
    base = predict_pd(judged.model, rows, *columns)
    declared = judged.model.features.declaration_of
    lines = []
    for source in judged.model.features.sources:
        gone = [name for name in judged.model.features.columns if declared[name].source == source]
        empty = rows.assign(**dict.fromkeys(gone, np.nan))
        without = predict_pd(judged.model, empty, *columns)
        risky = base >= np.quantile(base, 0.95)
        lines.append(
            {
                "all null": f"{source} ({len(gone)} features)",
                "mean PD": f"{base.mean():.2%} → {without.mean():.2%}",
                "mean PD of the riskiest 5%": f"{base[risky].mean():.2%} → {without[risky].mean():.2%}",
            }
        )
    text = (
        "Nulls can rescue bad customers without a word, and the mean hardly shows it: look at the riskiest lines. A "
        "source that is absent at training is left out of the model; one that stops later has to be held back upstream."
    )
    return Section("Sensitivity to a missing source", text, pd.DataFrame(lines))


def _fairness(judged: Judged) -> list[Section]:
    """One section for each protected attribute that was delivered."""
    values = judged.protected
    return [_fair(str(name), fairness(values[name], judged.bad, judged.pd_, judged.cut)) for name in values]


def _fair(name: str, figures: Fairness) -> Section:
    groups = figures.groups.reset_index()
    bad = groups["bad_share"] * groups["rows"]
    of = {"bad": groups["rows"], "cut": groups["rows"], "of the good": groups["rows"] - bad, "of the bad": bad}
    shares = {"bad": "bad_share", "cut": "cut_share", "of the good": "good_cut_share", "of the bad": "bad_cut_share"}
    words = {
        title: [small_cells.share(part, n) for part, n in zip(groups[column] * of[title], of[title], strict=True)]
        for title, column in shares.items()
    }
    table = pd.DataFrame(
        {
            name: groups["group"],
            "lines": [small_cells.published([round(n)])[0] for n in groups["rows"]],
            "bad": words["bad"],
            "expected": groups["mean_pd"].map("{:.2%}".format),
            "cut": words["cut"],
            "of the good": words["of the good"],
            "of the bad": words["of the bad"],
        }
    )
    text = (
        f"How the policy would treat these lines by {name}, which no model reads unless it is switched on. Share that "
        f"is not cut, smallest group by largest: {figures.impact_ratio:.3f}; below 0.8 is taken for adverse impact "
        "(four-fifths rule). Largest difference between groups in the share of good lines cut, or of bad lines cut: "
        f"{figures.odds_difference:.3f}. Groups that default more often are cut more often under any true PD: look at "
        "the good lines first. Shares of 1 to 9 people, or of all but so many, are not told."
    )
    return Section(f"Fairness: {name}", text, table)


def _limits_of_use(judged: Judged) -> Section:
    settings, features = judged.model.settings, judged.model.features
    text = (
        f"The PD is for lines that are open, not in default and known to the lender, over {settings.horizon_months} "
        f"months. It knows the sources {', '.join(features.sources)} and no other. It is silent about lines whose feed "
        "is late, about applicants without a line, and about loss given default. Outcomes of lines that were cut "
        "before are those under the cut: see the holdout of the policy. Protected attributes are not inputs"
        f"{f', but {list(settings.protected)}' if settings.protected else ''}."
    )
    if none := int((judged.rows["limit_cents"] == NO_LIMIT).sum()):
        text += (
            f" {none:,} of {len(judged.rows):,} validation lines have no limit: the PD is for them too, the policy "
            "decides nothing about them, and no figure counts them as cut."
        )
    return Section("Limits of use", text)
