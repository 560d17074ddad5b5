"""Decide on Spark: the ledger that one machine gives, whatever fails on the way."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from limitlens.data.engine import Relations, prepared, run_sql
from limitlens.data.errors import IntegrityError
from limitlens.data.frames import to_arrow
from limitlens.data.spark import PART, SparkTasks, spark_tasks
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.compiler import compile_links, compile_successions
from limitlens.features.rows import Clock
from limitlens.features.rows.network import LINKS
from limitlens.features.spine import book
from limitlens.features.table import Engine, build_table
from limitlens.limits.hold import Hold
from limitlens.limits.ledger_tables import ATTRIBUTIONS, DECISIONS
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding import decide_on_spark
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.deciding.decide_on_spark import KINDS, decided_on_spark
from limitlens.pipeline.deciding.part_rows import events_of, queries_of, reads_of, relations_of
from limitlens.pipeline.deciding.recipes import iteration_of, recipe_of
from limitlens.pipeline.deciding.seals import opened, sealed
from limitlens.pipeline.holds import open_hold
from limitlens.pipeline.workspace import Workspace, default_policy
from tests import ledgers
from tests.ledgers import LAST

#: So that the book of the demo is more than one wave on two CPUs.
LINES_A_TASK = 300


def copied(workspace: Workspace, folder: Path) -> Workspace:
    shutil.copytree(workspace.root, folder)
    return Workspace(folder)


def test_on_spark_holds_pauses_and_changes_give_the_ledger_of_one_machine(
    behind: Workspace, spark: Engine, tmp_path: Path
) -> None:
    decide(behind, as_of=LAST - timedelta(hours=12), policy=default_policy())
    hold = Hold("payment", LAST - timedelta(days=25), LAST, "check", "too few came", "repayment", "segment", "student")
    open_hold(behind, hold)
    one, policy, lake = copied(behind, tmp_path / "one"), tmp_path / "policy.toml", (tmp_path / "lake").as_uri()
    decide(one, as_of=LAST, policy=default_policy())
    policy.write_text(default_policy().text, encoding="utf-8")
    asked = ["decide", "--as-of", f"{LAST:%Y-%m-%d}", "--policy", str(policy), "--workspace", str(behind.root)]
    assert "add --engine spark" in CliRunner().invoke(app, [*asked, "--lake", lake]).output
    shutil.copytree(behind.root / "events", tmp_path / "lake" / "events")
    lost = (tmp_path / "lake" / "events" / "payment" / "0001.parquet").rename(tmp_path / "lost")
    refused = CliRunner().invoke(app, [*asked, "--lake", lake, "--engine", "spark"])
    assert "0001.parquet: not there" in str(refused.exception)
    lost.rename(tmp_path / "lake" / "events" / "payment" / "0001.parquet")
    done = CliRunner().invoke(app, [*asked, "--lake", lake, "--engine", "spark"])
    assert done.exit_code == 0, done.output
    decided = behind.ledger.query(f"SELECT action, state.paused_at FROM decisions WHERE as_of = '{LAST}'")
    assert {"hold", "keep", "unfreeze"} <= set(decided["action"])
    assert decided["paused_at"].notna().any()
    assert ledgers.ledger_of(behind) == ledgers.ledger_of(one)
    assert [path.name for path in (tmp_path / "lake").iterdir()] == ["events"]
    read = relations_of(behind, reads_of({behind.scoring("2").model.features}), lake)
    assert f"`{lake}/events/payment/0001.parquet`" in read["every_payment"]


def failing(task: Callable[[Any, pa.Table], pa.Table], wrong_part: int, attempts: int) -> object:
    """A task, but that of one part fails at its first attempts; made here, so that it travels to the executors."""

    def failing_task(basis: object, rows: pa.Table) -> pa.Table:
        from pyspark import TaskContext

        context = TaskContext.get()
        if context and rows[PART][0].as_py() == wrong_part and context.attemptNumber() < attempts:
            raise OSError("the disk of the executor is gone")
        return task(basis, rows)

    return failing_task


def breaking_at(job: int, jobs: list[str]) -> Callable[..., None]:
    """Spark's run, which notes the folder of each job and is interrupted at one of them."""
    run = SparkTasks.run

    def noted(self: SparkTasks, *given: Any, **named: Any) -> None:
        jobs.append(Path(named["folder"]).name)
        if len(jobs) == job:
            raise KeyboardInterrupt
        run(self, *given, **named)

    return noted


