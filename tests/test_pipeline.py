"""The whole line: exact shares, an enumeration over physically rebuilt states, replay, second runs, faults."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from limitlens.data.check import check_events
from limitlens.data.engine import run_sql
from limitlens.data.errors import ConfigError, InputError, IntegrityError, WorkspaceError
from limitlens.data.lock import exclusive
from limitlens.features.declarations import FeatureSet
from limitlens.features.line import limit_and_age
from limitlens.features.table import build_table
from limitlens.limits.attribution import PLAYERS, attribute
from limitlens.limits.chain import links
from limitlens.limits.groups import mix, split_behaviour
from limitlens.limits.lattice import CHAIN, evaluate
from limitlens.limits.model_parts import split_model
from limitlens.limits.policy import ACTIONS
from limitlens.limits.state import state_before
from limitlens.models.default_risk import calibrated_as, recalibrated
from limitlens.models.explanation import shap_values
from limitlens.models.inputs import account_numbers, fold_of
from limitlens.models.settings import TrainSettings
from limitlens.pipeline.answers.report import read_decisions, report, telling_account
from limitlens.pipeline.answers.why import why
from limitlens.pipeline.answers.why_card import card
from limitlens.pipeline.answers.why_text import render
from limitlens.pipeline.check_delivery import check
from limitlens.pipeline.cli.limits import decision_lines
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.deciding.replay import iterations, recorded_decisions, replay
from limitlens.pipeline.deciding.score import score
from limitlens.pipeline.release.promote import Override, promote
from limitlens.pipeline.training.train import train
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings
from tests.ledgers import records_of

NOW = datetime(2026, 7, 3, tzinfo=UTC)
PASS = Override("head of credit risk", "the test is about something else")


def quiet(_: str) -> None:
    """Progress nobody reads."""


def test_a_notebook_may_name_a_workspace_by_text(tmp_path: Path) -> None:
    assert Workspace(str(tmp_path)).events.root == tmp_path  # type: ignore[arg-type]


def test_an_attribute_named_like_a_feature_is_refused_on_delivery_and_before_features_are_built(tmp_path: Path) -> None:
    times = {"opened_at": NOW, "known_time": NOW}
    line = {"account_id": "A1", **times, "limit_cents": 1, "segment": "mass", "Draw_count_30d": 1.0}
    login = {"event_id": "E1", "account_id": "A1", "event_time": NOW, "known_time": NOW, "kind": "login"}
    for source, row in (("accounts", line), ("device", login | {"device_id": "D1", "city": "X"})):
        (tmp_path / "in" / source).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "in" / source / "a.parquet")
    workspace = Workspace(tmp_path / "work")
    with pytest.raises(InputError, match="column 'Draw_count_30d' has a name of limitlens's own"):
        check(workspace, tmp_path / "in", quiet)
    check_events(tmp_path / "in", workspace.events)  # as if the feature had been declared later
    with pytest.raises(ConfigError, match=r"named like features: \['Draw_count_30d'\]; rename those features"):
        workspace.feature_set(default_settings())


def test_places_and_texts_of_many_values_are_features_only_by_name(tmp_path: Path) -> None:
    line = {"opened_at": NOW, "known_time": NOW, "limit_cents": 1, "segment": "mass", "home_city": "Xi'an"}
    lines = [line | {"account_id": f"A{k}", "employer": f"E{k}", "job": f"J{k % 50}"} for k in range(51)]
    login = {"event_id": "E1", "account_id": "A1", "event_time": NOW, "known_time": NOW, "kind": "login"}
    for source, rows in (("accounts", lines), ("device", [login | {"device_id": "D1", "city": "X"}])):
        (tmp_path / "in" / source).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in" / source / "a.parquet")
    workspace, settings = Workspace(tmp_path / "work"), default_settings()
    check_events(tmp_path / "in", workspace.events)
    assert workspace.left_out(settings) == {"home_city": "a place", "employer": "51 values"}
    assert workspace.feature_set(settings).attributes == (("job", "text"),)
    named = replace(settings, attributes=("home_city",))
    assert workspace.feature_set(named).attributes == (("home_city", "text"), ("job", "text"))
    assert workspace.left_out(named) == {"employer": "51 values"}
    with pytest.raises(ConfigError, match=r"attributes names \['house'\]; the accounts were delivered with"):
        workspace.feature_set(replace(settings, attributes=("house",)))


def test_only_the_columns_that_are_named_are_used_and_what_a_policy_reads_is_among_them(
    small_workspace: Workspace,
) -> None:
    settings = replace(default_settings(), columns=("draw_share_2d", "login_count_30d"))
    chosen = small_workspace.feature_set(settings)
    debts = {"dpd_days", "past_due_cents", "balance_cents", "balance_mean_90d_cents"}
    assert set(chosen.declaration_of) == debts | {"draw_share_2d", "draw_sum_2d", "login_count_30d"}
    with pytest.raises(ConfigError, match=r"rule 'cash_out' names column 'draw_count_2d', which .* leaves out"):
        small_workspace.check_rules(default_policy(), chosen)
    with pytest.raises(ConfigError, match=r"columns names \['draws'\]; limitlens features lists"):
        small_workspace.feature_set(replace(settings, columns=("draws",)))
    assert TrainSettings.from_dict(settings.to_dict()) == settings


def test_shares_sum_to_the_change_to_the_cent_for_every_account(small_workspace: Workspace) -> None:
    current = small_workspace.ledger.current()
    split = current[current["phi_behaviour"].notna()]
    change = split["limit_cents"] - split["limit_before_cents"]
    assert len(split) > 1_000
    assert (split[[f"phi_{p}" for p in PLAYERS]].sum(axis=1) == 120 * change).all()
    assert (split[[f"share_cents_{p}" for p in PLAYERS]].sum(axis=1) == change).all()


def test_every_cause_moves_some_limit_in_the_demo(small_workspace: Workspace) -> None:
    current = small_workspace.ledger.current()
    assert all((current[f"phi_{player}"].fillna(0) != 0).any() for player in PLAYERS)


def rebuilt(workspace: Workspace, features: FeatureSet, rows: pd.DataFrame, as_of: str, known_by: str) -> pd.DataFrame:
    """One data state, built afresh from the events."""
    spine = pd.DataFrame({"account_id": rows["account_id"], "as_of": rows[as_of], "known_by": rows[known_by]})
    return build_table(features, spine, workspace.relations(features)).reset_index(drop=True)


def test_shares_equal_an_enumeration_over_a_thousand_physically_rebuilt_accounts(small_workspace: Workspace) -> None:
    """Nothing of the lattice is reused: four states, 32 decisions and 120 orders, one after the other."""
    recorded = small_workspace.ledger.current()
    split = recorded[recorded["phi_behaviour"].notna() & (recorded["as_of"] == recorded["as_of"].max())]
    chosen = split.sample(1_000, random_state=1).sort_values("account_id").reset_index(drop=True)
    decisions = recorded_decisions(small_workspace).set_index(["account_id", "as_of"])
    previous = decisions.loc[pd.MultiIndex.from_frame(chosen[["account_id", "previous_as_of"]])].reset_index()
    now = decisions.loc[pd.MultiIndex.from_frame(chosen[["account_id", "as_of"]])].reset_index()
    made_by = iterations(small_workspace, {*previous["run_id"], *now["run_id"]})
    pairs = [(made_by[old], made_by[new]) for old, new in zip(previous["run_id"], now["run_id"], strict=True)]
    moments = pd.DataFrame({"account_id": now["account_id"], "t0": previous["as_of"], "t1": now["as_of"]})
    chain = [("t0", "t0"), ("t0", "t1"), ("t1", "t1"), ("t1", "t1")]
    sets = {iteration.model.features for iteration in made_by.values()}
    built = {
        (state, features): rebuilt(small_workspace, features, moments, *state)
        for state, features in product(dict.fromkeys(chain), sets)
    }
    for sides in {tuple(map(id, pair)): pair for pair in pairs}.values():
        place = [at for at, (old, new) in enumerate(pairs) if old is sides[0] and new is sides[1]]
        tables = [[built[state, s.model.features].loc[place].reset_index(drop=True) for s in sides] for state in chain]
        states = tuple(state_before(rows.loc[place].reset_index(drop=True)) for rows in (previous, now))

        values = {point: decided_limits(point, sides, tables, states) for point in np.ndindex(4, 2, 2, 2)}
        expected = chosen.loc[place, [f"phi_{player}" for player in PLAYERS]].to_numpy(np.int64)
        assert (enumerated(values) == expected).all()


def decided_limits(point: tuple[int, ...], sides, tables, states) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Limits at one point of the lattice, scored and decided on their own."""
    d, m, p, s = point
    pd_ = sides[m].score(tables[d][m], states[s])
    return sides[p].rules(tables[d][p], pd_, states[s])["limit_cents"].to_numpy(np.int64)


