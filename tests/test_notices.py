"""Letters: one for each thing done to a customer, no reason that was not the customer's, written once, whole or not."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from limitlens.data.errors import ConfigError, WorkspaceError
from limitlens.features.reasons import MAX_REASONS, REASONS
from limitlens.limits.hold import DATA_INCIDENT
from limitlens.limits.notices import letter_log, record_letters
from limitlens.limits.override import Override, Restoration
from limitlens.limits.policy import FLAGGED
from limitlens.limits.policy_file import parse_policy
from limitlens.pipeline import why
from limitlens.pipeline.answers.customer import recourse_text
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding.verify import verify
from limitlens.pipeline.notices.due import due_letters
from limitlens.pipeline.notices.words import Stationery, day, read_senders
from limitlens.pipeline.notices.write import announce, listed, mark, write_letters
from limitlens.pipeline.privacy.erase import erase
from limitlens.pipeline.release.policy_diff import diff_policies
from limitlens.pipeline.workspace import Workspace
from tests.ledgers import a_letter, python, quiet

NOW = datetime(2026, 7, 2, 9, tzinfo=UTC)
LETTERS = Path(__file__).parent / "letters"
OURS = Stationery(read_senders())

#: What no customer is told.
FORBIDDEN = re.compile(r"\bmodel|\bpolic(y|ies)|\bscor(e|ing)|algorithm|模型|策略|评分|算法", re.IGNORECASE)

FACTS: dict[str, Any] = {
    "action": "close",
    "limit_before_cents": 20_000_00,
    "limit_cents": 0,
    "own": True,
    "records": False,
    "reasons": ["late_payments", "high_balance"],
    "since": "2026-05-01",
    "second_look": None,
    "help_sought": True,
    "recourse": {
        "moves": [{"code": "late_payments", "fraction": 1.0, "feature": "dpd_days", "before": 93.0, "after": 0.0,
                   "unit": "days"}],
        "action": "keep",
        "limit_cents": 20_000_00,
        "pd": 0.02,
    },
}  # fmt: skip


def text(language: str, account: str = "A1", kind: str = "adverse", stationery: Stationery = OURS, **facts: Any) -> str:
    row = {"reference": "0001-000001", "at": NOW - timedelta(days=1), "kind": kind, "facts": FACTS | facts}
    return stationery.letter(row, account, NOW, language).text


@pytest.fixture(scope="module")
def written(demo_workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Path]:
    """The demo with all its letters, and where they were put out; read only."""
    folder = tmp_path_factory.mktemp("letters")
    shutil.copytree(demo_workspace.root, folder / "work")
    space = Workspace(folder / "work")
    write_letters(space, folder / "out", OURS, at=NOW)
    return space, folder / "out"


def put_out(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("batch-*/letters.json")) for row in json.loads(path.read_text("utf-8"))]


@pytest.mark.slow
def test_everything_done_to_a_customer_of_the_demo_has_one_letter(written: tuple[Workspace, Path]) -> None:
    space, out = written
    decided = space.ledger.query("SELECT account_id, as_of, action, limit_cents FROM decisions")
    against = sorted(row for row in decided.itertuples(index=False) if row.action in FLAGGED)
    told = sorted((row["account"], pd.Timestamp(row["at"]), row["action"], row["limit_cents"]) for row in put_out(out))
    assert told == [tuple(row) for row in against]
    assert len(told) > 200
    assert {path.name for path in out.glob("batch-0001/*.html")} == {
        f"{row['reference']}.{language}.html" for row in put_out(out) for language in ("en", "zh")
    }
    verify(space)


@pytest.mark.slow
def test_no_letter_names_a_cause_that_was_not_the_customers(written: tuple[Workspace, Path]) -> None:
    """By the stored split: what a customer did is a reason only where it was needed or enough, or came first."""
    space, out = written
    split = {(row["account_id"], row["as_of"]): row for row in space.ledger.table("SELECT * FROM current").to_pylist()}
    counts = {"own": 0, "records": 0, "review": 0}
    for letter in put_out(out):
        row = split[letter["account"], datetime.fromisoformat(letter["at"])]
        own = row["phi_state"] is None or row["necessary_behaviour"] or row["sufficient_behaviour"]
        named = {code for code, words in REASONS.items() if f"- {words[0]}\n" in letter["text_en"]}
        assert named == {code for code, words in REASONS.items() if f"- {words[1]}\n" in letter["text_zh"]}
        assert ("The main reason" in letter["text_en"], "主要原因" in letter["text_zh"]) == (own, own)
        assert len(named) <= MAX_REASONS
        assert ("records about your account came late" in letter["text_en"]) == bool(row["necessary_data"])
        if own:
            assert named == set(row["reasons"])
            counts["own"] += 1
        elif row["necessary_data"]:
            assert named == {DATA_INCIDENT}
            counts["records"] += 1
        else:
            assert named == set(row["reasons"]) - {"spending_pattern", "unusual_sign_in"}
            assert "our own review" in letter["text_en"]
            assert "has changed" not in letter["text_en"]
            counts["review"] += 1
    assert all(counts.values()), counts


@pytest.mark.slow
def test_no_letter_speaks_of_models_or_policies(written: tuple[Workspace, Path]) -> None:
    pages = [path.read_text("utf-8").partition("<body>")[2] for path in written[1].glob("batch-*/*.html")]
    assert pages and all(pages)
    assert not [found.group() for page in pages if (found := FORBIDDEN.search(page))]


@pytest.mark.slow
def test_what_would_have_helped_is_what_why_says(written: tuple[Workspace, Path]) -> None:
    adverse = [row for row in put_out(written[1]) if row["kind"] == "adverse"]
    for row in adverse[:: len(adverse) // 4]:
        answer = why(written[0], row["account"], datetime.fromisoformat(row["at"]))
        sentence = recourse_text(answer.notice.recourse)
        assert (sentence[1:] in row["text_en"]) == (answer.notice.recourse is not None)


@pytest.mark.slow
def test_a_second_call_writes_nothing_and_another_export_is_the_same(written: tuple[Workspace, Path]) -> None:
    space, out = written
    before = {path.name: path.read_bytes() for path in out.glob("*/*")}
    done = write_letters(space, out, OURS, at=NOW + timedelta(days=1))
    assert (done.recorded, done.folders) == (0, {})
    write_letters(space, out, OURS, at=NOW + timedelta(days=1), again=1)
    assert {path.name: path.read_bytes() for path in out.glob("*/*")} == before
    assert len(letter_log(space.root)) == len(put_out(out))


def test_a_letter_in_english() -> None:
    assert text("en") == (LETTERS / "closed.en.txt").read_text("utf-8")


def test_a_letter_in_chinese() -> None:
    paused = text("zh", kind="pause", action="pause", limit_cents=20_000_00, second_look="2026-07-11", recourse=None)
    assert paused == (LETTERS / "paused.zh.txt").read_text("utf-8")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", ["adverse", "pause", "order", "withdrawal", "conditions"])
@pytest.mark.parametrize("action", ["decrease", "freeze", "close"])
@pytest.mark.parametrize("own", [True, False])
def test_every_letter_can_be_written_and_uses_no_word_that_is_none_of_the_customers(
    language: str, kind: str, action: str, own: bool
) -> None:
    facts = {"action": "pause" if kind == "pause" else action, "own": own, "can_draw": own, "decided_at": "2026-06-01"}
    sides = {"action_before": "keep", "limit_before_cents": 5, "action_after": action, "limit_after_cents": 3}
    shown = text(language, kind=kind, records=not own, second_look="2026-07-11", reasons=[], **facts, **sides)
    assert not FORBIDDEN.search(shown)
    assert not re.search(r"\n\n\n|  |[{}]", shown)


def test_amounts_are_told_with_the_currency_of_the_policy() -> None:
    move = FACTS["recourse"] | {
        "action": "decrease",
        "moves": [FACTS["recourse"]["moves"][0] | {"feature": "balance_cents", "unit": "cents"}],
    }
    shown = [text(language, currency="CNY", recourse=move) for language in ("en", "zh")]
    assert "credit line of CNY 20,000.00." in shown[0]
    assert "(CNY 0.93 → CNY 0.00), the limit would have been lowered to CNY 20,000.00 only." in shown[0]
    assert "原额度20,000.00元" in shown[1]
    assert "（0.93元 → 0.00元），额度本可仅下调至20,000.00元。" in shown[1]
    assert "USD 20,000.00" in text("zh", currency="USD")


def test_a_pause_that_is_over_is_not_told_as_if_it_went_on() -> None:
    facts = {"action": "pause", "limit_cents": 20_000_00, "recourse": None}
    during, after = (text("en", kind="pause", second_look=day, **facts) for day in ("2026-07-02", "2026-07-01"))
    assert "we will look at your account again by 2 July 2026" in during
    assert "we were to look at your account again by 1 July 2026" in after


@pytest.mark.parametrize("own", [True, False])
def test_a_letter_without_a_reason_offers_the_specific_ones(own: bool) -> None:
    english, chinese = (text(language, own=own, reasons=[]) for language in ("en", "zh"))
    assert "specific reasons within 60 days" in english
    assert "60日内要求说明具体原因" in chinese
    assert not re.search(r":\n\n(?!- )[A-Z]", english.partition("Why")[2])  # nothing is announced that does not come
    assert not re.search("：\n\n(?!- )", chinese.partition("原因")[2])


@pytest.mark.parametrize(
    "planted", ["<script>alert(1)</script>", "{{ 7 * 7 }}{% raw %}", "a\n# Why\n- nothing", '"&<b>']
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_is_filled_in_is_no_markup_no_template_and_no_other_paragraph(planted: str, language: str) -> None:
    senders = {one: type(sender)(planted.replace("\n", " "), sender.contact) for one, sender in OURS.senders.items()}
    row = {"reference": "r", "at": NOW, "kind": "adverse", "facts": FACTS}
    letter = Stationery(senders).letter(row, planted, NOW, language)
    assert "49" not in letter.text
    assert "<script" not in letter.html
    assert "<b>" not in letter.html
    assert letter.html.count("<h2>") == OURS.letter(row, "A1", NOW, language).html.count("<h2>")
    assert letter.text.count("\n") == OURS.letter(row, "A1", NOW, language).text.count("\n")


def test_a_lender_writes_in_its_own_words_and_a_template_is_shut_in(tmp_path: Path) -> None:
    own = Stationery(OURS.senders, tmp_path)
    (tmp_path / "letter.en.txt.j2").write_text("About {{ account }}\n\n{{ reasons | join(', ') }}\n", "utf-8")
    assert text("en", stationery=own) == "About A1\n\npayments were late or are overdue, the balance owed is high\n"
    assert text("zh", stationery=own) == text("zh")
    for wrong in ("{{ reasons.__class__.__mro__ }}", "{{ nobody }}", "{% if %}", "{{ 1 / 0 }}", "{% include '../x' %}"):
        (tmp_path / "letter.en.txt.j2").write_text(wrong, "utf-8")
        with pytest.raises(ConfigError, match="letter"):
            text("en", stationery=Stationery(OURS.senders, tmp_path))


#: Calls of a process that is killed before its first, second or third step of a kind.
_KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from limitlens.limits import notices
from limitlens.pipeline.notices import write
from limitlens.pipeline.notices.words import Stationery, read_senders
from limitlens.pipeline.workspace import Workspace
from tests.ledgers import a_letter

work, out, step, times = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
at, left = datetime(2026, 7, 2, 9, tzinfo=UTC), [times]
def dies(real):
    def call(*given, **named):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given, **named)
    return call
if step == "connect":
    notices.connect = dies(notices.connect)
    notices.record_letters(work, [a_letter("A1", at), a_letter("A2", at)], at)
elif step == "rename":
    Path.rename = dies(Path.rename)
else:
    setattr(write, step, dies(getattr(write, step)))
write.write_letters(Workspace(work), out, Stationery(read_senders()), at=at)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("step", "times"), [("write_text", 3), ("write_csv", 1), ("rename", 1), ("record_sending", 1)])
def test_a_call_killed_between_files_and_log_leaves_no_half_letter_and_is_gone_on_with(
    step: str, times: int, tmp_path: Path
) -> None:
    work, out, whole = tmp_path / "work", tmp_path / "out", tmp_path / "whole"
    record_letters(work, [a_letter("A1", NOW), a_letter("A2", NOW)], NOW)
    shutil.copytree(work, tmp_path / "other")
    write_letters(Workspace(tmp_path / "other"), whole, OURS, at=NOW)
    assert python("-c", _KILLED, str(work), str(out), step, str(times)).returncode == -9
    assert [path.name for path in out.glob("batch-*")] == (["batch-0001"] if step == "record_sending" else [])
    write_letters(Workspace(work), out, OURS, at=NOW)
    assert files_in(out) == files_in(whole)
    assert [row["status"] for row in letter_log(work)] == ["written"] * 2
    assert write_letters(Workspace(work), out, OURS, at=NOW).folders == {}


@pytest.mark.slow
def test_letters_killed_before_their_link_are_recorded_anew(tmp_path: Path) -> None:
    assert python("-c", _KILLED, str(tmp_path), str(tmp_path / "out"), "connect", "1").returncode == -9
    assert letter_log(tmp_path) == []
    record_letters(tmp_path, [a_letter("A1", NOW)], NOW)
    assert [row["account_id"] for row in letter_log(tmp_path)] == ["A1"]


@pytest.mark.slow
def test_a_letter_that_was_sent_stays_sent_when_it_is_put_out_once_more(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "work")
    record_letters(space.root, [a_letter("A1", NOW), a_letter("A2", NOW)], NOW)
    write_letters(space, tmp_path / "out", OURS, at=NOW)
    mark(space, ("0001-000001",), "returned", at=NOW, actor="Li Na", note="moved")
    write_letters(space, tmp_path / "out", OURS, at=NOW, again=1)
    assert [(row["status"], row["note"]) for row in letter_log(space.root)] == [("returned", "moved"), ("written", "")]


@pytest.mark.slow
def test_letters_do_not_take_the_place_of_others_nor_pass_for_them(tmp_path: Path) -> None:
    """Two workspaces have a batch 1 each."""
    one, other, out = Workspace(tmp_path / "one"), Workspace(tmp_path / "other"), tmp_path / "out"
    record_letters(one.root, [a_letter("A1", NOW)], NOW)
    record_letters(other.root, [a_letter("B1", NOW - timedelta(days=1))], NOW)
    write_letters(one, out, OURS, at=NOW)
    before = files_in(out)
    for again in (None, 1):
        with pytest.raises(WorkspaceError, match="batch-0001: holds other letters"):
            write_letters(other, out, OURS, at=NOW, again=again)
    assert files_in(out) == before
    assert [row["status"] for row in letter_log(other.root)] == ["recorded"]
    write_letters(other, tmp_path / "elsewhere", OURS, at=NOW)
    assert [row["status"] for row in letter_log(other.root)] == ["written"]


@pytest.mark.slow
def test_a_batch_whose_accounts_are_erased_is_put_out_without_them(copied: Workspace, tmp_path: Path) -> None:
    lines = copied.ledger.query("SELECT DISTINCT account_id FROM decisions ORDER BY 1 LIMIT 2")["account_id"].tolist()
    record_letters(copied.root, [a_letter(line, NOW) for line in lines], NOW)
    for left, line in zip((lines[1:], []), lines, strict=True):
        erase(copied, [line], at=NOW + timedelta(days=1), actor="Li Na", reason="asked for")
        folder = write_letters(copied, tmp_path / "out", OURS, at=NOW, again=1).folders[1]
        assert [row["account"] for row in json.loads((folder / "letters.json").read_text("utf-8"))] == left
        assert len(list(folder.glob("*.html"))) == 2 * len(left)
        assert line not in "".join(path.read_text("utf-8") for path in folder.iterdir())


def test_a_workspace_without_decisions_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="mistyped: nothing has been decided"):
        write_letters(Workspace(tmp_path / "mistyped"), tmp_path / "out", OURS, at=NOW)
    assert not (tmp_path / "mistyped").exists()


@pytest.mark.parametrize("place", ["a file", "a file/below", "/proc/nowhere"])
def test_a_place_that_is_no_folder_is_refused_in_a_line_and_the_next_call_goes_on(place: str, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    space = Workspace(tmp_path / "work")
    record_letters(space.root, [a_letter("A1", NOW)], NOW)
    with pytest.raises(WorkspaceError, match="name another place") as refused:
        write_letters(space, tmp_path / place, OURS, at=NOW)
    assert "\n" not in str(refused.value)
    assert list(write_letters(space, tmp_path / "out", OURS, at=NOW).folders) == [1]


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_became_of_a_letter_is_what_was_said_of_it_last(tmp_path: Path) -> None:
    record_letters(tmp_path, [a_letter("A1", NOW), a_letter("A2", NOW), a_letter("A3", NOW)], NOW)
    space = Workspace(tmp_path)
    assert mark(space, ("0001",), "sent", at=NOW, actor="Chen Wei", note="app") == 3
    assert mark(space, ("0001-000002", "0001-000003"), "returned", at=NOW, actor="Li Na", note="moved") == 2
    assert mark(space, ("0001-000003",), "sent", at=NOW, actor="Li Na", note="paper") == 1
    assert listed(space)["status"].tolist() == ["sent", "returned", "sent"]
    with pytest.raises(WorkspaceError, match="there is no letter '0001-000009'"):
        mark(space, ("0001-000009",), "sent", at=NOW, actor="Li Na", note="")


@pytest.fixture
def copied(small_workspace: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    shutil.copytree(small_workspace.root, tmp_path / "work")
    yield Workspace(tmp_path / "work")


@pytest.mark.slow
def test_what_persons_order_and_make_good_has_letters_of_its_own(copied: Workspace) -> None:
    ledger = copied.ledger
    lines = ledger.query("SELECT account_id, as_of, limit_before_cents AS old FROM decisions WHERE action = 'close'")
    (account, of, old), later = lines.sort_values(["as_of", "account_id"]).iloc[-1], NOW + timedelta(hours=1)
    closed = of.to_pydatetime()
    ledger.record_restoration(
        Restoration(account, NOW, closed, 1, 0, int(old), True, 0.02, None, None, "Chen Wei", "our file was late")
    )
    ledger.record_override(Override(account, later, "limit", 900, 500, "Li Na", "a secret"))
    ledger.record_override(Override(account, later, "limit", 500, 900, "Li Na", "raised"))
    mine = [row for row in due_letters(copied, closed) if row["account_id"] == account]
    due = {row["kind"]: row for row in mine}
    assert sorted(due) == ["order", "withdrawal"]  # the closing itself was made good before it had a letter
    assert due["withdrawal"]["facts"] == {
        "action": "close", "decided_at": closed.date().isoformat(), "can_draw": True, "limit_before_cents": 0,
        "limit_cents": int(old), "currency": "", "later": [],
    }  # fmt: skip
    shown = OURS.letter(due["order"] | {"reference": "r"}, account, NOW, "en").text
    assert "from 9.00 to 5.00" in shown
    assert "secret" not in shown
    assert "taken back" in OURS.letter(due["withdrawal"] | {"reference": "r"}, account, NOW, "en").text


@pytest.mark.slow
def test_letters_about_something_else_of_the_same_moment_do_not_stand_in_for_that_about_a_decision(
    copied: Workspace,
) -> None:
    [first, *_] = due_letters(copied)
    others = [first | {"kind": kind, "about": "x"} for kind in ("conditions", "order", "withdrawal")]
    record_letters(copied.root, others, NOW)
    assert [letter for letter in due_letters(copied) if letter["account_id"] == first["account_id"]] == [first]


@pytest.mark.slow
def test_what_came_of_a_decision_that_is_made_good_is_taken_back_by_the_same_letter(copied: Workspace) -> None:
    twice = (
        "SELECT account_id, MIN(as_of) AS first, MAX(as_of) AS last, ARG_MIN(state.limit_cents, as_of) AS old, "
        "ARG_MIN(action, as_of) AS did, ARG_MAX(action, as_of) AS then FROM decisions "
        "WHERE action IN ('decrease', 'freeze', 'close') GROUP BY account_id HAVING COUNT(*) = 2 ORDER BY account_id"
    )
    line = copied.ledger.query(twice).iloc[0]
    account, first, old = line["account_id"], line["first"].to_pydatetime(), int(line["old"])
    copied.ledger.record_restoration(
        Restoration(account, NOW, first, 1, 0, old, True, 0.02, None, None, "Chen Wei", "our file was late")
    )
    [letter] = [row for row in due_letters(copied) if row["account_id"] == account]
    assert (letter["kind"], letter["facts"]["action"]) == ("withdrawal", line["did"])
    assert letter["facts"]["later"] == [{"action": line["then"], "decided_at": line["last"].date().isoformat()}]
    for language, words in (("en", "What we decided after it"), ("zh", "此后的下列决定一并撤销")):
        shown = OURS.letter(letter | {"reference": "r"}, account, NOW, language).text
        assert words in shown
        assert day(line["last"], language) in shown


@pytest.mark.slow
def test_orders_about_erased_accounts_have_no_letter(copied: Workspace) -> None:
    lines = copied.ledger.query("SELECT account_id, as_of, limit_before_cents FROM decisions WHERE action = 'close'")
    (one, of, old), (other, *_) = lines.iloc[0], lines.iloc[-1]
    restored = Restoration(one, NOW, of.to_pydatetime(), 1, 0, int(old), True, 0.02, None, None, "Chen Wei", "late")
    copied.ledger.record_restoration(restored)
    copied.ledger.record_override(Override(other, NOW, "close", 500, 0, "Li Na", "a secret"))
    erase(copied, [one, other], at=NOW + timedelta(days=1), actor="Li Na", reason="asked for")
    assert not [letter for letter in due_letters(copied, NOW) if letter["kind"] in ("order", "withdrawal")]


@pytest.mark.slow
def test_a_pause_within_the_day_has_its_letter_before_any_run_takes_it_in(copied: Workspace) -> None:
    run, last = copied.ledger.runs()[-1], copied.ledger.last_decisions().slice(0, 1)
    rows = [row | {"action": "pause", "as_of": NOW, "reasons": ["transfers_out"]} for row in last.to_pylist()]
    paused = pa.Table.from_pylist(rows, last.schema)
    copied.ledger.note(NOW, (run.model_version, run.model_digest, run.policy_digest), paused)
    [letter] = due_letters(copied, NOW)
    assert (letter["kind"], letter["at"], letter["facts"]["reasons"]) == ("pause", NOW, ["transfers_out"])
    record_letters(copied.root, [letter], NOW)
    assert due_letters(copied, NOW) == []


@pytest.mark.slow
def test_changed_conditions_are_told_to_those_whom_policy_diff_counts(copied: Workspace) -> None:
    old = copied.iteration(str(copied.registry.champion())).policy
    new = parse_policy(old.text.replace("close_above_pd = 0.450", "close_above_pd = 0.270", 1))
    together = diff_policies(old, new, copied).together
    assert together is not None
    count = sum(together.moved.values()) + together.other_limit
    assert announce(copied, new, NOW, at=NOW, progress=quiet) == count > 0
    assert announce(copied, new, NOW, at=NOW, progress=quiet) == 0
    with pytest.raises(WorkspaceError, match="2026-07-01 is past"):
        announce(copied, new, NOW - timedelta(days=1), at=NOW, progress=quiet)
    facts = [row["facts"] for row in letter_log(copied.root)]
    assert all((one["action_before"], one["action_after"]) in together.moved for one in facts)


@pytest.mark.slow
def test_the_commands_write_list_and_mark(copied: Workspace, tmp_path: Path) -> None:
    record_letters(copied.root, [a_letter("A1", NOW), a_letter("=A2", NOW)], NOW)

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["notices", *words, "--workspace", str(copied.root)])
        return done.exit_code, done.stdout

    write = ("write", str(tmp_path / "out"), "--since", "2026-08-01", "--json")
    assert run(*write) == (0, run_json(0, {"1": str(tmp_path / "out/batch-0001")}, 2))
    assert run(*write) == (7, run_json(0, {}, 0))
    assert "'=A2" in (tmp_path / "out/batch-0001/letters.csv").read_text("utf-8")
    assert run("sent", "0001", "--by", "Chen Wei", "--note", "app") == (0, "2 letters sent, says Chen Wei\n")
    assert run("list", "--account", "A1")[1].splitlines()[-1] == "1 letters, 1 sent"


def run_json(recorded: int, folders: dict[str, str], unnamed: int) -> str:
    return json.dumps({"recorded": recorded, "folders": folders, "unnamed": unnamed}, indent=1) + "\n"


@pytest.mark.slow
def test_letters_name_a_delivered_id_only_by_the_key_and_outside_the_workspace(
    keyed_letters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workspace itself never does."""
    work, listed_ids = keyed_letters / "work", keyed_letters / "ids.txt"
    words = ["notices", "write", "--workspace", str(work)]
    assert CliRunner().invoke(app, [*words, str(keyed_letters / "out")]).exit_code == 0
    assert {row["account"][:4] for row in put_out(keyed_letters / "out")} == {"acc_"}
    inside = CliRunner().invoke(app, [*words, str(work / "out"), "--ids", str(listed_ids)])
    assert "lies in the workspace" in str(inside.exception)
    named = CliRunner().invoke(app, [*words, str(keyed_letters / "named"), "--ids", str(listed_ids), "--again", "1"])
    assert named.exit_code == 0
    assert [row["account"] for row in put_out(keyed_letters / "named")] == ["B-77"]
    assert "not in" not in named.stdout
    listed_ids.write_text("B-78\n", "utf-8")
    other = CliRunner().invoke(app, [*words, str(keyed_letters / "named"), "--ids", str(listed_ids), "--again", "1"])
    assert "1 of these letters name an account that is not in" in other.stdout
    assert not subprocess.run(["grep", "-rla", "B-77", str(work)], capture_output=True, check=False).stdout


