"""What the answer to "why" holds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from limitlens.data.html_table import html_table
from limitlens.limits.recourse import Recourse
from limitlens.pipeline.answers.timeline import Moment
from limitlens.pipeline.deciding.joint_jumps import JointJump
from limitlens.pipeline.pages.amounts import money


@dataclass(frozen=True)
class Fact:
    """A feature that moved: its value at the decision before and at this one, and what it means.

    ``push`` is what it did to the log-odds of default, by :func:`limitlens.models.change.change_of_score`;
    ``rules`` are the fired rules that read it.
    """

    feature: str
    before: float | None
    after: float | None
    unit: str
    why: str
    push: float
    rules: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """A group of features inside behaviour: its share of the change, and the facts behind it."""

    name: str
    share_cents: int
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class ButFor:
    """What would have been decided without one player, all else as it was."""

    player: str
    action: str
    limit_cents: int


@dataclass(frozen=True)
class LateRow:
    """A record that came after a decision and is dated before it."""

    source: str
    event_id: str
    kind: str
    event_time: str
    known_time: str


@dataclass(frozen=True)
class Knowledge:
    """What the split was made with.

    ``status`` is ``provisional`` or ``final``, ``known_by`` the time of reconciliation. ``late_before`` counts the
    records about the time before the decision before that came after it, until then; ``late_now`` those about the
    time before this decision; ``known_now`` those that were known at it. ``late`` are the late ones, once each, in the
    order in which they became known.
    """

    status: str
    known_by: str
    late_before: int
    late_now: int
    known_now: int
    late: tuple[LateRow, ...]


@dataclass(frozen=True)
class Incident:
    """A hold that touched a decision: its number, the slice, since when, the evidence, how it was judged (or None)."""

    hold: int
    scope: str
    since: str
    reason: str
    verdict: str | None


@dataclass(frozen=True)
class Held:
    """The holds that touched a decision, and what would have been decided.

    As known; as before the fault; and as before it with all that was overdue then paid.

    ``silent``: the status of the line used to come every month, and did not come for the last one.
    """

    incidents: tuple[Incident, ...]
    silent: bool
    as_known_action: str
    as_known_limit_cents: int
    before_fault_action: str
    before_fault_limit_cents: int
    if_paid_action: str
    if_paid_limit_cents: int


@dataclass(frozen=True)
class Answer:
    """Why a decision came out as it did; ``None`` where the account had no decision before.

    ``digests`` name everything that went in: model, features, policy, table of reasons, run, head of the ledger.
    ``severity_phi`` is the split of the step on the scale of actions, in 120ths (null without a decision before), and
    ``order_matters`` says that a waterfall's main cause would depend on its order. ``since_opening`` sums to the limit:
    ``opening``, ``first decision``, ``overrides`` and each player, in cents.
    ``model_parts`` splits the share of the model, in cents, into what its members and what its calibration moved.
    ``second_look_at``: the date by which a paused line is looked at again, null for every other action.
    ``joint_jump`` says how many lines jumped as this one did, null where it did not.
    ``recourse_texts`` are empty unless the action was adverse, otherwise one sentence a language.
    """

    account_id: str
    opened_at: str
    as_of: str
    previous_as_of: str | None
    action: str
    limit_before_cents: int
    limit_cents: int
    could_draw: bool
    can_draw: bool
    pd_before: float | None
    pd: float
    fired_rules: tuple[str, ...]
    share_cents: Mapping[str, int] | None
    phi: Mapping[str, int] | None
    severity_phi: Mapping[str, int] | None
    order_matters: bool
    knowledge: Knowledge | None
    since_opening: Mapping[str, int]
    necessary: tuple[str, ...]
    sufficient: tuple[str, ...]
    but_for: tuple[ButFor, ...]
    groups: tuple[Group, ...]
    model_parts: Mapping[str, int]
    model_version_before: str | None
    model_version: str
    policy_before: str | None
    policy: str
    reasons: tuple[str, ...]
    reason_texts: tuple[str, ...]
    reason_texts_zh: tuple[str, ...]
    joint_jump: JointJump | None
    held: Held | None
    made_good: str | None
    second_look_at: str | None
    queue_place: int | None
    queue_length: int | None
    reasons_version: int
    recourse: Recourse | None
    recourse_texts: Mapping[str, str]
    timeline: tuple[Moment, ...]
    digests: Mapping[str, str]
    overrides: tuple[str, ...]
    run_id: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)

    def _repr_html_(self) -> str:
        """What was decided and the share of each cause, for a notebook; ``card`` draws the whole page."""
        rows = [("limit", f"{money(self.limit_before_cents)} → {money(self.limit_cents)}"), ("PD", f"{self.pd:.2%}")]
        rows += [(player, money(cents, signed=True)) for player, cents in (self.share_cents or {}).items()]
        rows += [("reason", text) for text in self.reason_texts]
        return html_table(f"{self.account_id}: {self.action} as of {self.as_of}", rows)

    def __repr__(self) -> str:
        """The account, what was decided, and when."""
        limits = f"limit_cents {self.limit_before_cents} -> {self.limit_cents}"
        return f"<Answer {self.account_id}: {self.action} as of {self.as_of}, {limits}>"