def enumerated(values: dict[tuple[int, ...], np.ndarray]) -> np.ndarray:
    total = dict.fromkeys(PLAYERS, 0 * values[0, 0, 0, 0])
    legs, axes = ("data", "behaviour", "data"), ("leg", "model", "policy", "state")
    for order in sorted(set(permutations(("leg", "leg", "leg", "model", "policy", "state")))):
        point = [0, 0, 0, 0]
        for step in order:
            player = legs[point[0]] if step == "leg" else step
            old = values[tuple(point)]
            point[axes.index(step)] += 1
            total[player] = total[player] + values[tuple(point)] - old
    return np.column_stack([total[player] for player in PLAYERS])


def test_replay_gives_the_recorded_decisions(small_workspace: Workspace) -> None:
    assert replay(small_workspace, quiet) == len(recorded_decisions(small_workspace))


def test_the_two_day_case_is_closed_and_explained_by_behaviour(small_workspace: Workspace) -> None:
    case = telling_account(read_decisions(small_workspace))
    assert case is not None
    account = case[0]
    answer = why(small_workspace, *case)
    assert answer.decision.action == "close"
    assert answer.decision.limit_cents == 0
    assert "cash_out" in answer.decision.fired_rules
    assert answer.split.share_cents is not None
    assert answer.split.share_cents["behaviour"] == -answer.decision.limit_before_cents
    assert sum(group.share_cents for group in answer.split.groups) == answer.split.share_cents["behaviour"]
    assert f"{account} · opened" in render(answer)
    assert "Told to the customer" in render(answer)
    json.dumps(answer.to_dict())


