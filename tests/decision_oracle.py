"""The decision on one line, in plain Python as docs/policy.md tells it: slow, obvious, and written apart."""

from collections.abc import Mapping, Sequence
from math import floor, inf, isnan, log, nan
from typing import Any

from limitlens.limits.policy import Condition, Policy

SEVERITY = ["increase", "unfreeze", "keep", "review", "hold", "pause", "decrease", "freeze", "close"]
HOLDS = {
    "at_least": lambda value, bound: value >= bound,
    "at_most": lambda value, bound: value <= bound,
    "above": lambda value, bound: value > bound,
    "below": lambda value, bound: value < bound,
}

Line = Mapping[str, Any]


def decide_one(line: Line, policy: Policy) -> tuple[str, int, bool, list[str]]:
    """Action, limit, whether the line may draw, and what was asked for, of one line."""
    asked = {rule.name: rule.action for rule in policy.rules if fires(rule.when, line, policy, rule.new_lines)}
    for one in policy.disqualifiers:
        if line["line_age_days"] == 0 and fires(one.when, line, policy, True):
            asked[one.name] = "review"
    for bucket in policy.delinquency:
        to_days = inf if bucket.to_days is None else bucket.to_days
        if not line["closed"] and bucket.from_days <= line.get("dpd_days", 0) <= to_days:
            asked[f"past_due_{bucket.from_days}"] = bucket.action
    opening = policy.opening.get(line["segment"], policy.opening["default"])
    if not line["closed"] and line["line_age_days"] == 0 and line["limit_cents"] > opening.max_limit_cents:
        asked["opening_above_band"] = "review"
    by_pd = asked_by_pd(line, policy)
    if by_pd != "keep":
        asked[f"pd_{by_pd}"] = by_pd
    action = max([by_pd, *asked.values()], key=SEVERITY.index)
    if line["watched"]:
        action = seen_by_the_watch(action, asked, line, policy)
    elif policy.second_look or line["days_since_pause"] < 99_999:
        action = looked_at_twice(action, asked, line, policy)
    return *carried_out(action, line, policy), list(asked)


def is_adverse(action: str, line: Line, policy: Policy) -> bool:
    dwelt, limit = line["days_since_change"] >= policy.timers.dwell_days, line["limit_cents"]
    return action in {"freeze", "close"} or (action == "decrease" and dwelt and lowered(line, policy) < limit)


def seen_by_the_watch(action: str, asked: Mapping[str, str], line: Line, policy: Policy) -> str:
    if not is_adverse(action, line, policy):
        return "unfreeze" if line["days_since_pause"] < 99_999 else "keep"
    alarmed = line["can_draw"] and not line["closed"] and policy.watch and set(asked) & set(policy.watch.rules)
    return "pause" if alarmed else "keep"


def looked_at_twice(action: str, asked: Mapping[str, str], line: Line, policy: Policy) -> str:
    look, paused = policy.second_look, line["days_since_pause"] < 99_999
    adverse = is_adverse(action, line, policy)
    soft = {name for name in asked if (look and name in look.soft_rules) or name.startswith("pd_")}
    evidence = any(asked[name] in {"decrease", "freeze", "close"} for name in set(asked) - soft)
    if line["closed"] or (not paused and not line["can_draw"]) or (not adverse and not paused):
        return action
    if paused and not adverse:
        return "unfreeze"
    if evidence:
        return action
    if not paused:
        return "pause"
    return "keep" if look and line["days_since_pause"] < look.after_days else action


def asked_by_pd(line: Line, policy: Policy) -> str:
    cut, loss, pd = policy.cut_offs(line["segment"]), policy.loss, line["pd"]
    cooled = line["days_since_adverse"] >= policy.timers.cool_off_days
    used = line["balance_cents"] >= policy.steps.increase_min_utilisation * line["limit_cents"]
    action = "keep"
    if pd >= cut.close_above_pd:
        action = "close"
    elif pd >= cut.freeze_above_pd:
        action = "freeze"
    elif pd >= cut.decrease_above_pd:
        action = "decrease"
    elif pd >= cut.review_above_pd:
        action = "review"
    elif pd < cut.increase_below_pd and used and line["can_draw"] and cooled:
        action = "increase"
    elif not line["can_draw"] and cooled:
        action = "unfreeze"
    adverse = action in {"decrease", "freeze", "close"}
    avoidable = pd * loss.lgd * loss.ccf * max(line["limit_cents"] - line["balance_cents"], 0)
    if adverse and (line["holdout"] or avoidable < loss.adverse_above_cents):
        action = "keep"
    if action != "review" and inside_dead_band(line, policy):
        action = "keep"
    if line["line_age_days"] < policy.new_lines.protected_days:
        return {"decrease": "review", "freeze": "review", "close": "review", "increase": "keep"}.get(action, action)
    return action


def inside_dead_band(line: Line, policy: Policy) -> bool:
    if isnan(line["pd_ref"]):
        return False
    now, then = (log(pd / (1 - pd)) for pd in (line["pd"], line["pd_ref"]))
    return abs(now - then) < policy.timers.dead_band_log_odds


def fires(when: Sequence[Condition], line: Line, policy: Policy, new_lines: bool) -> bool:
    if line["closed"] or (line["line_age_days"] < policy.new_lines.protected_days and not new_lines):
        return False
    return all(c.column in line and HOLDS[c.operator](line[c.column], c.value) for c in when)


def carried_out(action: str, line: Line, policy: Policy) -> tuple[str, int, bool]:
    before, could_draw = line["limit_cents"], bool(line["can_draw"])
    stopped = line["watched"] and action == "pause"
    if line["closed"] or (line["days_since_change"] < 1 and action != "review" and not stopped):
        return "keep", before, could_draw
    waiting = line["days_since_change"] < policy.timers.dwell_days
    limit = before
    if action == "decrease" and not waiting:
        limit = lowered(line, policy)
    elif action == "increase" and not waiting:
        limit = raised(line, policy)
    elif action == "close":
        limit = 0
    paused = line["days_since_pause"] < 99_999
    can_draw = {"freeze": False, "close": False, "pause": False, "unfreeze": True}.get(action, could_draw)
    if paused and action == "decrease":
        can_draw = True
    carried_out_now = paused and action in {"freeze", "close"}
    if action != "review" and (limit, can_draw) == (before, could_draw) and not carried_out_now:
        action = "keep"
    return action, limit, can_draw


def lowered(line: Line, policy: Policy) -> int:
    step = rounded(line["limit_cents"] * (1 - policy.steps.decrease_share), policy)
    floor_cents = max(line["balance_cents"], policy.cut_offs(line["segment"]).min_limit_cents)
    return min(max(step, floor_cents), line["limit_cents"])


def raised(line: Line, policy: Policy) -> int:
    before, cut = line["limit_cents"], policy.cut_offs(line["segment"])
    step = min(before * (1 + policy.steps.increase_share), before + policy.steps.max_increase_cents)
    bounds = [rounded(step, policy), cut.max_limit_cents]
    inflow = line.get(policy.affordability.inflow_column, nan)
    if not isnan(inflow) and not isnan(line.get(policy.affordability.seen_column, nan)):
        bounds.append(rounded(inflow / policy.affordability.inflow_months * cut.max_monthly_inflows, policy))
    return max(min(bounds), before)


def rounded(cents: float, policy: Policy) -> int:
    return floor(cents / policy.steps.rounding_cents + 1e-9) * policy.steps.rounding_cents
