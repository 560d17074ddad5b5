"""Contradictions a policy is refused for, each with the line to mend."""

import re
from collections.abc import Sequence
from dataclasses import asdict

from limitlens.data.protected import is_protected
from limitlens.data.toml_lines import KeyPath
from limitlens.data.toml_reader import Reader
from limitlens.limits.policy import ACTIONS, ADVERSE, Condition, Disqualifier, Policy, Rule

_CURRENCY = re.compile(r"[A-Z]{3}")

#: A decision remembers what fired in the bits of one number.
MAX_RULES = 50

_CUT_OFFS = ("increase_below_pd", "review_above_pd", "decrease_above_pd", "freeze_above_pd", "close_above_pd")


def check_policy(policy: Policy, reader: Reader) -> None:
    """Refuse a policy that contradicts itself.

    Raises
    ------
    ConfigError
        With file and line: a currency that is no code; shares out of range; cut-offs that do not rise; limit bands
        that are empty or off the rounding grid; a dwell under a day, a cool-off shorter than it; a rule that can never
        fire, repeats another or uses its name; gaps and overlaps between buckets of days past due; lines decided daily
        on a column of the line itself; a protected attribute.
    """
    if policy.currency and not _CURRENCY.fullmatch(policy.currency):
        raise reader.error(("currency",), f"currency is {policy.currency!r}; expected a code such as 'CNY' (ISO 4217).")
    _check_protected(policy, reader)
    _check_ranges(policy, reader)
    for name in policy.segments:
        _check_segment(name, policy, reader)
    for name in {**policy.segments, **policy.opening}:
        _check_opening(name, policy, reader)
    _check_rules("rules", policy.rules, reader)
    _check_rules("disqualifiers", policy.disqualifiers, reader)
    _check_names(policy, reader)
    _check_delinquency(policy, reader)
    _check_holds(policy, reader)
    _check_desk(policy, reader)
    _check_monitoring(policy, reader)
    _check_second_look(policy, reader)
    _check_daily(policy, reader)
    _check_watch(policy, reader)
    if not 1 <= policy.stressing.every_days <= 3_660:
        raise reader.error(
            ("stress", "every_days"), f"every_days is {policy.stressing.every_days}; expected 1 to 3660."
        )


def _check_daily(policy: Policy, reader: Reader) -> None:
    if not policy.decided_daily:
        return
    from limitlens.features.catalogue import CATALOGUE  # noqa: PLC0415 - pandas; few policies need it
    from limitlens.features.line import line_column_names  # noqa: PLC0415

    for place, condition in enumerate(policy.decided_daily):
        if condition.column in line_column_names(CATALOGUE):
            raise reader.error(
                ("daily", "any_of", place),
                f"{condition.column!r} of [daily] depends on the decisions before; name a column of events alone.",
            )


def _check_watch(policy: Policy, reader: Reader) -> None:
    adverse = [rule.name for rule in policy.rules if rule.action in ADVERSE]
    for place, name in enumerate(policy.watch.rules if policy.watch else ()):
        if name not in adverse:
            raise reader.error(
                ("watch", "rules", place),
                f"rules of [watch] names {name!r}; expected some of {adverse}, the rules with an adverse action.",
            )


def _check_second_look(policy: Policy, reader: Reader) -> None:
    look = policy.second_look
    if look is None:
        return
    if not 1 <= look.after_days <= 31:
        raise reader.error(("second_look", "after_days"), f"after_days is {look.after_days}; expected 1 to 31.")
    names = [rule.name for rule in policy.rules]
    for place, name in enumerate(look.soft_rules):
        if name not in names:
            raise reader.error(
                ("second_look", "soft_rules", place), f"soft_rules names {name!r}; expected some of {names}."
            )


def _check_holds(policy: Policy, reader: Reader) -> None:
    names = [rule.name for rule in policy.evidence]
    for place, name in enumerate(policy.holding.except_rules):
        if name not in names:
            raise reader.error(
                ("holds", "except_rules", place), f"except_rules names {name!r}; expected some of {names}."
            )
    if policy.holding.decide_within_days < 1:
        raise reader.error(("holds", "decide_within_days"), "decide_within_days must be at least 1.")


def _check_desk(policy: Policy, reader: Reader) -> None:
    desk = policy.dealing
    for key, share in (("double_share", desk.double_share), ("random_share", desk.random_share)):
        if not 0 <= share <= 1:
            raise reader.error(("desk", key), f"{key} is {share}; expected 0 to 1.")
    for key, days in (("again_after_days", desk.again_after_days), ("ask_days", desk.ask_days)):
        if not 0 <= days <= 366:
            raise reader.error(("desk", key), f"{key} is {days}; expected 0 to 366.")
    if desk.second_above_cents < 0:
        raise reader.error(("desk", "second_above_cents"), "second_above_cents must be at least 0.")


