"""Stress by other customers: models trained anew on accounts drawn with replacement, of which nothing stays."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest

from limitlens.data.errors import ConfigError, InputError, WorkspaceError
from limitlens.data.world import simulate
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.line import limit_and_age
from limitlens.limits.stress_scenarios import Scenario, read_scenarios
from limitlens.models.default_risk import predict_pd
from limitlens.models.training import train_model
from limitlens.pipeline.check_delivery import check
from limitlens.pipeline.privacy.erase import erase
from limitlens.pipeline.release.iterations import repeat
from limitlens.pipeline.stressing.answer import Answer, Stressed
from limitlens.pipeline.stressing.decided_day import batches, decided_day
from limitlens.pipeline.stressing.stress import stress
from limitlens.pipeline.stressing.stress_report import write_stress_report
from limitlens.pipeline.training.recalibration import early_arrears
from limitlens.pipeline.training.resampled import LEARNED, Learned, drawn_table, learned_by
from limitlens.pipeline.training.training_table import TrainingTable, build_training_table
from limitlens.pipeline.workspace import Workspace, default_policy, default_scenarios

pytestmark = pytest.mark.slow

DAY = date(2026, 11, 30)
CUSTOMERS = Scenario(
    "customers", "Other customers", "换一批客户", 1, DAY, "iteration", resample="customers", draws=3, seed=1
)
TURNS = replace(CUSTOMERS, name="turns", title="Other turns", title_zh="换训练轮次", resample="turns")
MILD = Scenario("mild", "Mild", "温和", 1, DAY, "pd", log_odds={"default": 0.25})


@pytest.fixture(scope="module")
def stressed(small_workspace: Workspace) -> Stressed:
    return stress(small_workspace, (CUSTOMERS, TURNS))


@pytest.fixture(scope="module")
def answer(stressed: Stressed) -> Answer:
    return stressed.answers[0]


@pytest.fixture(scope="module")
def learned(small_workspace: Workspace) -> Iterator[Learned]:
    with learned_by(small_workspace, "2") as one:
        yield one


@pytest.fixture
def copied(small_workspace: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(small_workspace.root, tmp_path / "work")
    return Workspace(tmp_path / "work")


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_draw_closes_what_a_training_on_customers_drawn_by_hand_closes(copied: Workspace, answer: Answer) -> None:
    """Account after account is drawn, its rows are stacked, and the whole book is decided with the model of them."""
    day = decided_day(copied)
    old = day.iteration.model
    table = build_training_table(copied, old.settings, datetime(2026, 5, 13, tzinfo=UTC))
    used = table.rows[table.rows["split"].isin(["train", "unused"])]
    accounts = sorted(set(used["account_id"]))
    rows = dict(list(table.part("train").groupby("account_id")))
    times = Counter(np.random.default_rng([1, 2]).integers(0, len(accounts), len(accounts)).tolist())
    stack = [rows[accounts[k]] for k, count in sorted(times.items()) for _ in range(count) if accounts[k] in rows]
    whole = pd.concat(stack).sort_values(["as_of", "account_id"], kind="stable", ignore_index=True)
    limit, age = limit_and_age(whole)
    model = train_model(
        old.features, whole, limit, age, whole["bad"].to_numpy(bool), settings=old.settings, labels_end=old.labels_end
    )
    assert model.digest == answer.models[1]
    [batch] = batches(day, copied, day.iteration.policy.columns, scored=True)
    pds = predict_pd(model, batch.features, *limit_and_age(batch.lines.state))
    closes = batch.lines.decided(replace(day.iteration.policy, second_look=None), pds).closes
    before = (batch.recorded["action"] == "close").to_numpy()
    assert answer.totals("end")[2]["closed"] == (closes & ~before).sum()


def test_without_drawing_a_training_is_the_model_in_use_to_the_last_character(small_workspace: Workspace) -> None:
    with learned_by(small_workspace, "1") as one:
        assert one.fit(one.table).digest == small_workspace.registry.model("1").model_digest


def test_every_row_of_an_account_is_there_as_often_as_it_was_drawn(learned: Learned) -> None:
    table, key = learned.table, ["account_id", "as_of"]
    drawn = learned.draw(1, 1)
    copies = drawn.rows[drawn.rows["split"].isin(LEARNED)].groupby(key).size()
    before = table.rows[table.rows["split"].isin(LEARNED)]
    by_account = copies.groupby("account_id").agg(["min", "max", "size"])
    assert (by_account["min"] == by_account["max"]).all()
    assert by_account["min"].sum() == before["account_id"].nunique()
    assert (by_account["size"] == before.groupby("account_id").size().loc[by_account.index]).all()
    unread = [rows[~rows["split"].isin(LEARNED)].reset_index(drop=True) for rows in (table.rows, drawn.rows)]
    pd.testing.assert_frame_equal(*unread)
    first = table.with_features(drawn.split("train")).drop_duplicates(key)
    assert first.reset_index(drop=True).equals(
        table.part("train").merge(first[key]).reset_index(drop=True)[first.columns]
    )


def test_verdicts_are_drawn_with_their_accounts() -> None:
    learned = pd.DataFrame({"account_id": ["A", "B", "B", "C", "D"], "split": ["train"] * 4 + ["test"]})
    judged = pd.DataFrame({"account_id": ["B", "E"]})
    drawn = drawn_table(TrainingTable(CATALOGUE, learned, [], judged), 1, 1)
    times = Counter("ABCE"[k] for k in np.random.default_rng([1, 1]).integers(0, 4, 4))
    assert Counter(drawn.rows["account_id"]) == Counter({**times, "B": 2 * times["B"], "D": 1, "E": 0})
    assert Counter(drawn.verdicts["account_id"]) == Counter({"B": times["B"], "E": times["E"]})


def test_no_copy_of_an_account_is_learned_from_while_another_watches(
    learned: Learned, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, dealt = lgb.cv, list[Any]()

    def recorded(*args: Any, folds: Any, **options: Any) -> Any:
        dealt.extend(folds)
        return real(*args, folds=folds, **options)

    monkeypatch.setattr("limitlens.models.classifier.lgb.cv", recorded)
    table = learned.draw(1, 1)
    learned.fit(table)
    accounts = table.split("train")["account_id"].to_numpy()
    assert len(dealt) == learned.settings.folds * learned.settings.rounds
    assert not any(set(accounts[rows]) & set(accounts[watching]) for rows, watching in dealt)


def test_the_level_reads_a_copy_as_it_reads_the_row(learned: Learned, small_workspace: Workspace) -> None:
    model, drawn = small_workspace.iteration("2").model, learned.draw(1, 1)
    relations = learned.workspace.relations(learned.table.features)
    once, copies = (early_arrears(model, table, relations) for table in (learned.table, drawn))
    assert len(copies) > 1_000
    assert set(copies.itertuples(index=False, name=None)) < set(once.itertuples(index=False, name=None))


def test_the_same_seed_gives_the_same_answer_whatever_threads_and_batches(
    small_workspace: Workspace, stressed: Stressed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMITLENS_THREADS", "2")
    monkeypatch.setattr("limitlens.pipeline.stressing.decided_day.BATCH_ROWS", 500)
    assert stress(small_workspace, (CUSTOMERS, TURNS)).to_dict() == stressed.to_dict()


def test_a_draw_is_the_same_among_more_and_another_seed_draws_others(learned: Learned, answer: Answer) -> None:
    fourth = learned.draw(1, 4)
    assert learned.fit(learned.draw(1, 3)).digest == answer.models[2]
    others = [drawn_table(learned.table, *which).rows for which in ((1, 3), (2, 4))]
    assert not any(fourth.rows.equals(rows) for rows in others)
    assert len(set(answer.models)) == 3


def test_the_comparison_is_that_of_the_draws(answer: Answer) -> None:
    counts, draws = answer.by_chance(), len(answer.closed_in) - 1
    pairs = [(k, mine, others) for k, (mine, others) in enumerate(answer.closed_in)]
    assert counts["closed"] == sum(mine for _, mine, _ in pairs) > 10
    assert counts["closed_by_fewer"] == sum(mine for k, mine, _ in pairs if k < draws / 2)
    assert counts["closed_by_half"] == sum(mine for k, mine, _ in pairs if k >= draws / 2)
    assert counts["others_by_half"] == sum(others for k, _, others in pairs if k >= draws / 2)
    assert counts["closing_share"] == sum(k / draws * mine for k, mine, _ in pairs) / counts["closed"]
    newly = sorted(row["closed"] for row in answer.totals("end")[1:])
    assert (counts["newly_closed"], counts["newly_closed_most"]) == (newly[1], newly[2])
    assert sum(newly) == sum(k * others for k, _, others in pairs)


def test_a_training_on_every_customer_once_is_counted_beside_the_draws(
    small_workspace: Workspace, learned: Learned, answer: Answer
) -> None:
    day = decided_day(small_workspace)
    [batch] = batches(day, small_workspace, day.iteration.policy.columns, scored=True)
    policy, facts = replace(day.iteration.policy, second_look=None), limit_and_age(batch.lines.state)
    again = batch.lines.decided(policy, predict_pd(learned.fit(learned.table), batch.features, *facts)).closes
    before = batch.lines.decided(policy).closes
    assert answer.same_customers == ((again & ~before).sum(), (before & ~again).sum())


def test_nothing_of_it_stays_in_the_workspace_and_later_loads_change_no_draw(
    copied: Workspace, answer: Answer, tmp_path: Path
) -> None:
    simulate(tmp_path / "more", accounts=30, months=3, seed=99, futures=0)
    check(copied, tmp_path / "more")
    shutil.rmtree(copied.root / "features")
    before, said = contents(copied.root), list[str]()
    assert repeat(copied, "2", lambda _: None)
    [again] = stress(copied, (CUSTOMERS,), progress=said.append).answers
    assert again.models == answer.models
    assert contents(copied.root) == before
    assert any(line.startswith("features of ") for line in said)
    assert [line for line in said if line.startswith("customers, draw 3 of 3: training members")]


def test_erased_customers_refuse_the_scenario_in_a_line_and_the_rest_is_answered(copied: Workspace) -> None:
    gone = copied.ledger.query("SELECT account_id FROM decisions WHERE action = 'close' LIMIT 1")["account_id"][0]
    erase(copied, [gone], at=datetime(2026, 7, 2, tzinfo=UTC), actor="Chen Wei", reason="asked for")
    partly = stress(copied, (CUSTOMERS, MILD))
    assert [one.scenario.name for one in partly.answers] == ["mild"]
    [why] = partly.refused["customers"].splitlines()
    assert re.match("version 2 was trained on events [0-9a-f]{12}, which the workspace does not hold any more", why)
    with pytest.raises(InputError, match="customers: version 2 was trained on events"):
        stress(copied, (CUSTOMERS,))


def test_a_model_whose_training_is_not_on_record_is_refused_in_a_line(copied: Workspace) -> None:
    (copied.root / "mlflow" / "mlflow.db").unlink()
    [why] = stress(copied, (CUSTOMERS, MILD)).refused.values()
    assert re.fullmatch(r".*/mlflow does not say what run [0-9a-f]{12} was trained on; restore the store\.", why)


def test_a_table_that_comes_out_otherwise_is_refused(copied: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    validation = copied.validation("2")
    validation["train"]["rows"] += 1
    monkeypatch.setattr(Workspace, "validation", lambda *_: validation)
    [why] = stress(copied, (CUSTOMERS, MILD)).refused.values()
    assert why.startswith("the training table of version 2 comes out with rows 3806 and not 3807")


def test_a_draw_without_a_line_that_went_bad_is_refused_before_any_training(learned: Learned) -> None:
    rows = learned.table.rows
    one = rows.loc[rows["bad"] & (rows["split"] == "train"), "account_id"].iloc[0]
    bad = rows["bad"] & (rows["account_id"] == one)
    rare = replace(learned, table=replace(learned.table, rows=rows.assign(bad=bad)))
    lacking = [n for n in range(1, 20) if not drawn_table(rare.table, 1, n).split("train")["bad"].any()]
    assert lacking
    for number in lacking:
        with pytest.raises(WorkspaceError, match=rf"anew, draw {number} of seed 1: 0 of 3,\d+ lines went bad"):
            rare.draw(1, number)


def test_a_scenario_with_such_a_draw_is_refused_and_the_rest_is_answered(
    small_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, drawn = drawn_table, list[int]()

    def without_bads(table: TrainingTable, seed: int, number: int) -> TrainingTable:
        drawn.append(number)
        made = real(table, seed, number)
        return replace(made, rows=made.rows.assign(bad=False)) if number == 2 else made

    monkeypatch.setattr("limitlens.pipeline.training.resampled.drawn_table", without_bads)
    partly = stress(small_workspace, (CUSTOMERS, MILD))
    assert [one.scenario.name for one in partly.answers] == ["mild"]
    assert "draw 2 of seed 1: 0 of" in partly.refused["customers"]
    assert drawn == [1, 2]


def test_the_pages_say_of_both_kinds_what_was_drawn_in_both_languages(stressed: Stressed, tmp_path: Path) -> None:
    english, chinese = (
        path.read_text("utf-8") for path in write_stress_report(stressed, default_policy(), tmp_path / "p.html")
    )
    for words in (
        "3 models are trained wholly anew, each on as many customers",
        "3 models are drawn from the turns of the model in use",
        "newly closed by a training on every customer once",
    ):
        assert english.count(words) == 1
    assert english.count("not closed by it, closed in at least half of the draws") == 2
    for words in ("完全重新训练，共 3 个模型", "有放回地抽取 3 个模型", "以每位客户各一次重新训练：新增关闭"):
        assert chinese.count(words) == 1
    assert chinese.count("现行模型未关闭、至少半数抽取关闭") == 2
    assert not any(f'class="n">{few}<' in text for few in range(1, 10) for text in (english, chinese))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('resample = "people"', r"stress.toml:\d+: resample in .* is 'people'; expected one of"),
        ("resample = 5", r"stress.toml:\d+: resample in .* is 5; expected one of"),
        ('resample = "customers"\nseverities = [0.5, 0.1]', "severities of scenario 'chance' is not right"),
        ('resample = "customers"\nlog_odds = { default = 1.0 }', "unknown key 'log_odds'"),
    ],
)
def test_a_scenario_that_is_wrong_is_refused_with_its_key(line: str, message: str, tmp_path: Path) -> None:
    text = default_scenarios().read_text("utf-8").replace('kind = "iteration"', f'kind = "iteration"\n{line}', 1)
    (tmp_path / "stress.toml").write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=message) as refused:
        read_scenarios(tmp_path / "stress.toml", "chance")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("old", "new"), [("draws = 20", "draws = 1"), ("draws = 20", "draws = 101"), ("seed = 1", "seed = -1")]
)
def test_numbers_out_of_range_are_refused_with_their_key(old: str, new: str, tmp_path: Path) -> None:
    (tmp_path / "stress.toml").write_text(default_scenarios().read_text("utf-8").replace(old, new, 1), "utf-8")
    with pytest.raises(ConfigError, match=f"{new.partition(' ')[0]} of scenario 'chance' is not right; expected"):
        read_scenarios(tmp_path / "stress.toml")


def test_a_scenario_of_turns_has_the_digest_it_had_before_there_was_another_kind() -> None:
    assert "resample" not in TURNS.to_dict()
    assert CUSTOMERS.to_dict()["resample"] == "customers"


SCENARIO = """[[scenarios]]
name = "customers"
version = 1
date = 2026-11-30
kind = "iteration"
resample = "customers"
draws = 2
"""
KILLED = """
import os, signal, sys
from limitlens.pipeline.cli import stress, main
stress.progress = lambda text: os.kill(os.getpid(), signal.SIGKILL) if "draw 1 of 2: training members" in text else None
main()
"""


def test_a_stress_test_that_is_killed_in_a_training_leaves_nothing(copied: Workspace, tmp_path: Path) -> None:
    (tmp_path / "scenarios.toml").write_text(SCENARIO, "utf-8")
    (tmp_path / "tmp").mkdir()
    shutil.rmtree(copied.root / "features")  # so that tables are built aside
    before, environment = contents(copied.root), os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    words = [
        "stress",
        "--scenarios",
        tmp_path / "scenarios.toml",
        "--workspace",
        copied.root,
        "--out",
        tmp_path / "o.html",
    ]
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert contents(copied.root) == before
    left = set((tmp_path / "tmp").iterdir())
    assert {path.name.rsplit("-", 1)[0] for path in left} >= {"limitlens-tables"}
    command = [sys.executable, "-m", "limitlens.pipeline", *words]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert "customers: the model in use closes" in done.stdout
    assert not set((tmp_path / "tmp").iterdir())
    assert [model.model_version for model in copied.registry.models()] == ["1", "2"]
