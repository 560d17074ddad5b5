"""The past under another policy: equal to the ledger under its own, and counted as by hand."""

import json
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from limitlens.data.errors import WorkspaceError
from limitlens.limits.complaints import Complaint, complaints
from limitlens.limits.iteration import Iteration
from limitlens.limits.outcome import judged_lines, outcome_of
from limitlens.limits.policy import shifted
from limitlens.limits.policy_file import at_once
from limitlens.pipeline import decide
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding.point_in_time import Tables
from limitlens.pipeline.release import simulate_policy as simulate_room
from limitlens.pipeline.release.simulate_policy import past_lines, past_tables, simulate, simulate_policies
from limitlens.pipeline.workspace import Workspace, default_policy

COMPARED = ["account_id", "as_of", "action", "limit_before_cents", "limit_cents", "can_draw", "pd"]
DAY = pd.Timedelta(days=1)


def quiet(_: str) -> None:
    """Progress nobody reads."""


def undecided(space: Workspace, root: Path) -> Workspace:
    """A copy of a workspace in which nothing was decided."""
    shutil.copytree(space.root, root, ignore=shutil.ignore_patterns("decisions", "attributions"))
    with closing(sqlite3.connect(root / "ledger.sqlite")) as connection, connection:
        for table in ("runs", "revisions", "records", "signers"):
            connection.execute(f"DELETE FROM {table}")
    return Workspace(root)


def test_the_past_under_its_own_policy_is_the_ledger(small_workspace: Workspace, tmp_path: Path) -> None:
    """From one month start past the next, states carried on."""
    space = undecided(small_workspace, tmp_path / "work")
    first, last = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 3, tzinfo=UTC)
    decide(space, as_of=first, model_version="1")
    decide(space, until=last, model_version="1")
    iteration = space.iteration("1", space.ledger.runs()[0].policy_digest)
    planned = past_lines(space, iteration, first, last)
    found = simulate(iteration, planned, past_tables(space, iteration, planned), space)
    recorded = space.ledger.query("SELECT * FROM decisions")
    assert len(recorded) > 3_000
    assert (recorded["action"] != "keep").sum() > 50
    in_order = [frame[COMPARED].sort_values(["account_id", "as_of"], ignore_index=True) for frame in (recorded, found)]
    pd.testing.assert_frame_equal(*in_order, check_dtype=False, check_exact=True)


