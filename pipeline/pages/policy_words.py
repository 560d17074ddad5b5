"""A policy in words: values with their units, rules as sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from limitlens.limits.policy import OPERATORS, Bucket, Condition
from limitlens.pipeline.pages.amounts import money

_SHARES = {"lgd", "ccf", "share", "increase_min_utilisation"}

#: What a line is after an action.
DONE = {
    "increase": "raised",
    "unfreeze": "unfrozen",
    "keep": "kept",
    "review": "reviewed",
    "hold": "held",
    "pause": "paused",
    "decrease": "cut",
    "freeze": "frozen",
    "close": "closed",
}


def in_words(key: str, value: Any) -> str:
    """A value of a policy file with its unit; ``None`` where a file says nothing.

    Examples
    --------
    >>> in_words("review_above_pd", 0.08), in_words("max_limit_cents", 2_000_000), in_words("dwell_days", 28)
    ('8%', '20,000.00', '28 days')
    >>> in_words("max_monthly_inflows", 4.0), in_words("dead_band_log_odds", 0.2)
    ('4', '0.2')
    >>> in_words("when", [{"column": "dpd_days", "at_least": 30}]), in_words("new_lines", True)
    ('dpd_days at least 30', 'yes')
    """
    if isinstance(value, list):
        return {"when": " and ", "any_of": " or "}.get(key, ", ").join(_element(element) for element in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {in_words(name, inner)}" for name, inner in value.items() if name != "name")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(key, value)
    return str({None: "(not said)", True: "yes", False: "no"}.get(value, value))


def _number(key: str, value: float) -> str:
    if key.endswith("_cents"):
        return money(int(value))
    if key.endswith(("_pd", "_share")) or key in _SHARES:
        return f"{100 * value:.6g}%"
    return f"{value:,.10g}{' days' if key.endswith('_days') else ''}"


def _element(element: Any) -> str:
    """A condition, or a bucket of days past due, as a policy file holds it."""
    if not isinstance(element, Mapping):
        return str(element)
    if "column" in element:
        bounds = [
            f"{operator.replace('_', ' ')} {element[operator]:,.10g}" for operator in OPERATORS if operator in element
        ]
        return " ".join([str(element["column"]), *bounds])
    return bucket_in_words(Bucket(element.get("from_days", 0), element.get("to_days"), element.get("action", "")))


def bucket_in_words(bucket: Bucket) -> str:
    """Days past due and what follows.

    Examples
    --------
    >>> bucket_in_words(Bucket(30, 89, "freeze")), bucket_in_words(Bucket(90, None, "close"))
    ('30 to 89 days: freeze', 'from 90 days: close')
    """
    days = f"from {bucket.from_days}" if bucket.to_days is None else f"{bucket.from_days} to {bucket.to_days}"
    return f"{days} days: {bucket.action}"


def conditions_in_words(when: Sequence[Condition], key: str = "when") -> str:
    """All conditions of a rule, or those of which any one is enough (``any_of``)."""
    return in_words(key, [{"column": c.column, c.operator: c.value} for c in when])
