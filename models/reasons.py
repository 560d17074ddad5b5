"""Reason codes: what a customer may be told, in words. At most four, only from the customer's own factors.

The order of codes is fixed by the declarations (``reason`` of each feature) and the rules of the policy. Adverse
action notices need specific principal reasons (Regulation B, 12 CFR 1002.9(b)(2)).
"""

MAX_REASONS = 4

#: Code → (English, 简体中文).
REASONS: dict[str, tuple[str, str]] = {
    "few_repayments": ("repayments are few or small", "还款次数少或金额小"),
    "frequent_draws": ("frequent cash draws in a short time", "短期内频繁提取现金"),
    "high_balance": ("the balance owed is high", "未偿余额较高"),
    "high_obligations": ("much falls due in the coming weeks", "近期应还金额较高"),
    "high_spending": ("spending is unusually high", "消费金额异常偏高"),
    "high_utilisation": ("most of the limit is in use", "额度使用率较高"),
    "large_draws": ("cash draws are large", "单笔提现金额较大"),
    "late_payments": ("payments were late or are overdue", "存在逾期或延迟还款"),
    "low_inflow": ("incoming payments are low or missing", "账户入账偏少或中断"),
    "new_device": ("sign-in from an unfamiliar device", "在陌生设备上登录"),
    "new_place": ("sign-in from an unfamiliar place", "在陌生地点登录"),
    "night_activity": ("unusual activity at night", "夜间活动异常"),
    "spending_pattern": ("the pattern of spending has changed", "消费模式发生变化"),
    "transfers_out": ("borrowed money is passed on to other accounts", "借入资金被转出至其他账户"),
    "unusual_sign_in": ("unusual sign-in activity", "登录行为异常"),
}


def reason_text(code: str, language: str = "en") -> str:
    """Words for a reason code.

    Parameters
    ----------
    code : str
    language : {"en", "zh"}

    Examples
    --------
    >>> reason_text("late_payments")
    'payments were late or are overdue'
    """
    english, chinese = REASONS[code]
    return chinese if language == "zh" else english