@pytest.fixture
def keyed_letters(tmp_path: Path) -> Path:
    """A workspace whose ids are pseudonyms, with a letter."""
    (tmp_path / "delivery/accounts").mkdir(parents=True)
    (tmp_path / "delivery/accounts/one.csv").write_text(
        "account_id,opened_at,known_time,limit_cents,segment\nB-77,2026-01-01,2026-01-01,100000,student\n", "utf-8"
    )
    (tmp_path / "delivery/device").mkdir()
    (tmp_path / "delivery/device/one.csv").write_text(
        "event_id,account_id,event_time,known_time,kind,device_id,city\n"
        "e,B-77,2026-01-02T09:00,2026-01-02T09:00,login,phone,Wuhan\n",
        "utf-8",
    )
    work = str(tmp_path / "work")
    assert CliRunner().invoke(app, ["check", str(tmp_path / "delivery"), "--workspace", work]).exit_code in {0, 8}
    (tmp_path / "ids.txt").write_text("B-77\n", "utf-8")
    shown = CliRunner().invoke(app, ["ids", str(tmp_path / "ids.txt"), "--workspace", work]).stdout
    record_letters(tmp_path / "work", [a_letter(re.findall(r"acc_[a-z2-7]+", shown)[0], NOW)], NOW)
    return tmp_path
