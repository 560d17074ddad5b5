"""The simulated portfolio as files: months pass, chunks of customers live them, their events are streamed out."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.arrays import FloatArray, IntArray
from limitlens.data.calendar import DAY, add_months
from limitlens.data.contracts import FEEDS, SOURCES
from limitlens.data.errors import ConfigError, InputError
from limitlens.data.events import ARROW_TYPES
from limitlens.data.faults import TOUCHED, Fault, apply_faults
from limitlens.data.frames import to_arrow
from limitlens.data.progress import Progress, silent
from limitlens.data.storage import parquet_stream, write_parquet
from limitlens.data.world import truth
from limitlens.data.world.chance import Chance
from limitlens.data.world.decisions import lender_actions, owned
from limitlens.data.world.feed import planned_faults
from limitlens.data.world.fortune import economy
from limitlens.data.world.futures import default_probability
from limitlens.data.world.lives import Lived, Lives, billed, born, lived
from limitlens.data.world.people import CITIES, JOBS, SEGMENTS, People, draw_people
from limitlens.data.world.rows import to_table
from limitlens.data.world.scene import Month, Scene
from limitlens.data.world.settings import CAUSES, FUTURES, WorldSettings, default_world

#: When a world begins unless its settings say otherwise.
START = datetime(2025, 1, 1, tzinfo=UTC)

#: Customers lived at a time; any number gives the same bytes.
CHUNK_ACCOUNTS = 50_000


@dataclass(frozen=True)
class SimulationReport:
    """Rows written, by table, and episodes, by cause."""

    rows: dict[str, int]
    episodes: dict[str, int]


@dataclass(frozen=True)
class _Setting:
    """What is the same for every chunk: chance, the world, its calendar, its economy."""

    chance: Chance
    world: WorldSettings
    start: datetime
    months: int
    month_days: list[int]
    economy: FloatArray
    without: frozenset[str]
    actions: pd.DataFrame

    def scene(self, people: People, index: int) -> Scene:
        first, end = self.month_days[index : index + 2]
        month = Month(index, first, end - first, (self.start.month + index - 1) % 12 + 1)
        return Scene(self.chance, self.world, people, month)


@dataclass
class _Chunk:
    """Customers, what the lender does to them, and where they stand; ``lives`` moves on from month to month."""

    people: People
    acted: pd.DataFrame
    lives: Lives
    default_day: FloatArray
    answers: list[pd.DataFrame]


def simulate(
    out: Path,
    *,
    accounts: int | Collection[int] = 6_000,
    months: int = 18,
    seed: int = 7,
    start: datetime = START,
    world: WorldSettings | None = None,
    without: Collection[str] = (),
    decisions: pd.DataFrame | None = None,
    chunk_accounts: int = CHUNK_ACCOUNTS,
    futures: int = FUTURES,
    progress: Progress = silent,
) -> SimulationReport:
    """Write a portfolio as event tables, and its truth beside them under ``truth``.

    Parameters
    ----------
    out : Path
        Folder; gets ``accounts``, ``consumption``, ``payment``, ``device`` and ``truth``.
    accounts : int or collection of int
        The first so many customers of the world, or the customers of these numbers alone.
    months, seed : int
        Equal values give equal files, byte for byte.
    start : datetime
        First of a month.
    world : WorldSettings, optional
        Default: the one that ships with limitlens.
    without : collection of str
        Causes taken out at their root; every other random number stays as it was.
    decisions : DataFrame with ``account_id, as_of, action, limit_cents, can_draw``, optional
        What the lender decided, as `limitlens ledger export` writes it. Customers react where the world says how. The
        world before a decision is the same with and without it.
    chunk_accounts : int
        Customers held in memory at a time; changes no byte.
    futures : int
        Futures drawn for each true PD; 0 leaves the true PD out.
    progress : callable
        Told after each month.

    Raises
    ------
    ConfigError
        ``without`` names an unknown cause.
    InputError
        ``out`` holds files of another run that this one would not replace, or ``decisions`` are not about this world.
    """
    if unknown := sorted(set(without) - set(CAUSES)):
        raise ConfigError(f"unknown causes {unknown}; expected some of {', '.join(CAUSES)}.")
    _expect_no_other(out, months)
    numbers = np.arange(accounts) if isinstance(accounts, int) else np.array(sorted(accounts))
    actions = lender_actions(decisions, numbers, start, add_months(start, months))
    setting = _setting(seed, world or default_world(), start, months, without=frozenset(without), actions=actions)
    chunks = [
        _born(setting, numbers[first : first + chunk_accounts]) for first in range(0, len(numbers), chunk_accounts)
    ]
    counts = {"accounts": _write_accounts(out / "accounts" / "accounts.parquet", chunks, start)}
    episodes, standings = _write_months(setting, chunks, out, counts, futures=futures, progress=progress)
    truth.write_truth(episodes, out / "truth" / "episodes.parquet")
    if futures or decisions is not None:
        for month in range(months, months + truth.HORIZON_MONTHS):
            for chunk in chunks:
                _pass(setting, chunk, month)
        days = {n: d for chunk in chunks for n, d in zip(chunk.people.names(), chunk.default_day, strict=True)}
        truth.write_truth(truth.lines(days, episodes, start), out / "truth" / "lines.parquet")
    if futures:
        outcomes = truth.outcomes(standings, days, setting.month_days, start)
        truth.write_truth(outcomes, out / "truth" / "outcomes.parquet")
    if decisions is not None:
        judged = pd.concat([_judged(setting, chunk) for chunk in chunks], ignore_index=True)
        truth.write_truth(truth.actions(judged, episodes, start), out / "truth" / "actions.parquet")
    return SimulationReport(counts, dict(sorted(Counter(episodes["cause"]).items())))


def _expect_no_other(out: Path, months: int) -> None:
    """Refuse a folder with files that this run would leave beside its own, and a check would read with them."""
    expected = {"accounts.parquet", *(_file(source, month) for source in FEEDS for month in range(months))}
    for source in SOURCES:
        for path in sorted((out / source).glob("*")):
            if path.name not in expected and not path.name.startswith("."):
                raise InputError(f"{path}: stands where the simulation writes; name an empty folder.")


def _file(source: str, month: int) -> str:
    return f"{source}-{month + 1:02d}.parquet"


def _write_months(
    setting: _Setting,
    chunks: list[_Chunk],
    out: Path,
    counts: dict[str, int],
    *,
    futures: int,
    progress: Progress,
) -> tuple[pd.DataFrame, list[truth.Standing]]:
    """Let the months pass and write their events; count the rows; return the episodes and the standings."""
    faults = planned_faults(setting.world, seed=setting.chance.seed, start=setting.start, months=setting.months)
    counts |= dict.fromkeys(FEEDS, 0)
    episodes: list[pd.DataFrame] = []
    standings: list[truth.Standing] = []
    with ExitStack() as truths:
        touch = _streams(
            truths, {source: (TOUCHED, out / "truth" / "faults" / f"{source}.parquet") for source in FEEDS}
        )
        for month in range(setting.months):
            with ExitStack() as files:
                write = _streams(files, {s: (_schema(s), out / s / _file(s, month)) for s in FEEDS})
                for chunk in chunks:
                    if futures:
                        standings.append(_standing(setting, chunk, month, futures))
                    past = _pass(setting, chunk, month)
                    episodes.append(truth.episode_rows(chunk.people, past.episodes, setting.start))
                    for source, table, touched in _delivered(setting, chunk.people, past, month, faults):
                        write[source](table)
                        touch[source](touched)
                        counts[source] += len(table)
            progress(f"month {month + 1} of {setting.months}: {sum(counts.values()):,} rows so far")
    all_episodes = pd.concat(episodes).sort_values(["account_id", "begins", "cause"], ignore_index=True)
    return all_episodes, standings


def _streams(stack: ExitStack, files: Mapping[str, tuple[pa.Schema, Path]]) -> dict[str, Callable[[pa.Table], None]]:
    return {name: stack.enter_context(parquet_stream(schema, path)) for name, (schema, path) in files.items()}


def _setting(
    seed: int, world: WorldSettings, start: datetime, months: int, *, without: frozenset[str], actions: pd.DataFrame
) -> _Setting:
    ahead = months + truth.HORIZON_MONTHS + 1
    month_days = [(add_months(start, k) - start).days for k in range(ahead + 1)]
    chance = Chance(seed)
    return _Setting(chance, world, start, months, month_days, economy(chance, ahead), without, actions)


def _born(setting: _Setting, numbers: IntArray) -> _Chunk:
    opening_days = setting.month_days[: setting.months + 1]
    people = draw_people(setting.chance, setting.world, numbers, opening_days)
    if "family_phone" in setting.without:
        people = replace(people, family=np.full(len(numbers), -1))
    lives = born(setting.chance, people, setting.world.state, len(setting.month_days))
    return _Chunk(people, owned(people, setting.actions), lives, np.full(len(numbers), np.inf), [])


def _pass(setting: _Setting, chunk: _Chunk, month: int) -> Lived:
    """Let one month pass for a chunk."""
    past = lived(
        setting.scene(chunk.people, month),
        chunk.lives,
        acted=chunk.acted,
        economy_now=float(setting.economy[month]),
        month_days=setting.month_days,
        without=setting.without,
    )
    chunk.lives = past.lives
    chunk.default_day = np.fmin(chunk.default_day, past.default_day)
    chunk.answers.append(past.answers)
    return past


def _judged(setting: _Setting, chunk: _Chunk) -> pd.DataFrame:
    """Adverse actions on a chunk, the answer to each, and when the line defaulted, with the action and without it.

    Without an action the lender does nothing to the line from that moment on; all else is the same chance.
    """
    acted = chunk.acted.assign(turn=chunk.acted.groupby("owner").cumcount())
    acted = acted.assign(
        default_day=chunk.default_day[acted["owner"]], account_id=np.array(chunk.people.names(), object)[acted["owner"]]
    )
    parts = [acted.assign(default_day_without=np.nan).iloc[:0]]
    for turn, these in acted[acted["adverse"]].groupby("turn"):
        numbers = these["number"].to_numpy(np.int64)
        kept = acted[(acted["turn"] < turn) & acted["number"].isin(numbers)].sort_values(["day", "number"])
        other = replace(setting, actions=kept)
        lives = _born(other, np.sort(numbers))
        for month in range(setting.months + truth.HORIZON_MONTHS):
            _pass(other, lives, month)
        day = pd.Series(lives.default_day, lives.people.number)
        parts.append(these.assign(default_day_without=day.reindex(numbers).to_numpy()))
    answers = pd.concat(chunk.answers, ignore_index=True)
    return (
        pd.concat(parts)
        .merge(answers, on=["owner", "day"], how="left")
        .assign(answer=lambda rows: rows["answer"].fillna("nothing"))
    )


def _standing(setting: _Setting, chunk: _Chunk, month: int, futures: int) -> truth.Standing:
    """True PD of the lines open at a month start; one that owes nothing is taken as safe."""
    first = setting.month_days[month]
    owing = np.flatnonzero(billed(chunk.people, chunk.lives, first))
    people, pd_ = chunk.people.some(owing), np.zeros(len(chunk.people.number))
    pd_[owing] = default_probability(
        [setting.scene(people, ahead) for ahead in range(month, month + truth.HORIZON_MONTHS)],
        chunk.lives.fortune.some(owing),
        month_days=setting.month_days,
        economy=setting.economy,
        futures=futures,
    )
    open_ = chunk.people.opened_day < first
    return truth.standing(chunk.people, open_, pd_, month)


def _delivered(
    setting: _Setting, people: People, past: Lived, month: int, faults: list[Fault]
) -> Iterator[tuple[str, pa.Table, pa.Table]]:
    """Rows of each source as the lender receives them, and what the feed did to them."""
    end = pa.scalar(setting.start + DAY * setting.month_days[setting.months], pa.timestamp("us", tz="UTC"))
    for source in FEEDS:
        table = to_table(setting.scene(people, month), source, past.rows[source], setting.start)
        struck = apply_faults(faults, source, table)
        yield source, struck.table.filter(pc.less(struck.table["known_time"], end)), struck.touched


def _schema(source: str) -> pa.Schema:
    return pa.schema([(column.name, ARROW_TYPES[column.dtype]) for column in SOURCES[source].columns])


def _write_accounts(path: Path, chunks: list[_Chunk], start: datetime) -> int:
    table = pa.concat_tables([to_arrow(_accounts(chunk.people, start)) for chunk in chunks])
    write_parquet(table, path)
    return len(table)


def _accounts(people: People, start: datetime) -> pd.DataFrame:
    opened = pd.Series(pd.Timestamp(start) + pd.to_timedelta(people.opened_day, unit="D")).dt.floor("s")
    opened = opened.dt.as_unit("us")
    return pd.DataFrame(
        {
            "account_id": people.names(),
            "opened_at": opened,
            "known_time": opened - pd.Timedelta(minutes=7),
            "limit_cents": people.limit_cents,
            "segment": np.array(SEGMENTS, object)[people.segment],
            "home_city": np.array(CITIES, object)[people.city],
            "employment": np.array(JOBS, object)[people.segment],
            "age": people.age.astype(np.float64),
            "sex": np.array(["female", "male"], object)[people.sex],
        }
    )