def test_groups_inside_behaviour_sum_to_its_share_for_many_accounts(small_workspace: Workspace) -> None:
    current = small_workspace.ledger.current()
    moved = current[current["share_cents_behaviour"].fillna(0) != 0]
    for row in moved.tail(5).to_dict("records"):
        answer = why(small_workspace, row["account_id"], row["as_of"].to_pydatetime())
        assert sum(group.share_cents for group in answer.split.groups) == row["share_cents_behaviour"]


def test_a_calibration_that_moved_alone_is_the_whole_share_of_the_model(small_workspace: Workspace) -> None:
    """The parts of the model sum to its share, and each is nothing where it did not move."""
    after = recorded_decisions(small_workspace).groupby("account_id").tail(1).reset_index(drop=True)
    after = after[after["as_of"] == after["as_of"].max()].reset_index(drop=True)
    old, state = small_workspace.iteration("2"), state_before(after)
    moments = pd.DataFrame({"account_id": after["account_id"], "t1": after["as_of"]})
    rows = rebuilt(small_workspace, old.model.features, moments, "t1", "t1")
    tables = {(leg, old.model.features.digest): rows for leg in CHAIN}
    louder = replace(old, model=recalibrated(old.model, 1.0))
    other = replace(small_workspace.iteration("1"), policy=old.policy)
    for new, still in ((louder, [0]), (replace(other, model=calibrated_as(other.model, old.model)), [1]), (other, [])):
        parts = split_model(old, new, tables, state, state)
        share = attribute(evaluate(old, new, tables, state, state).limit_cents)[:, PLAYERS.index("model")]
        assert (parts.sum(axis=1) == share).all()
        assert [k for k in (0, 1) if not parts[:, k].any()] == still


def test_why_tells_what_members_and_calibration_moved(small_workspace: Workspace) -> None:
    current = small_workspace.ledger.current()
    row = current[current["share_cents_model"].fillna(0) != 0].iloc[0]
    answer = why(small_workspace, row["account_id"], row["as_of"].to_pydatetime())
    assert sum(answer.model.model_parts.values()) == row["share_cents_model"]
    assert "\n    calibration " in render(answer)
    assert '<td class="inner">calibration</td>' in card(answer)


