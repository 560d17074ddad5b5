"""What a bad input gets, as a person meets it: files, a command, its exit code, what it says, what is left behind.

``pytest tests/test_bad_inputs.py --write-pages`` brings the table of ``docs/faults.md`` up to date.
"""

import contextlib
import io
import os
import re
import shutil
import sqlite3
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest

from limitlens.data.events import EventStore
from limitlens.pipeline.cli import main
from limitlens.pipeline.workspace import Workspace
from tests import test_incidents as quiet

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "faults.md"

#: What a person changes in a folder before the command.
Given = Callable[[Path], object]

ACCOUNTS = "account_id,opened_at,known_time,limit_cents,segment\n" + "".join(
    f"A{n},2026-03-01,2026-03-01,100000,student\n" for n in range(3)
)
HEADER = "event_id,account_id,event_time,known_time,kind,amount_cents,category,channel"
LINE = "E{n},A{line},2026-03-02T0{hour}:00:00Z,2026-03-02T0{hour}:05:00Z,purchase,{cents},food,pos"
SOUND = [LINE.format(n=n, line=n % 3, hour=n % 10, cents=500 + n) for n in range(30)]
DEVICES = "event_id,account_id,event_time,known_time,kind,device_id,city\n"

CHECK = "check in --loaded-at 2026-03-03"
NEXT_DAY = "check in --loaded-at 2026-05-02"


@dataclass(frozen=True)
class Case:
    """A fault, what it gets, and the test that holds the rest of it.

    Parameters
    ----------
    what, gets : str
        As the page says them; ``gets`` begins with a word of :data:`LEFT`.
    held_by : str
        A test of this folder, as ``file::name``.
    given : callable, optional
        None: there is no short command; the other test alone holds it.
    words : str
        The command, without ``limitlens``.
    shows : str
        What the line it says begins with.
    """

    what: str
    gets: str
    held_by: str
    given: Given | None = None
    words: str = CHECK
    shows: str = "error"


# Files by hand


def lines(*rows: str, name: str = "consumption/c.csv", header: str = HEADER) -> Given:
    """A CSV file of these rows."""

    def write(folder: Path) -> None:
        (folder / "in" / name).parent.mkdir(exist_ok=True)
        (folder / "in" / name).write_text("\n".join([header, *rows, ""]), encoding="utf-8")

    return write


def one(old: str, new: str) -> Given:
    """The first row has something else."""
    assert old in SOUND[0]
    return lines(SOUND[0].replace(old, new, 1), *SOUND[1:])


def every(old: str, new: str) -> Given:
    return lines(*(row.replace(old, new, 1) for row in SOUND))


def device(name: str) -> Given:
    row = "L1,A1,2026-03-02T01:00:00Z,2026-03-02T01:00:00Z,login,{},Ulm"
    return lines(row.format(name), name="device/d.csv", header=DEVICES.strip())


def parquet(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Given:
    """A further file of one row as Parquet."""

    def write(folder: Path) -> None:
        time = pd.Timestamp("2026-03-02", tz="UTC")
        row = {"event_id": "P1", "account_id": "A1", "event_time": time, "known_time": time, "kind": "purchase"}
        row |= {"amount_cents": 500, "category": "food", "channel": "pos"}
        change(pd.DataFrame([row])).to_parquet(folder / "in" / "consumption" / name)

    return write


def cut(name: str, left: float) -> Given:
    def write(folder: Path) -> None:
        path = folder / "in" / "consumption" / name
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * left)])

    return write


def both(*changes: Given) -> Given:
    return lambda folder: [change(folder) for change in changes]


def raw(data: bytes, name: str = "in/consumption/c.csv") -> Given:
    return lambda folder: (folder / name).write_bytes(data)


def delivered_before(folder: Path) -> None:
    run(CHECK)
    (folder / "in/consumption/c.csv").rename(folder / "in/consumption/once-more.csv")


def twice(folder: Path) -> None:
    with (folder / "in/accounts/a.csv").open("a") as file:
        file.write("A7,2026-03-01,2026-03-01,100000,student\nA7,2026-03-01,2026-03-01,900000,student\n")


# Settings


def settings(text: str) -> Given:
    return raw(text.encode(), "train.toml")


def a_gigabyte(folder: Path) -> None:
    with (folder / "train.toml").open("wb") as file:
        file.truncate(10**9)