def _check_monitoring(policy: Policy, reader: Reader) -> None:
    alarms = policy.alarms
    if not 0 < alarms.chance <= 0.05:
        raise reader.error(("monitoring", "chance"), f"chance is {alarms.chance}; expected above 0, up to 0.05.")
    for key in ("psi", "csi", "auc_drop"):
        if getattr(alarms, key) <= 0:
            raise reader.error(("monitoring", key), f"{key} is {getattr(alarms, key)}; expected above 0.")
    for key in ("mean_pd_ratio", "roll_ratio", "observed_ratio", "amount_ratio"):
        if getattr(alarms, key) <= 1:
            raise reader.error(("monitoring", key), f"{key} is {getattr(alarms, key)}; expected above 1.")
    if not 3 <= alarms.past_months <= 60:
        raise reader.error(("monitoring", "past_months"), f"past_months is {alarms.past_months}; expected 3 to 60.")


def _check_ranges(policy: Policy, reader: Reader) -> None:
    shares = {("loss", key): getattr(policy.loss, key) for key in ("lgd", "ccf")}
    shares |= {("release", key): value for key, value in asdict(policy.release).items() if key.endswith("_share")}
    shares |= {("steps", "increase_min_utilisation"): policy.steps.increase_min_utilisation}
    for path, share in shares.items():
        if not 0 <= share <= 1:
            raise reader.error(path, f"{path[-1]} is {share}; expected 0 to 1.")
    if not 0 <= policy.holdout.share < 1:
        raise reader.error(("holdout", "share"), f"the holdout share is {policy.holdout.share}; expected 0 up to 1.")
    if not 0 < policy.steps.decrease_share <= 1:
        raise reader.error(("steps", "decrease_share"), "decrease_share must be above 0 and at most 1.")
    least = {
        ("loss", "adverse_above_cents"): (policy.loss.adverse_above_cents, 0),
        ("holdout", "max_limit_cents"): (policy.holdout.max_limit_cents, 0),
        ("steps", "increase_share"): (policy.steps.increase_share, 0),
        ("steps", "rounding_cents"): (policy.steps.rounding_cents, 1),
        ("affordability", "inflow_months"): (policy.affordability.inflow_months, 1),
        ("timers", "dwell_days"): (policy.timers.dwell_days, 1),
        ("timers", "dead_band_log_odds"): (policy.timers.dead_band_log_odds, 0),
        ("new_lines", "protected_days"): (policy.new_lines.protected_days, 0),
        ("reviews", "capacity_per_day"): (policy.reviews.capacity_per_day, 0),
        ("release", "segment_min_lines"): (policy.release.segment_min_lines, 1),
    }
    for path, (value, bound) in least.items():
        if value < bound:
            why = ", or one day could step a line twice" if path[-1] == "dwell_days" else ""
            raise reader.error(path, f"{path[-1]} must be at least {bound}{why}; got {value}.")
    if not 1 <= policy.release.review_months <= 120:
        raise reader.error(
            ("release", "review_months"), f"review_months is {policy.release.review_months}; expected 1 to 120."
        )
    if not 0 <= policy.release.tier <= 3:
        raise reader.error(("release", "tier"), f"tier is {policy.release.tier}; expected 1 to 3, or none.")
    if policy.timers.cool_off_days < policy.timers.dwell_days:
        raise reader.error(
            ("timers", "cool_off_days"),
            f"cool_off_days {policy.timers.cool_off_days} is shorter than dwell_days {policy.timers.dwell_days}: "
            "it would never count; raise it.",
        )
    if policy.steps.max_increase_cents < policy.steps.rounding_cents:
        raise reader.error(
            ("steps", "max_increase_cents"),
            f"max_increase_cents {policy.steps.max_increase_cents} is less than rounding_cents "
            f"{policy.steps.rounding_cents}: no line could be raised.",
        )


def _check_segment(name: str, policy: Policy, reader: Reader) -> None:
    cut, path = policy.segments[name], ("segments", name)
    steps = [getattr(cut, key) for key in _CUT_OFFS]
    for key, low, high in zip((*_CUT_OFFS, _CUT_OFFS[-1]), (0.0, *steps), (*steps, 1.0), strict=True):
        if not low < high:
            raise reader.error((*path, key), f"cut-offs of segment {name!r} must rise from 0 to 1; got {tuple(steps)}.")
    if not 0 <= cut.min_limit_cents <= cut.max_limit_cents:
        raise reader.error((*path, "min_limit_cents"), f"limit band of segment {name!r} is empty or negative.")
    for key in ("min_limit_cents", "max_limit_cents"):
        _check_grid(getattr(cut, key), (*path, key), policy, reader)
    if cut.max_monthly_inflows <= 0:
        raise reader.error((*path, "max_monthly_inflows"), f"max_monthly_inflows of segment {name!r} must be above 0.")


def _check_grid(cents: int, path: tuple[str, ...], policy: Policy, reader: Reader) -> None:
    if cents % policy.steps.rounding_cents:
        raise reader.error(path, f"{path[-1]} {cents} is no multiple of rounding_cents {policy.steps.rounding_cents}.")


