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

    ``contribution`` is what it did to the log-odds of default, by :func:`limitlens.models.change.change_of_score`;
    ``rules`` are the fired rules that read it.
    """

    feature: str
    before: float | None
    after: float | None
    unit: str
    why: str
    contribution: float
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
class Line:
    """The line itself: what it was opened with and what became of it.

    ``since_opening`` sums to the limit: ``opening``, ``first decision``, ``overrides`` and each player, in cents.
    ``timeline`` has what the watch did since the last run, too. ``overrides`` are those between the decision before and
    this one, in words.
    """

    account_id: str
    opened_at: str
    since_opening: Mapping[str, int]
    timeline: tuple[Moment, ...]
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """What was decided, from what, by which policy; ``None`` where the account had no decision before.

    ``second_look_at``: the date by which a paused line is looked at again, null for every other action. ``watched``:
    decided within the day, by the watch. ``digests`` name everything that went in: model, features, policy, table of
    reasons, run, head of the ledger.
    """

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
    policy_before: str | None
    policy: str
    made_good: str | None
    second_look_at: str | None
    watched: bool
    queue_place: int | None
    queue_length: int | None
    digests: Mapping[str, str]
    run_id: str


@dataclass(frozen=True)
class Split:
    """The change split among the causes; ``None`` or empty where the account had no decision before.

    ``severity_phi`` is the split of the step on the scale of actions, in 120ths, and ``order_matters`` says that a
    waterfall's main cause would depend on its order.
    """

    share_cents: Mapping[str, int] | None
    phi: Mapping[str, int] | None
    severity_phi: Mapping[str, int] | None
    order_matters: bool
    necessary: tuple[str, ...]
    sufficient: tuple[str, ...]
    but_for: tuple[ButFor, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Model:
    """The versions of the model; ``model_parts`` splits its share, in cents, into its members and its calibration."""

    model_parts: Mapping[str, int]
    model_version_before: str | None
    model_version: str


@dataclass(frozen=True)
class Data:
    """What was known when, and what holds had to do with it.

    ``joint_jump`` says how many lines jumped as this one did, null where it did not.
    """

    knowledge: Knowledge | None
    joint_jump: JointJump | None
    held: Held | None


@dataclass(frozen=True)
class Notice:
    """What the customer is told, and what could have been different.

    ``recourse_texts`` are empty unless the action was adverse, otherwise one sentence a language.
    """

    reasons: tuple[str, ...]
    reason_texts: tuple[str, ...]
    reason_texts_zh: tuple[str, ...]
    reasons_version: int
    recourse: Recourse | None
    recourse_texts: Mapping[str, str]


#: Fields of an answer in JSON, where they stand side by side in this order.
_IN_JSON = (
    "account_id",
    "opened_at",
    "as_of",
    "previous_as_of",
    "action",
    "limit_before_cents",
    "limit_cents",
    "could_draw",
    "can_draw",
    "pd_before",
    "pd",
    "fired_rules",
    "share_cents",
    "phi",
    "severity_phi",
    "order_matters",
    "knowledge",
    "since_opening",
    "necessary",
    "sufficient",
    "but_for",
    "groups",
    "model_parts",
    "model_version_before",
    "model_version",
    "policy_before",
    "policy",
    "reasons",
    "reason_texts",
    "reason_texts_zh",
    "joint_jump",
    "held",
    "made_good",
    "second_look_at",
    "watched",
    "queue_place",
    "queue_length",
    "reasons_version",
    "recourse",
    "recourse_texts",
    "timeline",
    "digests",
    "overrides",
    "run_id",
)


def _for_json(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """Fields by their names in JSON, which calls a contribution ``push``."""
    return {"push" if name == "contribution" else name: value for name, value in fields}


@dataclass(frozen=True)
class Answer:
    """Why a decision came out as it did, by what it is about."""

    line: Line
    decision: Decision
    split: Split
    model: Model
    data: Data
    notice: Notice

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON: all fields side by side."""
        parts = asdict(self, dict_factory=_for_json).values()
        fields = {name: one for part in parts for name, one in part.items()}
        return {name: fields[name] for name in _IN_JSON}

    def _repr_html_(self) -> str:
        """What was decided and the share of each cause, for a notebook; ``card`` draws the whole page."""
        decision = self.decision
        rows = [
            ("limit", f"{money(decision.limit_before_cents)} → {money(decision.limit_cents)}"),
            ("PD", f"{decision.pd:.2%}"),
        ]
        rows += [(player, money(cents, signed=True)) for player, cents in (self.split.share_cents or {}).items()]
        rows += [("reason", text) for text in self.notice.reason_texts]
        return html_table(f"{self.line.account_id}: {decision.action} as of {decision.as_of}", rows)

    def __repr__(self) -> str:
        """The account, what was decided, and when."""
        decision = self.decision
        limits = f"limit_cents {decision.limit_before_cents} -> {decision.limit_cents}"
        return f"<Answer {self.line.account_id}: {decision.action} as of {decision.as_of}, {limits}>"
