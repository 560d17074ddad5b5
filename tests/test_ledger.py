"""What the ledger records is what was decided, once, and what can be asked of it."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from benchmarks.kills import entry, fingerprint
from limitlens.data.errors import ConfigError, IntegrityError
from limitlens.data.spreadsheet import write_csv
from limitlens.limits.ledger import Ledger
from limitlens.pipeline.answers.history import Selection, decisions_of, export
from limitlens.pipeline.cli import app
from limitlens.pipeline.workspace import Workspace
from tests.ledgers import LAST, ledger_of, python, sql

pytestmark = pytest.mark.slow


def test_recording_a_run_again_changes_nothing_and_with_other_content_is_refused(small: Ledger) -> None:
    before = fingerprint(small.workspace)
    small.append(*entry(2, 20))
    run, decisions, attributions = entry(2, 20)
    for changed in ((decisions.slice(1), attributions), (decisions, attributions.slice(1))):
        with pytest.raises(IntegrityError, match="recorded before with other content"):
            small.append(run, *changed)
    assert fingerprint(small.workspace) == before


_DECIDE = """
import sys
from pathlib import Path
from limitlens.data import engine
from limitlens.features import table
from limitlens.pipeline.deciding import decide as deciding
from limitlens.pipeline.deciding import parts
from limitlens.pipeline.deciding import reconcile as reconciling
from limitlens.pipeline.workspace import Workspace
engine.limit_memory("1GB")
table.LITERAL_ROWS, table.PART_EVENTS, reconciling.BATCH_SPLITS = 1_000, 20_000, 500
parts.LINES_TOGETHER = 300
deciding.decide(Workspace(Path(sys.argv[1])), progress=lambda _: None)
reconciling.reconcile(Workspace(Path(sys.argv[1])), progress=lambda _: None)
"""


def test_threads_memory_and_batches_leave_no_trace_in_the_ledger(behind: Workspace, small_workspace: Workspace) -> None:
    """Each of them unlike those the demo was made with: one thread, all memory, one part, one batch."""
    done = python("-c", _DECIDE, str(behind.root), OMP_NUM_THREADS="2", LIMITLENS_THREADS="2")
    assert done.returncode == 0, done.stderr
    assert ledger_of(behind) == ledger_of(small_workspace)


_APART = """
import sys
from functools import partial
from pathlib import Path
from limitlens.pipeline.deciding import parts
from limitlens.pipeline.deciding.decide import decide, decided_here
from limitlens.pipeline.deciding.reconcile import reconcile
from limitlens.pipeline.workspace import Workspace
if __name__ == "__main__":
    parts.LINES_APART = 500
    two = partial(decided_here, processes=2)
    decide(Workspace(Path(sys.argv[1])), decide_parts=two, progress=print)
    reconcile(Workspace(Path(sys.argv[1])), processes=2, progress=print)
