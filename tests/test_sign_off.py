"""Sign-off: what a reviewer signed is what is promoted, by another person than who trained it, and in the chain."""

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from limitlens.data.errors import GateError, IntegrityError, WorkspaceError
from limitlens.data.storage import file_sha256
from limitlens.limits.finding import recorded_findings
from limitlens.limits.keys import new_key, public_of
from limitlens.limits.policy_file import parse_policy
from limitlens.limits.registry import RegisteredModel, SignOff
from limitlens.limits.signed import CARD
from limitlens.limits.signers import os_user, signed_by
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding.verify import verify
from limitlens.pipeline.release.inventory import inventory
from limitlens.pipeline.release.model_card_page import model_card_of, rendered
from limitlens.pipeline.release.promote import Override, promote
from limitlens.pipeline.release.sign_off import sign_off, standing
from limitlens.pipeline.workspace import Workspace, default_policy

pytestmark = pytest.mark.slow

NOW = datetime(2026, 7, 3, tzinfo=UTC)
PASS = Override("head of credit risk", "the test is about something else")


def quiet(_: str) -> None:
    """Progress nobody reads."""


def asking(keys: str) -> str:
    return default_policy().text.replace("[release]", f"[release]\n{keys}", 1)


@pytest.fixture
def space(small_workspace: Workspace, tmp_path: Path) -> Workspace:
    """Its champion was released with a policy that asks for sign-offs; version 1 is to be promoted."""
    shutil.copytree(small_workspace.root, tmp_path / "work")
    space = Workspace(tmp_path / "work")
    return with_champion(space, "3", "sign_off = true")


def with_champion(space: Workspace, version: str, keys: str) -> Workspace:
    """The model of version 2 registered again with another policy, and promoted."""
    model, policy = space.registry.model("2"), parse_policy(asking(keys))
    shutil.copytree(space.root / model.folder, space.root / "models" / version)
    space.registry.record_policy(policy.digest, policy.text)
    folder = f"models/{version}"
    registered = RegisteredModel(version, model.model_digest, policy.digest, folder, model.mlflow_run_id, "Chen Wei")
    space.registry.record_model(registered)
    space.registry.record_promotion(version, "Li Na", "review", NOW)
    return space


def validation_of(space: Workspace, version: str) -> Path:
    return space.root / space.registry.model(version).folder / "validation.json"


def promoted(space: Workspace) -> str:
    return promote(space, "Li Na", NOW, "1", override=PASS, progress=quiet)[0]


def test_a_version_is_promoted_only_once_a_reviewer_signed_it_off(space: Workspace) -> None:
    with pytest.raises(GateError, match="nobody signed version 1 off"):
        promoted(space)
    sign_off(space, "2", "Wang Fang", "approve", "another version", at=NOW)
    with pytest.raises(GateError, match="nobody signed version 1 off"):
        promoted(space)
    sign_off(space, "1", "Wang Fang", "approve", "report read", at=NOW)
    assert promoted(space) == "1"
    verify(space)


def test_a_rejection_stands_until_who_rejected_approves(space: Workspace) -> None:
    sign_off(space, "1", "Wang Fang", "reject", "the tail is off", at=NOW)
    sign_off(space, "1", "Li Na", "approve", "it is not", at=NOW)
    with pytest.raises(GateError, match="Wang Fang rejected version 1 on 2026-07-03: the tail is off"):
        promoted(space)
    sign_off(space, "1", "wang, FANG", "approve", "I had misread it", at=NOW)
    assert promoted(space) == "1"


