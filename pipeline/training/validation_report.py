"""The validation report: what a reviewer reads before signing, as one HTML page and as Markdown.

It is made from the training table and the model alone, on rows the model has not seen: out of time where a later date
exists, else out of fold.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from limitlens.data.progress import Progress
from limitlens.features.line import LINE_FACTS, LINE_MEANING, NO_LIMIT, limit_and_age
from limitlens.limits.finding import Finding
from limitlens.limits.monitoring import pd_shift_alarms
from limitlens.limits.policy import Policy
from limitlens.limits.rates import Rate
from limitlens.limits.tail import ALL, named_groups, whole_groups
from limitlens.models.default_risk import predict_pd
from limitlens.models.explanation import additivity_error, shap_values
from limitlens.models.monotonicity import monotonicity
from limitlens.models.settings import TrainSettings
from limitlens.models.stability import stability
from limitlens.models.validation import (
    auc_interval,
    calibration_by,
    calibration_line,
    calibration_table,
    data_doubts,
    gains_curve,
    level_doubts,
    measure,
    ranking_doubts,
    roc_of,
)
from limitlens.pipeline.pages import plots
from limitlens.pipeline.pages.chinese import in_language
from limitlens.pipeline.pages.flag_words import (
    archetype_table,
    archetype_words,
    equal_pd_table,
    equal_pd_words,
    not_told_words,
)
from limitlens.pipeline.pages.page import Section, render, verdict_of
from limitlens.pipeline.training.fairness_report import fairness_sections
from limitlens.pipeline.training.judged import Judged
from limitlens.pipeline.training.leakage_report import leakage_section, proxy_section
from limitlens.pipeline.training.reasons_report import reasons_section
from limitlens.pipeline.training.tail_report import (
    MEND_LEVEL,
    age_of,
    auc_words,
    is_new,
    new_lines_section,
    ratio_plot,
    tail_sections,
)
from limitlens.pipeline.training.training_table import TrainingTable

#: Rows that are explained, swept and disturbed; the same every time.
_SAMPLE = 1_000
_SWEPT = 60
_COMPARED = 20
_COLUMNS_AT_ONCE = 45

_MEND_GROUPS = "Compare it with the champion on these lines, or train again on more history."

#: What the rows of a split are used for, where its name does not say it.
_USES = {
    "test": "validation",
    "unused": "nothing: its labels reach too far",
    "indeterminate": "nothing: neither good nor bad",
}

#: Features shown one by one.
_SHOWN = 15


def render_validation(judged: Judged, sections: Sequence[Section], policy: Policy, developer: str) -> dict[str, str]:
    """The report, by file name: ``validation.html``, in Chinese ``validation.zh-CN.html``, and ``validation.md``.

    Parameters
    ----------
    judged : Judged
    sections : sequence of Section
        Of :func:`validation_sections`.
    policy : Policy
        Released with the model.
    developer : str
        Who trained it.
    """
    model, metrics = judged.model, measure(judged.bad, judged.pd_)
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
        "warnings": [],
        "verdict": verdict_of(sections),
        "sections": sections,
        "signers": {"developer": developer, "reviewer, who is not the developer": ""},
    }
    report = {f"validation.{kind}": render(f"sections.{kind}.j2", context) for kind in ("html", "md")}
    return {**report, "validation.zh-CN.html": in_language(report["validation.html"], "zh")}


def validation_sections(
    judged: Judged, flags: dict[str, Any], reasons: dict[str, Any], policy: Policy, progress: Progress
) -> list[Section]:
    """Every section of the report, in order, each with what is outside of its bounds.

    Parameters
    ----------
    judged : Judged
    flags : dict
        Of :func:`limitlens.pipeline.training.flagged.flagged`.
    reasons : dict
        Of :func:`limitlens.pipeline.training.reasons_report.reasons_figures`.
    policy : Policy
        Released with the model.
    progress : callable
    """
    progress("explaining the model for the validation report")
    sections = [
        _data(judged),
        _ranking(judged),
        *tail_sections(judged),
        _calibration(judged),
        new_lines_section(judged),
        _groups("By segment", "segment", judged.rows["segment"], judged),
        _ages(judged),
        _vintages(judged),
        _stability(judged, policy),
        *_explained(judged),
        *_flags(judged, flags),
        reasons_section(reasons, policy),
        _monotone(judged),
        _sensitivity(judged),
        leakage_section(judged),
        proxy_section(judged),
        *fairness_sections(judged),
        _limits_of_use(judged),
    ]
    for finding in (finding for section in sections for finding in section.findings or ()):
        progress(f"warning: {finding.text}")
    return sections


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
    learned = judged.table.split("train")["bad"]
    doubts = data_doubts(len(learned), int(learned.sum()))
    findings = [Finding(doubt, "Deliver more history and train again.", blocks=True) for doubt in doubts]
    if judged.out_of_fold:
        findings.append(
            Finding(
                "no later date has labels: it is judged on accounts it has not seen, of the dates it learned from",
                "Train again once a later date has its labels, or decide without knowing how it holds over time.",
            )
        )
    return Section("Data and label", text, table, findings=findings)


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
    low, high = auc_interval(judged.bad, judged.pd_)
    figures = {
        "lines": f"{metrics.rows:,}",
        "bad": f"{metrics.bads:,}",
        "AUC": f"{metrics.auc:.4f}, 95% [{low:.4f}, {high:.4f}]",
        "Gini": f"{metrics.gini:.4f}",
        "KS": f"{metrics.ks:.4f}",
        "Brier score": f"{metrics.brier:.4f}",
    }
    how = "out of fold" if judged.out_of_fold else "out of time"
    text = f"How well the PD tells lines that went bad from the others, {how}."
    findings = [
        Finding(doubt, "Deliver more history and train again.", blocks=True) for doubt in ranking_doubts(metrics)
    ]
    if not findings and low <= 0.5:
        chance = f"it may rank no better than a coin: the interval of the AUC begins at {low:.3f}"
        findings.append(Finding(chance, "Deliver more history and train again."))
    table = pd.DataFrame({"figure": list(figures), "value": list(figures.values())})
    return Section("Ranking", text, table, _ranking_curves(judged), findings)


def _ranking_curves(judged: Judged) -> list[tuple[str, str]]:
    """How many of the bad lines lie among the riskiest, and beside how many of the good ones, of each split."""
    learned = judged.table.split("train")["bad"].to_numpy(bool)
    splits = {"training, out of fold": (learned, judged.learned_pd)}
    if not judged.out_of_fold:
        splits["validation, out of time"] = (judged.bad, judged.pd_)
    gains = {name: gains_curve(bad, pd_) for name, (bad, pd_) in splits.items()}
    rocs = {name: roc_of(bad, pd_) for name, (bad, pd_) in splits.items()}
    names = {
        "Bad lines among the riskiest: the higher, the better; dashed is chance": (
            plots.shares(gains, ("of all lines, the riskiest", "of the bad lines"), "gains")
        ),
        "ROC: bad lines against good ones at each cut-off; the area below is the AUC": (
            plots.shares(rocs, ("of the good lines", "of the bad lines"), "roc")
        ),
    }
    return list(names.items())


def _calibration(judged: Judged) -> Section:
    intercept, slope = calibration_line(judged.bad, judged.pd_)
    ratio = judged.bad.mean() / judged.pd_.mean()
    methods = ", ".join(f"{name}: {scorer.calibration.method}" for name, scorer in judged.model.scorers.items())
    text = (
        f"Observed by expected bads {ratio:.3f}; outcomes on the log-odds of the PD: intercept {intercept:+.3f}, slope "
        f"{slope:.3f} (true PDs: 0 and 1). Calibration of each scorer: {methods}. Moved to the level of early arrears: "
        f"{judged.model.recalibration_shift:+.3f} in log-odds (level_months = {judged.model.settings.level_months})."
    )
    tenths = calibration_table(judged.bad, judged.pd_)
    held = sum(
        low <= pd_ <= high
        for (low, high), pd_ in zip(
            (Rate(bads, rows).interval for bads, rows in zip(tenths["bads"], tenths["rows"], strict=True)),
            tenths["expected_share"],
            strict=True,
        )
    )
    caption = (
        f"Share that went bad against the PD, by tenth, with the 95% interval: it holds the PD in {held} of "
        f"{len(tenths)}"
    )
    plot = plots.calibration({"calibration": tenths.to_dict("list")})
    findings = [Finding(doubt, MEND_LEVEL, blocks=True) for doubt in level_doubts(measure(judged.bad, judged.pd_))]
    every = whole_groups(judged.bad, judged.pd_, "", pd.Series([ALL] * len(judged.bad)))
    if not findings and (every["off"] | every["thin"]).any():
        findings.append(Finding(f"its PDs are not near enough: {named_groups(every)}", MEND_LEVEL))
    return Section("Calibration", text, None, [(caption, plot)], findings)


def _groups(title: str, name: str, group: pd.Series, judged: Judged, asked: pd.Series | None = None) -> Section:
    """Observed beside expected of each group; ``asked``: the groups that are judged, where not all of them are."""
    calibration = calibration_by(group, judged.bad, judged.pd_)
    members = [(group == one).to_numpy() for one in calibration["group"]]
    aucs = [auc_words(judged.bad[at], judged.pd_[at]) for at in members]
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
    by = {"opened in": "lines opened in", "age of the line": "age"}.get(name, name)
    groups = whole_groups(judged.bad, judged.pd_, by, group if asked is None else asked)
    off = groups["off"] | groups["thin"]
    findings = [Finding(f"its PDs are off in groups: {named_groups(groups[off])}", _MEND_GROUPS)] if off.any() else []
    return Section(title, text, table, ratio_plot(groups, by), findings)


def _ages(judged: Judged) -> Section:
    """By age of the line; new lines are judged in a section of their own."""
    ages = age_of(judged.rows)
    section = _groups("By age of the line", "age of the line", ages, judged, ages.where(~is_new(judged)))
    days = judged.model.settings.new_line_days
    return replace(section, text=f"{section.text} Lines under {days} days old are judged in their own section.")


def _p_value(p: float) -> str:
    return f"{p:.3f}{' (PD too low)' if p < 0.05 else ' (PD too high)' if p > 0.95 else ''}"


def _vintages(judged: Judged) -> Section:
    quarter = judged.rows["opened_at"].dt.tz_localize(None).dt.to_period("Q").astype(str)
    few = quarter.map(quarter.value_counts()) < 100
    named = quarter.where(~few, "quarters with under 100 lines")
    return _groups("By vintage", "opened in", named, judged, quarter.where(~few))


def _stability(judged: Judged, policy: Policy) -> Section:
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
    alarms = pd_shift_alarms(by_column["PD"], policy.alarms)
    mend = "See whether the book or the feed changed; the level of the PDs and the tail say what it did to them."
    findings = [Finding(alarm.words, mend) for alarm in alarms]
    return Section("Stability (PSI, CSI)", text, table, _pd_by_month(judged), names=("column",), findings=findings)


def _pd_by_month(judged: Judged) -> list[tuple[str, str]]:
    """How the PDs lie at each as-of date: of what was learned from out of fold, then of what it is judged on."""
    learned = pd.DataFrame({"as_of": judged.table.split("train")["as_of"].to_numpy(), "pd": judged.learned_pd})
    seen = pd.DataFrame({"as_of": judged.rows["as_of"].to_numpy(), "pd": judged.pd_})
    rows = learned if judged.out_of_fold else pd.concat([learned, seen])
    by_date = rows.groupby("as_of")["pd"]
    names = {"half of the lines are below": 0.5, "9 of 10 are below": 0.9, "19 of 20 are below": 0.95}
    curves = {name: by_date.quantile(share).to_list() for name, share in names.items()}
    labels = [f"{date:%Y-%m-%d}" for date in by_date.groups]
    caption = "PDs by as-of date: of the training out of fold, then of the validation"
    return [(caption, plots.by_month(labels, curves, "pd-by-month", shares=True))] if len(labels) > 1 else []


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
    findings = []
    if len(wrong):
        words = f"{len(wrong)} features moved the PD against their declared direction"
        findings = [Finding(words, "Mend the declarations, or leave the features out, and train again.")]
    return Section("Monotonicity", text, table if len(wrong) else None, names=("feature",), findings=findings)


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