def test_a_policy_is_simulated_alike_whatever_stands_beside_it(
    small_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one with stricter cut-offs hits and catches at least as many, the sweep at its own place agreeing."""
    base, strict = at_once(default_policy()), shifted(at_once(default_policy()), -1.0)
    path, picture = tmp_path / "policy.toml", tmp_path / "frontier.svg"
    path.write_text(base.text, encoding="utf-8")
    arguments = ["simulate-policy", str(path), "--workspace", str(small_workspace.root), "--json"]
    built: list[tuple[pd.DataFrame, Tables]] = []

    def past(workspace: Workspace, iteration: Iteration, since: datetime, until: datetime) -> pd.DataFrame:
        """The month starts, and two days of each month beside them."""
        planned = past_lines(workspace, iteration, since, until)
        return planned[planned["date"].dt.day.isin([1, 11, 21])]

    def once(workspace: Workspace, iteration: Iteration, planned: pd.DataFrame) -> Tables:
        """The features of the same past are built once."""
        if not built:
            built.append((planned, past_tables(workspace, iteration, planned)))
        (first, tables), keys = built[0], ["account_id", "as_of"]
        pd.testing.assert_frame_equal(planned[keys], first[keys])
        assert iteration.model.features.digest in tables
        return tables

    monkeypatch.setattr(simulate_room, "past_lines", past)
    monkeypatch.setattr(simulate_room, "past_tables", once)
    monkeypatch.setattr(simulate_room, "SWEEP", simulate_room.SWEEP[::6])  # the ends and the middle
    done = CliRunner().invoke(app, [*arguments, "--sweep", str(picture)], catch_exceptions=False)
    alone = json.loads(done.stdout)
    both = simulate_policies(small_workspace, [strict, base], progress=quiet)
    assert json.loads(json.dumps(both.to_dict()["policies"][1]["outcome"])) == alone["policies"][0]["outcome"]
    one, other = (found.outcome for found in both.policies)
    assert one.good_hit >= other.good_hit > 0
    assert one.bad_caught >= other.bad_caught > 0
    assert (one.good, one.bad, one.lines) == (other.good, other.bad, other.lines)
    assert [shift for shift, _, _ in alone["policies"][0]["frontier"]] == [-1.5, 0.0, 1.5]
    hits = [hit for _, hit, _ in alone["policies"][0]["frontier"]]
    assert hits[0] > hits[-1]
    assert "share of good customers hit" in picture.read_text(encoding="utf-8")


def test_defaults_that_are_not_known_yet_are_refused_with_the_month_to_choose(small_workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match=r"choose --from 2026-01-01 or earlier"):
        simulate_policies(
            small_workspace, [at_once(default_policy())], since=datetime(2026, 3, 1, tzinfo=UTC), progress=quiet
        )
    with pytest.raises(WorkspaceError, match="no month start"):
        simulate_policies(
            small_workspace, [at_once(default_policy())], since=datetime(2026, 1, 2, tzinfo=UTC), progress=quiet
        )


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_cut_offs_move_in_log_odds(first: float, second: float) -> None:
    policy = at_once(default_policy())
    there = shifted(shifted(policy, first), second)
    for segment, cuts in policy.segments.items():
        moved = there.segments[segment]
        odds = [np.log(one.decrease_above_pd / (1 - one.decrease_above_pd)) for one in (cuts, moved)]
        assert np.isclose(odds[1] - odds[0], first + second)
        assert moved.review_above_pd < moved.decrease_above_pd < moved.freeze_above_pd < moved.close_above_pd < 1
        assert replace(moved, **{name: getattr(cuts, name) for name in vars(cuts) if name.endswith("_pd")}) == cuts


Row = tuple[str, int, int, str, int, bool]

ROWS = st.lists(
    st.tuples(
        st.sampled_from("ABC"),
        st.integers(0, 80),
        st.integers(0, 40),
        st.sampled_from(["keep", "review", "close", "decrease"]),
        st.integers(-1, 1),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda row: row[:2],
)


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Decisions out of (account, day, day of opening, action, step of the limit, right to draw taken)."""
    start = pd.Timestamp("2026-01-01", tz="UTC")
    return pd.DataFrame(
        {
            "account_id": [row[0] for row in rows],
            "as_of": [start + row[1] * DAY for row in rows],
            "opened_at": [start + row[2] * DAY for row in rows],
            "action": [row[3] for row in rows],
            "limit_before_cents": 500,
            "limit_cents": [500 + row[4] for row in rows],
            "could_draw": True,
            "can_draw": [not row[5] for row in rows],
        }
    )


def by_hand(rows: Sequence[Row]) -> list[Complaint]:
    """The complaints, line by line."""
    start, accounts = min(row[1] for row in rows), sorted({row[0] for row in rows})
    end, found = max(row[1] for row in rows), []
    for days in (2, 7, 30):
        known = [row for row in rows if start <= row[2] <= end - days]
        opened = {row[0] for row in known}
        closed = {row[0] for row in known if row[3] == "close" and row[1] - row[2] <= days}
        found.append(Complaint(f"closed within {days} days of opening", len(closed), len(opened)))
    moved, flipped = set(), set()
    for account in accounts:
        own = sorted(row for row in rows if row[0] == account)
        moves = [(row[1], row[4] or (-1 if row[5] else 0)) for row in own if row[4] or row[5]]
        moved |= {account} if moves else set()
        for (day, way), (later, back) in pairwise(moves):
            flipped |= {account} if later - day <= 30 and back == -way else set()
    reviews = [sum(row[0] == account and row[3] == "review" for row in rows) for account in accounts]
    return [
        *found,
        Complaint("changed, and back within 30 days", len(flipped), len(moved)),
        Complaint("reviews", sum(reviews), len(accounts)),
        Complaint("reviewed more than once", sum(count > 1 for count in reviews), len(accounts)),
    ]


@pytest.mark.slow
@given(ROWS)
def test_complaints_are_those_counted_line_by_line(rows: list[Row]) -> None:
    assert complaints(table_of(rows)) == by_hand(rows)


def test_an_outcome_counted_by_hand() -> None:
    """A good line hit, a bad one caught in time, one cut too late, one late from the first on, one without a label."""
    rows = [
        ("good", 0, "decrease", 50, 0),
        ("caught", 0, "keep", 90, 5),
        ("caught", 30, "freeze", 90, 29),
        ("caught", 60, "close", 0, 60),
        ("too late", 0, "keep", 70, 0),
        ("too late", 30, "close", 0, 30),
        ("late before", 0, "close", 0, 40),
        ("unknown", 0, "close", 0, 0),
    ]
    decisions = pd.DataFrame(rows, columns=["account_id", "day", "action", "limit_cents", "dpd_days"])
    decisions["as_of"] = pd.Timestamp("2026-01-01", tz="UTC") + decisions["day"] * DAY
    bad = pd.Series({"good": False, "caught": True, "too late": True, "late before": True, "elsewhere": False})
    found = outcome_of(decisions.sample(frac=1, random_state=1), bad)
    assert (found.lines, found.good, found.bad, found.good_hit, found.bad_caught) == (5, 1, 2, 1, 1)
    assert (found.limit_cents, found.good_limit_cents, found.bad_limit_cents) == (50, 50, 160)
    assert (found.good_hit_share, found.bad_caught_share) == (1.0, 0.5)


def test_what_ends_a_pause_is_as_early_as_the_pause() -> None:
    """A pause that is carried out when the line is late, one that is lifted before it, one that follows too late."""
    rows = [
        ("in time", 0, "pause", 90, 25, None),
        ("in time", 6, "freeze", 90, 31, 0),
        ("lifted", 0, "pause", 90, 5, None),
        ("lifted", 5, "unfreeze", 90, 0, 0),
        ("lifted", 60, "freeze", 90, 40, None),
        ("good", 0, "pause", 90, 5, None),
        ("good", 5, "unfreeze", 90, 0, 0),
    ]
    decisions = pd.DataFrame(
        rows, columns=["account_id", "day", "action", "limit_cents", "dpd_days", "state.paused_at"]
    )
    decisions["as_of"] = pd.Timestamp("2026-01-01", tz="UTC") + decisions["day"] * DAY
    found = judged_lines(decisions, pd.Series({"in time": True, "lifted": True, "good": False}))
    assert found["hit"].to_dict() == {"in time": True, "lifted": False, "good": False}
