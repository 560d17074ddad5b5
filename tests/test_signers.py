"""Who stands behind what: two pairs of eyes however names are spelled, users of the system, signatures."""

import os
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from limitlens.data.errors import ConfigError, GateError, IntegrityError
from limitlens.data.world import simulate
from limitlens.limits.chain import links, next_head
from limitlens.limits.keys import new_key, public_of
from limitlens.limits.ledger import Ledger
from limitlens.limits.names import as_read
from limitlens.limits.override import Override as Order
from limitlens.limits.policy_file import parse_policy
from limitlens.limits.signers import expect_signers, os_user, signed_by
from limitlens.pipeline.check_delivery import check
from limitlens.pipeline.deciding.verify import verify
from limitlens.pipeline.release.promote import Override, promote
from limitlens.pipeline.training.train import train
from limitlens.pipeline.workspace import Workspace, default_policy
from tests.ledgers import NOON, three_runs
from tests.test_one_version import SMALL

pytestmark = pytest.mark.slow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
APPROVER = "head of credit risk"


def quiet(_: str) -> None:
    """Progress nobody reads."""


def test_a_policy_without_the_new_keys_has_the_digest_it_had() -> None:
    text = default_policy().text
    same = f'approver = "{APPROVER}"\napprover_key = ""\nother_os_user = false'
    line = next(line for line in text.splitlines() if line.startswith("approver = "))
    assert parse_policy(text.replace(line, same)).digest == default_policy().digest
    assert parse_policy(text.replace(line, same.replace("false", "true"))).digest != default_policy().digest


@pytest.mark.parametrize("spelled", ["Chen Wei", "chen  wei", "Wei, Chen", "Ｃｈｅｎ　Ｗｅｉ", "Chén Wéi", "Сhen Wеi"])
def test_one_name_in_other_letters_is_one_person(spelled: str) -> None:
    assert as_read(spelled) == as_read("Chen Wei") != as_read("Chen Wen")


def test_a_second_version_passes_only_by_another_user_under_another_name_with_the_key_of_the_approver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = new_key()[0]
    named = public_of(private)
    keys = f'approver = "{APPROVER}"\napprover_key = "{named}"\nother_os_user = true\n'
    text = default_policy().text
    line = next(line for line in text.splitlines() if line.startswith("approver = "))
    policy = parse_policy(text.replace(line, keys))
    simulate(tmp_path / "events", accounts=250, months=10, seed=5, futures=0, progress=quiet)
    space = Workspace(tmp_path / "work")
    check(space, tmp_path / "events", quiet)
    train(space, SMALL, policy, developer="Chen Wei", progress=quiet)
    for wrong in (None, new_key()[0]):
        with pytest.raises(GateError, match=f"asks for the signature of the {APPROVER}"):
            promote(space, None, NOW, override=Override(APPROVER, "a small book", wrong), progress=quiet)
    approved = Override(APPROVER, "a small book", private)
    promote(space, None, NOW, override=approved, progress=quiet)
    assert signed_by(space.root, ("promotion", "1")) == [(APPROVER, os_user(), named)]
    train(space, replace(SMALL, seed=7), policy, developer="Chen Wei", progress=quiet)
    with pytest.raises(GateError, match="CHEN WEI trained this version"):
        promote(space, "CHEN WEI", NOW, override=approved, progress=quiet)
    with pytest.raises(GateError, match="the policy wants another user"):
        promote(space, "Li Na", NOW, override=approved, progress=quiet)
    monkeypatch.setattr(os, "getuid", lambda: 4_242_424)
    assert promote(space, "Li Na", NOW, override=approved, progress=quiet) == ("2", "override")
    assert signed_by(space.root, ("promotion", "2"))[0][1] == "4242424"
    verify(space)


def test_a_signature_that_was_moved_to_another_order_is_named_even_with_all_hashes_made_anew(tmp_path: Path) -> None:
    ledger = three_runs(tmp_path / "work")
    for reason in ("salary slip", "moved house"):
        order = Order("A000000001", NOON, "limit", 100, 200, "Chen Wei", reason)
        ledger.record_override(order, new_key()[0])
    expect_signers(ledger.workspace)
    with sqlite3.connect(ledger.workspace / "ledger.sqlite") as connection:
        taken = connection.execute("SELECT public_key, signature FROM signers WHERE signature <> ''").fetchall()
        last = "signer = (SELECT MAX(signer) FROM signers)"
        connection.execute(f"UPDATE signers SET public_key = ?, signature = ? WHERE {last}", taken[0])
        head = ""
        for link in links(connection):
            head = next_head(head, link.content)
            table = f"{link.content[0]}s"
            key = connection.execute("SELECT name FROM pragma_table_info(?) WHERE cid = 0", [table]).fetchone()[0]
            connection.execute(f"UPDATE {table} SET head = ? WHERE {key} = ?", [head, link.content[1]])
    connection.close()
    assert ledger.verify()
    with pytest.raises(IntegrityError, match="override 4 was not signed by Chen Wei"):
        expect_signers(ledger.workspace)


def test_an_order_with_what_is_no_key_is_not_recorded(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with pytest.raises(ConfigError, match="no Ed25519 private key"):
        ledger.record_override(Order("A1", NOON, "keep", 100, 100, "Chen Wei", "seen"), b"no key")
    assert ledger.overrides().empty
