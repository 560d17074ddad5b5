"""Verdicts as labels: which count, that no outcome gives way to one, and that no figure stands on one."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limitlens.data.errors import ConfigError
from limitlens.features.table import build_table
from limitlens.limits.ledger_tables import VERDICTS
from limitlens.limits.verdict import Verdict, agreed
from limitlens.models.classifier import DefaultRiskClassifier, Opinions
from limitlens.models.inputs import account_numbers, fold_of
from limitlens.models.settings import TrainSettings, read_settings
from limitlens.pipeline.release.iterations import repeat
from limitlens.pipeline.training.train import fit_iteration, train
from limitlens.pipeline.training.training_table import TrainingTable, build_training_table
from limitlens.pipeline.training.verdict_rows import with_verdicts
from limitlens.pipeline.workspace import Workspace, default_policy
from tests.conftest import small_settings
from tests.ledgers import quiet

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FIRST = datetime(2026, 6, 1, tzinfo=UTC)
POINT = ["account_id", "as_of"]
SMALL = replace(small_settings(), n_estimators=20, verdict_weight=0.5)


def spoken(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    times = dict.fromkeys(("since", "as_of", "at"), "datetime64[us, UTC]")
    table = pd.DataFrame(list(rows)).reindex(columns=VERDICTS.names)
    return table.astype(times | {"blind": bool, "settles": bool, "account_id": str, "verdict": str, "actor": str})


def by_hand(rows: Sequence[dict[str, Any]], known_by: datetime) -> list[tuple[datetime, datetime, bool]]:
    """What reviewers agree on in the cases of one account, case by case."""
    agreements = []
    for since in sorted({row["since"] for row in rows}):
        mine = [row for row in rows if row["since"] == since and row["at"] < known_by and row["verdict"] != "ask"]
        last = {row["actor"]: row["verdict"] for row in mine}
        settling = [row for row in mine if row["settles"]]
        if settling and len(last) >= 2 and len(set(last.values())) == 1 and settling[0]["verdict"] != "wrong_data":
            bad = settling[0]["verdict"] == "uphold"
            agreements.append((settling[0]["as_of"], max(row["at"] for row in mine), bad))
    return agreements


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Verdicts on three cases of one line: some, the one that settles the case, and perhaps a second look."""
    rows = []
    for case in range(3):
        since = FIRST + 10 * DAY * case
        spoke = st.tuples(st.sampled_from("ABC"), st.sampled_from(["uphold", "overturn", "ask", "wrong_data"]))
        before, settling, blind = draw(st.lists(spoke, max_size=2)), draw(st.none() | spoke), draw(st.none() | spoke)
        if settling and settling[1] == "ask":
            settling = None
        said = [(one, False, False) for one in before]
        said += [(settling, True, False)] if settling else []
        said += [((f"{blind[0]} again", blind[1]), False, True)] if settling and blind else []
        for hour, ((actor, verdict), settles, look) in enumerate(said):
            at = since + HOUR * (9 + hour)
            row = {"account_id": "A1", "since": since, "as_of": since + HOUR * hour, "at": at, "verdict": verdict}
            rows.append(row | {"actor": actor, "settles": settles, "blind": look})
    return rows


@given(rows=histories(), days=st.integers(0, 31))
def test_a_case_counts_where_two_reviewers_or_more_say_the_same_and_nobody_else_had_spoken(
    rows: list[dict[str, Any]], days: int
) -> None:
    known_by = FIRST + DAY * days
    counted = agreed(spoken(rows), known_by)
    assert list(counted[["as_of", "at", "bad"]].itertuples(index=False, name=None)) == by_hand(rows, known_by)