def _check_opening(name: str, policy: Policy, reader: Reader) -> None:
    band, path = policy.opening_of(name), ("opening", name if name in policy.opening else "default")
    if not 0 <= band.min_limit_cents <= band.initial_limit_cents <= band.max_limit_cents:
        raise reader.error(
            (*path, "initial_limit_cents"), f"opening of {name!r}: expected 0 ≤ minimum ≤ initial ≤ maximum."
        )
    for key, cents in asdict(band).items():
        _check_grid(cents, (*path, key), policy, reader)
    if band.max_limit_cents > (most := policy.cut_offs(name).max_limit_cents):
        raise reader.error(
            (*path, "max_limit_cents"),
            f"opening of {name!r} up to {band.max_limit_cents} is above the limit band of its segment, {most}.",
        )


def _check_rules(table: str, rules: Sequence[Rule | Disqualifier], reader: Reader) -> None:
    first: dict[frozenset[Condition], str] = {}
    for place, rule in enumerate(rules):
        if column := _impossible(rule.when):
            raise reader.error(
                (table, place, "when"), f"{rule.name!r} can never fire: no value of {column} meets all its conditions."
            )
        if (when := frozenset(rule.when)) in first:
            raise reader.error(
                (table, place, "when"), f"{rule.name!r} has the same conditions as {first[when]!r}; keep one of them."
            )
        first[when] = rule.name


def _impossible(when: Sequence[Condition]) -> str | None:
    """A column whose conditions contradict each other."""
    for column in dict.fromkeys(condition.column for condition in when):
        own = [condition for condition in when if condition.column == column]
        low = max(((c.value, c.operator == "above") for c in own if c.operator in {"at_least", "above"}), default=None)
        high = min(((c.value, c.operator != "below") for c in own if c.operator in {"at_most", "below"}), default=None)
        if low and high and (low[0] > high[0] or (low[0] == high[0] and (low[1] or not high[1]))):
            return column
    return None


def _check_names(policy: Policy, reader: Reader) -> None:
    seen: set[str] = set()
    places = [("rules", i, rule.name) for i, rule in enumerate(policy.rules)]
    places += [("disqualifiers", i, rule.name) for i, rule in enumerate(policy.disqualifiers)]
    for table, place, name in places:
        if name in seen:
            raise reader.error((table, place, "name"), f"rule names repeat: {name!r}.")
        if name.startswith(("pd_", "past_due_", "opening_")):
            raise reader.error((table, place, "name"), f"{name!r}: pd_, past_due_ and opening_ are names of our own.")
        seen.add(name)
    if len(policy.evidence) > MAX_RULES:
        raise reader.error(("rules", 0), f"{len(policy.evidence)} rules and buckets; a policy has at most {MAX_RULES}.")


def _check_delinquency(policy: Policy, reader: Reader) -> None:
    expected: int | None = 1
    mildest = 0
    for place, bucket in enumerate(policy.delinquency):
        path = ("delinquency", place, "from_days")
        if expected is None:
            raise reader.error(path, "the bucket before this one has no end; give it to_days.")
        if bucket.from_days != expected:
            kind = "gap" if bucket.from_days > expected else "overlap"
            raise reader.error(path, f"{kind}: from_days is {bucket.from_days}; expected {expected}.")
        if bucket.to_days is not None and bucket.to_days < bucket.from_days:
            raise reader.error((*path[:2], "to_days"), f"to_days is {bucket.to_days}, before from_days.")
        if (severity := ACTIONS.index(bucket.action)) < mildest:
            raise reader.error((*path[:2], "action"), f"{bucket.action!r} is milder than the bucket before it.")
        mildest, expected = severity, None if bucket.to_days is None else bucket.to_days + 1
    if expected is not None:
        raise reader.error(
            ("delinquency", len(policy.delinquency) - 1, "to_days"),
            f"gap: nothing is said from {expected} days past due on; the last bucket has no to_days.",
        )


def _check_protected(policy: Policy, reader: Reader) -> None:
    places: dict[KeyPath, str] = {("segments", name): name for name in policy.segments}
    places |= {("opening", name): name for name in policy.opening}
    tables: dict[str, Sequence[Rule | Disqualifier]] = {"rules": policy.rules, "disqualifiers": policy.disqualifiers}
    for table, rules in tables.items():
        places |= {(table, i, "when", j): c.column for i, rule in enumerate(rules) for j, c in enumerate(rule.when)}
    places |= {("daily", "any_of", i): c.column for i, c in enumerate(policy.decided_daily)}
    places |= {("affordability", key): getattr(policy.affordability, key) for key in ("inflow_column", "seen_column")}
    for path, name in places.items():
        if is_protected(name):
            raise reader.error(path, f"{name!r} is one of the protected attributes; the policy may not use them.")
