"""The benchmark on takeovers counts what it says: stops, days, cash that was not drawn yet, innocent lines."""

import pandas as pd
import pytest

from benchmarks.takeovers import World, judged, report, stops, world_under_each

T0 = pd.Timestamp("2026-03-10", tz="UTC")
DAY = pd.Timedelta(days=1)
TAKEN, CALM = ["takeover_signs"], ["past_due_30"]


def decisions_of(*rows: tuple[str, float, str, list[str], bool, bool]) -> pd.DataFrame:
    """Decisions out of (account, day, action, fired rules, could draw before, can draw after)."""
    names = ["account_id", "as_of", "action", "fired_rules", "state.can_draw", "can_draw"]
    return pd.DataFrame(rows, columns=names).assign(as_of=lambda found: T0 + found["as_of"] * DAY)


def test_a_stop_lasts_from_the_rule_on_takeovers_to_the_first_decision_after_which_the_line_draws() -> None:
    found = stops(
        decisions_of(
            ("A", 1, "keep", [], True, True),
            ("A", 2, "freeze", TAKEN, True, False),
            ("A", 3, "keep", TAKEN, False, False),
            ("A", 9, "unfreeze", [], False, True),
            ("B", 1, "freeze", CALM, True, False),
            ("C", 4, "pause", TAKEN, True, False),
        )
    )
    assert found["account_id"].tolist() == ["A", "C"]
    assert found["stopped"].tolist() == [T0 + 2 * DAY, T0 + 4 * DAY]
    assert found["again"][0] == T0 + 9 * DAY
    assert pd.isna(found["again"][1])


def test_cash_is_saved_from_the_stop_on_and_a_stop_without_an_episode_is_another_line() -> None:
    episodes = pd.DataFrame(
        {"episode": [0, 1, 2], "account_id": ["A", "B", "C"], "cause": ["takeover", "travel", "takeover"], "begins": T0}
    )
    drawn = pd.DataFrame({"episode": [0, 0, 0], "drawn": [T0 + k * DAY for k in (1.5, 2, 3)], "cents": [100, 200, 300]})
    stopped = pd.DataFrame(
        {
            "account_id": ["A", "B", "C", "D"],
            "stopped": [T0 + 2 * DAY, T0 + DAY, T0 + 8 * DAY, T0 + DAY],
            "again": [T0 + 9 * DAY, T0 + 4 * DAY, pd.NaT, T0 + 2 * DAY],
        }
    )
    found, told = judged(World(episodes, drawn, frozenset("BD")), stopped)
    assert found["saved_cents"].tolist() == [500, 0, 0]
    assert found["stopped"].notna().tolist() == [True, True, False]
    assert told["cause"].tolist() == ["takeover", "travel", "other", "other"]
    said = report(found, told)
    assert said["takeovers stopped"].startswith("1 of 2: 50.0%")
    assert said["of it, not drawn yet at the stop"] == "83.3%"
    assert said["other stops, of them of good lines"] == "2, 1"
    assert said["days an innocent line is stopped, median"] == "2.0"
    assert said["innocent lines stopped until the end"] == "1 of 3"


@pytest.mark.slow
def test_a_small_world_is_judged_on_each_calendar() -> None:
    """More is seen daily than at month starts, and a pause ends sooner than a freeze."""
    found = world_under_each(seed=3, accounts=400, months=6)
    monthly, daily, paused = (told for _, told in found.values())
    assert len(monthly) < len(daily) <= len(paused)
    assert paused["days"].max() < 8
    assert daily["days"].min() >= 90 or daily["days"].isna().all()
