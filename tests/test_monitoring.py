"""Monitoring: bounds that know chance, no look-ahead, and alarms that ring when something moved and not otherwise."""

import json
import re
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from limitlens.data.arrays import FloatArray
from limitlens.data.errors import ConfigError, WorkspaceError
from limitlens.limits.complaints import Complaint, complaints
from limitlens.limits.monitoring import (
    amount_alarms,
    feature_shift_alarms,
    level_alarms,
    mean_pd_alarms,
    pd_shift_alarms,
    ranking_alarms,
    roll_alarms,
)
from limitlens.limits.policy import Monitoring
from limitlens.limits.policy_file import parse_policy
from limitlens.limits.rates import Rate
from limitlens.models.chaining import chained, moves
from limitlens.models.confidence import AS_THEY_ARE, estimate, expected_auc
from limitlens.models.label_choice import bucket_of, monthly_rolls
from limitlens.models.stability import amounts, bin_counts, bin_edges, change_of, stability, stability_of
from limitlens.pipeline import check
from limitlens.pipeline.answers import monitor_page
from limitlens.pipeline.answers.monitor import Realised, monitor
from limitlens.pipeline.answers.monitor_page import write_monitoring
from limitlens.pipeline.cli import app
from limitlens.pipeline.pages import plots
from limitlens.pipeline.workspace import Workspace, default_policy
from tests.ledgers import with_state
from tests.test_status import contents

SHIPPED = Monitoring()


@pytest.mark.parametrize(("before", "after"), [(100, 60), (2_000, 300), (20_000, 5_000)])
def test_the_bound_of_a_psi_is_what_chance_exceeds_as_often_as_asked(before: int, after: int) -> None:
    rng, p, bins = np.random.default_rng(before), np.full(10, 0.1), np.arange(10)
    exceeded = [
        stability_of(
            np.bincount(rng.choice(bins, before, p=p), minlength=10).astype(float),
            np.bincount(rng.choice(bins, after, p=p), minlength=10).astype(float),
            lines=(before, after),
            level=0.95,
        ).moved
        for _ in range(1_000)
    ]
    assert 0.02 < np.mean(exceeded) < 0.075


def test_counts_of_parts_sum_to_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    values = np.where(rng.random(500) < 0.1, np.nan, rng.normal(size=500))
    edges = bin_edges(values)
    assert (bin_counts(values[:120], edges) + bin_counts(values[120:], edges) == bin_counts(values, edges)).all()


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 4), st.integers(0, 120)), max_size=24))
def test_rolls_are_those_a_person_counts(seen: list[tuple[str, int, int]]) -> None:
    dpd = {(account, month): days for account, month, days in seen}
    order = ["current", "1-29", "30-59", "60-89", "90+"]
    lines, worse = Counter[tuple[int, str]](), Counter[tuple[int, str]]()
    for (account, month), days in dpd.items():
        if (account, month + 1) in dpd:
            now, then = (bucket_of(pd.Series([d]))[0] for d in (days, dpd[account, month + 1]))
            lines[month + 1, now] += 1
            worse[month + 1, now] += order.index(then) > order.index(now)
    table = pd.DataFrame([(a, m, d) for (a, m), d in dpd.items()], columns=["account_id", "month", "dpd_days"])
    rolls = monthly_rolls(table.astype({"month": "int64", "dpd_days": "float64"}))
    counted = {(row.month, row.bucket): (row.lines, row.worse) for row in rolls.itertuples() if row.lines}
    assert counted == {key: (n, worse[key]) for key, n in lines.items() if key[1] != "90+"}


@given(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]), min_size=2, max_size=7))
def test_the_expected_auc_is_that_over_every_pair(pd_: list[float]) -> None:
    pairs = [(p, q) for i, p in enumerate(pd_) for j, q in enumerate(pd_) if i != j]
    weight = sum(p * (1 - q) for p, q in pairs)
    ranked = sum(p * (1 - q) * ((p > q) + 0.5 * (p == q)) for p, q in pairs)
    assert expected_auc(np.array(pd_)) == pytest.approx(ranked / weight if weight else np.nan, nan_ok=True)