def test_what_was_signed_has_to_be_what_is_there(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the record made anew, too, as one who may write everything would."""
    sign_off(space, "1", "Wang Fang", "approve", "report read", at=NOW)
    path = validation_of(space, "1")
    path.write_text(path.read_text("utf-8") + " ", "utf-8")
    with pytest.raises(IntegrityError, match="files of model 1 was changed since it was recorded"):
        promoted(space)
    with pytest.raises(IntegrityError, match="files of model 1 was changed since it was recorded"):
        sign_off(space, "1", "Li Na", "approve", "report read", at=NOW)
    monkeypatch.setattr("limitlens.pipeline.release.sign_off.expect_recorded", lambda *_, **__: None)
    with pytest.raises(GateError, match="what Wang Fang signed of version 1 is not what is there"):
        promoted(space)
    assert "Wang Fang" not in {row.reviewer for row in inventory(space, NOW)}


@pytest.mark.parametrize("spelled", ["Chen Wei", "WEI, chen", "Сhen Wеi"])
def test_the_developer_signs_nothing_off_however_spelled(spelled: str, space: Workspace) -> None:
    with pytest.raises(GateError, match="trained this version"):
        sign_off(space, "3", spelled, "approve", "mine", at=NOW)
    assert not space.registry.sign_offs("3")


def test_where_the_policy_wants_another_user_who_trained_it_signs_under_no_name(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_champion(space, "4", "other_os_user = true")
    with pytest.raises(GateError, match="the policy wants another user"):
        sign_off(space, "4", "Li Na", "approve", "read", at=NOW)
    monkeypatch.setattr(os, "getuid", lambda: 4_242_424)
    assert sign_off(space, "4", "Li Na", "approve", "read", at=NOW).actor == "Li Na"


def test_the_same_call_twice_records_once_and_another_key_reason_or_verdict_again(space: Workspace) -> None:
    key = new_key()[0]
    calls: list[tuple[str, bytes | None]] = [("read", None), ("read", None), ("read", key), ("read", key), ("no", key)]
    for reason, with_key in calls:
        sign_off(space, "1", "Wang Fang", "approve", reason, at=NOW, key=with_key)
    sign_off(space, "1", "Wang Fang", "reject", "no", at=NOW, key=key)
    numbers = list(space.registry.sign_offs("1"))
    assert len(numbers) == 4
    people = [signed_by(space.root, ("sign-off", str(number))) for number in numbers]
    named = ["", *[public_of(key)] * 3]
    assert people == [[("Wang Fang", os_user(), public)] for public in named]
    verify(space)


def test_a_card_that_changed_since_it_was_signed_is_noticed_by_verify_and_by_promote(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its record, and with the record made anew by what was signed."""
    sign_off(space, "1", "Wang Fang", "approve", "card read", at=NOW)
    verify(space)
    path = validation_of(space, "1").with_name(CARD)
    path.write_text(path.read_text("utf-8").replace('"tier": 0', '"tier": 3'), "utf-8")
    with pytest.raises(IntegrityError, match="files of model 1 was changed since"):
        verify(space)
    monkeypatch.setattr("limitlens.pipeline.deciding.verify.expect_recorded", lambda *_, **__: None)
    monkeypatch.setattr("limitlens.pipeline.release.sign_off.expect_recorded", lambda *_, **__: None)
    with pytest.raises(IntegrityError, match="sign-off 1: what Wang Fang signed of version 1 is not what is there"):
        verify(space)
    with pytest.raises(GateError, match="what Wang Fang signed of version 1 is not what is there"):
        promoted(space)


def test_what_was_signed_before_there_were_cards_stays_signed(small_workspace: Workspace, tmp_path: Path) -> None:
    shutil.copytree(small_workspace.root, tmp_path / "work")
    space = Workspace(tmp_path / "work")
    model = space.registry.model("1")
    shutil.copytree(space.root / model.folder, space.root / "old", ignore=shutil.ignore_patterns(CARD))
    space.registry.record_model(replace(model, model_version="7", folder="old"))
    as_before = ["7", model.model_digest, model.policy_digest, file_sha256(space.root / "old" / "validation.json")]
    sha256 = hashlib.sha256(json.dumps(as_before).encode()).hexdigest()
    space.registry.record_sign_off(SignOff("7", sha256, "approve", "Wang Fang", "read", NOW.isoformat()))
    verify(space)
    assert [one.actor for one in standing(space, space.registry.model("7"))] == ["Wang Fang"]
    with pytest.raises(WorkspaceError, match="trained before there were model cards"):
        model_card_of(space, "7", NOW)


def test_the_card_says_what_registry_validation_and_policy_say(space: Workspace) -> None:
    sign_off(space, "1", "Wang Fang", "approve", "card read", at=NOW)
    known, model, validation = model_card_of(space, "1", NOW), space.registry.model("1"), space.validation("1")
    card, policy = known["card"], space.policy(model.policy_digest)
    assert (card["model"]["digest"], card["policy"]["digest"]) == (model.model_digest, policy.digest)
    assert card["verdict"] == validation["verdict"]
    assert card["performance"].items() >= {**validation["metrics"], "intervals": validation["intervals"]}.items()
    assert sorted(name for names in card["inputs"].values() for name in names) == sorted(
        space.iteration("1").model.columns
    )
    used = {split["split"]: (split["rows"], split["bads"]) for split in card["data"]["splits"]}
    assert used["train"] == (validation["train"]["rows"], validation["train"]["bads"])
    assert card["answers"]["developer"] == model.developer
    assert card["answers"]["approver"] == policy.release.approver
    assert [(one["actor"], one["sha256"]) for one in known["sign_offs"]] == [("Wang Fang", known["signs"])]
    assert known["inventory"]["state"] == "replaced"


@pytest.mark.parametrize("name", ["card.html", "card.md", "card.json"])
def test_a_card_is_written_as_its_file_is_called(name: str, space: Workspace, tmp_path: Path) -> None:
    path = tmp_path / name
    asked = ["model-card", "1", "--out", str(path), "--workspace", str(space.root)]
    assert CliRunner().invoke(app, asked).stdout.startswith(f"open {path}\nnext: limitlens sign-off 1 ")
    begins = {"html": "<!DOCTYPE html>", "md": "# Model card", "json": '{\n "card"'}
    assert path.read_text("utf-8").startswith(begins[path.suffix[1:]])
    refused = CliRunner().invoke(app, [*asked[:3], str(tmp_path / "card.pdf"), *asked[4:]])
    assert ".html, .md or .json" in str(refused.exception)


def test_a_card_of_an_earlier_version_lacks_a_bound_of_the_monitoring_and_is_shown(space: Workspace) -> None:
    known = model_card_of(space, "1", NOW)
    known["card"]["monitoring"].pop("amount_ratio", None)
    assert "# Model card" in rendered(known, "md")


def change(sql: str) -> Callable[[Workspace], None]:
    def changed(space: Workspace) -> None:
        with sqlite3.connect(space.root / "ledger.sqlite") as connection:
            assert connection.execute(sql).rowcount

    return changed


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (change("UPDATE sign_offs SET verdict = 'approve' WHERE verdict = 'reject'"), "sign-off 2 was changed since"),
        (change("UPDATE sign_offs SET sha256 = 'ab' WHERE id = 1"), "sign-off 1 was changed since"),
        (change("DELETE FROM sign_offs WHERE id = 2"), "sign-off 2 is gone"),
        (change("INSERT INTO sign_offs SELECT 9, '1', sha256, verdict, 'Li Na', reason, signed_at FROM sign_offs "
                "WHERE id = 1"), "sign-off 9 is in no link"),
    ],
)  # fmt: skip
def test_what_was_tampered_with_is_noticed_by_verify_and_by_promote(
    tamper: Callable[[Workspace], None], expected: str, space: Workspace
) -> None:
    sign_off(space, "1", "Wang Fang", "approve", "report read", at=NOW)
    sign_off(space, "1", "Li Na", "reject", "the tail is off", at=NOW)
    verify(space)
    tamper(space)
    for reads in (promoted, verify):
        with pytest.raises(IntegrityError, match=expected):
            reads(space)


