"""Score on Spark: the file that one machine writes, byte for byte, whatever fails on the way."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree
from unittest.mock import patch

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from limitlens.data.arrays import FloatArray
from limitlens.data.errors import IntegrityError
from limitlens.data.spark import SparkTasks
from limitlens.features.table import Engine
from limitlens.limits.iteration import Iteration
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding import score_on_spark, waves
from limitlens.pipeline.deciding.score import Scored, score
from limitlens.pipeline.deciding.score_on_spark import Basis, scored_on_spark
from limitlens.pipeline.workspace import Workspace
from tests.ledgers import LAST
from tests.test_decide_spark import breaking_at, copied, failing


def reading_links() -> Callable[[Iteration, pd.DataFrame, pd.DataFrame], FloatArray]:
    """PDs to which a count of accounts is added; made here, so that it travels to the executors."""
    plain = Iteration.score

    def score_links(self: Iteration, table: pd.DataFrame, state: pd.DataFrame) -> FloatArray:
        return plain(self, table, state) + table["payee_ring_max_90d"].fillna(0).to_numpy()

    return score_links


def scoring_by(pds: object) -> Callable[[Basis, pa.Table], pa.Table]:
    """The task with other PDs."""
    task = score_on_spark.score_rows

    def score_rows(basis: Basis, rows: pa.Table) -> pa.Table:
        with patch.object(Iteration, "score", pds):
            return task(basis, rows)

    return score_rows


def test_a_backtest_of_another_version_that_reads_links_is_the_file_of_one_machine(
    demo_workspace: Workspace, spark: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, when, lake = copied(demo_workspace, tmp_path / "work"), datetime(2025, 9, 30, tzinfo=UTC), tmp_path / "lake"
    monkeypatch.setattr(score_on_spark, "score_rows", scoring_by(pds := reading_links()))
    with patch.object(Iteration, "score", pds):
        expected = score(space, when, tmp_path / "one.parquet", model_version="1")
    assert expected.backtest
    assert pc.max(pq.read_table(tmp_path / "one.parquet")["pd"]).as_py() > 2
    monkeypatch.setattr(waves, "FEWEST", expected.rows // 2 + 1)
    asked = ["score", "--as-of", f"{when:%Y-%m-%d}", "--model", "1", "--workspace", str(space.root)]
    asked += ["--out", str(tmp_path / "two.parquet"), "--lake", lake.as_uri()]
    assert "add --engine spark" in CliRunner().invoke(app, asked).output
    copytree(space.root / "events", lake / "events")
    done = CliRunner().invoke(app, [*asked, "--engine", "spark"])
    assert done.exit_code == 0, done.output
    assert f"{expected.rows:,} lines scored by version 1, as a backtest" in done.output
    assert (tmp_path / "two.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()
    assert [path.name for path in lake.iterdir()] == ["events"]


def test_a_call_that_broke_off_goes_on_and_a_result_that_was_changed_is_refused(
    small_workspace: Workspace, spark: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, jobs, out = copied(small_workspace, tmp_path / "work"), list[str](), tmp_path / "two.parquet"
    expected = score(space, LAST, tmp_path / "one.parquet")

    def on_spark() -> Scored:
        with scored_on_spark(space, lines_a_task=expected.rows // 2 + 1) as score_lines:
            return score(space, LAST, out, score_lines=score_lines)

    monkeypatch.setattr(SparkTasks, "slots", lambda _: 1)
    monkeypatch.setattr(waves, "TASKS_A_SLOT", 1)
    monkeypatch.setattr(SparkTasks, "run", breaking_at(2, jobs))
    with pytest.raises(KeyboardInterrupt):
        on_spark()
    assert not out.exists()
    whole = copytree(space.root / "staging", tmp_path / "whole")
    staged = next(file for file in (space.root / "staging").glob("**/*.parquet") if pq.read_metadata(file).num_rows)
    [first, *others] = (rows := pq.read_table(staged)).to_pylist()
    forged = [{**first, "score": {**first["score"], "pd": first["score"]["pd"] / 2}}, *others]
    pq.write_table(pa.Table.from_pylist(forged, schema=rows.schema), staged, use_deprecated_int96_timestamps=True)
    staged.with_name(f".{staged.name}.crc").unlink()
    with pytest.raises(IntegrityError, match=r"part 0 in .*: not the rows that its task sealed"):
        on_spark()
    assert not out.exists()
    copytree(whole, space.root / "staging", dirs_exist_ok=True)
    monkeypatch.setattr(score_on_spark, "score_rows", failing(score_on_spark.score_rows, 0, attempts=1))
    assert replace(on_spark(), path=expected.path) == expected
    assert jobs == ["000000", "000001", "000001"]
    assert out.read_bytes() == (tmp_path / "one.parquet").read_bytes()
    assert not (space.root / "staging").exists()
