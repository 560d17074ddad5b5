"""Words of the page of a stress test, in English and 简体中文."""

from collections.abc import Mapping, Sequence
from math import exp

from limitlens.pipeline.pages.amounts import money
from limitlens.pipeline.pages.small_cells import UNDER, published

LANGUAGES = ("en", "zh")

_WORDS: dict[str, tuple[str, str]] = {
    "title": ("Stress test", "压力测试"),
    "lead": (
        "{lines} lines decided as of {as_of}, decided again under {scenarios} scenarios. Without any shock every "
        "decision is the ledger's, to the last bit.",
        "对 {as_of} 决策的 {lines} 个账户，在 {scenarios} 个情景下重新决策。不施加冲击时，每个决策与账本逐位一致。",
    ),
    "lines": ("lines stressed", "受测账户"),
    "loss_now": ("expected loss without a shock", "无冲击时的预期损失"),
    "worst_loss": ("expected loss, worst scenario: {}", "预期损失（最差情景：{}）"),
    "worst_closed": ("newly closed, most: {}", "新增关闭（最多：{}）"),
    "worst_credit": ("credit removed, most: {}", "收回额度（最多：{}）"),
    "stands_on": ("Stands on", "依据"),
    "version_policy": ("model version {}, policy {}", "模型版本 {}，策略 {}"),
    "digests": ("Digests of inputs", "输入摘要"),
    "at_one": ("All scenarios, at severity {}", "各情景（强度 {}）"),
    "at_one_note": (
        "A severity multiplies the shock: at 2 it is twice as strong. "
        "Decisions once every pause has ended, with nothing that speaks for the customer in between. Unanswered: "
        "nobody reacts to it. Answered: the policy decides by the shocked lines. The break-even says by how much "
        "the odds of default of those newly cut, frozen or closed may rise because of it, before that costs more than "
        "the smaller credit saves.",
        "强度为冲击的倍数，2 即冲击加倍。"
        "按所有暂停均已到期、期间无有利情况时的决策计。“未应对”指对冲击不作反应；“应对后”指策略按冲击后的情况决策。"
        "“盈亏平衡”指新被下调、冻结或关闭的客户，其违约几率因此上升到多少倍时，损失恰好抵消收回额度所避免的损失。",
    ),
    "scenario": ("scenario", "情景"),
    "severity": ("severity", "强度"),
    "closed": ("closed", "关闭"),
    "frozen": ("frozen", "冻结"),
    "cut": ("cut", "下调"),
    "paused": ("paused on the day", "当日暂停"),
    "good_hit": ("good ones hit", "误伤好客户"),
    "credit_removed": ("credit removed", "收回额度"),
    "loss_before": ("expected loss before", "冲击前预期损失"),
    "loss_unanswered": ("unanswered", "未应对"),
    "loss_after": ("answered", "应对后"),
    "break_even": ("break-even", "盈亏平衡"),
    "no_break_even": ("none", "无"),
    "odds_times": ("odds × {:.2f}", "几率 × {:.2f}"),
    "losses_caption": ("Expected loss, by scenario", "各情景的预期损失"),
    "curve_caption": ("Expected loss by severity", "预期损失随强度变化"),
    "moves_caption": ("Lines newly closed, frozen or cut, by severity", "新增关闭、冻结、下调账户数随强度变化"),
    "curve_caption_draw": ("Expected loss by draw; 0: the model in use", "各次抽取的预期损失（0 为现行模型）"),
    "moves_caption_draw": (
        "Lines newly closed, frozen or cut, by draw",
        "各次抽取新增关闭、冻结、下调的账户数",
    ),
    "by_group": ("Whose lines, at severity {}", "涉及客群（强度 {}）"),
    "by_group_draw": ("Whose lines, in draw {}", "涉及客群（第 {} 次抽取）"),
    "by_group_note": (
        "Closed: also lines that were frozen before. Newly cut, frozen or closed: none of it before.",
        "“关闭”含此前已冻结的账户；“新被下调、冻结或关闭”指此前未受任何处置的账户。",
    ),
    "segment": ("segment", "客群"),
    "age": ("age of the line", "账龄"),
    "newly": ("newly cut, frozen or closed", "新被下调、冻结或关闭"),
    "nobody": ("No line is newly cut, frozen or closed.", "没有账户新被下调、冻结或关闭。"),
    "small": (
        "Counts of 1 to 9 are not shown, in pictures neither, nor what would give one away.",
        "1 至 9 的计数不予显示（图中亦然），可反推者亦同。",
    ),
    "lines_moved": ("Lines", "账户"),
    "losses": ("Expected loss", "预期损失"),
    "about": ("Version {version} of {date}. {shock}", "版本 {version}（{date}）。{shock}"),
    "monotone": (
        "The harsher the shock, the more lines are cut, the less can be drawn and the more is expected to be lost: "
        "without an exception.",
        "冲击越强，被处置的账户越多、可用额度越少、预期损失越大，无一例外。",
    ),
    "monotone_policy": (
        "The tighter the policy, the more lines are cut and the less can be drawn: without an exception.",
        "策略越紧，被处置的账户越多、可用额度越少，无一例外。",
    ),
    "not_monotone": (
        "Not everything grows with the shock; the table names each place.",
        "并非所有结果都随冲击加重，下表逐一列出。",
    ),
    "why_dead_band": (
        "Within the dead band the policy leaves a line as it is although its PD moved.",
        "处于不敏感区的账户，违约概率虽变，策略维持原状。",
    ),
    "why_scored": (
        "Lines are scored anew, and the model need not read what the shock changes as a higher risk: where PDs fall, "
        "less is expected to be lost and more can be drawn.",
        "账户以变动后的特征重新评分，模型未必视之为风险上升：违约概率下降处，预期损失减少、可用额度增加。",
    ),
    "why_used": (
        "A line that is used more may come to qualify for an increase.",
        "用信增加的账户也可能达到提额条件。",
    ),
    "steps": ("Where a harsher shock does less", "冲击更强、影响反而更小之处"),
    "step": ("severity", "强度"),
    "other_way": ("moves the other way", "反向变动项"),
    "decisions": ("decisions", "决策"),
    "more_to_draw": ("lines with more to draw", "可用额度增加的账户"),
    "in_dead_band": ("of these in the dead band", "其中处于不敏感区"),
    "lower_pd": ("of these with a lower PD", "其中违约概率下降"),
    "pd_down": ("all lines: PD falls", "全部账户：违约概率下降"),
    "pd_up": ("all lines: PD rises", "全部账户：违约概率上升"),
    "few_moves": (
        "At no severity are ten or more lines newly closed, frozen or cut.",
        "各强度下新增关闭、冻结、下调的账户均不足 10 个。",
    ),
    "view_day": ("on the day", "当日"),
    "view_end": ("once pauses have ended", "暂停到期后"),
    "view_both": ("both", "两者皆是"),
    "newly_adverse": ("newly cut, frozen or closed", "新被下调、冻结或关闭"),
    "credit_after_cents": ("what can be drawn", "可用额度"),
    "loss_unanswered_cents": ("expected loss, unanswered", "预期损失（未应对）"),
    "satellite": ("How the book followed the economy", "账户与经济的关系"),
    "satellite_text": (
        "Least squares on {months} months: the log-odds of the share of lines that fall 30 days past due within a "
        "month, of those that were not at its start. R² {r2:.2f}; Durbin-Watson {dw:.2f} (near 2: the errors can be "
        "believed). A path moves every PD by as many log-odds as it moves that share.",
        "以 {months} 个月作最小二乘回归：月初未逾期 30 天的账户在当月内逾期达 30 天的占比（取对数几率）。"
        "R² 为 {r2:.2f}；Durbin-Watson 为 {dw:.2f}（接近 2 时标准误可信）。"
        "路径使该占比变动多少对数几率，所有违约概率即变动多少。",
    ),
    "series": ("series", "指标"),
    "weight": ("log-odds for one unit", "每单位对数几率"),
    "error": ("standard error", "标准误"),
    "latest": ("last month of the fit", "拟合期末月"),
    "outage": ("Without holds, and with them", "不搁置与搁置"),
    "slice": ("slice", "切片"),
    "whole": ("all of it", "全部"),
    "newly_adverse_out": ("newly cut, frozen or closed", "新被下调、冻结或关闭"),
    "closed_out": ("of these closed", "其中关闭"),
    "held": ("held", "搁置"),
    "with_holds": ("newly cut, frozen or closed with holds", "搁置后仍新被下调、冻结或关闭"),
    "noticed": ("noticed", "能否察觉"),
    "outage_note": (
        "Held: with a hold on what is out, opened at its first day, these lines stay as they are. A hold compares the "
        "decisions of the day: what only the end of a pause would do to a line is not held. Noticed: whether "
        "limitlens check would hold decisions without these rows.",
        "“搁置”：自中断首日起对缺失数据设置搁置，这些账户维持原状。搁置只比较当日决策，暂停到期后才发生的处置不在其列。"
        "“能否察觉”：缺少这些数据时，limitlens check 是否会搁置决策。",
    ),
    "yes": ("yes", "能"),
    "no": ("no", "不能"),
    "draw": ("draw", "抽取"),
    "closed_in": ("Closed in how many of {} draws", "在 {} 次抽取中被关闭的次数"),
    "draws_closed": ("draws", "次数"),
    "closed_now": ("closed by the model in use", "现行模型关闭"),
    "open_now": ("not closed by it", "现行模型未关闭"),
    "by_chance": ("What the draws close, beside the model in use", "各次抽取与现行模型关闭的账户对照"),
    "not_shown": ("not shown", "不显示"),
    "counted": ("what is counted", "统计项"),
    "chance_closed": ("closed by the model in use", "现行模型关闭"),
    "chance_closed_by_half": ("of these closed in at least half of the draws", "其中至少半数抽取亦关闭"),
    "chance_closed_by_fewer": ("of these closed in fewer than half: by chance", "其中不足半数抽取关闭（出于偶然）"),
    "chance_closing_share": ("share of the draws that close such a line, on average", "此类账户平均被关闭的抽取占比"),
    "chance_others_by_half": (
        "not closed by it, closed in at least half of the draws",
        "现行模型未关闭、至少半数抽取关闭",
    ),
    "chance_newly_closed": ("newly closed in a draw, the middle one", "单次抽取新增关闭（居中者）"),
    "chance_newly_closed_most": ("newly closed in a draw, at most", "单次抽取新增关闭（最多者）"),
    "chance_no_longer_closed": ("no longer closed in a draw, the middle one", "单次抽取不再关闭（居中者）"),
    "chance_same_newly_closed": (
        "newly closed by a training on every customer once",
        "以每位客户各一次重新训练：新增关闭",
    ),
    "chance_same_no_longer_closed": (
        "no longer closed by a training on every customer once",
        "以每位客户各一次重新训练：不再关闭",
    ),
    "same_note": (
        "A model trained anew on every customer once differs from the one in use by what no sample explains: members "
        "that the latter kept from an earlier version, or another version of a library.",
        "以每位客户各一次重新训练，与现行模型的差别与样本无关：现行模型沿用了早期版本的成员，或软件库版本不同。",
    ),
    "never": ("none", "从不"),
    "some": ("some", "部分"),
    "always": ("all", "每次"),
    "refused": ("Not answered", "未能测试"),
    "assumed": ("What is assumed", "假设"),
    "assumed_text": (
        "Balances, timers and the states of lines are those of the day. Expected loss of a line is PD × LGD × (what is "
        "owed + CCF × what can be drawn), with LGD {lgd} and CCF {ccf} of the policy, in whole cents. Lines that a "
        "data incident holds stay held. Good ones hit: the sum of 1 − PD, by the PD without the shock, of lines newly "
        "cut, frozen or closed. Nobody answers a cut unless the scenario says so.",
        "余额、计时器和账户状态均取当日。单户预期损失 = 违约概率 × 违约损失率 ×（欠款 + 转换系数 × 可用额度），"
        "违约损失率 {lgd}、转换系数 {ccf} 取自策略，精确到分。因数据问题搁置的账户保持搁置。“误伤好客户”为新被下调、"
        "冻结或关闭的账户按冲击前违约概率计的（1 − 违约概率）之和。除情景注明外，不考虑客户对处置的反应。",
    ),
}

