"""The parts of a policy: one small class a section of the file."""

from dataclasses import dataclass
from typing import Literal

#: Every action, from the mildest to the most severe; the most severe wins. ``hold`` answers a data incident.
ACTIONS = ("increase", "unfreeze", "keep", "review", "hold", "decrease", "freeze", "close")
ADVERSE = frozenset({"decrease", "freeze", "close"})

#: What a hard rule may ask for, and what a bucket of days past due may; ``keep`` stops a raise and an unfreeze.
RULE_ACTIONS = ("review", "decrease", "freeze", "close")
BUCKET_ACTIONS = ("keep", *RULE_ACTIONS)

Operator = Literal["at_least", "at_most", "above", "below"]
OPERATORS: tuple[Operator, ...] = ("at_least", "at_most", "above", "below")

Order = Literal["nearest_cut_off", "avoidable_loss", "pd"]
ORDERS: tuple[Order, ...] = ("nearest_cut_off", "avoidable_loss", "pd")


@dataclass(frozen=True)
class Loss:
    """``lgd``, ``ccf`` (shares) and the expected avoidable loss in cents below which PD causes no adverse action."""

    lgd: float
    ccf: float
    adverse_above_cents: int


@dataclass(frozen=True)
class Steps:
    """Size of one step as a share of the limit, the most a raise adds, and how limits are rounded."""

    increase_share: float
    max_increase_cents: int
    decrease_share: float
    rounding_cents: int
    increase_min_utilisation: float


@dataclass(frozen=True)
class Affordability:
    """Column with the inflow of ``inflow_months`` months, and the one that is null where no inflow was ever seen."""

    inflow_column: str
    inflow_months: int
    seen_column: str


@dataclass(frozen=True)
class Timers:
    """Days between steps, days after an adverse action, and the dead band in log-odds of PD."""

    dwell_days: int
    cool_off_days: int
    dead_band_log_odds: float


@dataclass(frozen=True)
class NewLines:
    """Days after opening during which PD alone asks for a review at most."""

    protected_days: int


@dataclass(frozen=True)
class Reviews:
    """How many reviews people can do in a day, and which come first."""

    capacity_per_day: int
    rules_first: bool
    order: Order


@dataclass(frozen=True)
class Holdout:
    """Share of lines never cut on PD, and the salt of the hash that chooses them."""

    share: float
    salt: str


@dataclass(frozen=True)
class Budget:
    """What a new iteration may move through itself alone, as shares of lines, and who may let it move more.

    ``segment_min_lines``: good lines a segment needs to be judged by itself.
    """

    moved_share: float
    good_newly_cut_share: float
    segment_good_newly_cut_share: float
    segment_min_lines: int
    newly_closed_early_share: float
    approver: str


@dataclass(frozen=True)
class CutOffs:
    """Cut-offs on PD and limit band of one segment; ``max_monthly_inflows`` is a limit in average monthly inflows."""

    increase_below_pd: float
    review_above_pd: float
    decrease_above_pd: float
    freeze_above_pd: float
    close_above_pd: float
    min_limit_cents: int
    max_limit_cents: int
    max_monthly_inflows: float


@dataclass(frozen=True)
class Opening:
    """Limits a line of one segment may be opened with; ``initial_limit_cents`` where none was asked for."""

    min_limit_cents: int
    initial_limit_cents: int
    max_limit_cents: int


@dataclass(frozen=True)
class Condition:
    """One comparison of a column with a value; a missing value never holds."""

    column: str
    operator: Operator
    value: float


@dataclass(frozen=True)
class Rule:
    """A hard rule: when all conditions hold, ``action`` follows and ``reason`` is told.

    ``new_lines``: the rule also acts while a line is protected.
    """

    name: str
    action: str
    reason: str
    when: tuple[Condition, ...]
    new_lines: bool = False


@dataclass(frozen=True)
class Disqualifier:
    """Who may not open a line: an application for which all conditions hold."""

    name: str
    reason: str
    when: tuple[Condition, ...]


@dataclass(frozen=True)
class Bucket:
    """Days past due from ``from_days`` to ``to_days``, both counted (``None``: no end), and what follows."""

    from_days: int
    to_days: int | None
    action: str