"""


def test_processes_that_share_the_lines_leave_no_trace_in_the_ledger(
    behind: Workspace, small_workspace: Workspace
) -> None:
    done = python("-c", _APART, str(behind.root))
    assert "by 2 processes" in done.stdout, done.stderr
    assert "part 2 of" in done.stdout.rpartition(" attributed")[2]  # of what is reconciled
    assert ledger_of(behind) == ledger_of(small_workspace)


def test_runs_wait_until_mlflow_names_them_and_the_latest_decision_is_the_last(small: Ledger) -> None:
    first, *others = small.runs()
    small.link_mlflow([first.run_id], "m1")
    assert small.waiting() == others
    assert set(small.last_decisions()["as_of"].to_pylist()) == {others[-1].as_of}


def test_a_recorded_name_that_leads_out_of_its_folder_is_not_read(small: Ledger) -> None:
    sql("UPDATE runs SET decisions = 'decisions/../../secret.parquet' WHERE rowid = 1", "")(small)
    with pytest.raises(IntegrityError, match=r"secret\.parquet: not a file of"):
        small.query("SELECT * FROM decisions")


def test_the_list_is_what_a_filter_over_the_decisions_gives(small_workspace: Workspace) -> None:
    current = small_workspace.ledger.current()
    run_id = str(current["run_id"].iloc[-1])
    chosen = {
        Selection(cause="model", action="close"): current["phi_model"].fillna(0).ne(0) & (current["action"] == "close"),
        Selection(since=LAST, run_id=run_id[:9]): (current["as_of"] >= LAST) & (current["run_id"] == run_id),
        Selection(until=LAST, model_version="1"): (current["as_of"] < LAST) & (current["model_version"] == "1"),
        Selection(account_id="' OR TRUE --"): current["account_id"] == "' OR TRUE --",
    }
    for selection, rows in chosen.items():
        found = decisions_of(small_workspace, selection, limit=10**6)
        expected = current[rows].sort_values(["as_of", "account_id"], ascending=[False, True])
        assert list(found["account_id"]) == list(expected["account_id"])
        assert found["share_cents_model"].dtype == "Int64"
    assert len(decisions_of(small_workspace, Selection(), limit=3)) == 3
    with pytest.raises(ConfigError, match="no cause is called 'luck'"):
        decisions_of(small_workspace, Selection(cause="luck"), limit=1)


def test_list_prints_lines_for_people_and_json_for_programs(small_workspace: Workspace) -> None:
    words = ["ledger", "list", "--cause", "behaviour", "--limit", "2", "--workspace", str(small_workspace.root)]
    rows = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    lines = CliRunner().invoke(app, words).output.splitlines()
    assert [line.split()[1] for line in lines] == [row["account_id"] for row in rows]
    assert all(
        isinstance(row["share_cents_behaviour"], int) and "behaviour" in line
        for row, line in zip(rows, lines, strict=True)
    )


def test_a_notebook_asks_in_sql(small: Ledger) -> None:
    found = small.query("SELECT (SELECT COUNT(*) FROM current) AS n, (SELECT SUM(limit_cents) FROM overrides) AS cents")
    assert found.iloc[0].to_dict() == {"n": 60, "cents": 600}
    assert small.query("SELECT * FROM runs")["backtest"].tolist() == [False] * 3


def test_a_query_may_begin_with_anything_that_duckdb_takes(small: Ledger) -> None:
    counts = [
        small.query("SELECT COUNT(*) AS n FROM current"),
        small.query("FROM decisions SELECT COUNT(*) AS n"),
        small.query("WITH mine AS (SELECT * FROM decisions) SELECT COUNT(*) AS n FROM mine"),
        small.query("SELECT COUNT(*) AS n FROM since_opening"),
    ]
    assert len({int(one["n"].iloc[0]) for one in counts}) == 1
    assert "as_of" in set(small.query("DESCRIBE decisions")["column_name"])


def test_one_line_is_read_from_few_rows(tmp_path: Path) -> None:
    Ledger(tmp_path).append(*entry(1, 40_000))
    for kind in ("decisions", "attributions"):
        (path,) = (tmp_path / kind).iterdir()
        groups = pq.ParquetFile(path).metadata
        assert max(groups.row_group(k).num_rows for k in range(groups.num_row_groups)) <= 1 << 14
    assert len(Ledger(tmp_path).current("A000000001")) == 1


def test_a_value_of_a_query_is_never_read_as_sql(small: Ledger) -> None:
    asked = "SELECT COUNT(*) AS n FROM current WHERE account_id = $account"
    counts = [small.query(asked, {"account": name})["n"][0] for name in ("A000000001", "' OR TRUE --", "O'Brien")]
    assert counts == [3, 0, 0]


def test_an_export_has_every_decision_with_whole_cents_and_the_facts_of_its_run(
    small_workspace: Workspace, tmp_path: Path
) -> None:
    current = small_workspace.ledger.current()
    for name in ("out.parquet", "out.csv"):
        assert export(small_workspace, tmp_path / name) == len(current)
    table = pq.read_table(tmp_path / "out.parquet")
    assert {"mlflow_run_id", "model_digest", "backtest", "phi_state"} <= set(table.column_names)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["account_id"] for row in rows] == current["account_id"].tolist()
    assert sum(int(row["limit_cents"]) for row in rows) == current["limit_cents"].sum()
    shares = table["share_cents_state"].to_pylist()
    assert [row["share_cents_state"] for row in rows] == ["" if share is None else str(share) for share in shares]
    with pytest.raises(ConfigError, match=r"ends in \.parquet or \.csv"):
        export(small_workspace, tmp_path / "out.xlsx")


FORMULAS = ["=1+1", "+x", "-x", "@SUM(A1)", "\tx", '=HYPERLINK("a")', "\n=x", " =x", "＝1+1", "＋x", "－x", "＠x"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_text_of_an_export_is_a_formula(text: str, tmp_path: Path) -> None:
    table = pa.table({"name": [text], "told": [[text, "b"]], "cents": [-5], "in": [{"name": text}]})
    write_csv(table, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row == {"name": f"'{text}", "told": f"'{text}; b", "cents": "-5", "in.name": f"'{text}"}
