"""The benchmark of broken feeds: rows are missing on the days it says, and a line that a hold touches is left alone."""

from datetime import UTC, datetime, timedelta

import pandas as pd

from benchmarks.takeovers import decisions
from benchmarks.watch_broken import BROKEN, begins, in_those_days
from limitlens.features import CATALOGUE
from limitlens.limits.hold import Hold
from limitlens.pipeline.deciding.held_lines import HeldLines
from limitlens.pipeline.deciding.point_in_time import by_moment
from limitlens.pipeline.workspace import default_policy

AT, BEFORE = datetime(2025, 7, 5, 12, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC)
PURCHASES = Hold("consumption", BEFORE, BEFORE + timedelta(days=1), "check", "none came", kind="purchase")


def test_signs_of_a_takeover_without_purchases_pause_a_line_and_leave_it_where_purchases_are_held() -> None:
    policy = default_policy()
    features = CATALOGUE.only(policy.columns & set(CATALOGUE.declaration_of))
    line = {"account_id": "A", "as_of": AT, "opened_at": datetime(2025, 1, 1, tzinfo=UTC), "limit_cents": 10_000_00}
    lines = pd.DataFrame([line | {"watched": True}])
    signs = {"new_device_and_city_count_7d": 1, "draw_sum_7d": 5_000_00, "draw_count_7d": 3}
    calm = dict.fromkeys(features.columns, 0) | {"segment": "default"}
    rows = [calm | signs | {"account_id": "A", "as_of": AT, "known_by": AT},
            calm | {"purchase_count_7d": 2, "account_id": "A", "as_of": BEFORE, "known_by": BEFORE}]  # fmt: skip
    table = pd.DataFrame(rows).astype({"as_of": "datetime64[us, UTC]", "known_by": "datetime64[us, UTC]"})
    held = HeldLines({1: PURCHASES}, lines[["account_id", "as_of"]].assign(hold=1))
    plain = decisions(lines, table.iloc[:1], features, policy)
    kept = decisions(lines, table.iloc[:1], features, policy, held=held, tables={features.digest: by_moment(table)})
    assert (plain["action"].item(), kept["action"].item()) == ("pause", "hold")


def test_episodes_and_stops_count_from_the_first_day_of_a_fault_until_its_rows_have_come() -> None:
    [first, *_] = begins(12)
    times = pd.Series([first - timedelta(seconds=1), first, first + BROKEN, first + timedelta(days=16)])
    episodes = pd.DataFrame({"begins": times})
    kept = in_those_days((episodes, episodes.rename(columns={"begins": "stopped"})), times, 12)
    assert [list(part.index) for part in kept] == [[1, 2], [1, 2]]
