"""The opening of a line: who qualifies and with which limit, never outside the band of the segment."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from limitlens.data.errors import ConfigError
from limitlens.limits.opening import qualify
from limitlens.limits.policy import Condition, Policy
from limitlens.limits.policy_parts import Disqualifier
from limitlens.pipeline.cli import app
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
        "A,student,,True,300000,",
        "B,student,450000,True,450000,",
    ]
