"""Words of the desk, in English and 简体中文; what other pages say too stands in ``pages/chinese.py``."""

from limitlens.limits.rates import Rate
from limitlens.pipeline.answers.false_positives import rate_words as english_rate
from limitlens.pipeline.answers.timeline import Moment
from limitlens.pipeline.answers.why_text import VERBS
from limitlens.pipeline.pages.chinese import chinese

LANGUAGES = ("en", "zh")

_WORDS: dict[str, tuple[str, str]] = {
    "desk": ("Review desk", "复核台"),
    "home": ("The day", "今日概览"),
    "decided_by": (
        "Last decided as of {}: model version {}, policy “{}”.",
        "最近一次决策：{}，模型版本 {}，策略“{}”。",
    ),
    "decided_as": ("Decided as", "决策结果"),
    "slices_later": (
        "No outcome is known yet; then they are told apart here.",
        "尚无已知结果；待有结果后在此按类别列出。",
    ),
    "lines_decided": ("lines decided", "已决策账户"),
    "limits_changed": ("limits changed", "额度变动"),
    "credit_removed": ("credit removed", "下调额度"),
    "credit_added": ("credit added", "上调额度"),
    "cases_waiting": ("cases that wait", "待复核案件"),
    "lines_on_hold": ("kept by a hold, last run", "最近一次因搁置维持"),
    "holds_in_force": ("holds in force", "生效的数据搁置"),
    "overdue": ("nobody has judged it in time", "逾期未处理"),
    "moved_by": ("What moved the limits", "额度变动的原因"),
    "complaints": ("What customers complain of, last {} days", "客户抱怨的情形（最近 {} 天）"),
    "of_lines": ("{:,} of {:,}", "{:,} / {:,}"),
    "failed": ("This could not be finished; the log of the server says why.", "未能完成；原因见服务器日志。"),
    "iterations": ("Iterations", "迭代"),
    "iterations_note": (
        "Limits moved: changed by a decision of the version, with a share of its model or policy in the split.",
        "额度变动：由该版本的决策改变，且归因中模型或策略占有份额。",
    ),
    "version": ("Version", "版本"),
    "changed_parts": ("Changed", "变更内容"),
    "developer": ("Developer", "开发者"),
    "promotions": ("Promotions", "上线记录"),
    "decisions": ("Decisions", "决策数"),
    "limits_moved": ("Limits moved", "额度变动"),
    "status_champion": ("champion", "现行版本"),
    "status_challenger": ("challenger", "候选版本"),
    "status_was_champion": ("was champion", "曾为现行版本"),
    "status_withdrawn": ("withdrawn", "已撤回"),
    "gate": ("Release gate", "上线闸门"),
    "gate_of": ("Release gate: version {}", "上线闸门：版本 {}"),
    "validation": ("What its validation found", "验证发现"),
    "blocks": ("Blocks:", "阻断上线："),
    "to_decide": ("Decided by promoting it:", "上线即作出决定："),
    "all_fine": ("Nothing is outside of its bounds.", "各项均在界限之内。"),
    "sign_offs": ("Sign-offs", "签字"),
    "what_is_signed": (
        "A reviewer signs the sha256 over model, policy, validation and model card:",
        "评审人签署模型、策略、验证与模型卡的 sha256：",
    ),
    "who": ("Who", "签字人"),
    "signed_what": ("Of what", "所签内容"),
    "another": ("(not what is there)", "（与现有内容不同）"),
    "approve": ("approves", "同意"),
    "reject": ("rejects", "拒绝"),
    "nobody_signed": ("Nobody has signed.", "尚无人签字。"),
    "missing": ("Missing", "尚缺"),
    "nothing_missing": ("What the policy asks for is signed.", "策略要求的签字已齐备。"),
    "not_asked": ("The policy asks for no sign-off.", "策略不要求签字。"),
    "promote": ("Promote", "上线"),
    "anyway": ("all the same, as the policy's approver", "以策略规定的批准人身份，仍予上线"),
    "busy": ("Too many long answers are being made; come again in a minute.", "正在处理的请求过多；请稍后再试。"),
    "promoted": ("Version {} is the champion ({}).", "版本 {} 已成为现行版本（{}）。"),
    "review": ("reviewed", "已复核"),
    "override": ("override", "例外批准"),
    "bootstrap": ("the first", "首个版本"),
    "beside_champion": ("Beside the champion, version {}", "与现行版本 {} 比较"),
    "nothing_to_compare": ("There is nothing to compare it with.", "没有可比较的版本。"),
    "over_budget": ("Over the budget", "超出预算"),
    "within_budget": ("It moves no more than the budget of the policy allows.", "变动未超出策略允许的预算。"),
    "limits_would_move": ("Limits that would move", "将变动的额度"),
    "segment": ("Segment", "客群"),
    "lines": ("Lines", "账户"),
    "false_positives": ("False positives", "误伤"),
    "outcomes_within": (
        "Lines flagged on PD alone, each at its first flag; outcomes within {} months, as known by {}.",
        "仅因违约概率被标记的账户，按首次标记计；结果为 {} 个月内，截至 {}。",
    ),
    "flagged": ("lines flagged", "被标记账户"),
    "good_held_out": ("good, of those held out", "留出组中的好客户"),
    "good_acted_on": ("good, of those acted on", "被处置者中的好客户"),
    "good_cleared": ("good, of those reviewers cleared", "复核放行者中的好客户"),
    "good_upheld": ("good, of those reviewers upheld", "复核维持者中的好客户"),
    "holdout_note": (
        "Those held out were left alone by chance, so they speak for all; the others are counted after the action.",
        "留出组是随机抽取、未予处置的账户，可代表全体；其余账户的结果已受处置影响。",
    ),
    "by_segment": ("Segment", "客群"),
    "by_age": ("Age of the line", "账龄"),
    "by_arrears": ("Arrears", "逾期"),
    "by_rule": ("What was asked for", "触发依据"),
    "by_iteration": ("Iteration", "迭代"),
    "good_hit": ("Good customers that were acted on, the largest first", "被处置的好客户（按额度）"),
    "alike": ("Settled cases most like this one", "最相似的已结案件"),
    "verdict": ("Verdict", "结论"),
    "became": ("What became of it", "后续结果"),
    "outcome_good": ("good", "良好"),
    "outcome_bad": ("went bad", "违约"),
    "outcome_indeterminate": ("late, no default", "逾期未违约"),
    "outcome_censored": ("not known yet", "尚未可知"),
    "is_paused": (
        "Drawing is paused; without a verdict what is still asked for at the second look is carried out.",
        "提款已暂停；若无结论，二次核查时仍被要求的处置将被执行。",
    ),
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
    "no_cent": (
        "No cent moved; on the scale of actions, in steps, above 0 the more severe:",
        "额度未变；按处置严重程度计（步数，正数为更严）：",
    ),
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
    "state_player": ("state", "时间"),
    "total": ("all", "合计"),
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
    return VERBS[action] if language == "en" else chinese(VERBS[action])


def complaint(what: str, language: str) -> str:
    """What customers complain of."""
    return what if language == "en" else chinese(what)


def known(text: str, language: str) -> str:
    """A text of the validation, in the language as far as the catalogue of the pages knows it."""
    return text if language == "en" else chinese(text)


def rate_words(rate: Rate, language: str) -> str:
    """A share with its interval and of how many.

    Examples
    --------
    >>> rate_words(Rate(6, 20), "zh"), rate_words(Rate(0, 0), "en")
    ('30.0% [11.9%, 54.3%]，共 20', 'unknown, of none')
    """
    return english_rate(rate) if language == "en" else chinese(english_rate(rate))
