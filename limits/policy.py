"""The policy: its classes, one a section of the file, and what follows from its values."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from math import exp
from typing import Any, Literal

#: Every action, from the mildest to the most severe; the most severe wins. ``hold`` answers a data incident, ``pause``
#: stops drawing until a second look.
ACTIONS = ("increase", "unfreeze", "keep", "review", "hold", "pause", "decrease", "freeze", "close")

#: Actions that a customer is given reasons for.
ADVERSE = frozenset({"decrease", "freeze", "close"})

#: What speaks against a line: done, or waiting for a second look.
FLAGGED = ADVERSE | {"pause"}

#: What a hard rule may ask for, and what a bucket of days past due may; ``keep`` stops a raise and an unfreeze.
RULE_ACTIONS = ("review", "decrease", "freeze", "close")
BUCKET_ACTIONS = ("keep", *RULE_ACTIONS)

Operator = Literal["at_least", "at_most", "above", "below"]
OPERATORS: tuple[Operator, ...] = ("at_least", "at_most", "above", "below")

Order = Literal["nearest_cut_off", "avoidable_loss", "pd", "avoidable_harm"]
ORDERS: tuple[Order, ...] = ("nearest_cut_off", "avoidable_loss", "pd", "avoidable_harm")


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
    """Share of lines never cut on PD, the salt of the hash that chooses them, and the largest limit; 0: any."""

    share: float
    salt: str
    max_limit_cents: int = 0


@dataclass(frozen=True)
class Budget:
    """Largest impact a new model or policy may have on its own, as shares of lines, and who may allow more.

    ``segment_min_lines``: good lines a segment needs to be judged by itself. ``approver_key``: the public key, in
    hexadecimal, with which the approver signs; empty: the name is enough. ``other_os_user``: who reviews must be
    another user of the operating system than who trained.
    ``reasons_share``: of the lines acted on, how many at least must be decided more mildly without the reasons told.
    ``review_months``: months after a review within which a live version is reviewed again. ``sign_off``: a version is
    promoted only once a reviewer signed what is recorded of it. ``owner``: who answers for the versions in use; empty:
    nobody is named. ``tier``: how much hangs on them, 1 most and 3 least; 0: nobody has said.
    """

    moved_share: float
    good_newly_cut_share: float
    segment_good_newly_cut_share: float
    segment_min_lines: int
    newly_closed_early_share: float
    approver: str
    approver_key: str = ""
    other_os_user: bool = False
    reasons_share: float = 0.5
    review_months: int = 12
    sign_off: bool = False
    owner: str = ""
    tier: int = 0


@dataclass(frozen=True)
class Holds:
    """What a data incident does.

    ``warn_holds``: an incident that only warns holds lines, too. ``except_rules``: hard rules that act in spite of a
    hold. ``release_by``: who alone may release one; empty: anybody who gives a name. ``decide_within_days``: days
    after which a hold that nobody has judged is complained about.
    """

    warn_holds: bool
    release_by: str
    decide_within_days: int
    except_rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class SecondLook:
    """Looking twice before an adverse action on PD, or on a rule whose evidence is soft.

    ``after_days``: days that drawing is paused before the second look. ``soft_rules``: rules that wait for it as PD
    does; all others act at once.
    """

    after_days: int
    soft_rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Watch:
    """Rules whose evidence pauses drawing as soon as it comes, hours before the line would be decided.

    ``rules``: hard rules that ask for an adverse action. The next daily decision carries it out, waits or lifts the
    pause, as it would without the watch.
    """

    rules: tuple[str, ...]


@dataclass(frozen=True)
class Desk:
    """How cases that people judge are dealt out.

    ``again_after_days``: days after a verdict in favour of a customer during which what a person has judged brings no
    new case; a hard rule that had not fired then does. ``ask_days``: days a customer has to answer.
    ``second_above_cents``: two reviewers must agree on a line with a limit above it; 0: never. ``double_share``: share
    of settled cases that a second reviewer judges without knowing the verdict. ``random_share``: share of cases that
    come first whatever the order says. ``salt``: of the hashes that draw both. ``pauses``: a line whose drawing is
    paused is a case, too, as long as the pause lasts. ``order``: which cases come first.
    """

    again_after_days: int = 30
    ask_days: int = 7
    second_above_cents: int = 0
    double_share: float = 0.05
    random_share: float = 0.05
    salt: str = "limitlens"
    pauses: bool = True
    order: Order = "avoidable_loss"


@dataclass(frozen=True)
class Stress:
    """How often the book is stressed: ``every_days`` after a stress test the next one is due."""

    every_days: int = 92


@dataclass(frozen=True)
class Monitoring:
    """When a figure of `limitlens monitor` is an alarm.

    ``chance``: how often chance alone may raise one kind of alarm at one date. ``psi``: least PSI of the PD since the
    training. ``csi``: least PSI of a feature since the earlier month that it is nearest to. ``mean_pd_ratio``: mean PD
    by the share of bads of the training, or the other way round. ``roll_ratio``: share of a bucket that rolls on by
    that of its past. ``observed_ratio``: bads that came by those expected, or the other way round. ``auc_drop``: by how
    much an AUC is below the validated or the expected one. ``past_months``: months that are the past of a roll rate and
    of an amount. ``amount_ratio``: typical amount by what it would be after a usual month, or the other way round.
    """

    chance: float = 0.001
    psi: float = 0.25
    csi: float = 0.10
    mean_pd_ratio: float = 2.0
    roll_ratio: float = 1.25
    observed_ratio: float = 1.25
    auc_drop: float = 0.05
    past_months: int = 12
    amount_ratio: float = 1.1


@dataclass(frozen=True)
class Condition:
    """One comparison of a column with a value; a missing value never holds."""

    column: str
    operator: Operator
    value: float


@dataclass(frozen=True)
class Daily:
    """Lines decided daily besides new and paused ones: those for which any of these conditions holds at the date."""

    any_of: tuple[Condition, ...]


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


#: Tables with one value a key, and the class each becomes.
SECTIONS: dict[str, type] = {
    "loss": Loss,
    "steps": Steps,
    "affordability": Affordability,
    "timers": Timers,
    "new_lines": NewLines,
    "reviews": Reviews,
    "holdout": Holdout,
    "release": Budget,
}


@dataclass(frozen=True)
class Policy:
    """A checked policy; ``text`` is the file it was read from."""

    name: str
    currency: str
    loss: Loss
    steps: Steps
    affordability: Affordability
    timers: Timers
    new_lines: NewLines
    reviews: Reviews
    holdout: Holdout
    release: Budget
    opening: Mapping[str, Opening]
    disqualifiers: tuple[Disqualifier, ...]
    segments: Mapping[str, CutOffs]
    rules: tuple[Rule, ...]
    delinquency: tuple[Bucket, ...]
    holds: Holds | None
    second_look: SecondLook | None
    daily: Daily | None
    watch: Watch | None
    desk: Desk | None
    stress: Stress | None
    monitoring: Monitoring | None
    text: str

    @cached_property
    def digest(self) -> str:
        """Sha256 over the values; comments and layout do not count."""
        plain = {name: value for name, value in asdict(self).items() if name != "text"}
        # Without the section: as before there was one.
        for name in ("holds", "second_look", "daily", "watch", "desk", "stress", "monitoring"):
            if plain[name] is None:
                del plain[name]
        if not self.currency:  # as before there was the key
            del plain["currency"]
        if not self.holdout.max_limit_cents:  # the same
            del plain["holdout"]["max_limit_cents"]
        if isinstance(self.release, Budget):
            idle = {"approver_key": "", "other_os_user": False, "reasons_share": 0.5}  # the same
            idle |= {"review_months": 12, "sign_off": False, "owner": "", "tier": 0}
            plain["release"] = {name: value for name, value in plain["release"].items() if idle.get(name) != value}
        if isinstance(self.desk, Desk):
            as_before = {"pauses": True, "order": "avoidable_loss"}  # the same
            plain["desk"] = {name: value for name, value in plain["desk"].items() if as_before.get(name) != value}
        if isinstance(self.monitoring, Monitoring) and self.monitoring.amount_ratio == 1.1:  # the same
            del plain["monitoring"]["amount_ratio"]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @property
    def holding(self) -> Holds:
        """What a data incident does; without a section of its own every incident holds and nothing is excepted."""
        return self.holds or Holds(warn_holds=False, release_by="", decide_within_days=14)

    @property
    def dealing(self) -> Desk:
        """How cases are dealt out; without a section of its own by the defaults."""
        return self.desk or Desk()

    @property
    def stressing(self) -> Stress:
        """How often the book is stressed; without a section of its own by the default."""
        return self.stress or Stress()

    @property
    def alarms(self) -> Monitoring:
        """When monitoring raises an alarm; without a section of its own by the defaults."""
        return self.monitoring or Monitoring()

    @property
    def decided_daily(self) -> tuple[Condition, ...]:
        """Conditions of which any one has a line decided daily."""
        return self.daily.any_of if self.daily else ()

    @property
    def watched_rules(self) -> tuple[Rule, ...]:
        """Rules that pause drawing within the day."""
        return tuple(rule for rule in self.rules if self.watch and rule.name in self.watch.rules)

    @cached_property
    def evidence(self) -> tuple[Rule, ...]:
        """All that acts on evidence: the hard rules, then disqualifiers and days past due written as rules."""
        opened = Condition("line_age_days", "below", 1)
        refused = (Rule(d.name, "review", d.reason, (opened, *d.when), new_lines=True) for d in self.disqualifiers)
        return (*self.rules, *refused, *(_past_due(bucket) for bucket in self.delinquency))

    @cached_property
    def columns(self) -> frozenset[str]:
        """Columns the policy reads."""
        named = {condition.column for rule in self.evidence for condition in rule.when}
        named |= {condition.column for condition in self.decided_daily}
        return frozenset(named | {self.affordability.inflow_column, self.affordability.seen_column})

    def cut_offs(self, segment: str) -> CutOffs:
        """Cut-offs of a segment, the default ones if it is not named."""
        return self.segments.get(segment, self.segments["default"])

    def opening_of(self, segment: str) -> Opening:
        """What a line of a segment may be opened with, the default if it is not named."""
        return self.opening.get(segment, self.opening["default"])


def shifted(policy: Policy, log_odds: float) -> Policy:
    """The policy with every cut-off on PD moved by so much in log-odds: above 0, PDs have to be higher."""
    names = [field.name for field in fields(CutOffs) if field.name.endswith("_pd")]
    segments = {}
    for segment, cuts in policy.segments.items():
        moved: dict[str, Any] = {name: _moved(getattr(cuts, name), log_odds) for name in names}
        segments[segment] = replace(cuts, **moved)
    return replace(policy, segments=segments)


def _moved(pd_: float, log_odds: float) -> float:
    odds = pd_ * exp(log_odds)
    return odds / (1 - pd_ + odds)


def _past_due(bucket: Bucket) -> Rule:
    when = [Condition("dpd_days", "at_least", bucket.from_days)]
    if bucket.to_days is not None:
        when.append(Condition("dpd_days", "at_most", bucket.to_days))
    return Rule(f"past_due_{bucket.from_days}", bucket.action, "late_payments", tuple(when), new_lines=True)