_SHOCKS: dict[str, tuple[str, str]] = {
    "pd": ("The odds of default are multiplied: {}.", "违约几率乘以：{}。"),
    "pd_others": ("all other lines", "其余账户"),
    "pd_all": ("all lines", "全部账户"),
    "cut_offs": (
        "Every cut-off on PD moves by {} in log-odds: as if odds of default were multiplied by {:.2f}.",
        "所有违约概率阈值的对数几率移动 {}，相当于违约几率乘以 {:.2f}。",
    ),
    "policy": ("Another policy: {}.", "另一策略：{}。"),
    "economy": (
        "The path of the economy moves the log-odds of every PD by {:+.2f}: odds × {:.2f}.",
        "经济路径使所有违约概率的对数几率变动 {:+.2f}，即几率乘以 {:.2f}。",
    ),
    "utilisation": (
        "{:.0%} of what each line can still draw is bought with just now.",
        "每个账户立即用掉剩余可用额度的 {:.0%}。",
    ),
    "inflow": ("Every inflow of the last 90 days is smaller by {:.0%}.", "最近 90 天的每笔流入减少 {:.0%}。"),
    "delay": ("Inflows of the last {} days have not come.", "最近 {} 天的流入尚未到账。"),
    "only": ("Only for {}.", "仅限 {}。"),
    "outage": (
        "Nothing of {} that became known in the last {} days has come; a feed that is as many days late is the same.",
        "最近 {1} 天应到的 {0} 数据未到；迟到同样天数的结果相同。",
    ),
    "retrained": (
        "{} models are trained wholly anew, each on as many customers as the model in use learned from, drawn with "
        "replacement, each with all of their rows; features, settings and labels are the same. What a draw closes "
        "otherwise is owed to which customers happened to be in it, and to chance in training. The figures are those "
        "of the draw in the middle.",
        "从现行模型的训练客户中有放回地抽取同样多的客户（每位客户的全部记录一并抽取），以同样的特征、参数与标签完全重新训练，"
        "共 {} 个模型。各次抽取之间的差别来自样本中恰好有哪些客户，以及训练的随机性。数字取居中的一次抽取。",
    ),
    "draws": (
        "{} models are drawn from the turns of the model in use; each differs from it by chance alone. The figures are "
        "those of the draw in the middle.",
        "从现行模型的各训练轮次中有放回地抽取 {} 个模型，与现行模型仅有随机差别。数字取居中的一次抽取。",
    ),
    "reaction": (
        "Those newly cut, frozen or closed default more often: their odds are multiplied by {:.2f}.",
        "新被下调、冻结或关闭的客户违约上升：几率乘以 {:.2f}。",
    ),
}