def test_intervals_hold_the_realised_auc_and_bad_share_in_95_cases_of_100() -> None:
    rng = np.random.default_rng(5)
    pd_ = expit(rng.normal(-2.5, 1.2, 1_500))
    expected = estimate(pd_)
    held = []
    for _ in range(200):
        bad = rng.random(len(pd_)) < pd_
        auc = roc_auc_score(bad, pd_)
        held.append(
            (
                expected.auc_interval[0] <= auc <= expected.auc_interval[1],
                expected.bad_interval[0] <= bad.mean() <= expected.bad_interval[1],
            )
        )
    assert (np.mean(held, axis=0) > 0.9).all()


def accounts(n: int) -> pd.Series:
    return pd.Series([f"A{number}" for number in range(n)])


def test_matured_lines_bring_pds_that_are_off_to_the_truth() -> None:
    rng = np.random.default_rng(6)
    odds = rng.normal(-2.5, 1.0, 20_000)
    true, off = expit(odds), expit(0.4 + 0.7 * odds)
    how = chained(moves(accounts(20_000), off, rng.random(20_000) < true), 1)
    assert estimate(off, how).auc == pytest.approx(expected_auc(true), abs=0.01)
    assert abs(estimate(off).auc - expected_auc(true)) > 0.03


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from([0.02, 0.2]), st.sampled_from(["bad", 0.02, 0.2])), min_size=12, max_size=40),
    st.integers(1, 6),
)
def test_months_are_chained_as_a_person_does_it_by_hand(seen: list[tuple[float, str | float]], steps: int) -> None:
    went = {place: [after for before, after in seen if before == place] for place in (0.02, 0.2)}
    assume(all("bad" in afters and set(afters) != {"bad"} for afters in went.values()))
    by_hand: dict[float | str, float] = {"bad": 1.0, 0.02: 0.0, 0.2: 0.0}
    for _ in range(steps):
        by_hand |= {place: float(np.mean([by_hand[after] for after in afters])) for place, afters in went.items()}
    before, bad = np.array([one[0] for one in seen]), np.array([one[1] == "bad" for one in seen])
    after = np.array([np.nan if one[1] == "bad" else one[1] for one in seen], float)
    counts = moves(accounts(len(seen)), before, bad, after)
    many = counts.assign(lines=50_000 * counts["lines"])  # nothing is left of what is believed before
    brought = chained(many, steps).of(TENTHS)
    assert brought == pytest.approx([by_hand[0.02], by_hand[0.2]], rel=0.01)


#: PDs of 0.02 and 0.2 to the nearest tenth of a log-odds.
TENTHS = expit(np.array([-3.9, -1.4]))


def a_year_of_months(rng: np.random.Generator) -> tuple[list[pd.DataFrame], pd.DataFrame]:
    """Lines whose PD wanders: each month's moves, and the labels of the first half year."""
    ids, odds, gone, months = accounts(1_000), rng.normal(-4.5, 1.2, 1_000), np.zeros(1_000, bool), []
    start, was_bad = odds, np.zeros(1_000, bool)
    for month in range(12):
        bad, later = rng.random(1_000) < expit(odds), odds + rng.normal(0, 0.5, 1_000) - 0.1 * (odds + 4.5)
        months.append(moves(ids[~gone], expit(odds)[~gone], bad[~gone], expit(later)[~gone]))
        gone, odds = gone | bad, later
        was_bad = gone if month == 5 else was_bad
    return months, moves(ids, expit(start), was_bad)