def rows_of(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(count, 3))
    bad = inputs[:, 0] + rng.normal(size=count) > 1.2
    return inputs, bad, account_numbers(pd.Series(rng.integers(0, count // 3, count)).astype(str))


def opinions(seed: int, **changed: Any) -> Opinions:
    inputs, bad, account = rows_of(150, seed)
    return replace(Opinions(inputs, bad, account, 0.5), **changed)


def fitted(heard: Opinions | None, **parameters: Any) -> DefaultRiskClassifier:
    inputs, bad, account = rows_of(900, 1)
    small = {"n_estimators": 12, "folds": 3, "rounds": 2, "carried_rounds": 0, "early_stopping_rounds": 50}
    model = DefaultRiskClassifier(**{**small, "min_data_in_leaf": 10, **parameters})
    return model.fit(inputs, bad, account=account, period=np.arange(900) // 90, opinions=heard)


def test_without_opinions_the_members_are_the_same_to_the_last_character() -> None:
    nobody = Opinions(np.empty((0, 3)), np.empty(0, bool), np.empty(0, np.uint64), 0.5)
    assert fitted(nobody).scorer_ == fitted(None).scorer_


def test_members_that_never_saw_an_account_have_not_heard_of_it() -> None:
    """Turned round, the opinions of one account change the members that learn from it and no other."""
    heard = opinions(2)
    mine = heard.account == heard.account[0]
    turned = fitted(replace(heard, bad=heard.bad ^ mine))
    for one, other in zip(fitted(heard).scorer_.members, turned.scorer_.members, strict=True):
        holds_out = fold_of(heard.account[:1], 3, one.turn)[0] == one.fold
        assert (one.text == other.text) == holds_out


def test_pds_stay_at_the_level_of_the_outcomes_whatever_reviewers_say() -> None:
    """That of all accounts, by the members that never saw them."""
    inputs, bad, account = rows_of(900, 1)
    for everybody_is in (True, False):
        heard = opinions(2, bad=np.full(150, everybody_is), weight=1.0)
        log_odds = fitted(heard, n_estimators=60).scorer_.log_odds(inputs, account)
        assert (1 / (1 + np.exp(-log_odds))).mean() == pytest.approx(bad.mean(), abs=0.01)


def test_members_learn_from_opinions_and_none_says_when_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    learned, watched = [], []

    def noted(*given: Any, folds: list[tuple[np.ndarray, np.ndarray]], **named: Any) -> Any:
        learned.extend(rows for rows, _ in folds)
        watched.extend(rows for _, rows in folds)
        return real(*given, folds=folds, **named)

    real = lgb.cv
    monkeypatch.setattr(lgb, "cv", noted)
    fitted(opinions(2))
    assert set(np.concatenate(learned)) == set(range(900 + 150))
    assert np.concatenate(watched).max() < 900


def test_the_more_an_opinion_weighs_the_further_it_moves_who_is_like_it() -> None:
    """Where hardly an outcome is, and all reviewers say bad."""
    rng = np.random.default_rng(3)
    inputs = np.column_stack([rng.normal(3, 0.3, 150), rng.normal(size=(150, 2))])
    account = account_numbers(pd.Series(np.arange(150)).astype(str) + " judged")
    moved = []
    for weight in (0.02, 0.3, 1.0):
        model = fitted(Opinions(inputs, np.zeros(150, bool), account, weight), n_estimators=60)
        moved.append(float(model.decision_function(inputs).mean()))
    assert moved[0] > moved[1] > moved[2]


@pytest.fixture(scope="module")
def table(small_workspace: Workspace) -> TrainingTable:
    return build_training_table(small_workspace, SMALL, None, quiet)


def two_say(points: pd.DataFrame, at: pd.Series, verdict: str = "uphold") -> pd.DataFrame:
    """Two reviewers on each of some points, who agree; the second an hour later."""
    base = points[POINT].assign(since=points["as_of"], verdict=verdict)
    first = base.assign(at=at - HOUR, actor="Chen Wei", settles=True, blind=False)
    return spoken(pd.concat([first, base.assign(at=at, actor="Li Na", settles=False, blind=True)]).to_dict("records"))


def held_out(table: TrainingTable) -> pd.Timestamp:
    return table.split("test")["as_of"].min()


def test_only_what_no_outcome_speaks_of_is_added_and_nothing_said_after_the_lines_that_judge(
    small_workspace: Workspace, table: TrainingTable
) -> None:
    """An outcome of six months has come of the first, not of the others; the last two were said too late."""
    cut = held_out(table)
    matured, open_ = (table.split(name).groupby("as_of").head(2) for name in ("train", "unused"))
    late = table.split("test").head(2)
    points = pd.concat([matured, open_, late], ignore_index=True)
    at = (points["as_of"] + 3 * DAY).where(points["as_of"] < cut, points["as_of"] + HOUR)
    said_late = points.index[(points["as_of"] == open_["as_of"].max()) & (points["as_of"] < cut)][-1:]
    at[said_late] = cut
    added = with_verdicts(table, small_workspace, SMALL, two_say(points, at), None)
    expected = points[(points["as_of"] + pd.DateOffset(months=SMALL.horizon_months) > cut) & (at < cut)]
    assert len(matured) > 2 and len(expected) == len(open_) - 1
    assert set(added.verdicts[POINT].itertuples(index=False)) == set(expected[POINT].itertuples(index=False))
    pd.testing.assert_frame_equal(added.rows, table.rows)


def test_rows_of_verdicts_have_the_features_of_their_moment(small_workspace: Workspace, table: TrainingTable) -> None:
    """Within a month, too."""
    moment = table.split("unused")["as_of"].max() + pd.Timedelta("9 days 13:37:05")
    points = table.split("unused").tail(5).assign(as_of=moment)
    added = with_verdicts(table, small_workspace, SMALL, two_say(points, points["as_of"] + DAY, "overturn"), None)
    features = table.features
    spine = points[POINT].assign(known_by=moment).astype(dict.fromkeys(("as_of", "known_by"), "datetime64[us, UTC]"))
    alone = build_table(features, spine, small_workspace.relations(features)).sort_values("account_id")
    shown = added.with_features(added.verdicts)
    names = [*features.columns, "segment", "account_id"]
    assert len(shown) == 5 and not shown["bad"].any()
    pd.testing.assert_frame_equal(shown[names], alone[names].reset_index(drop=True), check_dtype=False)


def test_without_a_weight_the_model_is_the_same_whatever_was_said(
    small_workspace: Workspace, table: TrainingTable
) -> None:
    points = table.split("unused").groupby("as_of").head(20)
    verdicts = two_say(points, points["as_of"] + DAY)
    off = replace(SMALL, verdict_weight=0.0)
    silent, heard, weighed = (
        fit_iteration(small_workspace, settings, None, None, quiet, verdicts=said)[0]
        for settings, said in ((off, None), (off, verdicts), (SMALL, verdicts))
    )
    assert silent.digest == heard.digest != weighed.digest
    assert "verdict_weight" not in off.to_dict()
    assert weighed.labels_end <= held_out(table).isoformat()


def test_figures_stand_on_outcomes_alone_and_the_model_can_be_trained_again(
    small_workspace: Workspace, table: TrainingTable, tmp_path: Path
) -> None:
    """Also when more was said since."""
    shutil.copytree(small_workspace.root, tmp_path / "work")
    space = Workspace(tmp_path / "work")
    points = table.split("unused").groupby("as_of").head(3)
    for row in points.to_dict("records"):
        speak(space, row["account_id"], row["as_of"].to_pydatetime())
    trained = train(space, SMALL, default_policy(), developer="developer", progress=quiet)
    assert trained.validation["train"]["verdicts"] == trained.validation["train"]["verdict_bads"] == len(points)
    assert trained.validation["train"]["rows"] == len(table.split("train"))
    assert trained.validation["metrics"]["rows"] == len(table.split("test"))
    folder = space.root / space.registry.model(trained.model_version).folder
    page = (folder / "validation.md").read_text(encoding="utf-8")
    assert f"{len(points)} rows beside these stand on verdicts" in page
    assert json.loads((folder / "model.json").read_text(encoding="utf-8"))["settings"]["verdict_weight"] == 0.5
    last = table.split("unused").iloc[-1]
    speak(space, last["account_id"], last["as_of"].to_pydatetime())
    assert repeat(space, trained.model_version, quiet)


def speak(space: Workspace, account: str, as_of: datetime) -> None:
    """Two reviewers, who agree."""
    first = Verdict(account, as_of, as_of, as_of + DAY, "uphold", "no_answer", "called", "Chen Wei", "freeze")
    space.ledger.record_verdict(first, None)
    space.ledger.record_verdict(replace(first, at=as_of + 2 * DAY, actor="Li Na", blind=True, settles=False), None)


def test_a_weight_is_a_share_and_stands_in_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text("[labels]\nverdict_weight = 1.5\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"verdict_weight is 1.5; expected at least 0 and at most 1"):
        read_settings(path)
    path.write_text(replace(TrainSettings(), verdict_weight=0.25).to_toml(), encoding="utf-8")
    assert read_settings(path).verdict_weight == 0.25