_SMALL = {UNDER: "不足 10", "not shown": "不显示"}

_AGES = {
    0: ("under 30 days", "30 天以内"),
    30: ("30–89 days", "30–89 天"),
    90: ("90–364 days", "90–364 天"),
    365: ("365 days and more", "365 天及以上"),
}


def word(key: str, lang: str) -> str:
    """Words of the page in a language of :data:`LANGUAGES`."""
    return _WORDS[key][LANGUAGES.index(lang)]


def shown_counts(counts: Sequence[int], lang: str) -> list[str]:
    """:func:`limitlens.pipeline.pages.small_cells.published` in a language.

    Examples
    --------
    >>> shown_counts([120, 4, 3, 0], "zh")
    ['120', '不足 10', '不足 10', '0']
    """
    cells = published(counts)
    return [_SMALL.get(cell, cell) for cell in cells] if lang == "zh" else cells


def age_words(days: int, lang: str) -> str:
    """A band of :data:`limitlens.limits.stress.AGE_BANDS`."""
    return _AGES[days][LANGUAGES.index(lang)]


def shock_words(key: str, lang: str, *values: object) -> str:
    """A sentence about what a scenario does."""
    return _SHOCKS[key][LANGUAGES.index(lang)].format(*values)


def odds_words(by_log_odds: Mapping[str, float], lang: str) -> str:
    """By how much the odds of default of each segment are multiplied, those that are not named last.

    Examples
    --------
    >>> odds_words({"default": 0.25, "student": 1.0}, "en"), odds_words({"default": 0.7}, "zh")
    ('student × 2.72, all other lines × 1.28', '全部账户 × 2.01')
    >>> odds_words({"student": 1.0}, "en")
    'student × 2.72'
    """
    factors = {name: value for name, value in by_log_odds.items() if name != "default"}
    if "default" in by_log_odds:
        factors[shock_words("pd_others" if factors else "pd_all", lang)] = by_log_odds["default"]
    return ("，" if lang == "zh" else ", ").join(f"{name} × {exp(value):.2f}" for name, value in factors.items())


def in_currency(cents: int) -> str:
    """Cents as whole currency, for figures of a book.

    Examples
    --------
    >>> in_currency(-123_456_789)
    '−1,234,568'
    """
    return money(round(cents / 100) * 100).removesuffix(".00")
