"""What the customer is told, in English and 简体中文: the reasons, and what could have been different.

Only words about what customers do themselves stand here. Nothing is promised: a sentence says what would have been
decided then, by the same model and policy.
"""

import re

from limitlens.features.reasons import reason_text
from limitlens.limits.recourse import Move, Recourse
from limitlens.pipeline.pages.amounts import amount, value

LANGUAGES = ("en", "zh")

#: Stem of a column → what there would have been (English); what to do and with what (Chinese).
MOVE_WORDS: dict[str, tuple[str, str, str]] = {
    "balance_cents": ("a lower balance", "降低", "未偿余额"),
    "dpd_days": ("fewer days past due", "减少", "逾期天数"),
    "draw_count": ("fewer cash draws", "减少", "提现次数"),
    "draw_share": ("less of the limit drawn in cash", "降低", "提现占额度的比例"),
    "draw_sum": ("less cash drawn", "减少", "提现金额"),
    "missed_count": ("fewer missed payments", "减少", "未还款期数"),
    "past_due_cents": ("the amount past due paid", "还清", "逾期金额"),
    "purchase_count": ("fewer purchases", "减少", "消费次数"),
    "purchase_sum": ("less spending", "减少", "消费金额"),
    "transfer_out_count": ("fewer transfers to other accounts", "减少", "向其他账户转账的次数"),
    "transfer_out_sum": ("less money sent to other accounts", "减少", "向其他账户转出的金额"),
    "utilisation": ("less of the limit in use", "降低", "额度使用率"),
}

#: What would have been decided instead.
OUTCOME_WORDS = {
    "increase": ("the limit would have been raised", "额度本可上调"),
    "unfreeze": ("you could have borrowed again", "本可恢复新增借款"),
    "keep": ("the line would have stayed as it was", "额度本可维持不变"),
    "review": (
        "somebody would have looked at the line before anything changed",
        "本可先转人工复核，额度暂不变动",
    ),
    "hold": ("the line would have stayed as it was", "额度本可维持不变"),
    "pause": (
        "only new borrowing would have been paused, until a second look",
        "额度本可保留，仅暂停新增借款直至重新复查",
    ),
    "decrease": ("the limit would have been lowered to {limit} only", "额度本可仅下调至{limit}"),
    "freeze": (
        "the limit would have stayed, only new borrowing would have been stopped",
        "额度本可保留，仅停止新增借款",
    ),
    "close": ("the line would have been closed", "额度仍会被关闭"),
}

_NOTHING = (
    "no change in behaviour that we can name would have led to a milder decision",
    "在可行的范围内，调整行为也不会改变本次决定",
)

_WINDOW = re.compile(r"^(?P<stem>.+)_(?:(?P<days>\d+)d|ever)$")


def reason_texts(codes: tuple[str, ...], language: str) -> tuple[str, ...]:
    """Words for reason codes."""
    return tuple(reason_text(code, language) for code in codes)


def recourse_text(recourse: Recourse | None, language: str = "en", currency: str = "") -> str:
    """One sentence about what would have led to a milder decision.

    Parameters
    ----------
    recourse : Recourse or None
        None: nothing would have.
    language : {"en", "zh"}
    currency : str
        Code of the amounts; empty: they stand alone.

    Examples
    --------
    >>> fewer = Recourse((Move("frequent_draws", 0.75, "draw_count_2d", 6.0, 2.0, "count"),), "keep", 500_00, 0.02)
    >>> recourse_text(fewer)
    'with fewer cash draws in 2 days (6 → 2), the line would have stayed as it was'
    >>> recourse_text(fewer, "zh")
    '如能减少近2天提现次数（6 → 2），额度本可维持不变'
    """
    place = LANGUAGES.index(language)
    if recourse is None:
        return _NOTHING[place]
    outcome = OUTCOME_WORDS[recourse.action][place].format(limit=amount(recourse.limit_cents, currency, language))
    if language == "zh":
        return f"如能{'，并'.join(_chinese(move, currency) for move in recourse.moves)}，{outcome}"
    return f"with {' and '.join(_english(move, currency) for move in recourse.moves)}, {outcome}"


def _english(move: Move, currency: str) -> str:
    words, _, _, days = _words(move)
    window = f" in {days} days" if days else ""
    return f"{words}{window} ({_way(move, 'en', currency)})"


def _chinese(move: Move, currency: str) -> str:
    _, verb, noun, days = _words(move)
    window = f"近{days}天" if days else ""
    return f"{verb}{window}{noun}（{_way(move, 'zh', currency)}）"


def _way(move: Move, language: str, currency: str) -> str:
    """From what it was to what it would have been."""
    ends = [_shown(number, move.unit, language, currency) for number in (move.before, move.after)]
    return " → ".join(ends)


def _shown(number: float | None, unit: str, language: str, currency: str) -> str:
    if number is None:
        return "无" if language == "zh" else "none"
    return amount(round(number), currency, language) if unit == "cents" else value(number, unit)


def _words(move: Move) -> tuple[str, str, str, str | None]:
    """Words of a move, and its window in days if it has one."""
    match = _WINDOW.match(move.feature)
    stem, days = (match["stem"], match["days"]) if match else (move.feature, None)
    return (*MOVE_WORDS[stem], days)