def test_months_say_more_than_labels_and_how_sure_they_are() -> None:
    ways = [a_year_of_months(np.random.default_rng(seed)) for seed in range(24)]
    by_month = [chained(pd.concat(months), 6) for months, _ in ways]
    by_label = [chained(labels, 1) for _, labels in ways]
    spread = np.std([[one.intercept, one.slope] for one in by_month], axis=0)
    assert (spread < 0.8 * np.std([[one.intercept, one.slope] for one in by_label], axis=0)).all()
    said = np.sqrt(np.mean([np.diag(one.covariance) for one in by_month], axis=0))
    assert said == pytest.approx(spread, rel=0.35)


def test_ten_lines_no_bads_and_all_bads_are_looked_at_without_an_alarm_that_knows_nothing() -> None:
    pd_ = np.full(10, 0.1)
    assert estimate(pd_).auc_interval[0] <= 0.5 <= estimate(pd_).auc_interval[1]
    assert chained(moves(accounts(10), pd_, np.zeros(10, bool)), 1) == AS_THEY_ARE
    assert chained(moves(accounts(10), pd_, np.ones(10, bool)), 1) == AS_THEY_ARE
    assert np.isnan(estimate(np.empty(0)).auc)
    assert np.isnan(expected_auc(np.ones(10)))
    assert np.isnan(expected_auc(np.zeros(10)))
    assert not level_alarms(np.zeros(10, bool), pd_, SHIPPED)
    assert level_alarms(np.ones(10, bool), pd_, SHIPPED)
    assert not pd_shift_alarms(stability_of(np.ones(3), np.ones(3), lines=(3, 3)), SHIPPED)
    assert not pd_shift_alarms(None, SHIPPED)


def test_a_book_at_57_percent_beside_9_shouts_and_one_at_10_does_not() -> None:
    rng = np.random.default_rng(1)
    [alarm] = mean_pd_alarms(np.clip(rng.normal(0.57, 0.2, 1_000), 0, 1), 0.09, SHIPPED)
    assert re.match(r"mean PD 5\d\.\d\d% beside 9.00% in training: 6\.\d\d times", alarm.words)
    assert "limitlens" in alarm.next_step
    assert "limitlens" in alarm.next_step_zh
    assert not mean_pd_alarms(np.clip(rng.normal(0.10, 0.05, 1_000), 0, 1), 0.09, SHIPPED)


