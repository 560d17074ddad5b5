"""The opening of a line: who qualifies and with which limit, never outside the band of the segment."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from limitlens.data.errors import ConfigError, InputError
from limitlens.limits.opening import qualify
from limitlens.limits.policy import Condition, Disqualifier, Policy
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding.applications import answer_applications
from limitlens.pipeline.workspace import default_policy
from tests.strategies import policies

SHORT = Disqualifier("short_employment", "low_inflow", (Condition("months_employed", "below", 3.0),))
CAREFUL = replace(default_policy(), disqualifiers=(SHORT,))


@pytest.mark.slow
@given(st.lists(st.one_of(st.none(), st.integers(-1, 10**9)), min_size=1, max_size=5), policies())
def test_an_opening_limit_is_within_its_band_and_on_the_grid(requested: list[int | None], policy: Policy) -> None:
    asked = pd.DataFrame({"segment": "student", "mark": np.nan, "requested_limit_cents": requested}).astype(
        {"requested_limit_cents": "Int64"}
    )
    limit = qualify(asked, policy)["limit_cents"]
    band = policy.opening_of("student")
    assert limit.between(band.min_limit_cents, band.max_limit_cents).all()
    assert (limit % policy.steps.rounding_cents == 0).all()
    assert (limit[asked["requested_limit_cents"].isna()] == band.initial_limit_cents).all()


def test_who_is_disqualified_gets_no_limit_and_a_missing_value_disqualifies_nobody() -> None:
    answers = qualify(pd.DataFrame({"segment": "salaried", "months_employed": [2.0, 3.0, np.nan]}), CAREFUL)
    assert answers["qualifies"].tolist() == [False, True, True]
    assert answers["limit_cents"].tolist() == [0, 10_000_00, 10_000_00]
    assert answers["fired_rules"].tolist() == [["short_employment"], [], []]


def test_a_missing_attribute_is_named() -> None:
    with pytest.raises(ConfigError, match="'short_employment' names column 'months_employed'"):
        qualify(pd.DataFrame({"segment": ["salaried"]}), CAREFUL)


def test_applications_of_a_file_are_answered_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("asked.csv").write_text("id,segment,requested_limit_cents\nA,student,\nB,student,450000\n")
    shown = CliRunner().invoke(app, ["qualify", "asked.csv", "--out", "answers.csv"])
    assert "2 applications, 2 qualify" in shown.output
    assert Path("answers.csv").read_text().splitlines()[1:] == [
        '"A","student",,true,300000,""',
        '"B","student","450000",true,450000,""',
    ]


def answered(lines: str, *options: str, policy: Policy | None = None) -> list[dict[str, str]]:
    """Answers to applications delivered as CSV text in the folder of the test."""
    Path("asked.csv").write_text(lines, encoding="utf-8")
    answer_applications(Path("asked.csv"), policy or default_policy(), Path("answers.csv"))
    with Path("answers.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the test, as the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("here")
def test_what_was_delivered_comes_back_as_it_was() -> None:
    ids = ["00001", "1234567890123456789", "", "NA", "null", "-3.50"]
    found = answered("id,segment\n" + "".join(f"{one},student\n" for one in ids))
    assert [row["id"] for row in found] == ids


@pytest.mark.usefixtures("here")
def test_long_ids_of_a_parquet_file_stay_whole_beside_a_missing_one() -> None:
    pq.write_table(pa.table({"id": [1234567890123456789, None], "segment": ["student"] * 2}), "asked.parquet")
    answer_applications(Path("asked.parquet"), default_policy(), Path("answers.csv"))
    assert Path("answers.csv").read_text().splitlines()[1].startswith('1234567890123456789,"student"')


@pytest.mark.usefixtures("here")
def test_a_cell_or_a_column_that_a_spreadsheet_would_run_is_quoted() -> None:
    (row,) = answered('"=A1",segment\n=HYPERLINK(1),student\n')
    assert row["'=A1"] == "'=HYPERLINK(1)"


@pytest.mark.parametrize(
    ("cells", "column", "what"),
    [
        (" student,", "segment", "space before or after"),
        ("student\N{IDEOGRAPHIC SPACE},", "segment", "space before or after"),
        ("Student,", "segment", "not as the policy writes it"),
        (",", "segment", "null"),
        ("student,-5", "requested_limit_cents", "below 1"),
        ("student,50.005", "requested_limit_cents", "not a whole number"),
        ("student,inf", "requested_limit_cents", "not a finite number"),
        ('student,"500,000"', "requested_limit_cents", "not a number"),
        ("student,99999999999999999", "requested_limit_cents", "above 10000000000000 either way"),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_broken_application_is_refused_by_row_and_column(cells: str, column: str, what: str) -> None:
    with pytest.raises(InputError) as caught:
        answered(f"segment,requested_limit_cents\nstudent,100000\n{cells}\n")
    assert str(caught.value).startswith(f"asked.csv, row 2, column '{column}': {what}")
    assert not Path("answers.csv").exists()


@pytest.mark.usefixtures("here")
def test_a_row_with_another_number_of_fields_is_refused_by_row() -> None:
    with pytest.raises(InputError, match="row 2: wrong number of fields"):
        answered("id,segment\nA,student\nB,student,9\nC,student\n")


@pytest.mark.usefixtures("here")
def test_an_attribute_that_a_disqualifier_reads_is_a_number_or_refused() -> None:
    answers = answered("segment,months_employed\nsalaried,2.5\nsalaried,\n", policy=CAREFUL)
    assert [row["fired_rules"] for row in answers] == ["short_employment", ""]
    with pytest.raises(InputError, match=r"row 1, column 'months_employed': not a number, got 'two'"):
        answered("segment,months_employed\nsalaried,two\n", policy=CAREFUL)


@pytest.mark.usefixtures("here")
def test_requests_in_whole_currency_are_refused() -> None:
    with pytest.raises(InputError, match="'requested_limit_cents' looks like another unit than cents"):
        answered("segment,requested_limit_cents\nstudent,4500.00\nstudent,\n")


@pytest.mark.usefixtures("here")
def test_a_column_named_like_an_answer_is_refused() -> None:
    with pytest.raises(InputError, match="column 'Qualifies' has the name of an answer; rename it"):
        answered("segment,Qualifies\nstudent,5\n")
