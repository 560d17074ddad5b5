"""Reason codes: what a customer may be told, in words. At most four, only from the customer's own factors.

Which code a feature has is declared with it (``reason``), which code a rule has stands in the policy. A notice of
adverse action must give the specific principal reasons, those that were in fact scored, and more than four help
nobody (Regulation B, 12 CFR 1002.9(b)(2) and its official interpretation).
"""

import hashlib
import json

from limitlens.features.declarations import FeatureSet

MAX_REASONS = 4

#: Goes up by one whenever a code is added or a word of the table changes. A code is never removed and never used for
#: something else: decisions on record name it.
REASONS_VERSION = 4

#: Code → (English, 简体中文).
REASONS: dict[str, tuple[str, str]] = {
    "data_incident": ("our records were incomplete", "我方记录不完整"),
    "failed_sign_ins": ("attempts to sign in failed", "存在登录失败记录"),
    "few_repayments": ("repayments are few or small", "还款次数少或金额小"),
    "frequent_draws": ("frequent cash draws in a short time", "短期内频繁提取现金"),
    "high_balance": ("the balance owed is high", "未偿余额较高"),
    "high_obligations": ("much fell due in recent months", "近几个月应还金额较高"),
    "high_spending": ("spending on the line is high", "消费金额较高"),
    "high_utilisation": ("most of the limit is in use", "额度使用率较高"),
    "large_draws": ("cash draws are large", "提现金额较大"),
    "late_payments": ("payments were late or are overdue", "存在逾期或延迟还款"),
    "low_inflow": ("incoming payments are low, irregular or missing", "账户入账偏低、不规律或中断"),
    "new_device": ("sign-in from an unfamiliar device", "在陌生设备上登录"),
    "new_place": ("sign-in from an unfamiliar place", "在陌生地点登录"),
    "night_activity": ("draws, purchases or sign-ins between midnight and six", "在零点至六点之间提现、消费或登录"),
    "shared_device": ("sign-in from a device that several accounts use", "登录设备被多个账户共用"),
    "shared_payee": ("money is sent to a recipient that several accounts pay", "转账收款方同时接收多个账户的转账"),
    "shared_risk": ("another lender reported a risk", "其他贷款机构提示存在风险"),
    "spending_pattern": ("the pattern of spending has changed", "消费模式发生变化"),
    "transfers_out": ("borrowed money is passed on to other accounts", "借入资金被转出至其他账户"),
    "unusual_sign_in": ("the pattern of sign-ins has changed", "登录习惯发生变化"),
}


#: Days on book before which the score may not give a reason: what is missing or has changed takes a month to be there,
#: and the first instalment falls due a month after the opening.
NOT_BEFORE_DAYS: dict[str, int] = {
    "few_repayments": 30,
    "low_inflow": 30,
    "spending_pattern": 30,
    "unusual_sign_in": 30,
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


def reasons_digest() -> str:
    """Sha256 over the table of codes and words."""
    return hashlib.sha256(json.dumps(REASONS, sort_keys=True).encode()).hexdigest()


def check_reasons(features: FeatureSet) -> FeatureSet:
    """The same set, if every column of it has a reason code.

    Raises
    ------
    ValueError
        A declaration has no code or an unknown one; a customer could not be told about it.
    """
    for name, declared in features.declaration_of.items():
        if declared.reason not in REASONS:
            raise ValueError(
                f"feature {name}: got reason {declared.reason!r}, but expected one of {', '.join(REASONS)}; "
                "or add the code, with its words, to features/reasons.py."
            )
    return features