def rolls_of(rates: list[float], lines: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    worse = rng.binomial(lines, rates)
    return pd.DataFrame({"month": range(len(rates)), "bucket": "1-29", "lines": lines, "worse": worse})


def test_a_roll_rate_that_doubles_is_an_alarm_that_month_and_chance_alone_hardly_ever_is() -> None:
    alarms = [bool(roll_alarms(rolls_of([0.2] * 12 + [0.4], 300, seed), 12, SHIPPED)) for seed in range(50)]
    assert np.mean(alarms) > 0.95
    rng = np.random.default_rng(0)
    moving = [list(np.clip(rng.normal(0.2, 0.03, 13), 0, 1)) for _ in range(300)]  # the economy moves, too
    assert sum(bool(roll_alarms(rolls_of(rates, 300, 7), 12, SHIPPED)) for rates in moving) <= 1


def test_a_feature_is_held_against_the_chance_and_the_policy_both() -> None:
    halves, shifted = np.array([5.0, 5.0]), np.array([4.0, 6.0])
    few, many = (stability_of(n * halves, n * shifted, lines=(10 * n, 10 * n)) for n in (1, 900))
    assert not feature_shift_alarms({"x": few}, {}, replace(SHIPPED, csi=0.01))
    assert not feature_shift_alarms({"x": many}, {}, SHIPPED)  # beyond chance, and small
    [alarm] = feature_shift_alarms({"x": many, "y": few}, {}, replace(SHIPPED, csi=0.01))
    assert "x 0.04" in alarm.words
    assert "y" not in alarm.words.split(": ")[1]
    assert not feature_shift_alarms({"x": many}, {"x": 1.0}, replace(SHIPPED, csi=0.01))  # it always moves so


def months_of(rng: np.random.Generator, lines: int, count: int = 14) -> list[FloatArray]:
    """Amounts of lines in months that are now a little larger, now a little smaller."""
    line = rng.normal(10, 1, lines)
    return [np.exp(line + rng.normal(0, 0.03) + rng.normal(0, 0.3, lines)) for _ in range(count)]


def test_an_amount_moves_by_chance_as_often_as_was_asked() -> None:
    rng, level = np.random.default_rng(3), 0.95
    changes = [change_of([amounts(month) for month in months_of(rng, 100)], 12, level) for _ in range(1_000)]
    assert 0.02 < np.mean([one.moved for one in changes if one]) < 0.08


def test_amounts_that_are_a_quarter_larger_are_an_alarm_where_ten_bins_see_none() -> None:
    months = months_of(np.random.default_rng(4), 5_000)
    shifted = [*months[:-1], 1.25 * months[-1]]
    calm, moved = ({"sum": change_of([amounts(one) for one in m], 12, 0.999)} for m in (months, shifted))
    assert not amount_alarms({name: one for name, one in calm.items() if one}, SHIPPED)
    [alarm] = amount_alarms({name: one for name, one in moved.items() if one}, SHIPPED)
    assert re.search(r"sum ×1\.[23]\d \(usually ×0\.[89]\d to ×1\.1\d\)", alarm.words)
    assert stability(months[-2], shifted[-1]).psi < SHIPPED.csi
    assert not amount_alarms({name: one for name, one in moved.items() if one}, replace(SHIPPED, amount_ratio=2.0))


def test_amounts_of_parts_sum_to_those_of_the_whole_and_few_months_are_no_past() -> None:
    values = np.array([1.0, 20.0, 0.0, np.nan, -3.0, 400.0])
    assert amounts(values) == pytest.approx(amounts(values[:2]) + amounts(values[2:]))
    assert amounts(values) == pytest.approx([3, np.log(1.0 * 20.0 * 400.0)])
    assert change_of([amounts(values)] * 4, 12, 0.999) is None
    assert change_of([*[amounts(values)] * 6, amounts(np.zeros(3))], 12, 0.999) is None  # no amount any more


def test_a_model_that_ranks_worse_than_expected_is_an_alarm() -> None:
    expected = estimate(expit(np.random.default_rng(2).normal(-2, 2, 5_000)))
    assert not ranking_alarms(expected.auc, expected, (expected, expected.auc - 0.001), SHIPPED)
    assert len(ranking_alarms(expected.auc + 0.2, expected, (expected, 0.6), SHIPPED)) == 2


SECTION = "[monitoring]\npsi = 0.2\nroll_ratio = 1.5\n\n[reviews]"


def test_the_policy_knows_the_section_and_without_it_has_the_digest_it_had() -> None:
    shipped = default_policy()
    with_section = parse_policy(shipped.text.replace("[reviews]", SECTION, 1))
    assert shipped.alarms == SHIPPED
    assert with_section.alarms == replace(SHIPPED, psi=0.2, roll_ratio=1.5)
    assert replace(with_section, monitoring=None).digest == shipped.digest != with_section.digest
    assert replace(with_section, monitoring=replace(SHIPPED, amount_ratio=1.5)).digest != with_section.digest


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("psi = 0.0", "expected above 0"),
        ("chance = 0.5", "up to 0.05"),
        ("mean_pd_ratio = 1.0", "expected above 1"),
        ("amount_ratio = 1.0", "expected above 1"),
        ("past_months = 1", "expected 3 to 60"),
        ("csii = 0.1", "csii"),
    ],
)
def test_a_section_that_says_nonsense_is_refused(line: str, message: str) -> None:
    text = default_policy().text.replace("[reviews]", f"[monitoring]\n{line}\n\n[reviews]", 1)
    with pytest.raises(ConfigError, match=message):
        parse_policy(text)