def test_a_call_that_broke_off_goes_on_with_the_waves_that_are_whole_and_a_task_that_failed_is_run_again(
    behind: Workspace, spark: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, jobs = copied(behind, tmp_path / "one"), list[str]()
    decide(one)
    head = behind.ledger.head()
    monkeypatch.setattr(SparkTasks, "slots", lambda _: 1)
    with monkeypatch.context() as patched:
        patched.setattr(SparkTasks, "run", breaking_at(2, jobs))
        with pytest.raises(KeyboardInterrupt), decided_on_spark(behind, lines_a_task=LINES_A_TASK * 2) as decide_parts:
            decide(behind, decide_parts=decide_parts)
        assert behind.ledger.head() == head
        patched.setattr(decide_on_spark, "decide_rows", failing(decide_on_spark.decide_rows, 0, attempts=1))
        with decided_on_spark(behind, lines_a_task=LINES_A_TASK * 2) as decide_parts:
            decide(behind, decide_parts=decide_parts)
    assert jobs == ["000000", "000002", "000002"]
    assert ledgers.ledger_of(behind) == ledgers.ledger_of(one)


#: Features for which the events of other accounts are read.
LINKED = CATALOGUE.only({name for a in CATALOGUE.aggregates if a.rows in LINKS for name in a.column_names()})


def test_what_links_accounts_needs_no_further_columns(small_workspace: Workspace) -> None:
    whole = {link.source: small_workspace.events.relation(link.source) for link in LINKS.values()}
    read = {link.source: f"SELECT {', '.join(link.columns)} FROM ({whole[link.source]})" for link in LINKS.values()}
    successions, links = compile_successions(LINKED)[0], compile_links(LINKED, Clock(LAST, LAST))

    def members(relations: dict[str, str]) -> dict[str, pa.Table]:
        events: Relations = {f"every_{source}": sql for source, sql in relations.items()}
        with prepared(events, {}) as run:
            given = {name: run(sql, {}) for name, sql in successions.items()}
            return {name: run(f"SELECT * FROM ({sql}) ORDER BY ALL", given) for name, sql in links.items()}

    assert members(read) == members(whole)
    assert all(map(len, members(whole).values()))


def test_a_task_has_the_events_of_other_accounts_that_link_its_own(
    small_workspace: Workspace, spark: Engine, tmp_path: Path
) -> None:
    features, events = LINKED, small_workspace.relations(LINKED)
    spine = book([LAST], events)[["account_id", "as_of", "known_by"]]
    expected = build_table(features, spine, events)
    mine = pa.table({"account_id": spine["account_id"].to_list(), PART: pa.array(spine.index % 2, pa.int32())})
    names = ["account_id", *features.columns]

    def task(given: pd.DataFrame, rows: pa.Table) -> pa.Table:
        part, own = rows[PART][0].as_py(), events_of(rows)
        lines = given[given.index % 2 == part].reset_index(drop=True)
        others = own["payment"].to_pandas().query("account_id not in @lines.account_id")
        assert (others["kind"] == "transfer_out").groupby(others["event_no"]).any().all()  # no salary of anybody
        built = build_table(features, lines, own)
        return pa.Table.from_pandas(built[names].assign(part=np.int32(part)), preserve_index=False)

    with spark_tasks() as tasks:
        queries = queries_of(reads_of({features}), mine["account_id"])[1:]
        relations = {**relations_of(small_workspace, reads_of({features})), "mine": mine}
        schema = to_arrow(expected[names].assign(part=np.int32(0))).schema
        folder = (tmp_path / "built").as_uri()
        tasks.run(task, spine, queries, relations, schema=schema, parts=2, folder=folder)
        found = tasks.rows(folder, 0, 2).to_pandas().sort_values("account_id", ignore_index=True)
    assert (expected[list(features.columns)] > 1).any().any()
    pd.testing.assert_frame_equal(found[names], expected[names], check_exact=True)


def test_a_row_that_is_not_the_sealed_one_is_refused(small_workspace: Workspace) -> None:
    relation = small_workspace.ledger.relation
    decisions, attributions = (
        run_sql(f"SELECT * FROM ({relation(name)}) WHERE as_of = '{LAST}' ORDER BY account_id").cast(schema)
        for name, schema in (("decisions", DECISIONS), ("attributions", ATTRIBUTIONS))
    )
    decided = {LAST: (decisions, attributions)}
    rows = sealed(KINDS, 0, decided)
    shuffled = rows.take(np.random.default_rng(0).permutation(len(rows)))
    assert opened(KINDS, shuffled, "part 0") == decided
    for wrong in (rows.slice(1), pa.concat_tables([rows, rows.slice(len(rows) - 1)]), rows.slice(0, 0)):
        with pytest.raises(IntegrityError, match="part 0: not the rows that its task sealed"):
            opened(KINDS, wrong, "part 0")


def test_a_model_that_is_not_the_recorded_one_decides_nothing(small_workspace: Workspace) -> None:
    new = small_workspace.scoring("2")
    recipe = recipe_of(small_workspace, "2", new.policy.digest)
    assert iteration_of(recipe).digest == new.digest
    files = tuple((name, text.replace("leaf_value=", "leaf_value=1", 1)) for name, text in recipe.files)
    for wrong in (replace(recipe, files=files), replace(recipe, policy=default_policy().text)):
        with pytest.raises(IntegrityError, match=r"recorded"):
            iteration_of(wrong)
