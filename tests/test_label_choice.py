"""The choice of the label: roll rates and vintages against a count by hand, and the page that shows them."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limitlens.data.calendar import data_end
from limitlens.models.label_choice import BUCKETS, bucket_of, early_signs, roll_rates, vintage_curve
from limitlens.models.labels import computed_labels
from limitlens.pipeline.training.label_report import write_label_report
from limitlens.pipeline.training.training_table import build_training_table
from limitlens.pipeline.workspace import Workspace, default_settings


@settings(max_examples=40)
@given(st.dictionaries(st.tuples(st.sampled_from("AB"), st.integers(0, 6)), st.integers(0, 120), min_size=1))
def test_a_roll_rate_counts_the_same_lines_some_months_later(seen: dict[tuple[str, int], int]) -> None:
    rows = [(account, month, days) for (account, month), days in seen.items()]
    found = roll_rates(pd.DataFrame(rows, columns=["account_id", "month", "dpd_days"]), months=2)
    name = dict(zip(range(121), bucket_of(pd.Series(range(121))), strict=True))
    pairs = [
        (name[days], name[seen[account, month + 2]])
        for (account, month), days in seen.items()
        if (account, month + 2) in seen
    ]
    for bucket in BUCKETS.values():
        later = [after for before, after in pairs if before == bucket]
        assert found.loc[bucket, "lines"] == len(later)
        if later:
            assert [found.loc[bucket, b] * len(later) for b in BUCKETS.values()] == pytest.approx(
                [later.count(b) for b in BUCKETS.values()]
            )


def test_a_vintage_curve_never_falls_and_leaves_out_lines_not_seen_from_their_start() -> None:
    rows = [("A", "2025Q1", age, days) for age, days in enumerate([0, 0, 95, 0])]
    rows += [("B", "2025Q1", age, 0) for age in range(4)]
    rows += [("C", "2024Q1", age, 95) for age in range(10, 14)]
    dpd = pd.DataFrame(rows, columns=["account_id", "vintage", "age_months", "dpd_days"])
    found = vintage_curve(dpd, 90)
    assert list(found) == ["2025Q1"]
    assert found["2025Q1"].tolist() == [0.0, 0.0, 0.5, 0.5]


def test_the_page_shows_both(small_workspace: Workspace, tmp_path: Path) -> None:
    rolls, vintages = write_label_report(small_workspace, default_settings(), tmp_path / "labels.html", lambda _: None)
    page = (tmp_path / "labels.html").read_text(encoding="utf-8")
    assert "<h2>Roll rates</h2>" in page
    assert "<svg" in page
    assert rolls.loc["90+", "90+"] > rolls.loc["30-59", "90+"] > rolls.loc["current", "90+"]
    assert len(vintages.columns) >= 3


def test_early_signs_are_counted_on_lines_seen_from_their_start() -> None:
    ages = {"A": [5, 40, 95, 95], "B": [5, 0, 0, 0], "C": [0, 0, 0, 95], "D": [0, 0, 0, 0], "short": [40, 95]}
    rows = [(name, "2025Q1", age, days) for name, seen in ages.items() for age, days in enumerate(seen, 1)]
    rows += [("late", "2024Q1", age, 95) for age in range(3, 9)]
    found = early_signs(pd.DataFrame(rows, columns=["account_id", "vintage", "age_months", "dpd_days"]), 90, 4)
    assert found.to_numpy().tolist() == [[2, 0.5, 0.5], [1, 1.0, 0.5], [4, 0.5, 1.0]]


def test_indeterminate_lines_are_judged_but_not_learned_from(small_workspace: Workspace) -> None:
    def table(days: int) -> pd.DataFrame:
        chosen = replace(default_settings(), indeterminate_dpd_days=days)
        return build_training_table(small_workspace, chosen, None, lambda _: None).rows

    plain, without = table(0), table(30)
    left_out = (without["split"] == "indeterminate").to_numpy()
    assert left_out.sum() > 50
    end = data_end(small_workspace.events.known_until())
    relations, days = small_workspace.events.relations(), {"horizon_months": 6, "default_dpd_days": 30}
    reached = computed_labels(plain[["account_id", "as_of"]], relations, known_by=end, **days)
    late = plain.merge(reached, on=["account_id", "as_of"], suffixes=("", "_late"), validate="one_to_one")["bad_late"]
    assert left_out.tolist() == (late & ~plain["bad"] & (plain["split"] == "train")).tolist()
    pd.testing.assert_frame_equal(plain[~left_out], without[~left_out])