def test_the_decision_table_has_the_documented_columns(small_workspace: Workspace) -> None:
    path = next((small_workspace.root / "decisions").glob("*.parquet"))
    assert pq.read_schema(path).names == [
        "account_id", "as_of", "action", "limit_before_cents", "limit_cents", "can_draw", "pd", "fired_rules",
        "reasons", "state", "run_id", "model_version", "policy_digest", "holds", "as_known_action",
        "as_known_limit_cents", "before_fault_action", "before_fault_limit_cents", "if_paid_action",
        "if_paid_limit_cents", "spared_by", "spared_action", "spared_limit_cents",
    ]  # fmt: skip
    current = small_workspace.ledger.current()
    assert set(current["action"]) <= set(ACTIONS)
    assert not current.duplicated(["account_id", "as_of"]).any()


def test_adverse_decisions_carry_at_most_four_reasons(small_workspace: Workspace) -> None:
    current = small_workspace.ledger.current()
    adverse = current[current["action"].isin(["decrease", "freeze", "close"])]
    assert adverse["reasons"].map(len).between(1, 4).all()


def test_groups_equal_an_enumeration_in_which_behaviour_steps_group_by_group(small_workspace: Workspace) -> None:
    """Wherever behaviour stands in the 120 orders, its groups take its place in each of their own orders."""
    current = small_workspace.ledger.current()
    moved = current[(current["phi_behaviour"].fillna(0) != 0) & (current["as_of"] == current["as_of"].max())].head(60)
    decisions = recorded_decisions(small_workspace).set_index(["account_id", "as_of"])
    previous = decisions.loc[pd.MultiIndex.from_frame(moved[["account_id", "previous_as_of"]])].reset_index()
    same = (previous["run_id"] == previous["run_id"].mode()[0]).to_numpy()
    before = previous[same].reset_index(drop=True)
    after = decisions.loc[pd.MultiIndex.from_frame(moved[["account_id", "as_of"]])].reset_index()[same]
    after = after.reset_index(drop=True)
    made_by = iterations(small_workspace, {before["run_id"].iloc[0], after["run_id"].iloc[0]})
    sides = (made_by[before["run_id"].iloc[0]], made_by[after["run_id"].iloc[0]])
    features, states = sides[1].model.features, (state_before(before), state_before(after))
    moments = pd.DataFrame({"account_id": after["account_id"], "t0": before["as_of"], "t1": after["as_of"]})
    c0, c1 = (
        rebuilt(small_workspace, sides[1].model.features, moments, *state) for state in (("t0", "t1"), ("t1", "t1"))
    )
    groups, phi, unit = split_behaviour(*sides, {features.digest: (c0, c1)}, *states)

    total = dict.fromkeys(groups, 0)
    limits = cache(lambda done, *point: decided_limits((0, *point), sides, [[mix(features, c0, c1, done)] * 2], states))
    for order in sorted(set(permutations(("leg", "leg", "leg", "model", "policy", "state")))):
        steps = order[: [i for i, step in enumerate(order) if step == "leg"][1]]
        point = [int(axis in steps) for axis in ("model", "policy", "state")]
        for inner in permutations(groups):
            for k, group in enumerate(inner):
                step = limits(frozenset(inner[: k + 1]), *point) - limits(frozenset(inner[:k]), *point)
                total[group] = total[group] + step
    assert len(after) >= 20
    assert (phi != 0).any(axis=0).sum() >= 2
    assert unit == 120 * 24
    assert (np.column_stack([total[group] for group in groups]) == phi).all()
    assert (phi.sum(axis=1) == 24 * moved["phi_behaviour"].to_numpy(np.int64)[same]).all()


def test_shap_values_and_a_constant_sum_to_the_log_odds(small_workspace: Workspace) -> None:
    iteration = small_workspace.iteration("2")
    rows = recorded_decisions(small_workspace).tail(300).reset_index(drop=True)
    moments = pd.DataFrame({"account_id": rows["account_id"], "t": rows["as_of"]})
    table, state = rebuilt(small_workspace, iteration.model.features, moments, "t", "t"), state_before(rows)
    limit, age = limit_and_age(state)
    pd_ = iteration.score(table, state)
    rest = np.log(pd_ / (1 - pd_)) - shap_values(iteration.model, table, limit, age).sum(axis=1)
    account, turns = account_numbers(rows["account_id"]), range(iteration.model.settings.rounds)
    scored_by = [fold_of(account, iteration.model.settings.folds, turn) for turn in turns]
    assert rest.groupby(scored_by).agg(np.ptp).max() < 1e-6


