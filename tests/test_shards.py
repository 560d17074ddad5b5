"""Shards: several workspaces, each with its lines, decide what one decides, within the day and at the date."""

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from limitlens.data.check import check_events
from limitlens.data.contracts import EVENT_SOURCES, SOURCES
from limitlens.data.engine import run_sql
from limitlens.data.errors import InputError
from limitlens.data.shards import in_shard, shards_of, split_delivery
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.spine import book
from limitlens.features.table import build_table
from limitlens.limits.policy_file import at_once
from limitlens.pipeline.check_delivery import check
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.deciding.replay import recorded_decisions
from limitlens.pipeline.release.promote import promote
from limitlens.pipeline.training.train import train
from limitlens.pipeline.watching.tick import tick
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings
from tests.conftest import FEW_COLUMNS
from tests.test_holds import ANYWAY, FIRST, NOW
from tests.test_watch import HOUR, put, takeover

LINKED = ("payment", "device")


def with_links(books: Path, folder: Path) -> Path:
    """A workspace with a champion whose features link accounts, and nothing decided."""
    space = Workspace(folder)
    check_events(books / "before", space.events)
    columns = (*FEW_COLUMNS, "device_ring_max_30d", "payee_ring_max_90d")
    settings = replace(default_settings(), columns=columns, n_estimators=20, folds=2, min_data_in_leaf=10)
    train(space, settings, at_once(default_policy()), developer="developer")
    promote(space, None, NOW, override=ANYWAY)
    return folder


def decided(space: Workspace, inbox: Path) -> pd.DataFrame:
    """Decided at a date, watched after it, and decided at the next."""
    decide(space, as_of=FIRST)
    tick(space, inbox, FIRST + 14 * HOUR)
    decide(space, until=FIRST + 24 * HOUR)
    return recorded_decisions(space)


def taken_over(books: Path) -> dict[str, pa.Table]:
    """Some lines are taken over, on one device and to one payee: shards apart are tied by them."""
    accounts = pq.read_table(books / "before" / "accounts")["account_id"].to_pylist()[:12]
    each = [takeover(str(account), FIRST + 12 * HOUR) for account in accounts]
    return {source: pa.concat_tables([one[source] for one in each]) for source in each[0]}


@pytest.mark.slow
def test_shards_decide_what_one_workspace_decides(books: Path, tmp_path: Path) -> None:
    base = with_links(books, tmp_path / "whole")
    put(tmp_path / "inbox", "a", taken_over(books))
    done = CliRunner().invoke(
        app, ["shard", str(books / "before"), str(tmp_path / "new"), "--of", "2", "-w", str(base)]
    )
    assert done.exit_code == 0, done.output
    split_delivery(tmp_path / "inbox", tmp_path / "inboxes", 2, LINKED)
    parts = []
    for shard in range(2):
        own = tmp_path / f"shard{shard}"
        for name in ("ledger.sqlite", "mlflow"):
            own.mkdir(exist_ok=True)
            (shutil.copytree if (base / name).is_dir() else shutil.copy)(base / name, own / name)
        check(Workspace(own), tmp_path / "new" / f"{shard}")
        parts.append(decided(Workspace(own), tmp_path / "inboxes" / f"{shard}"))
        assert set(shards_of(pa.chunked_array([parts[-1]["account_id"].to_list()]), 2)) == {shard}
    whole = decided(Workspace(base), tmp_path / "inbox").drop(columns="run_id")
    together = pd.concat(parts).drop(columns="run_id").sort_values(["as_of", "account_id"], ignore_index=True)
    assert (whole["action"] == "pause").sum() > 2
    pd.testing.assert_frame_equal(together, whole.sort_values(["as_of", "account_id"], ignore_index=True))


def test_features_in_a_shard_are_exact_and_without_the_rows_of_the_others_only_those_of_links_are_not(
    books: Path,
) -> None:
    store = Workspace(books / "base").events
    whole = {source: run_sql(store.relation(source)) for source in ("accounts", *EVENT_SOURCES)}
    features = CATALOGUE.only(["draw_sum_30d", "dpd_days", "device_ring_max_ever", "payee_ring_max_90d"])
    lines = book([FIRST], whole)
    expected = build_table(features, lines, whole)
    mine = lines[shards_of(pa.chunked_array([lines["account_id"].to_list()]), 4) == 1]
    assert 0 < len(mine) < len(lines)
    tables = {}
    for linked in (LINKED, ()):
        rows = {source: in_shard(table, SOURCES[source], 1, 4, linked) for source, table in whole.items()}
        tables[linked] = build_table(features, mine, rows)
    pd.testing.assert_frame_equal(tables[LINKED], expected.loc[mine.index])
    alone, exact = tables[()], tables[LINKED]
    assert {name for name in exact if not alone[name].equals(exact[name])} == {
        "device_ring_max_ever",
        "payee_ring_max_90d",
    }


def test_a_row_that_has_no_place_in_a_table_is_refused_before_anything_is_lost(tmp_path: Path) -> None:
    names = SOURCES["payment"].column_names()
    (tmp_path / "in" / "payment").mkdir(parents=True)
    (tmp_path / "in" / "payment" / "a.csv").write_text(",".join(names) + "\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"payment/a.csv, row 1: wrong number of fields"):
        split_delivery(tmp_path / "in", tmp_path / "out", 2, LINKED)