@pytest.mark.slow
def test_a_decided_workspace_is_looked_at_and_nothing_is_written(small_workspace: Workspace) -> None:
    before = contents(small_workspace.root)
    monitored = monitor(small_workspace)
    assert contents(small_workspace.root) == before
    month = monitored.last
    decided = small_workspace.ledger.query("SELECT * FROM decisions WHERE as_of = $t", {"t": month.as_of})
    assert 0 < month.lines <= len(decided)
    assert [one.as_of for one in monitored.months] == sorted(one.as_of for one in monitored.months)
    json.dumps(monitored.to_dict(), allow_nan=False)
    columns = list(small_workspace.iteration(month.model_version).model.features.columns)
    assert list(month.csi_training) == columns
    decisions = with_state(small_workspace.ledger.current())
    lately = decisions[decisions["as_of"] > month.as_of - timedelta(days=92)]
    assert month.complaints == complaints(lately)


@pytest.mark.slow
def test_a_month_without_lines_bads_or_training_has_dashes_and_no_nan(
    small_workspace: Workspace, tmp_path: Path
) -> None:
    """A book may run empty, all of what matured go bad, and the rows of a training be erased."""
    monitored, nan = monitor(small_workspace, months=1), float("nan")
    last = monitored.last
    nothing = replace(
        last, lines=0, mean_pd=nan, training_share=nan, psi=stability_of(np.ones(2), np.zeros(2), lines=(1, 0)),
        expected=estimate(np.empty(0)), realised=Realised(3, 3, nan, last.as_of), matured=last.as_of,
        rolls=last.rolls.head(0), overrides=Rate(0, 0), alarms=(),
    )  # fmt: skip
    empty = replace(monitored, months=(replace(nothing, realised=Realised(0, 0, nan, last.as_of)), nothing))
    write_monitoring(empty, tmp_path / "page.html")
    body = (tmp_path / "page.html").read_text("utf-8").partition("<body>")[2]
    shown = re.sub(r"<svg.*?</svg>|<[^>]+>", " ", body, flags=re.DOTALL)
    assert not re.search(r"\b(nan|inf)\b", "\n".join(empty.lines()) + shown)
    json.dumps(empty.to_dict(), allow_nan=False)