def test_a_copied_workspace_leaves_the_original_alone(copied: Workspace, small_workspace: Workspace) -> None:
    before = sorted(str(p) for p in small_workspace.root.rglob("*") if p.is_file() and "sqlite" not in p.name)
    settings = replace(default_settings(), n_estimators=5, rounds=1, folds=2, carried_rounds=0)
    trained = train(copied, settings, default_policy(), developer="developer", progress=quiet)
    promote(copied, "reviewer", NOW, trained.model_version, override=PASS, progress=quiet)
    report(copied, copied.root / "report.html", quiet)
    assert (copied.root / copied.registry.model(trained.model_version).folder / "model.json").is_file()
    after = sorted(str(p) for p in small_workspace.root.rglob("*") if p.is_file() and "sqlite" not in p.name)
    assert after == before


def test_a_policy_changed_in_the_ledger_is_refused(copied: Workspace) -> None:
    import sqlite3

    with sqlite3.connect(copied.root / "ledger.sqlite") as connection:
        connection.execute("UPDATE policies SET text = replace(text, 'dwell_days = 28', 'dwell_days = 29')")
    connection.close()
    with pytest.raises(IntegrityError, match="not the policy that was recorded"):
        copied.iteration("1")


def test_a_closed_line_is_never_decided_again(small_workspace: Workspace) -> None:
    current = small_workspace.ledger.current()
    closed = current[current["action"] == "close"].set_index("account_id")["as_of"]
    later = current[current["account_id"].isin(closed.index)]
    assert (later["as_of"] <= later["account_id"].map(closed)).all()


