"""Small random event tables, books of lines and policies, dense enough that corners meet.

In event tables: ties, corrections, links, window edges, shared devices. In books: edges of timers, bands and buckets.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from hypothesis import strategies as st

from limitlens.data.events import stored_schema
from limitlens.limits.policy import (
    ACTIONS,
    ADVERSE,
    BUCKET_ACTIONS,
    RULE_ACTIONS,
    Affordability,
    Bucket,
    Condition,
    CutOffs,
    Disqualifier,
    Opening,
    Policy,
    Rule,
    SecondLook,
    Watch,
)
from limitlens.limits.state import NEVER_DAYS, first_state, state_at
from limitlens.pipeline.workspace import default_policy

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
ACCOUNTS = ("A1", "A2", "A3", "A4")

Row = dict[str, Any]
Events = dict[str, list[Row]]

_KINDS = {
    "consumption": ("purchase", "purchase", "draw", "draw", "refund", "fee", "statement_balance"),
    "payment": ("due", "due", "repayment", "repayment", "transfer_in", "transfer_out", "transfer_out", "status"),
    "device": ("login", "login", "login_failed", "device_change", "password_change"),
    "shared_risk": ("listed",),
}

_MICROSECOND = timedelta(microseconds=1)

#: Ages before the as-of time: the edges of windows and periods, of nights and weekends in Shanghai, and the future.
_EDGES = [timedelta(days=days) for days in (-30, -1, 0, 1, 2, 3, 7, 28, 30, 60, 90, 91, 92, 120, 180, 365, 400)]
_EDGES += [timedelta(hours=hours) for hours in (1, 2, 8, 32, 49, 152)]
_AGES = [age + shift for age in _EDGES for shift in (-_MICROSECOND, timedelta(0), _MICROSECOND)]
_LAGS = [timedelta(0), _MICROSECOND, timedelta(minutes=30), timedelta(days=1), timedelta(days=10)]

_CENTS = [0, 1, 99, 100, 12_345, 10**13]
_INSTALMENT_CENTS = {
    "due": [0, 1, 100_00, 100_00, 100_00, 200_00],
    "repayment": [0, 1_00, 98_99, 99_00, 100_00, 100_00, 198_00, 200_00, 300_00],
}
_WORDS = [None, "x", "y", "z"]
#: Shanghai, a street away, Beijing, Sydney, two ends of the earth, and what is not fully known.
_PLACES = [(31_230_400, 121_473_700), (31_231_400, 121_473_700), (39_904_200, 116_407_400), (-33_868_800, 151_209_300)]
_PLACES += [(0, 0), (0, 180_000_000), (None, None), (31_230_400, None)]


def _content(random: Random, source: str) -> Row:
    kind = random.choice(_KINDS[source])
    cents = random.choice(_INSTALMENT_CENTS.get(kind, _CENTS))
    if source == "device":
        latitude, longitude = random.choice(_PLACES)
        place = {"latitude_udeg": latitude, "longitude_udeg": longitude}
        return {"kind": kind, "device_id": random.choice(_WORDS), "city": random.choice(_WORDS)} | place
    if source == "shared_risk":
        return {"kind": kind, "lender": random.choice(["x", "y", "z"])}
    if source == "consumption":
        sign = random.choice([1, -1]) if kind == "statement_balance" else 1
        words = {"category": random.choice(_WORDS), "channel": random.choice(_WORDS)}
        return {"kind": kind, "amount_cents": sign * cents} | words
    return {
        "kind": kind,
        "amount_cents": cents,
        "instalment_id": random.choice([*_WORDS, "u", "v", "w"]),
        "dpd_days": random.choice([None, 0, 5, 95]) if kind == "status" else None,
        "counterparty": random.choice(_WORDS) if kind.startswith("transfer") else None,
    }


def _versions(random: Random, source: str, number: int, times: Sequence[datetime]) -> list[Row]:
    """One to three versions of an event of one account; the later ones move it, change it or withdraw it."""
    account = random.choice(ACCOUNTS)
    first = random.choice(times)
    delivered = {first + random.choice(_LAGS), *random.sample(times, random.choice([0, 0, 1, 2]))}
    return [
        {
            "event_id": f"{account}-{number}",
            "account_id": account,
            "event_time": random.choice([first, random.choice(times)]),
            "known_time": time,
            "delivered_known_time": time,
            "retracted": random.choice([None, None, None, None, False, True]),
        }
        | _content(random, source)
        for time in sorted(delivered)
    ]


@st.composite
def event_tables(draw: st.DrawFn) -> Events:
    """Rows of every source, accepted in any order; some came after a decision and are known from it on."""
    random = draw(st.randoms(use_true_random=True))
    delivered = _delivered(random, draw(st.integers(10, 60)))
    return {source: accepted(rows) for source, rows in delivered.items()}


def _delivered(random: Random, size: int) -> Events:
    times = [AS_OF - age for age in random.sample(_AGES, random.randint(3, 12))]
    decided = random.choice([AS_OF - timedelta(days=40), AS_OF - _MICROSECOND, AS_OF])
    events = {}
    for source in _KINDS:
        rows = [row for number in range(size) for row in _versions(random, source, number, times)]
        random.shuffle(rows)
        events[source] = [_stamped(row, decided) if random.random() < 0.1 else row for row in rows]
    return events


def worlds_apart(seed: str, count: int) -> tuple[Events, dict[str, Events]]:
    """Event tables with no account, event, device or payee in common: all as one, for one query, and each by name.

    They are accepted as one, in any order. The accounts of a world are :data:`ACCOUNTS` with its name before them.
    """
    random = Random(seed)
    names = [f"{number:02}" for number in range(count)]
    delivered = [(name, _delivered(random, random.randint(10, 60))) for name in names]
    together = {}
    for source in _KINDS:
        rows = [_of_world(name, row) for name, events in delivered for row in events[source]]
        random.shuffle(rows)
        together[source] = accepted(rows)
    return together, {name: {s: [r for r in together[s] if _world(r) == name] for s in together} for name in names}


def _of_world(name: str, row: Row) -> Row:
    own = ("account_id", "event_id", "device_id", "counterparty")
    return row | {column: name + row[column] for column in own if row.get(column) is not None}


def _world(row: Row) -> str:
    name: str = row["account_id"][:2]
    return name


def _stamped(row: Row, decided: datetime) -> Row:
    return row | {"known_time": max(row["known_time"], decided)}


def accepted(rows: Iterable[Row]) -> list[Row]:
    """Rows in the order of their acceptance, with the number of the event and whether they correct it."""
    numbers: dict[str, int] = {}
    found = []
    for row in rows:
        correction = row["event_id"] in numbers
        number = numbers.setdefault(row["event_id"], len(numbers) + 1)
        found.append({"event_no": number, "correction": correction} | row)
    return found


def to_arrow(events: Events, accounts: Iterable[str] = ACCOUNTS) -> dict[str, pa.Table]:
    """The relations a feature build reads, accounts included; rows without a number are accepted as they stand."""
    opened = datetime(2010, 1, 1, tzinfo=UTC)
    line = {"opened_at": opened, "known_time": opened, "delivered_known_time": opened, "limit_cents": 100_000}
    lines = [line | {"account_id": account, "segment": "salaried"} for account in accounts]
    tables = {source: pa.Table.from_pylist(accepted(rows), stored_schema(source)) for source, rows in events.items()}
    return tables | {"accounts": pa.Table.from_pylist(lines, stored_schema("accounts"))}


#: A line that nothing asks anything of: old, untouched, half used, not past due.
LINE = {
    "pd": 0.05, "pd_ref": np.nan, "limit_cents": 10_000_00, "used": 0.5, "days_since_change": NEVER_DAYS,
    "adverse": False, "can_draw": True, "closed": False, "holdout": False, "age": 400, "segment": "salaried",
    "dpd_days": 0, "inflow": 30_000_00, "seen": 3.0, "flag": 0.0, "mark": 0.0, "days_since_pause": NEVER_DAYS,
    "watched": False,
}  # fmt: skip

#: Days since the pause of a line that waits for a second look.
_PAUSES = [0, 1, 4, 5, 6]

_DAYS = [0, 1, 2, 5, 27, 28, 29, 30, 89, 90, 91]

#: What may differ from :data:`LINE`.
LINES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "pd": st.floats(0.001, 0.999),
            "pd_ref": st.floats(0.001, 0.999),
            "limit_cents": st.integers(100_00, 90_000_00),
            "used": st.floats(-0.2, 1.4),
            "days_since_change": st.sampled_from(_DAYS),
            "adverse": st.booleans(),
            "can_draw": st.booleans(),
            "closed": st.booleans(),
            "holdout": st.booleans(),
            "age": st.sampled_from(_DAYS),
            "segment": st.sampled_from(["student", "merchant", "default", None]),
            "dpd_days": st.sampled_from(_DAYS),
            "inflow": st.one_of(st.just(np.nan), st.integers(0, 90_000_00)),
            "seen": st.just(np.nan),
            "flag": st.sampled_from([np.nan, 1.0, 2.0]),
            "mark": st.sampled_from([np.nan, 1.0]),
            "days_since_pause": st.sampled_from(_PAUSES),
            "watched": st.booleans(),
        },
    ),
    min_size=1,
    max_size=8,
)


def line_near(random: Random, policy: Policy) -> Row:
    """What may differ from :data:`LINE`, often exactly where a policy changes its mind."""
    cuts, timers = list(policy.segments.values()), policy.timers
    pds = [pd_ for cut in cuts for pd_ in (cut.increase_below_pd, cut.review_above_pd, cut.decrease_above_pd,
                                           cut.freeze_above_pd, cut.close_above_pd)]  # fmt: skip
    cents = [cents for cut in cuts for cents in (cut.min_limit_cents, cut.max_limit_cents)]
    cents += [band.max_limit_cents for band in policy.opening.values()]
    edges = (timers.dwell_days, timers.cool_off_days, policy.new_lines.protected_days)
    days = [*_DAYS, *(day + shift for day in edges for shift in (-1, 0) if day + shift >= 0)]
    values = {
        "pd": random.choice([random.uniform(0.001, 0.999), random.choice(pds)]),
        "pd_ref": random.choice([random.uniform(0.001, 0.999), random.choice(pds)]),
        "limit_cents": random.choice([random.randint(100_00, 90_000_00), random.choice(cents) + random.choice([0, 1])]),
        "used": random.choice([random.uniform(-0.2, 1.4), policy.steps.increase_min_utilisation, 1.0]),
        "days_since_change": random.choice(days),
        "adverse": random.random() < 0.5,
        "can_draw": random.random() < 0.5,
        "closed": random.random() < 0.5,
        "holdout": random.random() < 0.5,
        "age": random.choice(days),
        "segment": random.choice(["student", "merchant", "default", None]),
        "dpd_days": random.choice(_DAYS),
        "inflow": random.choice([np.nan, random.randint(0, 90_000_00)]),
        "seen": np.nan,
        "flag": random.choice([np.nan, 1.0, 2.0]),
        "mark": random.choice([np.nan, 1.0]),
        "days_since_pause": random.choice(_PAUSES),
        "watched": random.random() < 0.5,
    }
    return {name: value for name, value in values.items() if random.random() < (0.15 if name == "closed" else 0.4)}


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Row], Policy]:
    """A policy and many lines near its edges: a policy takes long to draw, and decides many lines as fast as one."""
    policy, random = draw(policies()), draw(st.randoms(use_true_random=True))
    return [line_near(random, policy) for _ in range(draw(st.integers(1, 60)))], policy


Book = tuple[pd.DataFrame, npt.NDArray[np.float64], pd.DataFrame]


def book_of(lines: Sequence[Row]) -> Book:
    """Features, PDs and states of lines that are :data:`LINE` but for the given values."""
    frame = pd.DataFrame([LINE | line for line in lines])
    times = as_ofs(len(frame))
    since, age = (pd.to_timedelta(frame[name], unit="D") for name in ("days_since_change", "age"))
    changed = (times - since).where(frame["days_since_change"] < NEVER_DAYS)
    paused = (frame["days_since_pause"] < NEVER_DAYS) & ~frame["closed"]
    paused_at = (times - pd.to_timedelta(frame["days_since_pause"], unit="D")).where(paused)
    opened = pd.DataFrame({"limit_cents": frame["limit_cents"], "as_of": times, "opened_at": times - age})
    state = first_state(opened, frame["holdout"].to_numpy(bool)).assign(
        pd_ref=frame["pd_ref"].astype(np.float64), can_draw=frame["can_draw"] & ~paused, closed=frame["closed"],
        changed_at=changed, adverse_at=changed.where(frame["adverse"]), paused_at=paused_at,
        watched=frame["watched"],
    )  # fmt: skip
    table = pd.DataFrame(
        {
            "segment": frame["segment"],
            "balance_cents": (frame["limit_cents"] * frame["used"]).astype(np.int64),
            "dpd_days": frame["dpd_days"],
            "inflow": frame["inflow"].astype(np.float64),
            "seen": frame["seen"].astype(np.float64),
            "flag": frame["flag"].astype(np.float64),
            "mark": frame["mark"].astype(np.float64),
            "line_age_days": frame["age"].astype(np.float64),
        }
    )
    return table, frame["pd"].to_numpy(np.float64), state_at(state, times)


def as_ofs(count: int) -> pd.Series:
    """The moment at which every book is decided."""
    return pd.Series(pd.Timestamp(AS_OF).as_unit("us"), index=range(count))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Valid policies with random sections, segments, rules and buckets."""
    base = default_policy()
    unit = draw(st.sampled_from([1, 7, 100_00]))
    dwell = draw(st.sampled_from([1, 2, 28, 60]))
    segments = {"default": draw(_cut_offs(unit))} | ({"student": draw(_cut_offs(unit))} if draw(st.booleans()) else {})
    most = min(cut.max_limit_cents for cut in segments.values())
    rules = tuple(
        Rule(name, draw(st.sampled_from(RULE_ACTIONS)), "late_payments", when, new_lines=draw(st.booleans()))
        for name, when in (("one", _at_least("flag", 1.0)), ("two", _at_least("flag", 2.0)))
    )
    adverse = tuple(rule.name for rule in rules if rule.action in ADVERSE)
    band = sorted(draw(st.lists(st.integers(0, most // unit), min_size=3, max_size=3)))
    return replace(
        base,
        loss=replace(base.loss, adverse_above_cents=draw(st.sampled_from([0, 20_00, 1_000_00]))),
        steps=replace(
            base.steps, increase_share=draw(st.floats(0, 1)), decrease_share=draw(st.floats(0.05, 1)),
            max_increase_cents=draw(st.sampled_from([unit, 1_000_00, 20_000_00])) // unit * unit or unit,
            rounding_cents=unit, increase_min_utilisation=draw(st.sampled_from([0.0, 0.3])),
        ),
        affordability=Affordability("inflow", draw(st.sampled_from([1, 3])), "seen"),
        timers=replace(
            base.timers, dwell_days=dwell, cool_off_days=dwell + draw(st.sampled_from([0, 1, 62])),
            dead_band_log_odds=draw(st.one_of(st.just(0.0), st.floats(0, 1))),
        ),
        new_lines=replace(base.new_lines, protected_days=draw(st.sampled_from([0, 1, 90]))),
        opening={"default": Opening(*(unit * count for count in band))},
        disqualifiers=draw(st.sampled_from([(), (Disqualifier("refused", "low_inflow", _at_least("mark", 1.0)),)])),
        segments=segments,
        rules=rules,
        delinquency=draw(_buckets()),
        second_look=draw(st.sampled_from([None, SecondLook(1), SecondLook(5, ("one",))])),
        watch=draw(st.sampled_from([None, *([Watch(adverse)] if adverse else [])])),
    )  # fmt: skip


def _at_least(column: str, value: float) -> tuple[Condition, ...]:
    return (Condition(column, "at_least", value),)


@st.composite
def _cut_offs(draw: st.DrawFn, unit: int) -> CutOffs:
    cuts = sorted(draw(st.lists(st.floats(0.01, 0.99), min_size=5, max_size=5, unique=True)))
    low, high = sorted(draw(st.lists(st.integers(0, 90_000_00 // unit), min_size=2, max_size=2)))
    return CutOffs(*cuts, low * unit, high * unit, draw(st.sampled_from([0.5, 4.0])))


@st.composite
def _buckets(draw: st.DrawFn) -> tuple[Bucket, ...]:
    ends = sorted(draw(st.sets(st.sampled_from([1, 2, 29, 89]), max_size=3)))
    actions = sorted(draw(st.lists(st.sampled_from(BUCKET_ACTIONS), min_size=4, max_size=4)), key=ACTIONS.index)
    begins = [1, *(end + 1 for end in ends)]
    return tuple(map(Bucket, begins, [*ends, None], actions))