@pytest.mark.slow
def test_few_are_counted_for_programs_and_not_told_on_the_page(small_workspace: Workspace, tmp_path: Path) -> None:
    monitored = monitor(small_workspace, months=1)
    few = replace(monitored, months=(replace(monitored.last, complaints=[Complaint("reviews", 3, 4_217)]),))
    write_monitoring(few, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8").partition("Complaints")[2]
    assert page.index("under 10") < page.index("4,217")
    assert few.to_dict()["months"][0]["complaints"] == [{"what": "reviews", "count": 3, "out_of": 4_217}]
    assert "complaints  reviews: 3 of 4,217" in few.lines()


def test_a_plot_shows_no_rate_that_its_table_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def by_month(_: object, curves: object, *__: object, **___: object) -> str:
        drawn.append(curves)
        return ""

    monkeypatch.setattr(plots, "by_month", by_month)
    rows = pd.DataFrame({"bucket": ["1-29", "30-59", "60-89"], "lines": [100, 100, 12], "worse": [40, 4, 10]})
    month = SimpleNamespace(as_of=datetime(2026, 7, 1, tzinfo=UTC), rolls=rows)
    section = monitor_page._rolls([month])  # type: ignore[list-item]
    assert section.table is not None
    assert section.table.iloc[0, 1:].tolist() == ["40.00%", "under 10", "all but under 10"]
    assert str(drawn) == "[{'1-29': [0.4], '30-59': [nan], '60-89': [nan]}]"


@pytest.mark.slow
def test_an_earlier_month_asked_for_later_is_what_it_was(small_workspace: Workspace) -> None:
    whole = monitor(small_workspace)
    first = whole.months[0]
    alone = monitor(small_workspace, until=first.as_of)
    assert alone.last.to_dict() | {"realised": None} == first.to_dict() | {"realised": None}
    with pytest.raises(WorkspaceError, match="no book has been decided by"):
        monitor(small_workspace, until=datetime(2020, 1, 1, tzinfo=UTC))


@pytest.mark.slow
def test_a_backtest_is_no_month(small_workspace: Workspace, tmp_path: Path) -> None:
    space = Workspace(tmp_path / "work")
    shutil.copytree(small_workspace.root, space.root)
    last, first = monitor(space).last, datetime(2026, 6, 2, tzinfo=UTC)
    backtests = {run.run_id for run in space.ledger.runs() if run.as_of < first}
    with closing(sqlite3.connect(space.root / "ledger.sqlite")) as connection, connection:
        connection.execute("UPDATE runs SET backtest = 1 WHERE as_of < ?", [first.isoformat()])
    alone = monitor(space)
    assert [month.as_of for month in alone.months] == [last.as_of]
    decisions = with_state(space.ledger.current())
    assert alone.last.complaints == complaints(decisions[~decisions["run_id"].isin(backtests)])
    with pytest.raises(WorkspaceError, match=r"no book has been decided by 2026-06-01 \(a backtest is none\)"):
        monitor(space, until=datetime(2026, 6, 1, tzinfo=UTC))


@pytest.mark.slow
def test_what_comes_later_changes_no_month(small_workspace: Workspace, tmp_path: Path) -> None:
    space = Workspace(tmp_path / "work")
    shutil.copytree(small_workspace.root, space.root)
    month = monitor(space).last
    late = space.ledger.query("SELECT account_id FROM decisions WHERE as_of = $t LIMIT 400", {"t": month.as_of})
    rows = pd.DataFrame(
        {
            "event_id": [f"late-{n}" for n in range(len(late))],
            "account_id": late["account_id"],
            "event_time": pd.Timestamp(month.as_of - timedelta(days=40)),
            "known_time": pd.Timestamp(month.as_of - timedelta(days=1)),  # says so, but came after the decision
            "kind": "transfer_in",
            "amount_cents": 9_999_999,
            "instalment_id": pd.Series([None] * len(late), dtype=str),
        }
    )
    folder = tmp_path / "late" / "payment"
    folder.mkdir(parents=True)
    shutil.copytree(small_workspace.root.parent / "events" / "accounts", tmp_path / "late" / "accounts")
    rows.to_parquet(folder / "late.parquet")
    check(space, tmp_path / "late")
    assert space.events.loads()[-1]["sources"]["payment"]["accepted"] == len(late)
    assert monitor(Workspace(space.root)).last.to_dict() == month.to_dict()


@pytest.mark.slow
def test_the_command_ends_with_9_on_an_alarm_and_writes_a_page(small_workspace: Workspace, tmp_path: Path) -> None:
    page, quiet = tmp_path / "monitoring.html", tmp_path / "quiet.toml"
    words = ["monitor", "--workspace", str(small_workspace.root), "--out", str(page), "--months", "2"]
    loud = CliRunner().invoke(app, words)
    assert (loud.exit_code, "ALARM" in loud.output, "next  " in loud.output) == (9, True, True)
    text = page.read_text(encoding="utf-8")
    assert "Warning:" in text
    assert "上线后监控" in text
    assert "<script" not in text
    assert "http:" not in re.sub(r'xmlns(:\w+)?="[^"]+"|<(rdf|cc|dc):?[^>]+>', "", text)
    lines = (
        "[monitoring]\npsi = 9.0\ncsi = 99.0\nmean_pd_ratio = 99.0\nroll_ratio = 99.0\namount_ratio = 99.0\n\n[reviews]"
    )
    quiet.write_text(default_policy().text.replace("[reviews]", lines, 1), encoding="utf-8")
    calm = CliRunner().invoke(app, [*words, "--policy", str(quiet), "--json"])
    assert calm.exit_code == 0
    assert json.loads(calm.stdout)["alarm"] is False