TRAIN = "train --config train.toml"


# A quiet book of 120 days, and the next


def next_day(**changes: quiet.Change) -> Given:
    return lambda folder: quiet.deliver(folder / "in", quiet.DAYS, 1, **changes)


def a_fifth_null(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(channel=rows["channel"].where(rows.index % 5 > 0))


# A finished demo


def model_file(folder: Path) -> Path:
    return max((folder / "work" / "mlflow").rglob("book-1.txt"), key=lambda path: path.stat().st_mtime)


def as_a_pickle(folder: Path) -> None:
    model_file(folder).write_bytes(b"\x80\x04cos\nsystem\n(S'touch ran'\ntR.")


def half_a_model(folder: Path) -> None:
    path = model_file(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def an_edited_row(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "work" / "ledger.sqlite")) as connection, connection:
        connection.execute("UPDATE runs SET model_version = 'x' WHERE rowid = 2")


DEMO = "demo: "

CASES = (
    Case(
        "a truncated Parquet file",
        "refused",
        "test_check.py::test_a_truncated_parquet_file_is_refused_by_name",
        both(parquet("p.parquet", lambda rows: rows), cut("p.parquet", 0.8)),
    ),
    Case(
        "a CSV cut in the middle of a row",
        "quarantined",
        "test_check.py::test_a_ragged_csv_row_is_held_back_and_the_rows_after_it_keep_their_numbers",
        cut("c.csv", 0.49),
        shows="quarantined",
    ),
    Case(
        "an empty file on a weekday",
        "held",
        "test_incidents.py::test_an_empty_file_on_a_weekday_is_an_incident",
        next_day(payment=lambda rows: rows.iloc[:0]),
        NEXT_DAY,
        "hold:",
    ),
    Case(
        "a file missing or late",
        "held",
        "test_incidents.py::test_a_missing_file_is_an_incident",
        lambda folder: quiet.deliver(folder / "in", quiet.DAYS, 1, "payment"),
        NEXT_DAY,
        "hold:",
    ),
    Case(
        "the same batch again under another name",
        "known already",
        "test_check.py::test_the_same_batch_under_another_name_is_deduplicated_and_writes_nothing",
        delivered_before,
        shows="nothing new",
    ),
    Case(
        "one account twice in the snapshot, in conflict",
        "quarantined, both; the line is held",
        "test_holds.py::test_a_line_whose_account_came_twice_and_conflicting_is_held_until_it_is_mended",
        twice,
        shows="quarantined",
    ),
    Case(
        "amounts a hundredfold (another unit)",
        "held",
        "test_incidents.py::test_amounts_a_hundredfold_are_an_incident",
        next_day(consumption=lambda rows: rows.assign(amount_cents=100 * rows["amount_cents"])),
        NEXT_DAY,
        "hold:",
    ),
    Case(
        "the sign of repayments flipped",
        "refused; with `--max-quarantined-share 1` quarantined and held",
        "test_incidents.py::test_flipped_repayments_are_refused_or_an_incident",
        next_day(payment=quiet.flipped),
        NEXT_DAY,
    ),
    Case(
        "a fifth of a column null",
        "held",
        "test_incidents.py::test_a_fifth_of_nulls_in_a_column_is_an_incident",
        next_day(consumption=a_fifth_null),
        NEXT_DAY,
        "hold:",
    ),
    Case(
        "a new column",
        "taken in, with a warning",
        "test_check.py::test_columns_the_contract_does_not_know_are_listed_and_change_nothing",
        lines(*(f"{row},x" for row in SOUND), header=f"{HEADER},merchant"),
        shows="warning",
    ),
    Case(
        "a required column renamed",
        "refused",
        "test_check.py::test_a_renamed_column_is_named_with_its_likely_match",
        lines(*SOUND, header=HEADER.replace("amount_cents", "amount_cent")),
    ),
    Case(
        "text in one file where the others have numbers",
        "refused",
        "test_check.py::test_text_in_one_file_where_numbers_are_declared_is_refused",
        parquet("p.parquet", lambda rows: rows.assign(amount_cents="500")),
    ),
    Case(
        "a file that is not UTF-8, or from some line on",
        "refused",
        "test_check.py::test_a_file_that_is_not_utf8_is_refused_with_its_line",
        raw("\n".join([HEADER, *SOUND[:4]]).encode() + b"\n" + SOUND[5].replace("food", "餐饮").encode("gbk")),
    ),
    Case(
        "a row with another number of fields",
        "quarantined",
        "test_check.py::test_a_ragged_csv_row_is_held_back_and_the_rows_after_it_keep_their_numbers",
        one("pos", "pos,pos"),
        shows="quarantined",
    ),
    Case(
        "a quote that is never closed",
        "refused",
        "test_check.py::test_a_quote_that_is_never_closed_swallows_no_rows",
        one("food", '"food'),
    ),
    Case(
        "a newline inside quotes",
        "taken in: it is part of the value",
        "test_check.py::test_a_newline_inside_quotes_is_part_of_its_value",
        one("food", '"fo\nod"'),
        shows="consumption",
    ),
    Case(
        "a NUL, control or zero-width character in an id",
        "quarantined",
        "test_check.py::test_a_broken_row_is_held_back_with_row_and_rule",
        one("E0", "E\u200b0"),
        shows="quarantined",
    ),
    Case(
        "NaN or infinity in an amount",
        "quarantined; the line is held",
        "test_holds.py::test_a_line_with_a_row_in_the_quarantine_is_held_and_no_other",
        one("500", "nan"),
        shows="quarantined",
    ),
    Case(
        "an amount above the integer range",
        "quarantined",
        "test_check.py::test_a_csv_value_that_does_not_cast_holds_its_row_back",
        one("500", "9" * 23),
        shows="quarantined",
    ),
    Case(
        "an event dated after it was known",
        "quarantined",
        "test_check.py::test_a_broken_row_is_held_back_with_row_and_rule",
        one("2026-03-02T00:00", "2026-04-02T00:00"),
        shows="quarantined",
    ),
    Case(
        "a row known in the future",
        "quarantined, until its time has come",
        "test_check.py::test_a_row_known_after_the_load_waits_in_quarantine_until_its_time_has_come",
        one("2026-03-02T00:05", "2027-03-02T00:05"),
        shows="quarantined",
    ),
    Case(
        "a correction that arrives after the decision",
        "taken in; the old decision replays unchanged",
        "test_pipeline.py::test_a_correction_after_the_decision_leaves_the_old_one_replayable",
    ),
    Case(
        "daylight-saving, leap day, month end",
        "taken in; windows are whole days of 24 hours",
        "test_features.py::test_windows_are_whole_days_of_24_hours_on_leap_days_month_ends_and_clock_changes",
    ),
    Case(
        "10,000 columns",
        "refused",
        "test_check.py::test_too_many_columns_are_refused",
        raw((",".join([HEADER, *(f"c{n}" for n in range(10_000))]) + "\n").encode()),
    ),
    Case(
        "a text that a spreadsheet would run",
        "taken in; every CSV that is written has an apostrophe before it",
        "test_ledger.py::test_no_text_of_an_export_is_a_formula",
        raw("name,segment\n＝HYPERLINK(1),student\n".encode(), "asked.csv"),
        "qualify asked.csv --out answers.csv",
        "1 applications",
    ),
    Case(
        "markup in a name",
        "taken in; escaped in every page",
        "test_report.py::test_markup_in_names_is_escaped",
    ),
    Case(
        "settings with an unknown key",
        "refused",
        "test_policy.py::test_wrong_settings_are_refused",
        settings("[model]\nfold = 3\n"),
        TRAIN,
    ),
    Case(
        "settings with a value of a wrong type",
        "refused",
        "test_policy.py::test_wrong_settings_are_refused",
        settings("[model]\nfolds = '3'\n"),
        TRAIN,
    ),
    Case(
        "settings with a key twice",
        "refused",
        "test_bad_inputs.py::test_no_settings_of_any_kind_pass_with_a_fault",
        settings("[model]\nfolds = 3\nfolds = 4\n"),
        TRAIN,
    ),
    Case(
        "settings of a gigabyte",
        "refused, unread",
        "test_bad_inputs.py::test_no_settings_of_any_kind_pass_with_a_fault",
        a_gigabyte,
        TRAIN,
    ),
    Case(
        "settings or applications from a pipe",
        "refused, unread",
        "test_bad_inputs.py::test_no_settings_of_any_kind_pass_with_a_fault",
        lambda folder: os.mkfifo(folder / "asked.csv"),
        "qualify asked.csv --out answers.csv",
    ),
    Case(
        "`../` in an account id, a run or a model",
        "refused",
        "test_ledger.py::test_a_recorded_name_that_leads_out_of_its_folder_is_not_read",
        lambda folder: None,
        DEMO + "iterations show ../../mlflow",
    ),
    Case(
        "a link that leads out of the folder",
        "refused",
        "test_check.py::test_a_link_that_leads_out_of_the_folder_is_refused",
        lambda folder: (folder / "in/consumption/d.csv").symlink_to(ROOT / "README.md"),
    ),
    Case(
        "a pickle offered as a model",
        "refused, never unpickled",
        "test_models.py::test_a_damaged_model_is_refused_before_lightgbm_reads_it",
        as_a_pickle,
        DEMO + "score --as-of 2026-07-01 --out scores.parquet",
    ),
    Case(
        "a truncated LightGBM model",
        "refused, before LightGBM reads it",
        "test_models.py::test_a_damaged_model_is_refused_before_lightgbm_reads_it",
        half_a_model,
        DEMO + "score --as-of 2026-07-01 --out scores.parquet",
    ),
    Case(
        "features in another order than in training",
        "taken in: matched by name, the same PD to the last bit",
        "test_models.py::test_a_row_alone_or_with_columns_reordered_has_the_same_pd_bit_for_bit",
    ),
    Case(
        "`kill -9` in `check`",
        "repeated: as if it had never been",
        "test_check.py::test_a_killed_load_is_as_if_it_never_was_and_the_next_one_makes_up_for_it",
    ),
    Case(
        "`kill -9` in `decide`",
        "repeated: byte for byte",
        "test_ledger_killed.py::test_a_decide_killed_between_files_ledger_and_mlflow_is_made_up_for",
    ),
    Case(
        "`kill -9` in the first migration of MLflow",
        "repeated: made anew",
        "test_survival.py::test_a_database_of_mlflow_whose_creation_was_killed_is_made_anew",
    ),
    Case(
        "a disk that is full in the middle of a run",
        "refused with what is needed and what is free; repeated",
        "test_ledger_killed.py::test_a_full_disk_names_what_is_needed_and_free_and_the_run_can_be_repeated",
    ),
    Case(
        "a disk that stays full",
        "the old state is read",
        "test_survival.py::test_on_a_full_disk_the_old_state_stays_readable",
    ),
    Case(
        "two runs at once",
        "refused: one wins",
        "test_ledger_two_at_once.py::test_of_two_runs_at_once_one_wins_and_the_other_is_told",
    ),
    Case(
        "a row of the ledger edited",
        "refused",
        "test_ledger_chain.py::test_verify_names_the_first_broken_link",
        an_edited_row,
        DEMO + "ledger verify",
    ),
    Case(
        "a word for nothing as a device (NULL, None, N/A, 0)",
        "quarantined",
        "test_nothing.py::test_an_id_or_a_kind_that_says_nothing_holds_its_row_back",
        device("NULL"),
        shows="quarantined",
    ),
    Case(
        "a placeholder for a time",
        "quarantined",
        "test_nothing.py::test_a_time_that_stands_for_none_is_held_back",
        one("2026-03-02T00:00", "1970-01-01T00:00"),
        shows="quarantined",
    ),
    Case(
        "a code for nothing as an amount (-1)",
        "quarantined",
        "test_nothing.py::test_an_impossible_number_is_held_back_with_a_rule_of_its_own",
        one("500", "-1"),
        shows="quarantined",
    ),
    Case(
        "two columns swapped",
        "refused",
        "test_bad_inputs.py::test_a_bad_input_gets_what_the_page_says",
        lines(*SOUND, header=HEADER.replace("event_id,account_id", "account_id,event_id")),
    ),
    Case(
        "both times swapped",
        "refused",
        "test_bad_inputs.py::test_a_bad_input_gets_what_the_page_says",
        lines(*SOUND, header=HEADER.replace("event_time,known_time", "known_time,event_time")),
    ),
    Case(
        "a clock eight hours ahead",
        "refused",
        "test_bad_inputs.py::test_a_bad_input_gets_what_the_page_says",
        every(":00:00Z", ":00:00-08:00"),
    ),
    Case(
        "a header line in the middle of a CSV",
        "quarantined",
        "test_bad_inputs.py::test_a_bad_input_gets_what_the_page_says",
        lines(*SOUND[:9], HEADER, *SOUND[9:]),
        shows="quarantined",
    ),
    Case(
        "thousands separators",
        "refused",
        "test_bad_inputs.py::test_a_bad_input_gets_what_the_page_says",
        lines(*(row.replace(f",{500 + n},", f',"1,{500 + n}",') for n, row in enumerate(SOUND))),
    ),
    Case(
        "a decimal comma",
        "refused",
        "test_bad_inputs.py::test_a_bad_input_gets_what_the_page_says",
        lines(*(row.replace(f",{500 + n},", f',"{500 + n},00",') for n, row in enumerate(SOUND))),
    ),
    Case(
        "dates in another order",
        "refused",
        "test_bad_inputs.py::test_a_bad_input_gets_what_the_page_says",
        every("2026-03-02T", "02/03/2026 "),
    ),
    Case(
        "semicolons between the fields",
        "refused",
        "test_bad_inputs.py::test_a_bad_input_gets_what_the_page_says",
        lines(*(row.replace(",", ";") for row in SOUND), header=HEADER.replace(",", ";")),
    ),
)


def run(words: str) -> tuple[int, list[str]]:
    """The command line from its entry point on, in this process: how it ended, and the lines it printed."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patched, pytest.raises(SystemExit) as ended:
        patched.setattr(sys, "argv", ["limitlens", *words.split()])
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            main()
    return int(ended.value.code or 0), printed.getvalue().splitlines()


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path): sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that has taken in 120 days of a quiet book."""
    folder = tmp_path_factory.mktemp("history")
    quiet.check(quiet.deliver(folder / "in", 0, quiet.DAYS), folder / "work", quiet.DAYS)
    return folder / "work"


@pytest.fixture
def folder(case: Case, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs: a small delivery, 120 days of a quiet book, or a finished demo."""
    monkeypatch.chdir(tmp_path)
    if case.words == NEXT_DAY:
        shutil.copytree(request.getfixturevalue("history"), "limitlens-work")
    elif case.words.startswith(DEMO):
        shutil.copytree(request.getfixturevalue("small_workspace").root, "limitlens-work")
    else:
        for name in ("in/consumption", "in/accounts", "limitlens-work"):
            Path(name).mkdir(parents=True)
        Path("in/accounts/a.csv").write_text(ACCOUNTS)
        lines(*SOUND)(tmp_path)
    return tmp_path


def row(case: Case, code: object, said: str) -> str:
    told = f"`{said}`".replace("|", "\\|") if said else ""
    return f"| {case.what} | {case.gets} | {code} | {told} | `{case.held_by}` |"


#: The table on the page, from its header on.
TABLE = re.compile(r"^\| what comes \|.*\n(?:\|.*\n)+", re.MULTILINE)
TITLES = "| what comes | what it gets | exit code | what is said | held by (`tests/`) |\n|---|---|---|---|---|\n"


def ended(case: Case) -> tuple[object, str]:
    """Exit code, and the line that matters; nothing where only the other test tells."""
    if case.given is None:
        return "", ""
    code, said = run(case.words.removeprefix(DEMO))
    assert not [line for line in said if "Traceback" in line]
    found = [line for line in said if line.strip().startswith(case.shows)]
    assert found, said
    hashed = r"[0-9a-f]{32}|(?<=run )[0-9a-f]{12}"  # a run id hashes the model to the last bit, as the machine sums
    return code, re.sub(hashed, "…", re.sub(r"\s+", " ", found[-1])).strip()


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Rows of the table as they come out; written to the page if asked to."""
    found: dict[str, str] = {}
    yield found
    if request.config.getoption("--write-pages"):
        page = PAGE.read_text(encoding="utf-8")
        kept = {line.split(" | ")[0]: line for line in page.splitlines()}
        lines = [found.get(case.what, kept.get(f"| {case.what}", "")) for case in CASES]
        table = TITLES + "".join(f"{line}\n" for line in lines if line)
        PAGE.write_text(TABLE.sub(lambda _: table, page), encoding="utf-8")


def left_behind(case: Case, code: object, work: Path, before: dict[str, str]) -> None:
    """What is in the workspace is what the page says."""
    gets = re.split(r"[,:; ]", case.gets)[0]
    store = EventStore(work)
    if gets in {"refused", "known"}:
        assert code != 0
        after = contents(work)
        assert before.items() <= after.items()
        fresh = {Path(path).relative_to(work).parts[0] for path in after.keys() - before.keys()}
        fresh -= {"ledger.sqlite-wal", "ledger.sqlite-shm"}  # of a reader
        assert fresh <= {"events", "protected"}  # not of a load before its mark is there; the next one takes them away
        return
    assert code == (8 if gets == "held" else 0)
    if not case.words.startswith("check"):
        return
    load = store.loads()[-1]
    for count in load["sources"].values():
        assert count["rows_in"] == count["accepted"] + count["quarantined"] + count["deduplicated"]
    assert bool(load["quarantine"]) == (gets == "quarantined")
    assert bool(Workspace(work).ledger.holds_in_force()) == (gets == "held")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_a_bad_input_gets_what_the_page_says(
    case: Case, folder: Path, rows: dict[str, str], request: pytest.FixtureRequest
) -> None:
    work = folder / "limitlens-work"
    if case.given:
        if case.words.startswith(DEMO):
            (folder / "work").symlink_to(work)
        case.given(folder)
    before = contents(work)
    code, said = ended(case)
    if case.given:
        left_behind(case, code, work, before)
    rows[case.what] = row(case, code, said)
    if not request.config.getoption("--write-pages"):
        mend = "run pytest tests/test_bad_inputs.py --write-pages"
        assert rows[case.what] in PAGE.read_text(encoding="utf-8").splitlines(), mend


def test_the_page_has_no_other_rows_and_every_test_it_names_exists() -> None:
    [table] = TABLE.findall(PAGE.read_text(encoding="utf-8"))
    assert [line.split(" | ")[0] for line in table.splitlines()[2:]] == [f"| {case.what}" for case in CASES]
    for case in CASES:
        name, test = case.held_by.split("::")
        assert f"def {test}(" in (ROOT / "tests" / name).read_text(encoding="utf-8"), case.held_by


# Settings

#: Every kind of settings file: what ships, and the command that reads it.
SETTINGS = {
    "train": "train --config {}",
    "policy": "policy check {}",
    "quality": "quality --quality {}",
    "world": "simulate out --world {}",
}
#: What is wrong with it, and what is said of that.
FAULTY = {
    "unknown key": (lambda text: text + "\n[frobnicate]\nx = 1\n", r":\d+: unknown key 'frobnicate'"),
    "duplicate table": (lambda text: text + "\n[x]\n[x]\n", r":\d+: not valid TOML"),
    "duplicate key": (lambda text: text + "\n[x]\na = 1\na = 1\n", r":\d+: not valid TOML"),
    "wrong type": (lambda text: re.sub(r"(?m)^(\w+) = [\d.]+\b", r"\1 = []", text, count=1), r":\d+: .*expected"),
    "a gigabyte": (None, "1,000,000,000 bytes; expected at most 1,000,000"),
    "a pipe": (None, "not a regular file"),
}


@pytest.mark.parametrize("fault", FAULTY)
@pytest.mark.parametrize("kind", SETTINGS)
def test_no_settings_of_any_kind_pass_with_a_fault(
    kind: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("limitlens-work").mkdir()
    damage, said = FAULTY[fault]
    if damage:
        text = (ROOT / "conf" / f"{kind}.toml").read_text(encoding="utf-8")
        Path("given.toml").write_text(damage(text), encoding="utf-8")
    elif fault == "a pipe":
        os.mkfifo("given.toml")
    else:
        with Path("given.toml").open("wb") as file:
            file.truncate(10**9)
    tracemalloc.start()
    began = time.process_time()
    code, printed = run(SETTINGS[kind].format("given.toml"))
    taken, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (code, len(printed)) == (4, 1)
    assert re.match(rf"error given\.toml{said if said[0] == ':' else ': ' + said}", printed[0])
    assert (taken < 5, peak < 100_000_000) == (True, True)
    assert sorted(path.name for path in Path().rglob("*")) == ["given.toml", "limitlens-work"]
