"""Alarms after release: which figures of a month are further off than chance and the policy allow, and what to do."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import betabinom, norm, t

from limitlens.data.arrays import BoolArray, FloatArray
from limitlens.limits.policy import Monitoring
from limitlens.limits.tail import tail_doubts
from limitlens.models.confidence import Estimate
from limitlens.models.stability import Change, Stability
from limitlens.models.validation import jeffreys_test

#: PSI from which a shift is often called moderate, and large (Siddiqi, Intelligent Credit Scoring, 2017).
MODERATE, LARGE = 0.10, 0.25

#: Features that an alarm names.
_NAMED = 5


@dataclass(frozen=True)
class Alarm:
    """A figure that is too far off.

    Parameters
    ----------
    kind : {"mean_pd", "pd_shift", "feature_shift", "amounts", "roll_rates", "level", "tail", "ranking"}
    words, words_zh : str
        What is off, by how much, beside what.
    next_step, next_step_zh : str
        What to do.
    """

    kind: str
    words: str
    words_zh: str
    next_step: str
    next_step_zh: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


_NEXT = {
    "mean_pd": (
        "stop deciding with this version until it is clear whether the book or the data are other than in training: "
        "limitlens quality, then limitlens rollback or train again on this book",
        "查清客户群或数据与训练时有何不同之前，暂停用该版本决策："
        "先运行 limitlens quality，再 limitlens rollback 或用本批客户重新训练",
    ),
    "pd_shift": (
        "see which features moved since the training (the table of features below), then limitlens train and compare",
        "查看训练以来哪些特征发生了变化（见下方特征表），然后 limitlens train 并 limitlens compare",
    ),
    "feature_shift": (
        "ask whether the source changed: limitlens quality --source; if the rows are wrong, limitlens holds open",
        "确认数据源是否有变：limitlens quality --source；若数据有误，limitlens holds open",
    ),
    "amounts": (
        "ask whether the source changed its unit, currency or what it counts: limitlens quality --source; if the rows "
        "are wrong, limitlens holds open",
        "确认数据源的单位、币种或口径是否有变：limitlens quality --source；若数据有误，limitlens holds open",
    ),
    "roll_rates": (
        "look at who rolls on (segment, vintage) and whether repayments are late in the feed; if it is true, tighten "
        "the cut-offs on a copy of the policy and try it with limitlens simulate-policy",
        "查看是哪些客户（客群、开户批次）逾期加深，还款数据是否迟到；"
        "若属实，在策略副本上收紧阈值，并用 limitlens simulate-policy 试算",
    ),
    "level": (
        "recalibrate: limitlens train with the newest labels, then limitlens compare and promote",
        "重新校准：用最新标签 limitlens train，然后 limitlens compare 和 promote",
    ),
    "tail": (
        "do not let PD alone close lines of the groups named until a new version is released: limitlens train",
        "新版本发布前，不要仅凭 PD 关闭所列客群的额度：limitlens train",
    ),
    "ranking": (
        "train again with the newest labels, and look in the validation report for a feature that has lost its use",
        "用最新标签重新训练，并在验证报告中查看哪个特征已失去作用",
    ),
}


def _alarm(kind: str, words: str, words_zh: str) -> Alarm:
    return Alarm(kind, words, words_zh, *_NEXT[kind])


def mean_pd_alarms(pd_: FloatArray, training_share: float, settings: Monitoring) -> list[Alarm]:
    """Whether the mean PD of the book is far from the share of bads the model learned from.

    Parameters
    ----------
    pd_ : float64 array of shape (n,)
    training_share : float
    settings : Monitoring

    Examples
    --------
    >>> [one.words for one in mean_pd_alarms(np.full(500, 0.57), 0.09, Monitoring())]
    ['mean PD 57.00% beside 9.00% in training: 6.33 times as much']
    """
    if not (len(pd_) and training_share > 0):
        return []
    mean = float(pd_.mean())
    ratio = mean / training_share
    margin = _two_sided(settings.chance) * float(pd_.std()) / np.sqrt(len(pd_))
    if 1 / settings.mean_pd_ratio <= ratio <= settings.mean_pd_ratio or abs(mean - training_share) <= margin:
        return []
    return [
        _alarm(
            "mean_pd",
            f"mean PD {mean:.2%} beside {training_share:.2%} in training: {ratio:.2f} times as much",
            f"平均 PD {mean:.2%}，训练时为 {training_share:.2%}：{ratio:.2f} 倍",
        )
    ]


def pd_shift_alarms(psi: Stability | None, settings: Monitoring) -> list[Alarm]:
    """Whether the PDs have moved since the training.

    Parameters
    ----------
    psi : Stability, optional
        At the chance of the settings; None where it is not known.
    settings : Monitoring
    """
    if psi is None or psi.psi <= max(settings.psi, psi.critical):
        return []
    return [
        _alarm(
            "pd_shift",
            f"PSI of the PD since the training {psi.psi:.3f}, above {settings.psi:g} and the {psi.critical:.3f} that "
            "chance explains",
            f"训练以来 PD 的 PSI 为 {psi.psi:.3f}，高于 {settings.psi:g} 和偶然波动的上界 {psi.critical:.3f}",
        )
    ]


def feature_shift_alarms(csi: Mapping[str, Stability], usual: Mapping[str, float], settings: Monitoring) -> list[Alarm]:
    """Whether features look as in no month before.

    Days since a salary depend on how long the month was, so a month is held against that one before it which it is
    nearest to; what drifts little by little is no alarm, and shows in the PD since the training.

    Parameters
    ----------
    csi : mapping of column to Stability
        Since the month it is nearest to; their critical values leave the chance of the settings to all columns
        together.
    usual : mapping of column to float
        How far each was from its nearest month before (:func:`limitlens.models.stability.usual_movement`).
    settings : Monitoring
    """
    moved = {name: one for name, one in csi.items() if one.psi > max(settings.csi, one.critical, usual.get(name, 0.0))}
    if not moved:
        return []
    worst = sorted(moved, key=lambda name: -moved[name].psi)
    named = ", ".join(f"{name} {moved[name].psi:.2f}" for name in worst[:_NAMED])
    more = f" and {len(worst) - _NAMED} more" if len(worst) > _NAMED else ""
    more_zh = f" 等 {len(worst)} 个" if more else ""
    return [
        _alarm(
            "feature_shift",
            f"features as in no month before, CSI above {settings.csi:g} and chance: {named}{more}",
            f"以下特征与此前任何一个月都不同，CSI 高于 {settings.csi:g} 和偶然波动：{named}{more_zh}",
        )
    ]


def amount_alarms(changes: Mapping[str, Change], settings: Monitoring) -> list[Alarm]:
    """Whether typical amounts changed since the month before as they do not usually.

    An amount that is a quarter larger for everybody hardly moves between bins that hold a tenth of all lines, however
    many lines there are; its mean log moves by as much as the amount.

    Parameters
    ----------
    changes : mapping of column to Change
        Of the mean log of positive amounts (:func:`limitlens.models.stability.change_of`); their spreads leave the
        chance of the settings to all columns together.
    settings : Monitoring

    Examples
    --------
    >>> [one.words for one in amount_alarms({"draw_sum_90d": Change(0.25, 0.01, 0.05)}, Monitoring())]
    ['typical amounts changed in a month as they never do: draw_sum_90d ×1.28 (usually ×0.96 to ×1.06)']
    """
    least = np.log(settings.amount_ratio)
    moved = {name: one for name, one in changes.items() if one.moved and abs(one.now - one.usual) > least}
    if not moved:
        return []
    worst = sorted(moved, key=lambda name: -abs(moved[name].now - moved[name].usual))
    more = len(worst) - _NAMED
    return [
        _alarm(
            "amounts",
            "typical amounts changed in a month as they never do: "
            + ", ".join(_changed(name, moved[name], "usually", "to") for name in worst[:_NAMED])
            + (f" and {more} more" if more > 0 else ""),
            "典型金额的月度变化前所未有："
            + "，".join(_changed(name, moved[name], "通常", "至") for name in worst[:_NAMED])
            + (f" 等 {len(worst)} 个" if more > 0 else ""),
        )
    ]


def _changed(name: str, change: Change, usually: str, to: str) -> str:
    low, high = (np.exp(change.usual + side * change.spread) for side in (-1, 1))
    return f"{name} ×{np.exp(change.now):.2f} ({usually} ×{low:.2f} {to} ×{high:.2f})"


def roll_alarms(rolls: pd.DataFrame, month: int, settings: Monitoring) -> list[Alarm]:
    """Which buckets roll on more than in the months before.

    The past has a spread of its own between months beside that of chance, so a month is held against both: the
    binomial count given the past as a whole, and the past months' spread (Student's t).

    Parameters
    ----------
    rolls : DataFrame
        Of :func:`limitlens.models.label_choice.monthly_rolls`.
    month : int
        Judged against up to ``past_months`` before it.
    settings : Monitoring
    """
    alarms = []
    level = settings.chance / max(rolls["bucket"].nunique(), 1)
    for bucket, rows in rolls.groupby("bucket", sort=False):
        now = rows[rows["month"] == month]
        past = rows[(rows["month"] < month) & (rows["month"] >= month - settings.past_months) & (rows["lines"] > 0)]
        if now.empty or len(past) < 3 or not now["lines"].iloc[0]:
            continue
        lines, worse = int(now["lines"].iloc[0]), int(now["worse"].iloc[0])
        of, before = int(past["lines"].sum()), int(past["worse"].sum())
        usual = (before + 0.5) / (of + 1)
        if worse / lines <= settings.roll_ratio * usual:
            continue
        by_count = float(betabinom.sf(worse - 1, lines, before + 0.5, of - before + 0.5))
        expected = past["lines"] * usual
        spread = float((((past["worse"] - expected) ** 2) / (expected * (1 - usual))).sum()) / (len(past) - 1)
        error = np.sqrt(max(spread, 1.0) * usual * (1 - usual) * (1 / lines + 1 / of))
        by_spread = float(t.sf((worse / lines - usual) / error, len(past) - 1))
        if max(by_count, by_spread) < level:
            alarms.append(
                _alarm(
                    "roll_rates",
                    f"{worse / lines:.1%} of the {lines:,} lines {_named(bucket)} rolled on, {usual:.1%} in the "
                    f"{len(past)} months before",
                    f"逾期天数 {bucket} 的 {lines:,} 个账户中 {worse / lines:.1%} 逾期加深，"
                    f"此前 {len(past)} 个月为 {usual:.1%}",
                )
            )
    return alarms


def _named(bucket: Any) -> str:
    return "that were current" if bucket == "current" else f"{bucket} days past due"


def level_alarms(bad: BoolArray, pd_: FloatArray, settings: Monitoring) -> list[Alarm]:
    """Whether more or fewer matured lines went bad than their PDs said (Jeffreys test).

    Parameters
    ----------
    bad : bool array of shape (n,)
    pd_ : float64 array of shape (n,)
    settings : Monitoring
    """
    if not len(bad):
        return []
    bads, expected = int(bad.sum()), float(pd_.mean())
    ratio, p = bads / max(len(bad) * expected, 1e-9), jeffreys_test(bads, len(bad), expected)
    if 1 / settings.observed_ratio <= ratio <= settings.observed_ratio or min(p, 1 - p) * 2 >= settings.chance:
        return []
    return [
        _alarm(
            "level",
            f"{bads / len(bad):.2%} of {len(bad):,} matured lines went bad, {expected:.2%} were expected",
            f"{len(bad):,} 个表现期已满的账户中 {bads / len(bad):.2%} 变坏，预期为 {expected:.2%}",
        )
    ]


def tail_alarms(groups: pd.DataFrame) -> list[Alarm]:
    """Whether the riskiest matured lines went bad as their PDs said.

    Parameters
    ----------
    groups : DataFrame
        Of :func:`limitlens.limits.tail.tail_groups`.
    """
    return [
        _alarm("tail", doubt, f"尾部校准有偏：{int(groups['off'].sum())} 组的实际与预期坏账之比超出范围，见下表")
        for doubt in tail_doubts(groups)
    ]


def ranking_alarms(
    validated_auc: float, expected: Estimate, matured: tuple[Estimate, float] | None, settings: Monitoring
) -> list[Alarm]:
    """Whether the model ranks worse than when it was validated, or matured lines worse than their PDs let expect.

    Parameters
    ----------
    validated_auc : float
        Of the validation before release.
    expected : Estimate
        For the book as it was decided.
    matured : (Estimate, float), optional
        What was expected of the lines that matured last, and their realised AUC.
    settings : Monitoring
    """
    alarms = []
    if expected.auc_interval[1] < validated_auc - settings.auc_drop:
        low, high = expected.auc_interval
        alarms.append(
            _alarm(
                "ranking",
                f"AUC expected of this book {expected.auc:.3f} [{low:.3f}, {high:.3f}], {validated_auc:.3f} at release",
                f"本批客户的预期 AUC 为 {expected.auc:.3f} [{low:.3f}, {high:.3f}]，发布时为 {validated_auc:.3f}",
            )
        )
    if matured and matured[1] < min(matured[0].auc_interval[0], matured[0].auc - settings.auc_drop):
        alarms.append(
            _alarm(
                "ranking",
                f"AUC of the lines that matured {matured[1]:.3f}, {matured[0].auc:.3f} was expected of them",
                f"表现期已满账户的 AUC 为 {matured[1]:.3f}，当时预期为 {matured[0].auc:.3f}",
            )
        )
    return alarms


def _two_sided(chance: float) -> float:
    return float(norm.isf(chance / 2))
