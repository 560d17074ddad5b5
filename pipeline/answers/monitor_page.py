"""The page of the monitoring: alarms on top, then each figure over the months, in English and 中文."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from limitlens.data.calendar import format_time
from limitlens.data.storage import write_text
from limitlens.limits.monitoring import LARGE, MODERATE
from limitlens.limits.rates import Rate
from limitlens.pipeline.answers.monitor import Monitored, Month, figure
from limitlens.pipeline.pages import plots, small_cells
from limitlens.pipeline.pages.chinese import chinese
from limitlens.pipeline.pages.page import Section, render
from limitlens.pipeline.training.tail_report import calibration_section

_NOT_YET = "not yet · 未到期"

#: Alarms by kind.
_KINDS = {
    "mean_pd": "mean PD · 平均 PD",
    "pd_shift": "PD shift · PD 分布",
    "feature_shift": "features · 特征",
    "roll_rates": "roll rates · 迁徙率",
    "level": "level · 水平",
    "tail": "tail · 尾部",
    "ranking": "ranking · 排序",
}

#: Features shown.
_SHOWN = 15


def write_monitoring(monitored: Monitored, out: Path) -> None:
    """Write the page; replaced as a whole.

    Parameters
    ----------
    monitored : Monitored
    out : Path
        HTML file.
    """
    month = monitored.last
    count = len(month.alarms)
    text = render(
        "sections.html.j2",
        {
            "title": "Monitoring · 上线后监控",
            "lead": f"The month until {format_time(month.as_of)}: {count or 'no'} alarm{'s' * (count != 1)}. "
            "Every figure is what was known when the book was decided; what became of it comes beside it later. "
            f"截至 {format_time(month.as_of)} 的一个月：{count} 项告警。"
            "各项数据均为决策当时所知，实际结果待表现期满后列于旁边。",
            "warnings": [
                f"{alarm.words}. Next: {alarm.next_step}. {alarm.words_zh}。下一步：{alarm.next_step_zh}。"
                for alarm in month.alarms
            ],
            "head": {
                "Lines · 账户": f"{month.lines:,}",
                "Model · 模型": f"version {month.model_version}",
                "Policy · 策略": monitored.policy,
                "Horizon · 表现期": f"{monitored.horizon_months} months · 个月",
            },
            "sections": _sections(monitored),
            "signers": {},
        },
    )
    write_text(text, out)


def _sections(monitored: Monitored) -> list[Section]:
    months, last = monitored.months, monitored.last
    sections = [_alarms(months), _level(months), _ranking(months), _shift(months), _features(last)]
    if len(last.tail):
        tail = calibration_section(last.tail)
        title = f"{tail.title} · 尾部校准"
        book = format_time(last.matured) if last.matured else ""
        text = f"{tail.text} The book of {book}, the last that matured. 最近一批表现期已满的客户（{book}）。"
        sections.append(Section(title, text, tail.table, tail.plots))
    return [*sections, _rolls(months), _people(months), _complaints(last)]


def _label(month: Month) -> str:
    return format_time(month.as_of)


def _alarms(months: Sequence[Month]) -> Section:
    kinds = list(dict.fromkeys(alarm.kind for month in months for alarm in month.alarms))
    table = pd.DataFrame({"month until · 截至": [_label(month) for month in months]})
    for kind in kinds:
        table[_KINDS[kind]] = ["alarm · 告警" if any(a.kind == kind for a in month.alarms) else "·" for month in months]
    text = "Which month raised which alarm. 各月触发的告警。" if kinds else "No month raised one. 各月均无告警。"
    return Section("Alarms · 告警", text, table if kinds else None)


def _level(months: Sequence[Month]) -> Section:
    table = pd.DataFrame(
        {
            "month until · 截至": [_label(month) for month in months],
            "lines · 账户": [f"{month.lines:,}" for month in months],
            "mean PD · 平均 PD": [figure(month.mean_pd, ".2%") for month in months],
            "training · 训练": [figure(month.training_share, ".2%") for month in months],
            "expected bad · 预期坏账率": [_between(m.expected.bad_share, m.expected.bad_interval) for m in months],
            "went bad · 实际": [figure(m.realised.bad_share, ".2%") if m.realised else _NOT_YET for m in months],
            "known by · 得知于": [format_time(m.realised.known_by) if m.realised else "–" for m in months],
        }
    )
    picture = plots.by_month(
        [_label(month) for month in months],
        {
            "expected bad": [month.expected.bad_share for month in months],
            "went bad": [month.realised.bad_share if month.realised else np.nan for month in months],
            "mean PD": [month.mean_pd for month in months],
        },
        "level",
        interval=([m.expected.bad_interval[0] for m in months], [m.expected.bad_interval[1] for m in months]),
        levels={"training": months[-1].training_share} if np.isfinite(months[-1].training_share) else {},
        shares=True,
    )
    text = (
        "Mean PD of the book beside the share of bads in training, and the share of bads that is expected: the PDs, "
        "brought to what became of the lines of the version, a month at a time. What came stands beside it once it is "
        "known. 平均 PD 与训练坏账率对比；预期坏账率按账户逐月迁移校准，实际值得知后列于旁边。"
    )
    return Section("Level · 水平", text, table, [("", picture)])


def _between(value: float, interval: tuple[float, float]) -> str:
    return f"{figure(value, '.2%')} [{interval[0]:.2%}, {interval[1]:.2%}]"


def _ranking(months: Sequence[Month]) -> Section:
    expected = [month.expected for month in months]
    table = pd.DataFrame(
        {
            "month until · 截至": [_label(month) for month in months],
            "expected AUC · 预期": [
                f"{figure(one.auc, '.3f')} [{one.auc_interval[0]:.3f}, {one.auc_interval[1]:.3f}]" for one in expected
            ],
            "realised · 实际": [figure(m.realised.auc, ".3f") if m.realised else _NOT_YET for m in months],
        }
    )
    picture = plots.by_month(
        [_label(month) for month in months],
        {
            "expected": [one.auc for one in expected],
            "realised": [month.realised.auc if month.realised else np.nan for month in months],
        },
        "ranking",
        interval=([one.auc_interval[0] for one in expected], [one.auc_interval[1] for one in expected]),
    )
    text = (
        "AUC that the PDs let expect before anybody knows who goes bad, with an interval for the realised one. It is "
        "right as far as the PDs are. 结果未知时由 PD 推得的预期 AUC 及实际值的区间；PD 准确，它才准确。"
    )
    return Section("Ranking · 排序能力", text, table, [("AUC", picture)])


def _shift(months: Sequence[Month]) -> Section:
    psi = [month.psi for month in months]
    table = pd.DataFrame(
        {
            "month until · 截至": [_label(month) for month in months],
            "PSI": [f"{one.psi:.3f}" if one else "–" for one in psi],
            "chance · 偶然上界": [figure(one.critical, ".3f") if one else "–" for one in psi],
            "features moved · 变动特征数": [
                f"{sum(one.moved for one in month.csi.values()):,} of {len(month.csi):,}" for month in months
            ],
        }
    )
    picture = plots.by_month(
        [_label(month) for month in months],
        {
            "PSI": [o.psi if o else np.nan for o in psi],
            "chance": [o.critical if o and np.isfinite(o.critical) else np.nan for o in psi],
        },
        "shift",
        levels={"moderate 0.1": MODERATE, "large 0.25": LARGE},
    )
    text = (
        "PSI of the PD since the training, beside the value that chance exceeds as often as the policy allows: it "
        "follows from the number of lines. 训练以来 PD 的 PSI；偶然上界由账户数决定。"
    )
    return Section("Shift of the PD · PD 分布", text, table, [("", picture)])


def _features(month: Month) -> Section:
    worst = sorted(month.csi, key=lambda name: -month.csi[name].psi)[:_SHOWN]
    table = pd.DataFrame(
        {
            "feature · 特征": worst,
            "nearest month · 最接近的月份": [f"{month.csi[name].psi:.3f}" for name in worst],
            "chance · 偶然上界": [figure(month.csi[name].critical, ".3f") for name in worst],
            "training · 训练": [
                f"{month.csi_training[name].psi:.3f}" if name in month.csi_training else "–" for name in worst
            ],
        }
    )
    text = (
        "CSI of the features that are least like any month before: since that earlier month each is nearest to, and "
        "since the training. 与此前各月差异最大的特征：相对最接近月份和相对训练的 CSI。"
    )
    return Section("Features · 特征", text, table if worst else None)


def _rolls(months: Sequence[Month]) -> Section:
    buckets = list(dict.fromkeys(bucket for month in months for bucket in month.rolls["bucket"]))
    shares = {bucket: [_rolled(month, bucket) for month in months] for bucket in buckets}
    table = pd.DataFrame({"month until · 截至": [_label(month) for month in months]})
    for bucket, rates in shares.items():
        table[bucket] = [small_cells.share(rate.count, rate.of) for rate in rates]
    text = (
        "Share of the lines of each bucket of days past due that was in a worse one a month later. "
        "各逾期天数档的账户一个月后进入更差一档的比例。"
    )
    if not buckets:
        return Section("Roll rates · 迁徙率", "Payments were never delivered. 未提供还款数据。")
    known = {
        bucket: [rate.share if small_cells.is_shown(rate.count, rate.of) else np.nan for rate in rates]
        for bucket, rates in shares.items()
    }
    return Section(
        "Roll rates · 迁徙率",
        text,
        table,
        [("", plots.by_month([_label(month) for month in months], known, "rolls", shares=True))],
    )


def _rolled(month: Month, bucket: str) -> Rate:
    rows = month.rolls[month.rolls["bucket"] == bucket]
    return Rate(int(rows["worse"].sum()), int(rows["lines"].sum()))


def _people(months: Sequence[Month]) -> Section:
    table = pd.DataFrame(
        {
            "month until · 截至": [_label(month) for month in months],
            "changed by a person · 人工变更": [small_cells.share(m.overrides.count, m.overrides.of) for m in months],
            "cases settled · 已结案": [f"{month.in_favour.of:,}" for month in months],
            "for the customer · 有利客户": [small_cells.share(m.in_favour.count, m.in_favour.of) for m in months],
            "judged twice · 双人复核": [f"{month.agreement.pairs:,}" for month in months],
            "kappa": [f"{m.agreement.kappa:.2f}" if m.agreement.pairs else "–" for m in months],
        }
    )
    text = (
        "Lines that a person changed since the book before, cases that were settled, and how far reviewers agree so "
        "far. 自上一次全量决策以来的人工变更与结案，以及复核人迄今的一致程度。"
    )
    return Section("People · 人工", text, table)


def _complaints(month: Month) -> Section:
    table = pd.DataFrame(
        {
            "what · 事项": [f"{one.what} · {chinese(one.what)}" for one in month.complaints],
            "share · 占比": [small_cells.share(one.count, one.out_of) for one in month.complaints],
            "out of · 基数": [f"{one.out_of:,}" for one in month.complaints],
        }
    )
    text = "What customers complain of, over the last three months. 近三个月客户投诉所涉事项。"
    return Section("Complaints · 投诉事项", text, table)