@pytest.fixture
def copied(small_workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy to write into."""
    shutil.copytree(small_workspace.root, tmp_path / "work")
    return Workspace(tmp_path / "work")


def test_a_second_run_decides_nothing_and_writes_nothing(copied: Workspace) -> None:
    before = {p: p.stat().st_mtime_ns for p in copied.root.glob("*/*.parquet")}
    assert decide(copied, progress=quiet).decisions == 0
    assert {p: p.stat().st_mtime_ns for p in copied.root.glob("*/*.parquet")} == before


def test_an_edited_decision_is_found(copied: Workspace) -> None:
    path = sorted((copied.root / "decisions").glob("*.parquet"))[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=path.name):
        copied.ledger.verify()


def test_an_edited_model_is_refused_before_lightgbm_reads_it(copied: Workspace) -> None:
    registered = copied.registry.models()[-1]
    path = copied.root / registered.folder / "book-0.txt"
    path.write_text(path.read_text()[:-2_000])
    with pytest.raises(IntegrityError, match=r"book-0\.txt: not the file that was recorded"):
        copied.iteration(registered.model_version)


def test_a_run_that_dies_before_its_record_is_repeated_byte_for_byte(copied: Workspace) -> None:
    """The last run is forgotten but its files stay, as after ``kill -9`` between rename and commit."""
    import sqlite3

    path = sorted((copied.root / "decisions").glob("*.parquet"))[-1]
    before = path.read_bytes()
    with sqlite3.connect(copied.root / "ledger.sqlite") as connection:
        last = str(copied.ledger.runs()[-1].run_id)
        kinds = [(link.content[0], link.content[1]) for link in links(connection)]
        first = next(place for place, (kind, name) in enumerate(kinds) if kind == "revision" or name == last)
        connection.execute("DELETE FROM records WHERE links_before >= ?", [first])  # tables that were built since
        connection.execute("DELETE FROM revisions")
        connection.execute("DELETE FROM runs WHERE rowid = (SELECT MAX(rowid) FROM runs)")
    connection.close()
    assert decide(copied, progress=quiet).decisions > 0
    assert path.read_bytes() == before
    assert copied.ledger.verify() == len(copied.ledger.runs()) + records_of(copied)


def test_a_correction_after_the_decision_leaves_the_old_one_replayable(copied: Workspace, tmp_path: Path) -> None:
    """A row delivered late, dated before the last decision, is known only from that decision on."""
    decided = copied.ledger.decided_until()
    assert decided is not None
    events = tmp_path / "late"
    for source in ("accounts", "payment"):
        (events / source).mkdir(parents=True)
    accounts = f"SELECT * EXCLUDE (delivered_known_time) FROM ({copied.events.versions('accounts')})"
    pq.write_table(run_sql(accounts), events / "accounts" / "again.parquet")
    account, moment = recorded_decisions(copied)["account_id"].iloc[0], (decided - timedelta(days=3)).isoformat()
    (events / "payment" / "late.csv").write_text(
        "event_id,account_id,event_time,known_time,kind,amount_cents,instalment_id\n"
        f"late-1,{account},{moment},{moment},repayment,5000000,\n"
    )
    report = check_events(events, copied.events, decided_until=decided, progress=quiet)
    assert report.sources["payment"].stamped == 1
    assert replay(copied, quiet, account) > 0


def deliver_login(inbox: Path, line: dict[str, object], login: dict[str, object]) -> None:
    for source, row in (("accounts", line), ("device", login | {"device_id": "D1", "city": "X"})):
        (inbox / source).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([row]), inbox / source / "a.parquet")


def test_one_login_dated_ahead_has_no_empty_month_decided(copied: Workspace, tmp_path: Path) -> None:
    decided = copied.ledger.decided_until()
    assert decided is not None
    ahead = decided + timedelta(days=120)
    line = {"account_id": "Z1", "opened_at": decided, "known_time": decided, "limit_cents": 1, "segment": "student"}
    login = {"event_id": "Z1-1", "account_id": "Z1", "event_time": ahead, "known_time": ahead, "kind": "login"}
    deliver_login(tmp_path / "in", line, login)
    check(copied, tmp_path / "in", quiet)
    assert decide(copied, progress=quiet).decisions == 0


def test_lines_with_limit_0_are_counted_by_decide_and_score_and_why_says_so(copied: Workspace, tmp_path: Path) -> None:
    decided = copied.ledger.decided_until()
    assert decided is not None
    opened, day = decided - timedelta(days=9), decided + timedelta(hours=3)
    line = {"account_id": "Z1", "opened_at": opened, "known_time": opened, "limit_cents": 0, "segment": "student"}
    login = {"event_id": "Z1-1", "account_id": "Z1", "event_time": day, "known_time": day, "kind": "login"}
    deliver_login(tmp_path / "in", line, login)
    check(copied, tmp_path / "in", quiet)
    tomorrow = decided + timedelta(days=1)
    assert score(copied, tomorrow, tmp_path / "scores.parquet", progress=quiet).limit_zero == 1
    now = decide(copied, as_of=tomorrow, progress=quiet)
    assert now.limit_zero == 1
    assert "note: 1 lines have limit 0, stand in no book and were not decided" in decision_lines(now)
    with pytest.raises(WorkspaceError, match="'Z1' has limit 0, so it stands in no book and is never decided"):
        why(copied, "Z1")
    with pytest.raises(WorkspaceError, match="'Z2' was never delivered"):
        why(copied, "Z2")


def test_two_runs_at_once_are_refused(copied: Workspace) -> None:
    with exclusive(copied.root, "check"), pytest.raises(WorkspaceError, match="a run is in progress"):
        decide(copied, progress=quiet)


def test_a_date_the_data_do_not_reach_is_refused(copied: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="the data end at"):
        decide(copied, as_of=datetime(2027, 1, 1, tzinfo=UTC), progress=quiet)


def test_a_decided_date_is_not_decided_again(copied: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="the ledger only grows"):
        decide(copied, as_of=datetime(2026, 6, 20, tzinfo=UTC), progress=quiet)


def test_the_developer_cannot_review(copied: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="somebody else has to review"):
        promote(copied, "demo developer", NOW, "1", progress=quiet)
    with pytest.raises(WorkspaceError, match="give --reviewer NAME"):
        promote(copied, None, NOW, "1", progress=quiet)


def test_every_run_names_its_mlflow_run(small_workspace: Workspace) -> None:
    import sqlite3

    from limitlens.pipeline.tracking import client

    with sqlite3.connect(small_workspace.root / "ledger.sqlite") as connection:
        ids = {row[0] for row in connection.execute("SELECT mlflow_run_id FROM runs")}
    connection.close()
    mlflow = client(small_workspace.mlflow)
    assert ids
    assert all(mlflow.get_run(run_id).info.status == "FINISHED" for run_id in ids)
    assert (
        mlflow.get_model_version_by_alias("limitlens-default-risk", "champion").run_id
        == small_workspace.registry.model("2").mlflow_run_id
    )


def test_the_demo_tells_the_causes_the_case_and_what_to_open(finished_demo: tuple[Path, str]) -> None:
    out, said = finished_demo
    assert "limits changed since the one before, by cause:" in said
    assert "closed 2026-06" in said
    assert str(out / "report.html") in said
    assert (out / "report.html").is_file()
