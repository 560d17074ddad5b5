"""The inventory: states by what is recorded, reviews that count and those that do not, what is overdue."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from limitlens.data.errors import ConfigError
from limitlens.limits.policy_file import parse_policy
from limitlens.limits.registry import Promotion, RegisteredModel, Registry, SignOff
from limitlens.pipeline.answers.status import status
from limitlens.pipeline.cli import app
from limitlens.pipeline.release.inventory import inventory, state_of
from limitlens.pipeline.workspace import Workspace, default_policy

FIRST = datetime(2026, 1, 31, 9, tzinfo=UTC)
DUE = datetime(2027, 1, 31, tzinfo=UTC)


def registered(space: Workspace, version: str, text: str = "", developer: str = "Chen Wei") -> Registry:
    """A version with a policy, and nothing trained."""
    policy = parse_policy(text or default_policy().text)
    space.registry.record_policy(policy.digest, policy.text)
    space.registry.record_model(RegisteredModel(version, "ab", policy.digest, f"m{version}", "run", developer))
    return space.registry


ACTS = ["promote", "rollback", "withdraw", "sign"]


@given(st.lists(st.tuples(st.sampled_from(ACTS), st.sampled_from("123")), max_size=9))
def test_the_state_derived_from_the_records_is_the_one_kept_step_by_step(history: list[tuple[str, str]]) -> None:
    """The validation blocks version 1."""
    kept = {"1": "develop", "2": "test", "3": "test"}
    promotions, withdrawn, signed = list[Promotion](), list[str](), set[str]()
    for act, version in history:
        if act == "sign":
            signed.add(version)
            kept[version] = "review" if kept[version] in {"develop", "test"} else kept[version]
        elif act == "withdraw":
            withdrawn.append(version)
            kept[version] = "withdrawn"
        elif kept[version] != "withdrawn":
            promotions.append(Promotion(version, "Li Na", act, FIRST.isoformat(), "", ""))
            kept = {other: "replaced" if state == "live" else state for other, state in kept.items()}
            kept[version] = "live"
    derived = {
        version: state_of(version, promotions, withdrawn, signed=version in signed, blocked=version == "1")
        for version in "123"
    }
    assert derived == kept


def test_what_was_never_promoted_is_in_development_until_its_validation_passes_and_then_tested_until_reviewed(
    small_workspace: Workspace, tmp_path: Path
) -> None:
    shutil.copytree(small_workspace.root, tmp_path / "work")
    space = Workspace(tmp_path / "work")
    folder = space.registry.model("2").folder
    shutil.copytree(space.root / folder, space.root / "m3")
    registered(space, "3")
    for doubts, state in (([], "test"), (["it ranks worse than a coin"], "develop")):
        path = space.root / "m3" / "validation.json"
        path.write_text(json.dumps(space.validation("2") | {"doubts": doubts}), "utf-8")
        assert inventory(space, DUE)[-1].state == state
    space.registry.record_sign_off(SignOff("3", "ab", "reject", "Li Na", "a coin", FIRST.isoformat()))
    assert inventory(space, DUE)[-1].state == "review"


def test_a_version_is_due_so_many_months_after_its_promotion_and_overdue_from_the_day_after(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    registered(space, "1").record_promotion("1", "Li Na", "review", FIRST)
    for at, overdue in ((DUE + timedelta(hours=23), False), (DUE + timedelta(days=1), True)):
        [row] = inventory(space, at)
        assert (row.review_due, row.overdue, row.reviewer, row.reviewed) == (
            "2027-01-31",
            overdue,
            "Li Na",
            "2026-01-31",
        )


def test_months_of_the_policy_of_the_version_count_and_end_with_the_month(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    text = default_policy().text.replace("[release]", "[release]\nreview_months = 1", 1)
    registered(space, "1", text).record_promotion("1", "Li Na", "review", FIRST)
    assert inventory(space, FIRST)[0].review_due == "2026-02-28"


def test_going_back_to_a_version_is_no_review_and_only_the_live_one_is_due(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    registered(space, "1").record_promotion("1", "Li Na", "bootstrap", FIRST)
    registered(space, "2").record_promotion("2", "Li Na", "review", FIRST + timedelta(days=30))
    space.registry.record_promotion("1", "Wang Fang", "rollback", FIRST + timedelta(days=60))
    first, second = inventory(space, FIRST)
    assert (first.state, first.promoted, first.promoted_by) == ("live", "2026-04-01", "Wang Fang")
    assert (first.reviewer, first.review_due) == ("Li Na", "2027-01-31")
    assert (second.state, second.review_due) == ("replaced", "")


@pytest.mark.parametrize("spelled", ["Chen Wei", "WEI, chen", "Ｃｈｅｎ　Ｗｅｉ"])
def test_the_developer_is_no_reviewer_however_spelled(spelled: str, tmp_path: Path) -> None:
    registered(Workspace(tmp_path), "1").record_promotion("1", spelled, "bootstrap", FIRST)
    [row] = inventory(Workspace(tmp_path), FIRST)
    assert (row.promoted_by, row.reviewer, row.review_due) == (spelled, "", "2027-01-31")


def test_a_policy_that_says_the_default_has_the_digest_of_one_without_the_key() -> None:
    def with_months(months: int) -> str:
        return default_policy().text.replace("[release]", f"[release]\nreview_months = {months}", 1)

    assert parse_policy(with_months(12)).digest == default_policy().digest != parse_policy(with_months(6)).digest
    with pytest.raises(ConfigError, match="review_months is 0; expected 1 to 120"):
        parse_policy(with_months(0))


def test_owner_and_tier_are_those_of_the_policy_and_a_tier_is_one_of_three(tmp_path: Path) -> None:
    def said(keys: str) -> str:
        return default_policy().text.replace("[release]", f"[release]\n{keys}", 1)

    registered(Workspace(tmp_path), "1", said('owner = "Wang Fang"\ntier = 1'))
    registered(Workspace(tmp_path), "2")
    rows = inventory(Workspace(tmp_path), FIRST)
    assert [(row.owner, row.tier) for row in rows] == [("Wang Fang", 1), ("", 0)]
    with pytest.raises(ConfigError, match="tier is 4; expected 1 to 3"):
        parse_policy(said("tier = 4"))


def test_the_commands_name_what_is_overdue(small_workspace: Workspace, tmp_path: Path) -> None:
    shutil.copytree(small_workspace.root, tmp_path / "work")
    space = Workspace(tmp_path / "work")
    asked = ["inventory", "--workspace", str(space.root)]
    rows = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert [row["state"] for row in rows] == ["replaced", "live"]
    now = datetime.fromisoformat(space.registry.promotions()[-1].promoted_at)
    seen = status(space, now)
    assert (seen.states, seen.review_overdue) == ({"replaced": 1, "live": 1}, False)
    assert f"inventory  1 replaced, 1 live; next review by {seen.review_due}" in list(seen.lines())
    registered(space, "3").record_promotion("3", "Li Na", "review", datetime(2020, 2, 29, tzinfo=UTC))
    late = CliRunner().invoke(app, asked)
    assert late.exit_code == 3
    assert "the review of version 3 was due by 2021-02-28" in late.stdout
    assert "inventory  2 replaced, 1 live; next review OVERDUE since 2021-02-28" in list(status(space, now).lines())


def test_a_workspace_without_versions_says_what_comes_next(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["inventory", "--workspace", str(tmp_path)])
    assert (shown.exit_code, shown.stdout) == (0, "no version yet\nnext: limitlens train\n")
    assert not list(tmp_path.iterdir())
