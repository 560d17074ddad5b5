"""The proving ground: one simulated book decided twice, under faults of the feed and half-released iterations.

Four monthly decisions of one model and policy give every line a state; before the last two the feed swings. At the
last one, half of the accounts have a retrained model and half a changed policy. What was delivered, what really
happened, and what would have happened had every customer repeated the month before, are three stores of events.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray, IntArray
from limitlens.data.calendar import add_months
from limitlens.data.check import check_events
from limitlens.data.contracts import FEEDS
from limitlens.data.engine import run_sql
from limitlens.data.events import EventStore
from limitlens.data.faults import apply_faults
from limitlens.data.frames import to_arrow
from limitlens.data.storage import write_parquet
from limitlens.data.world import START, WorldSettings, read_world, simulate
from limitlens.data.world.feed import planned_faults
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.declarations import FeatureSet
from limitlens.features.line import limit_and_age
from limitlens.features.spine import book
from limitlens.features.table import build_table
from limitlens.limits.iteration import Iteration
from limitlens.limits.policy_file import at_once, parse_policy
from limitlens.limits.state import first_state, in_holdout, next_state, state_at
from limitlens.models.default_risk import DefaultRiskModel
from limitlens.models.labels import computed_labels
from limitlens.models.settings import TrainSettings
from limitlens.models.training import train_model
from limitlens.pipeline.workspace import default_policy, default_settings

WORLD = Path(__file__).with_name("attribution.toml")

#: The shipped policy moves too few limits for a benchmark; this one raises more and reacts to smaller changes of PD.
ACTIVE_POLICY = (
    ('name = "base"', 'name = "active"'),
    ("increase_below_pd = 0.010", "increase_below_pd = 0.026"),
    ("dead_band_log_odds = 0.20", "dead_band_log_odds = 0.05"),
    ("cool_off_days = 90", "cool_off_days = 60"),
)

MONTHS = 15
T0, T1 = add_months(START, 13), add_months(START, 14)
BEFORE = tuple(add_months(START, k) for k in (10, 11, 12))
STEP = T1 - T0

#: Everything that was ever delivered about the two decisions is known by then.
FINAL = T1 + timedelta(days=30)


def quiet(_: str) -> None:
    """Progress nobody reads."""


@dataclass(frozen=True)
class Ground:
    """A book and its events, as delivered and as they happened.

    Parameters
    ----------
    seed, accounts : int
    folder : Path
        Gets the event tables.
    recall : float
        Share of the rows touched by a swing that is ever repaired.
    planned : WorldSettings
        The world before its swings get that recall.
    """

    seed: int
    accounts: int
    folder: Path
    recall: float = 1.0
    planned: WorldSettings = field(default_factory=lambda: read_world(WORLD))

    @cached_property
    def world(self) -> WorldSettings:
        """The world with its faults at the recall asked for."""
        swings = [replace(f, recall=self.recall) if f.before_months else f for f in self.planned.faults]
        return replace(self.planned, faults=tuple(swings))

    @cached_property
    def delivered(self) -> EventStore:
        """Events as the lender received them."""
        return self.store(f"delivered-{self.recall}", self.world)

    @cached_property
    def clean(self) -> EventStore:
        """Events as they happened: no operator of the feed ran."""
        return self.store("clean", replace(self.world, faults=()))

    def store(
        self,
        name: str,
        world: WorldSettings,
        *,
        accounts: IntArray | None = None,
        without: frozenset[str] = frozenset(),
    ) -> EventStore:
        """Simulate and check in; ``accounts`` alone, and ``without`` some causes, where asked."""
        events, store = self.folder / name / "events", EventStore(self.folder / name / "work")
        who = self.accounts if accounts is None else accounts.tolist()
        if not store.loads():
            simulate(
                events, accounts=who, months=MONTHS, seed=self.seed, world=world, without=without, futures=0,
                progress=quiet,
            )  # fmt: skip
            check_events(events, store)
        return store


@dataclass(frozen=True)
class Iterations:
    """Old and new model, old and new policy, and which account has the new ones at the second decision."""

    models: tuple[DefaultRiskModel, DefaultRiskModel]
    world: WorldSettings

    def iteration(self, model: int, policy: int) -> Iteration:
        """One of the four mixes."""
        return self._mixes[model, policy]

    @cached_property
    def _mixes(self) -> dict[tuple[int, int], Iteration]:
        base = at_once(default_policy()).text  # two dates have no room for a pause in between
        active = replace(self.world.release, policy_changes=ACTIVE_POLICY).changed_policy(base)
        policies = (parse_policy(active), parse_policy(self.world.release.changed_policy(active)))
        return {(m, p): Iteration(self.models[m], policies[p], str(m)) for m in (0, 1) for p in (0, 1)}

    def released(self, accounts: pd.Series) -> tuple[BoolArray, BoolArray]:
        """Who has the new model, and who the new policy."""
        release = self.world.release
        return in_holdout(accounts, release.model_share, "model"), in_holdout(accounts, release.policy_share, "policy")


def features_of(store: EventStore) -> FeatureSet:
    """The catalogue with the attributes of the accounts."""
    return replace(CATALOGUE, attributes=tuple(sorted(store.attributes().items())))


def train_both(ground: Ground) -> Iterations:
    """M1 on two months of labels, M2 on the two months after the first of them, with what the release changes."""
    store, release = ground.delivered, ground.world.release
    full = features_of(store)
    dropped = tuple(a for a in full.aggregates if a.name not in release.dropped_features)
    kept = {n for a in dropped for n in a.column_names()} | {p.name for p in full.positions}
    less = replace(full, aggregates=dropped, ratios=tuple(r for r in full.ratios if r.denominator in kept))
    months = [add_months(START, k) for k in (3, 4, 5)]
    rows = {month: _labelled(store, full, month) for month in months}
    settings = default_settings()
    first = _train(full, [rows[m] for m in months[:2]], settings, months[1])
    again = _train(less, [rows[m] for m in months[1:]], replace(settings, seed=release.seed), months[2])
    return Iterations((first, again), ground.world)


def _labelled(store: EventStore, features: FeatureSet, month: datetime) -> pd.DataFrame:
    relations = store.relations()
    lines = book([month], relations)
    labels = computed_labels(lines, relations, known_by=add_months(month, 7), horizon_months=6)
    table = build_table(features, lines, relations)
    state = first_state(lines, np.zeros(len(lines), bool))[["limit_cents", "line_age_days"]]
    bad = lines[["account_id", "as_of"]].merge(labels, how="left", validate="one_to_one")[["bad"]]
    rows = pd.concat([table, state, bad], axis=1)
    return rows[rows["dpd_days"] < 90]


def _train(features: FeatureSet, rows: list[pd.DataFrame], settings: TrainSettings, last: datetime) -> DefaultRiskModel:
    table = pd.concat(rows, ignore_index=True)
    limit, age = limit_and_age(table)
    bad = table["bad"].to_numpy(bool)
    end = add_months(last, 6).isoformat()
    return train_model(features, table, limit, age, bad, settings=settings, labels_end=end)


@dataclass(frozen=True)
class Decided:
    """Two decisions of n lines: who they are, their states before each, limits as recorded.

    ``model`` and ``policy`` say who has the new one at the second decision. ``x0`` and ``x1`` are the features as
    known at each decision.
    """

    accounts: pd.Series
    state0: pd.DataFrame
    state1: pd.DataFrame
    model: BoolArray
    policy: BoolArray
    x0: pd.DataFrame
    x1: pd.DataFrame
    limit0: IntArray
    limit1: IntArray

    def rows(self, keep: BoolArray) -> "Decided":
        """Some of the lines."""
        at = np.flatnonzero(keep)
        frames = {
            name: getattr(self, name).iloc[at].reset_index(drop=True)
            for name in ("accounts", "state0", "state1", "x0", "x1")
        }
        arrays = {name: getattr(self, name)[at] for name in ("model", "policy", "limit0", "limit1")}
        return Decided(**frames, **arrays)


def decide_twice(ground: Ground, iterations: Iterations, say: Callable[[str], None]) -> Decided:
    """Decide the book at four month starts, and keep the last two decisions of lines that had both."""
    relations = ground.delivered.relations()
    features = features_of(ground.delivered)
    first = iterations.iteration(0, 0)
    decided = pd.DataFrame()
    state = pd.DataFrame()
    for when in (*BEFORE, T0):
        lines = book([when], relations)
        state = _carried(lines, state, decided, first)
        table = build_table(features, lines, relations)
        decided = first.decide(table, state).assign(account_id=lines["account_id"], as_of=lines["as_of"])
        say(f"decided {len(lines):,} lines at {when:%Y-%m-%d}")
    after = next_state(state, decided, decided["as_of"])
    open_ = ~after["closed"].to_numpy()
    accounts = decided["account_id"][open_].reset_index(drop=True)
    at1 = pd.Series(pd.Timestamp(T1), accounts.index).dt.as_unit("us")
    state1 = state_at(after[open_].reset_index(drop=True), at1)
    x1 = features_at(ground.delivered, accounts, T1, T1)
    model, policy = iterations.released(accounts)
    limit1 = decide_mixed(iterations, x1, model, policy, state1)[0]
    return Decided(
        accounts,
        state[open_].reset_index(drop=True),
        state1,
        model,
        policy,
        table[open_].reset_index(drop=True),
        x1,
        decided["limit_cents"][open_].to_numpy(np.int64),
        limit1,
    )


def _carried(lines: pd.DataFrame, state: pd.DataFrame, decided: pd.DataFrame, first: Iteration) -> pd.DataFrame:
    """State of each line: from its last decision, else as it was taken over."""
    holdout = first.policy.holdout
    fresh = first_state(lines, in_holdout(lines["account_id"], holdout.share, holdout.salt))
    if not len(decided):
        return fresh
    after = next_state(state, decided, decided["as_of"]).set_index(decided["account_id"])
    known = lines["account_id"].isin(after.index).to_numpy()
    carried = pd.DataFrame(after.loc[lines["account_id"][known]]).set_index(lines.index[known])
    return pd.concat([state_at(carried, lines["as_of"][known]), fresh[~known]]).loc[lines.index]


def features_at(store: EventStore, accounts: pd.Series, as_of: datetime, known_by: datetime) -> pd.DataFrame:
    """Features of given accounts at one moment, as known at another."""
    spine = pd.DataFrame({"account_id": accounts, "as_of": as_of, "known_by": known_by})
    spine = spine.astype({"as_of": "datetime64[us, UTC]", "known_by": "datetime64[us, UTC]"})
    return build_table(features_of(store), spine, store.relations())


def decide_mixed(
    iterations: Iterations, table: pd.DataFrame, model: BoolArray, policy: BoolArray, state: pd.DataFrame
) -> tuple[IntArray, pd.DataFrame]:
    """Limits of n lines, each under its own mix of old and new; and the decisions themselves."""
    parts = []
    for m in (0, 1):
        for p in (0, 1):
            rows = np.flatnonzero((model == bool(m)) & (policy == bool(p)))
            if len(rows):
                parts.append(iterations.iteration(m, p).decide(table.iloc[rows], state.iloc[rows]))
    decided = pd.concat(parts).loc[table.index]
    return decided["limit_cents"].to_numpy(np.int64), decided


_REPEATED = f"""
SELECT * REPLACE (
    event_time + INTERVAL '{STEP.days}' DAY AS event_time, known_time + INTERVAL '{STEP.days}' DAY AS known_time
) FROM events WHERE known_time < CAST('{T0.isoformat()}' AS TIMESTAMPTZ)
"""


def repeated_store(
    ground: Ground, accounts: pd.Series, sources: Collection[str] = FEEDS, *, struck: bool = True
) -> EventStore:
    """What the lender would have received had every customer lived on as before the first decision.

    The clean events known at t0 happen again so many days later as lie between the decisions; then the same
    operators run over them. Where only some ``sources`` repeat, the others are as they were delivered. Not ``struck``:
    no operator of the feed ran over any.
    """
    rest = f"delivered-{ground.recall}" if struck else "clean"
    folder = ground.folder / "-".join(("repeated", rest, *sorted(sources)))
    store = EventStore(folder / "work")
    world = ground.world if struck else replace(ground.world, faults=())
    faults = planned_faults(world, seed=ground.seed, start=START, months=MONTHS)
    chosen = {"chosen": to_arrow(accounts.to_frame("account_id"))}
    for source in ("accounts", *FEEDS):
        origin = "clean" if source in (*sources, "accounts") else rest
        files = f"read_parquet('{ground.folder / origin / 'events' / source}/*.parquet')"
        table = run_sql(f"SELECT * FROM {files} SEMI JOIN chosen USING (account_id)", chosen)
        if source in sources:
            table = apply_faults(faults, source, run_sql(_REPEATED, {"events": table})).table
        write_parquet(table, folder / "events" / source / "repeated.parquet")
    check_events(folder / "events", store)
    return store