def test_a_sign_off_is_the_review_of_a_live_version(space: Workspace) -> None:
    later = datetime(2027, 6, 1, tzinfo=UTC)
    sign_off(space, "3", "Wang Fang", "approve", "looked at again", at=later)
    live = inventory(space, later)[-1]
    assert (live.reviewer, live.reviewed, live.review_due) == ("Wang Fang", "2027-06-01", "2028-06-01")
    assert live.sign_offs == ("2027-06-01 approve by Wang Fang: looked at again",)
    sign_off(space, "3", "Wang Fang", "reject", "not any more", at=later)
    assert inventory(space, later)[-1].reviewer == "Li Na"


@pytest.mark.parametrize(("name", "reason"), [("", "read"), (" .", "read"), ("Li Na", " ")])
def test_a_sign_off_needs_a_name_and_a_reason(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="needs the name of a person and a reason"):
        sign_off(Workspace(tmp_path), "1", name, "approve", reason, at=NOW)


def test_a_policy_that_does_not_ask_has_the_digest_of_one_without_the_key() -> None:
    assert parse_policy(asking("sign_off = false")).digest == default_policy().digest
    assert parse_policy(asking("sign_off = true")).digest != default_policy().digest


def test_on_the_command_line_a_version_is_signed_off_and_listed_so(space: Workspace) -> None:
    where = ["--workspace", str(space.root)]
    words = ["sign-off", "1", "--by", "Wang Fang", "--verdict", "approve", "--reason", "report read"]
    shown = CliRunner().invoke(app, [*words, *where])
    found = [finding for _, finding in recorded_findings(space.validation("1"))]
    decided = [f"{'blocks' if one.blocks else 'decided by it'}: {one.text}" for one in found]
    *lines, last, _ = shown.stdout.splitlines()
    assert lines == decided != []
    assert last.startswith("version 1: approve by Wang Fang, of what has the sha256 ")
    assert "approve by Wang Fang: report read" in CliRunner().invoke(app, ["inventory", *where]).stdout
    assert CliRunner().invoke(app, ["sign-off", "1", *words[2:5], "maybe", *words[6:], *where]).exit_code == 2
