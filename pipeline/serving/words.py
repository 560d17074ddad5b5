"""Words of the desk, in English and 简体中文."""

from limitlens.pipeline.answers.timeline import Moment
from limitlens.pipeline.answers.why_text import VERBS

LANGUAGES = ("en", "zh")

_WORDS: dict[str, tuple[str, str]] = {
    "desk": ("Review desk", "复核台"),
    "queue": ("Cases", "案件"),
    "holds": ("Holds", "数据搁置"),
    "search": ("Find an account", "查找账户"),
    "sign_in": ("Sign in", "登录"),
    "sign_out": ("Sign out", "退出"),
    "key": ("Your key", "您的密钥"),
    "read_only": ("read only", "只读"),
    "wrong_key": ("That key is nobody's.", "密钥无效。"),
    "wait": ("Too many wrong keys; wait {} seconds.", "密钥错误次数过多；请等待 {} 秒。"),
    "other_language": ("中文", "English"),
    "place": ("Place", "次序"),
    "account": ("Account", "账户"),
    "since": ("Waits since", "等待自"),
    "state": ("State", "状态"),
    "pd": ("PD", "违约概率"),
    "limit": ("Limit", "额度"),
    "owed": ("Owed", "未偿"),
    "avoidable": ("Avoidable loss", "可避免损失"),
    "why_here": ("Why it is here", "原因"),
    "open": ("open", "待复核"),
    "second": ("another reviewer has to agree", "需第二人确认"),
    "blind": ("second look", "盲审复核"),
    "by_lot": ("by lot", "抽样"),
    "set_aside": ("set aside", "暂缓"),
    "no_cases": ("Nothing waits.", "没有等待的案件。"),
    "cases_in_all": (
        "{:,} cases, {:,} a day; {:,} wait longer, {:,} set aside.",
        "共 {:,} 件，每日 {:,} 件；{:,} 件顺延，{:,} 件暂缓。",
    ),
    "jumped": ("jumped with others: look at the data first", "与他人同时异动：请先核查数据"),
    "timeline": ("Timeline", "时间线"),
    "when": ("When", "时间"),
    "what": ("What", "事项"),
    "cause": ("Cause", "原因"),
    "split": ("What moved the limit, as recorded", "额度变动的原因（账本记录）"),
    "no_split": ("The first decision: there is nothing to split.", "首次决策，无可归因。"),
    "explain": ("Replay and explain", "回放并解释"),
    "explain_note": ("takes some seconds", "需数秒"),
    "rules": ("Rules that fired", "触发的规则"),
    "reasons": ("Reasons for the customer", "告知客户的原因"),
    "verdicts": ("What reviewers said", "复核意见"),
    "verdict_and_reason": ("Verdict and reason", "结论与理由"),
    "your_verdict": ("Your verdict", "您的结论"),
    "uphold": ("uphold", "维持"),
    "overturn": ("overturn", "推翻"),
    "ask": ("ask the customer", "询问客户"),
    "wrong_data": ("wrong data", "数据有误"),
    "order": ("Order", "指令"),
    "no_order": ("none", "无"),
    "order_limit": ("limit", "额度"),
    "order_freeze": ("freeze", "冻结"),
    "order_close": ("close", "关闭"),
    "new_limit": ("New limit", "新额度"),
    "words": ("What you saw", "您看到了什么"),
    "record": ("Record", "记录"),
    "recorded": ("Recorded: {}, {}.", "已记录：{}，{}。"),
    "no_case": ("No case waits for you on this line.", "此账户没有等待您的案件。"),
    "none": ("none", "无"),
    "not_there": ("There is no such page or account.", "没有此页面或账户。"),
    "not_allowed": ("Your role does not allow that.", "您的角色无权执行此操作。"),
    "forged": (
        "This form was not made for you, or is too old: load the page again.",
        "表单无效或已过期：请重新打开页面。",
    ),
    "hold_no": ("Hold", "编号"),
    "slice": ("Slice", "数据切片"),
    "lines_held": ("Lines held", "受影响账户"),
    "opened": ("Opened", "开始"),
    "release": ("Release", "解除"),
    "repaired": ("the rows were mended", "数据已修复"),
    "true": ("the rows were right", "数据本属正确"),
    "reason": ("Reason", "理由"),
    "no_holds": ("No hold is in force.", "没有生效的搁置。"),
    "behaviour": ("behaviour", "行为"),
    "data": ("data", "数据"),
    "model": ("model", "模型"),
    "policy": ("policy", "策略"),
    "state_player": ("state", "时间与账户状态"),
    "total": ("all", "合计"),
}

_VERBS_ZH = {
    "opened": "开户",
    "increase": "上调额度",
    "unfreeze": "恢复提款",
    "keep": "维持",
    "review": "转人工复核",
    "hold": "搁置",
    "pause": "暂停提款",
    "decrease": "下调额度",
    "freeze": "冻结",
    "close": "关闭",
    "override": "人工调整",
}

#: Code of a verdict → Chinese words; the English ones stand with the codes.
CODES_ZH = {
    "behaviour_confirmed": "行为属实，且对客户不利",
    "fraud_suspected": "疑似冒用或恶意",
    "no_answer": "已询问，客户未答复",
    "explained": "客户已说明缘由",
    "known_customer": "客户历史良好，足以抵消",
    "income_seen": "已出示记录之外的收入或资产",
    "own_device": "设备或地点属客户本人",
    "confirm_device": "是否本人登录",
    "confirm_draws": "提现用途",
    "confirm_income": "收入来源",
    "late_or_missing": "数据迟到或缺失",
    "duplicated": "数据重复",
    "wrong_value": "金额、时间或类型有误",
    "wrong_account": "数据属于他人",
}


def word(key: str, language: str, *values: object) -> str:
    """Words for a key, with values filled in.

    Examples
    --------
    >>> word("wait", "zh", 8)
    '密钥错误次数过多；请等待 8 秒。'
    """
    return _WORDS[key][LANGUAGES.index(language)].format(*values)


def cause_words(moment: Moment, language: str) -> str:
    """The causes of a decision, or who ordered what and why; empty where there is none."""
    if moment.cause is None or moment.action == "override":
        return moment.cause or ""
    players = moment.cause.split(", ")
    return ", ".join(word("state_player" if one == "state" else one, language) for one in players)


def verb(action: str, language: str) -> str:
    """What was done to a line."""
    return VERBS[action] if language == "en" else _VERBS_ZH[action]
