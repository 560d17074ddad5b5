"""What is held out: the last months, with both kinds of lines on either side, or nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from limitlens.data.check import check_events
from limitlens.data.errors import WorkspaceError
from limitlens.data.world import simulate
from limitlens.pipeline.training.training_table import TrainingTable, build_training_table, check_labels, split_rows
from limitlens.pipeline.workspace import Workspace, default_settings

DAY = pd.Timedelta(days=1)


def quiet(_: str) -> None:
    """Progress nobody reads."""


def rows(as_of: pd.DatetimeIndex, bad: np.ndarray, known_after: int = 180) -> pd.DataFrame:
    """Lines with a label of their own each, known so many days later."""
    table = pd.DataFrame({"as_of": as_of, "label_end": as_of + known_after * DAY, "bad": bad, "indeterminate": False})
    return table.assign(account_id=[f"A{k}" for k in range(len(as_of))])


def loans(days: int, bad: np.ndarray) -> pd.DataFrame:
    """One loan a day."""
    return rows(pd.date_range("2024-01-01 10:30", periods=days, tz="UTC"), bad)


def some(days: int) -> np.ndarray:
    return np.arange(days) % 7 == 0


def test_labels_with_times_of_their_own_are_held_out_by_month() -> None:
    """None reaches into the months held out, which have a twentieth of all rows, however few the last one has."""
    found = split_rows(loans(490, some(490)))  # the last month has four loans
    by_split = found.groupby("split")["as_of"].agg(["min", "max", "size"])
    assert by_split.loc["test", "min"] == pd.Timestamp("2025-04-01 10:30", tz="UTC")
    assert by_split.loc["test", "size"] == 34
    learned = found[found["split"] == "train"]
    assert learned["label_end"].max() <= by_split.loc["test", "min"]
    assert set(found["split"]) == {"train", "test", "unused"}


@pytest.mark.parametrize("months", ["last", "first"])
def test_months_with_one_kind_of_lines_are_not_held_out_and_judge_nothing(months: str) -> None:
    bad = some(490)
    bad[slice(400, None) if months == "last" else slice(0, 300)] = False
    assert set(split_rows(loans(490, bad))["split"]) == {"train"}


def test_one_cross_section_is_learned_from_as_a_whole() -> None:
    as_of = pd.DatetimeIndex([pd.Timestamp("2024-01-01", tz="UTC")] * 30)
    assert set(split_rows(rows(as_of, some(30)))["split"]) == {"train"}


def table(bad: np.ndarray) -> TrainingTable:
    learned = loans(len(bad), bad).assign(split="train")
    return TrainingTable(features=None, rows=learned, files=())  # type: ignore[arg-type]  # no features are read


def test_a_book_of_one_kind_is_told_what_it_lacks() -> None:
    settings = replace(default_settings(), folds=2, rounds=3)
    for bad, told in ((np.zeros(50, bool), "0 of 50"), (np.ones(50, bool), "50 of 50"), (np.arange(50) < 1, "1 of 50")):
        with pytest.raises(WorkspaceError, match=f"{told} lines went bad by their labels: too few of a kind"):
            check_labels(table(bad), settings)
    check_labels(table(np.arange(50) < 25), settings)


@pytest.mark.slow
def test_where_payments_stop_labels_end_whatever_else_comes_in(tmp_path: Path) -> None:
    """Devices go on for three months; a line that looks good in them may have defaulted unseen."""
    simulate(tmp_path / "events", accounts=40, months=10, seed=3, futures=0, progress=quiet)
    stop = pd.Timestamp("2025-08-15", tz="UTC")
    for path in (tmp_path / "events" / "payment").glob("*.parquet"):
        payments = pq.read_table(path)
        pq.write_table(payments.filter(pc.less(payments["known_time"], stop)), path)
    space = Workspace(tmp_path / "work")
    check_events(tmp_path / "events", space.events, progress=quiet)
    assert space.events.known_until() > stop + 60 * DAY
    found = build_training_table(space, replace(default_settings(), horizon_months=3), None, quiet)
    assert found.rows["label_end"].max() == pd.Timestamp("2025-08-01", tz="UTC")
