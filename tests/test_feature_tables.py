"""Tables of the book: brought up to date they are the full build, on Spark they are those of DuckDB, by hand too."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import sqlglot
from sqlglot import exp
from typer.testing import CliRunner

from limitlens.data.calendar import DAY
from limitlens.data.check import check_events
from limitlens.data.contracts import EVENT_SOURCES, FEEDS
from limitlens.data.engine import run_sql
from limitlens.data.world import simulate
from limitlens.features import table as feature_room
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.compiler import compile_sql
from limitlens.features.declarations import Aggregate, FeatureSet
from limitlens.features.feature_page import feature_page
from limitlens.features.listing import listed
from limitlens.features.rows import Clock
from limitlens.features.script import sql_script
from limitlens.features.spine import book
from limitlens.features.table import Engine, build_few, build_table, table_parts
from limitlens.pipeline.cli import app
from limitlens.pipeline.training import feature_tables as build_room
from limitlens.pipeline.training.feature_tables import feature_tables, write_tables
from limitlens.pipeline.workspace import Workspace

pytestmark = pytest.mark.slow

AS_OF = datetime(2025, 7, 1, tzinfo=UTC)
KEYS = ["account_id", "as_of", "known_by"]


def quiet(_: str) -> None:
    """Progress nobody reads."""


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("events") / "all"
    simulate(folder, accounts=150, months=8, seed=3, futures=0, progress=quiet)
    return folder


@pytest.fixture(scope="module")
def workspace(events: Path) -> Workspace:
    space = Workspace(events.parent / "work")
    check_events(events, space.events)
    return space


@pytest.fixture(scope="module")
def lines(workspace: Workspace) -> pd.DataFrame:
    return book([AS_OF], workspace.events.relations())[KEYS]


def deliver(events: Path, out: Path, share: slice) -> Path:
    """A part of the rows of every source; the accounts whole."""
    shutil.copytree(events / "accounts", out / "accounts")
    for source in FEEDS:
        rows = pq.ParquetDataset(events / source).read()
        (out / source).mkdir()
        chosen = np.random.default_rng(5).permutation(len(rows))[share]
        pq.write_table(rows.take(pa.array(np.sort(chosen))), out / source / "part.parquet")
    return out


def built(space: Workspace, said: list[str]) -> bytes:
    [path] = feature_tables(space, CATALOGUE, [AS_OF], progress=said.append)
    return path.read_bytes()


def test_a_table_brought_up_to_date_is_byte_for_byte_the_full_build(events: Path, tmp_path: Path) -> None:
    space, said = Workspace(tmp_path / "work"), list[str]()
    check_events(deliver(events, tmp_path / "first", slice(25, None)), space.events)
    first = built(space, said)
    check_events(deliver(events, tmp_path / "late", slice(0, 25)), space.events)
    mended = built(space, said)
    shutil.rmtree(space.root / "features")
    assert first != mended == built(space, said)
    computed = [int(text.split(": ")[1].split(" of ")[0]) for text in said]
    assert 0 < computed[1] < computed[0] == computed[2]


def test_a_build_killed_before_its_mark_leaves_no_table_behind(
    events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(text: str, path: Path) -> None:
        raise KeyboardInterrupt

    space = Workspace(tmp_path / "work")
    check_events(deliver(events, tmp_path / "first", slice(25, None)), space.events)
    built(space, [])
    check_events(deliver(events, tmp_path / "late", slice(0, 25)), space.events)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(build_room, "write_text", killed)
        built(space, [])
    built(space, [])
    [path] = feature_tables(space, CATALOGUE, [AS_OF], progress=quiet)
    assert [*path.parent.glob("*.parquet")] == [path]


def test_a_load_of_what_became_known_later_computes_nothing(events: Path, tmp_path: Path) -> None:
    space, said = Workspace(tmp_path / "work"), list[str]()
    check_events(deliver(events, tmp_path / "first", slice(None)), space.events)
    first = built(space, said)
    later = events.parent / "later"
    shutil.copytree(tmp_path / "first" / "accounts", later / "accounts")
    row = pq.read_table(tmp_path / "first" / "device" / "part.parquet").slice(0, 1)
    after = pa.array([AS_OF], row.schema.field("known_time").type)
    row = row.set_column(row.schema.get_field_index("known_time"), row.schema.field("known_time"), after)
    (later / "device").mkdir()
    pq.write_table(row, later / "device" / "later.parquet")
    [before] = feature_tables(space, CATALOGUE, [AS_OF], progress=quiet)
    check_events(later, space.events)
    assert built(space, said) == first
    assert len(said) == 1
    [path] = feature_tables(space, CATALOGUE, [AS_OF], progress=quiet)
    assert [*path.parent.glob("*.parquet")] == [path] != [before]


def test_tables_built_together_are_byte_for_byte_those_built_alone(workspace: Workspace) -> None:
    """Some moments with nobody, some with few, some with many accounts."""
    moments = [datetime(2024, 12, 1, tzinfo=UTC), *(datetime(2025, month, 1, tzinfo=UTC) for month in (2, 4, 7))]

    def tables() -> list[bytes]:
        return [path.read_bytes() for path in feature_tables(workspace, CATALOGUE, moments, progress=quiet)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_room, "LITERAL_ROWS", 85)
        patch.setattr(feature_room, "PART_EVENTS", 6_000)
        together = tables()
    shutil.rmtree(workspace.root / "features")
    alone = [feature_tables(workspace, CATALOGUE, [moment], progress=quiet)[0].read_bytes() for moment in moments]
    assert together == alone == tables()


def test_parts_of_the_book_make_the_whole_table(
    workspace: Workspace, lines: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    relations = workspace.events.relations()
    whole = pa.concat_tables(table_parts(CATALOGUE, lines, relations))
    monkeypatch.setattr(feature_room, "LITERAL_ROWS", 30)
    monkeypatch.setattr(feature_room, "PART_EVENTS", 1)
    parts = list(table_parts(CATALOGUE, lines, relations))
    assert len(parts) > 3
    assert pa.concat_tables(parts).equals(whole)


def test_few_lines_asked_for_over_and_over_have_the_rows_of_the_table_whatever_was_asked_before(
    workspace: Workspace, lines: pd.DataFrame
) -> None:
    """Nobody, a line that nothing is known of, one or several, at one moment or at moments of their own."""
    relations = {name: run_sql(sql) for name, sql in workspace.events.relations().items()}
    rng = np.random.default_rng(7)
    feature_room._planned.cache_clear()
    for count in (0, 1, 1, 5, 3, 2, 6, 1, 0, 4):
        some = lines.iloc[rng.permutation(len(lines))[:count]].reset_index(drop=True)
        back = pd.to_timedelta(rng.integers(0, 300, count) * (count % 2), "D").as_unit("us")
        asked = pd.concat([some, some.assign(as_of=some["as_of"] - back, known_by=some["as_of"])]).drop_duplicates()
        mine = relations
        if count < 5:  # those of whom nothing links them to others
            mine = {name: rows.filter(pc.is_in(rows["account_id"], pa.array(some["account_id"], pa.string())))
                    for name, rows in relations.items()}  # fmt: skip
        few, whole = build_few(CATALOGUE, asked, mine), build_table(CATALOGUE, asked, mine)
        pd.testing.assert_frame_equal(few, whole, check_exact=True)
    assert feature_room._planned.cache_info().misses == 1


def test_the_printed_query_runs_by_hand_and_gives_the_table(workspace: Workspace, lines: pd.DataFrame) -> None:
    chosen = CATALOGUE.only(["draw_count_30d", "device_ring_max_ever", "payee_ring_max_90d", "dpd_days", "draw_growth"])
    relations = workspace.events.relations()
    script = sql_script(chosen, AS_OF, relations=relations)
    with duckdb.connect() as connection:
        found = connection.sql(script).to_arrow_table()
    expected = pa.concat_tables(table_parts(chosen, lines, relations))
    there = found.filter(pc.is_in(found["account_id"], expected["account_id"]))
    assert there.select(chosen.columns).equals(expected.select(chosen.columns))


def assert_engines_agree(spark: Engine, workspace: Workspace, points: pd.DataFrame) -> None:
    chosen = of_every_sort(CATALOGUE)
    expected = build_table(chosen, points, workspace.events.relations())
    found = build_table(chosen, points, workspace.events.spark_relations(), engine=spark)
    filled = of_every_sort(CATALOGUE.for_sources(workspace.events.present())).columns  # of sources that have rows
    assert (expected[list(filled)].fillna(0) != 0).any().mean() > 0.9
    whole = expected.select_dtypes("int64").columns
    pd.testing.assert_frame_equal(found[whole], expected[whole])
    pd.testing.assert_frame_equal(found, expected, rtol=1e-9, atol=1e-9)


def test_duckdb_and_spark_give_the_same_table_at_one_moment(
    spark: Engine, workspace: Workspace, lines: pd.DataFrame
) -> None:
    assert_engines_agree(spark, workspace, lines)


def test_duckdb_and_spark_give_the_same_table_at_many_moments(
    spark: Engine, workspace: Workspace, lines: pd.DataFrame
) -> None:
    hours = pd.to_timedelta(np.arange(len(lines)) % 40, unit="h")
    assert_engines_agree(spark, workspace, lines.assign(as_of=lines["as_of"] - hours))


def of_every_sort(whole: FeatureSet) -> FeatureSet:
    """Every aggregation of every set of rows, with and without a condition, of every unit; positions; their ratios."""
    sorts: dict[tuple[object, ...], Aggregate] = {}
    for one in whole.aggregates:
        windows = (one.windows[0], one.windows[-1])[: len(one.windows)]
        sorts.setdefault((one.rows, one.how, one.per, one.only, one.unit), replace(one, windows=windows))
    there = {name for one in sorts.values() for name in one.column_names()} | {one.name for one in whole.positions}
    ratios = tuple(one for one in whole.ratios if {one.numerator, one.denominator} <= there)
    return replace(whole, aggregates=tuple(sorts.values()), ratios=ratios, shares=())


def functions(query: str) -> set[type[exp.Expression]]:
    return {type(node) for node in sqlglot.parse_one(query, read="spark").walk()}


@pytest.mark.parametrize("timed", [Clock(), Clock(AS_OF, AS_OF)], ids=["columns", "literal"])
def test_what_stands_for_the_catalogue_on_spark_calls_every_function_of_it(timed: Clock) -> None:
    some, whole = of_every_sort(CATALOGUE), CATALOGUE
    assert some.ratios
    assert len(some.columns) < len(whole.columns) / 2
    sorts, all_sorts = ({(a.rows, a.how, a.per, a.only, a.unit) for a in one.aggregates} for one in (some, whole))
    assert sorts == all_sorts
    assert functions(compile_sql(some, timed, "spark")) == functions(compile_sql(whole, timed, "spark"))


def test_the_page_of_the_features_is_current() -> None:
    page = Path(__file__).parents[1] / "docs" / "features.md"
    mend = "python -m limitlens.features.feature_page > docs/features.md"
    assert page.read_text(encoding="utf-8") == feature_page(), f"out of date; run {mend}"


def test_every_feature_is_listed_with_unit_reason_and_why() -> None:
    found = listed(CATALOGUE)
    assert len(found) >= 150
    assert all(one.unit and one.why and one.reason and one.measures for one in found)


def test_silence_makes_of_a_feature_what_the_page_says(small_workspace: Workspace) -> None:
    """No row of any source for 400 days, beside the day on which the rows stopped."""
    stop = small_workspace.ledger.runs()[0].as_of
    known = f"WHERE known_time < TIMESTAMPTZ '{stop.isoformat()}'"
    relations = small_workspace.relations(CATALOGUE)
    relations |= {name: f"SELECT * FROM ({relations[name]}) {known}" for name in EVENT_SOURCES}
    accounts = small_workspace.ledger.last_decisions()["account_id"].to_pandas().iloc[:200]
    then, later = (
        build_table(CATALOGUE, pd.DataFrame({"account_id": accounts, "as_of": at, "known_by": at}), relations)
        for at in (pd.Timestamp(stop).as_unit("us"), pd.Timestamp(stop + 400 * DAY).as_unit("us"))
    )
    goes_to = {"balance_mean_90d_cents": "balance_cents"}
    for one in listed(CATALOGUE):
        if one.name not in later or one.name == "balance_trend":
            continue
        before, after = (
            t[name].astype(float) for t, name in ((then, goes_to.get(one.name, one.name)), (later, one.name))
        )
        holds = {
            "0": (after == 0) | after.isna(),
            "null": after.isna(),
            "stays": (after == before) | (after.isna() & before.isna()),
            "grows": (after >= before) | (after.isna() & before.isna()),
        }
        assert holds[one.silence].all(), one.name
        assert one.silence != "0" or (after == 0).any(), one.name


def test_the_value_of_every_feature_stands_in_its_table() -> None:
    page = (Path(__file__).parents[1] / "docs" / "feature-value.md").read_text(encoding="utf-8")
    told = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    assert told == {one.name for one in listed(CATALOGUE) if one.source != "shared_risk"}  # no set has rows of it


def test_the_command_lists_features_that_contain_every_word() -> None:
    said = CliRunner().invoke(app, ["features", "ring", "payee", "--json"])
    assert '"name": "payee_ring_max_90d"' in said.stdout
    assert "device_ring" not in said.stdout


def test_a_last_part_that_cannot_be_written_is_told_and_leaves_no_table(tmp_path: Path) -> None:
    at = pa.array([AS_OF], pa.timestamp("us", tz="UTC"))
    good = pa.table({"as_of": at, "draw_count_7d": pa.array([1], pa.int64())})
    bad = pa.table({"as_of": at, "draw_count_7d": ["many"]})
    with pytest.raises(pa.ArrowInvalid, match="many"):
        write_tables([good, bad], {AS_OF: tmp_path / "table.parquet"})
    assert not (tmp_path / "table.parquet").exists()
