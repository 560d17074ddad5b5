"""A mapping reads what it says it reads, accounts for every row, and names what to mend."""

import csv
import gzip
import io
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from limitlens.data.draft import draft_mapping
from limitlens.data.engine import run_sql
from limitlens.data.errors import ConfigError, InputError
from limitlens.data.import_report import ImportReport
from limitlens.data.importing import import_files
from limitlens.data.mapping import parse_mapping
from limitlens.data.mapping_operations import OPERATIONS, Scope
from limitlens.data.meanings import meanings
from limitlens.data.meanings import written as written_by
from limitlens.data.quoting import quoted_text
from limitlens.pipeline.cli import app

MAPPING = """\
name = "bank"
zone = "Asia/Shanghai"

[tables.rows]
read = "rows*"
[tables.rows.columns]
id = "text"
at = "time"
limit = "amount"
kind = "text?"

[[write]]
source = "accounts"
from = "rows"
when = {given = "kind"}
[write.columns]
account_id = "id"
opened_at = "at"
known_time = "at"
limit_cents = "limit"
segment = "kind"
"""
ROWS = "id,at,limit,kind\na,2026-01-02,10.50,x\nb,2026-01-03 08:00,2,\nc,2026-01-04T00:00Z,0,y\n"
DAY = datetime(2026, 3, 5, 10, tzinfo=UTC)


def imported(folder: Path, rows: str | bytes = ROWS, mapping: str = MAPPING, name: str = "rows.csv") -> ImportReport:
    (folder / name).write_bytes(rows if isinstance(rows, bytes) else rows.encode())
    return import_files(parse_mapping(mapping, "m.toml"), folder, folder / "out")


def written(folder: Path, source: str = "accounts") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "out" / source / "bank.parquet").to_pylist()
    return rows


def test_amounts_become_cents_and_local_times_utc(tmp_path: Path) -> None:
    imported(tmp_path)
    first, last = written(tmp_path)
    assert (first["limit_cents"], last["limit_cents"]) == (10_50, 0)
    assert first["opened_at"] == datetime(2026, 1, 1, 16, tzinfo=UTC)
    assert last["opened_at"] == datetime(2026, 1, 4, tzinfo=UTC), "a time with a zone of its own keeps it"


def test_a_file_with_windows_line_ends_reads_as_one_without(tmp_path: Path) -> None:
    imported(tmp_path)
    rows = written(tmp_path)
    imported(tmp_path, ROWS.replace("\n", "\r\n"))
    assert written(tmp_path) == rows


@pytest.mark.parametrize(("end", "other"), [(",x\n", ",x\r\n"), ("\n", "\r")])
def test_a_file_whose_lines_do_not_end_alike_is_refused(tmp_path: Path, end: str, other: str) -> None:
    with pytest.raises(InputError, match=r"rows.csv: .*end all its lines alike"):
        imported(tmp_path, ROWS.replace(end, other))


def test_what_when_does_not_hold_for_is_left_out_and_counted(tmp_path: Path) -> None:
    [read], [wrote] = imported(tmp_path).read, imported(tmp_path).written
    assert (read.rows, wrote.rows, wrote.written, wrote.left_out, wrote.held_back) == (3, 3, 2, 1, 0)


@pytest.mark.parametrize(
    ("cell", "text", "expected"),
    [
        ({"type": "time"}, "2026-01-03 08:00:00 UTC", "2026-01-03 08:00"),  # its own zone, not that of the mapping
        ({"type": "time"}, "2026-01-03 08:00+0800", "2026-01-03 00:00"),
        ({"type": "time"}, "2026-01-03 08:00", "2026-01-03 00:00"),
        ({"type": "time"}, "2026-01", "2025-12-31 16:00"),
        ({"type": "time"}, "2026-01-03 08:00:00 PM", None),
        ({"type": "time"}, "2026-01-03 08:00 Europe/Paris", None),
        ({"type": "time"}, "epoch", None),
        ({"type": "time"}, "9999-12-31", None),
        ({"type": "time", "format": "%Y年%m月%d日"}, "2026年3月5日", "2026-03-04 16:00"),
        ({"type": "time", "format": "%Y%m%d"}, "20260305", "2026-03-04 16:00"),
        ({"type": "time", "format": "%Y%m%d"}, "2026111", None),  # 11 January or 1 November
        ({"type": "time", "format": "%d/%m/%Y"}, "5/3/2026", "2026-03-04 16:00"),
        ({"type": "time", "format": "%d/%m/%Y"}, "5/3/26", None),
        ({"type": "time", "format": "unix"}, "1700000000000", None),
        ({"type": "amount"}, "1,234.50", None),
        ({"type": "amount"}, "1_000", None),
        ({"type": "amount"}, "1e27", None),
        ({"type": "amount", "thousands": ","}, "1,234.50", 1234_50),
        ({"type": "amount", "thousands": ","}, "1234.50", 1234_50),
        ({"type": "amount", "thousands": ","}, "12,34,567", 1234567_00),
        ({"type": "amount", "thousands": ","}, "12,34", None),
        ({"type": "whole", "thousands": " "}, "1\u202f234", 1234),
        ({"type": "number", "thousands": "'"}, "-1'234.5", -1234.5),
        ({"type": "amount", "decimal": ","}, "1.234,50", 1234_50),
        ({"type": "amount", "decimal": ","}, "12.34", None),
        ({"type": "number", "decimal": ",", "thousands": " "}, "1 234,5", 1234.5),
        ({"type": "amount", "unit": "ten_thousand"}, "1.25", 12_500_00),
        ({"type": "amount", "unit": "ten_thousand"}, "0.0000001", None),
        ({"type": "amount", "unit": "thousand"}, "0.125", 125_00),
        ({"type": "number", "unit": "%"}, "12%", 0.12),
        ({"type": "number", "unit": "%"}, " -0.07 % ", -0.0007),
        ({"type": "number", "unit": "%"}, "35％", 0.35),
        ({"type": "number", "unit": "%"}, "35", 0.35),  # as a Parquet file would have it
        ({"type": "number", "unit": "%", "decimal": ","}, "1.234,5%", 12.345),
        ({"type": "number", "unit": "%"}, "12%%", None),
        ({"type": "number", "unit": "%"}, "%", None),
        ({"type": "number", "unit": "%"}, "1e2%", None),
        ({"type": "number", "unit": "%"}, "12‰", None),
        ({"type": "number"}, "12%", None),
    ],
    ids=str,
)
def test_a_cell_reads_as_declared_or_not_at_all(cell: dict[str, str], text: str, expected: object) -> None:
    keys = ", ".join(f'{key} = "{value}"' for key, value in cell.items())
    mapping = MAPPING.replace('kind = "text?"', f'kind = "text?"\nread = {{{keys}}}')
    read = parse_mapping(mapping, "m.toml").tables["rows"].cells[-1]
    sql = read.value("t", is_time=False)
    [value] = run_sql(f"SELECT {sql} AS v FROM (SELECT {quoted_text(text)} AS t)")["v"].to_pylist()
    assert (f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"text": "{name}-{n:3}-{day:%Y%m}"}, "ab-007-202603"),
        ({"text": "it's"}, "it's"),
        ({"codes": {"ab": "x"}, "of": "name", "otherwise": {"text": "other"}}, "x"),
        ({"codes": {"z": 1}, "of": "name"}, None),
        ({"is": ["ab", "cd"], "of": "name"}, True),
        ({"is": [8], "of": "n"}, False),
        ({"given": "none"}, False),
        ({"above": ["n", 6]}, True),
        ({"below": ["none", 6]}, False),
        ({"all": [True, {"above": ["n", 9]}]}, False),
        ({"any": [True, {"above": ["n", 9]}]}, True),
        ({"not": {"given": "none"}}, True),
        ({"add": ["cents", {"amount": 0.5}]}, 13_05),
        ({"subtract": [0, "cents"]}, -12_55),
        ({"multiply": ["cents", 0.1]}, 1_26),
        ({"divide": ["cents", 2]}, 6_28),
        ({"divide": ["cents", "cents"]}, 1.0),
        ({"divide": ["n", 0]}, None),
        ({"floor": {"divide": ["n", 2]}}, 3),
        ({"most": ["n", 9]}, 9),
        ({"least": ["n", "none"]}, None),
        ({"later": "day", "months": 1, "days": "n", "hours": -1}, datetime(2026, 4, 12, 9, tzinfo=UTC)),
        ({"month_start": "day"}, datetime(2026, 3, 1, tzinfo=UTC)),
        ({"day_over": "day"}, DAY),
        ({"day_over": {"month_start": "day"}}, datetime(2026, 3, 2, tzinfo=UTC)),
        ({"days_between": [{"month_start": "day"}, "day"]}, 4),
        ({"if": {"given": "none"}, "then": "n", "else": 1}, 1),
        ({"first_given": ["none", "n"]}, 7),
        ({"earliest": "day", "per": "name"}, datetime(2026, 3, 1, tzinfo=UTC)),
        ({"change": "n", "per": "name", "order": "day"}, 5),
        ({"instalment": "cents", "number": 1, "of": 2}, 6_27),
        ({"instalment": "cents", "number": 2, "of": 2}, 6_28),
        (DAY, DAY),
    ],
    ids=str,
)
def test_each_operation_gives_what_a_hand_reckons(value: object, expected: object) -> None:
    row = "SELECT 7 AS n, 'ab' AS name, TIMESTAMPTZ '2026-03-05 10:00Z' AS day, 1255 AS cents, NULL::BIGINT AS none"
    before = "SELECT 2, 'ab', TIMESTAMPTZ '2026-03-01 00:00Z', 0, NULL"
    scope = Scope({"n": "whole", "name": "text", "day": "time", "cents": "amount", "none": "whole"}, "UTC")
    sql = f"SELECT v FROM (SELECT {scope.value(value).sql} AS v, n FROM ({row} UNION ALL {before})) WHERE n = 7"
    assert run_sql(sql)["v"].to_pylist() == [expected]


def test_every_operation_is_in_the_reference() -> None:
    page = (Path(__file__).parents[1] / "docs" / "mapping.md").read_text(encoding="utf-8")
    assert not [name for name in OPERATIONS if f"`{name}`" not in page]


CELLS = st.sampled_from(["", "1", "2.50", "-3", "x", "0.001", '"a,b"', "1e2", "é", "nan"])


@given(st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=12), st.booleans(), st.sampled_from(["\n", "\r\n"]))
@example([["1", "x", ""]], False, "\n")  # an empty field too many
def test_every_row_is_written_left_out_or_held_back(
    tmp_path_factory: pytest.TempPathFactory, lines: list[list[str]], packed: bool, end: str
) -> None:
    """A second reading, row by row."""
    folder = tmp_path_factory.mktemp("rows")
    lines = [*lines, ["1", "good"]]  # one that can be read: else nothing is written
    text = "id,at,limit,kind\n" + "".join(",".join(["i", "2026-01-02", *line]) + "\n" for line in lines)
    text = text.replace("\n", end)
    name, body = ("rows.csv.gz", gzip.compress(text.encode())) if packed else ("rows.csv", text.encode())
    report = imported(folder, body, MAPPING.replace("zone", "max_held_back_share = 0.999999\nzone"), name)
    outcome = Counter(map(_fate, list(csv.reader(io.StringIO(text, newline="")))[1:]))
    [read], [wrote] = report.read, report.written
    assert (read.rows, read.held_back) == (len(lines), outcome["held"])
    assert (wrote.written, wrote.left_out, wrote.held_back) == (outcome["written"], outcome["left out"], 0)
    held = folder / "out" / "held_back" / "bank.parquet"
    assert (pq.read_table(held).num_rows if held.exists() else 0) == outcome["held"]


def _fate(fields: Sequence[str]) -> str:
    if len(fields) != 4:
        return "held"
    if fields[2] not in {"1", "2.50", "-3", "1e2"}:
        return "held"
    return "written" if fields[3] else "left out"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("10.50", "10.505", r"rows.csv: row 1, column limit: got '10.505', expected an amount .*m.toml:9\)"),
        ("2026-01-04T00:00Z", "04.01.26", r"row 3, column at: got '04.01.26', expected a time \(iso\)"),
        ("a,2026", ",2026", r"row 1, column id: got an empty cell, expected a text"),
        ("c,2026-01-04T00:00Z,0,y", "c,2026-01-04T00:00Z,0", r"rows.csv: line 4: wrong number of fields"),
        ("limit", "limits", r"no column limit, got id, at, limits, kind; .*m.toml:9"),
        ("id,at", "id,id", r"column 'id' stands there more than once"),
        (",x\n", ',"x\n', r"rows.csv, line 2: cannot be read \(a quote that is not closed\)"),
        (
            ",x\nb,2026-01-03 08:00,2,\n",
            ',"x\nb,2026-01-03 08:00,2,z\n"\n',
            r"row 1: a quote takes in the rows after it",
        ),
    ],
)
def test_a_file_that_does_not_read_names_row_column_and_line_of_the_mapping(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        imported(tmp_path, ROWS.replace(before, after))
    assert not (tmp_path / "out").exists()


def test_a_value_that_no_calendar_has_is_one_line(tmp_path: Path) -> None:
    far = MAPPING.replace('opened_at = "at"', 'opened_at = {later = "at", months = 99_999_999}')
    with pytest.raises(InputError, match=r"m.toml:12: a value is out of range"):
        imported(tmp_path, mapping=far)


def test_the_sample_tells_of_a_time_that_is_later_than_any_of_python(tmp_path: Path) -> None:
    imported(tmp_path, mapping=MAPPING.replace('opened_at = "at"', 'opened_at = {later = "at", months = 99_999}'))
    assert "opened 10359-" in meanings(written_by(tmp_path / "out", "bank"))[0]


def test_rows_without_a_partner_in_a_join_are_counted(tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_text("id,job\na,x\n0b,y\n", encoding="utf-8")
    jobs = '[tables.jobs]\nread = "jobs.csv"\n[tables.jobs.columns]\nid = "text"\njob = "text"\n'
    mapping = MAPPING.replace("[tables.rows]\n", f'{jobs}[tables.rows]\njoin = {{jobs = "id"}}\n')
    report = imported(tmp_path, mapping=mapping)
    assert "joined  rows                      2 of 3 rows without one of jobs" in report.lines()


OUTCOMES = """[[write]]
source = "outcomes"
from = "rows"
[write.columns]
account_id = "id"
as_of = "at"
known_time = "at"
bad = false
"""


def test_what_a_mapping_writes_no_more_goes_and_what_another_wrote_is_named(tmp_path: Path) -> None:
    imported(
        tmp_path, mapping=MAPPING.replace("zone", "max_held_back_share = 0.5\nzone") + OUTCOMES, rows=ROWS + "d,,,\n"
    )
    assert imported(tmp_path).beside == ()
    assert [path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.parquet")] == [
        "accounts/bank.parquet"
    ]
    [line] = [one for one in imported(tmp_path, mapping=MAPPING.replace("bank", "shop")).lines() if "beside" in one]
    assert line == "beside  accounts/bank.parquet: of another mapping; limitlens check reads it too"


def test_a_column_without_a_name_has_one_by_its_place(tmp_path: Path) -> None:
    report = imported(tmp_path, ",id,at,limit,kind,\n0,a,2026-01-02,1,x,\n")
    assert report.unused == {"rows.csv": ("unnamed_1", "unnamed_6")}
    assert [row["account_id"] for row in written(tmp_path)] == ["a"]


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2: not UTF-8"):
        imported(tmp_path, ROWS.replace(",x", ",é").encode("latin-1"))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('limit = "amount"', 'limit = "money"', r"m.toml:9: column 'limit' is of type 'money'; expected one of text"),
        (
            'segment = "kind"',
            'segment = "kinds"',
            r"m.toml:21: segment: no column 'kinds'; there are id, at, limit, kind",
        ),
        ('segment = "kind"', 'segment = "limit"', r"m.toml:21: segment of accounts is amount; expected text or whole"),
        (
            'segment = "kind"',
            "segment = {lower = 1}",
            r"m.toml:21: segment: .* names 0 operations; expected one of text",
        ),
        ('segment = "kind"\n', "", r"m.toml:16: accounts needs segment .*; add it"),
        ('limit_cents = "limit"', 'limit_cent = "limit"', r"m.toml:20: limit_cent of accounts reads like limit_cents"),
        ('from = "rows"', 'from = "row"', r"m.toml:14: no table 'row' stands before it; there are rows"),
        ('{given = "kind"}', '"limit"', r"m.toml:15: when is amount; expected yes or no"),
        ("Asia/Shanghai", "Asia/Atlantis", r"m.toml:2: zone 'Asia/Atlantis' is no time zone"),
        ('read = "rows*"', 'reads = "rows*"', r"m.toml:5: unknown key 'reads'.*did you mean 'read'"),
        (
            '{given = "kind"}',
            '{given = {earliest = {earliest = "at", per = "id"}, per = "id"}}',
            r"m.toml:15: .* over other",
        ),
        (
            'segment = "kind"',
            'segment = {text = "{at:%Q}"}',
            r"m.toml:21: segment: {at:%Q}: expected a format of a time",
        ),
        (
            '"amount"',
            '{type = "amount", unit = "万"}',
            r"m.toml:9: unit in .* is '万'; expected one of .*'ten_thousand'",
        ),
        (
            '"amount"',
            '{type = "amount", unit = "%"}',
            r"m.toml:9: unit is '%', which is of a number; 'limit' is amount",
        ),
        ('"amount"', '{type = "number", unit = "cents"}', r"m.toml:9: unit is 'cents', .* amount; 'limit' is number"),
        (
            'zone = "Asia',
            'unit = "%"\nzone = "Asia',
            r"m.toml:2: unit is '%'; say so of each column that is in percent",
        ),
        ('"amount"', '{type = "amount", thousands = "."}', r"m.toml:9: '.' stands before the decimals already"),
        ('"time"', '{type = "time", format = "dd.mm"}', r"m.toml:8: format 'dd.mm'; expected iso, unix"),
    ],
)
def test_a_mapping_that_is_wrong_names_its_line(before: str, after: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_mapping(MAPPING.replace(before, after), "m.toml")


def test_shares_in_percent_are_written_as_shares_and_a_cell_that_is_none_is_held_back(tmp_path: Path) -> None:
    """A sign or none; what is no percentage is named, with the row and what was expected."""
    mapping = MAPPING.replace('kind = "text?"', 'kind = "text?"\nrate = {type = "number?", unit = "%"}')
    mapping = mapping.replace('segment = "kind"', 'segment = "kind"\nused_share = "rate"')
    header, *lines = ROWS.splitlines()
    cells = dict(zip(lines, ["12.5%", "7", "much"], strict=True))
    rows = "\n".join([f"{header},rate", *(f"{line},{cell}" for line, cell in cells.items())]) + "\n"
    with pytest.raises(InputError, match=r"row 3, column rate: got 'much', expected a number in percent, such as"):
        imported(tmp_path, rows, mapping)
    imported(tmp_path, rows.replace("much", ""), mapping)
    assert sorted(filter(None, (row["used_share"] for row in written(tmp_path)))) == [0.125]


@pytest.mark.parametrize("pattern", ["../secret.csv", "/etc/passwd"])
def test_a_mapping_reads_nothing_outside_its_folder(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(InputError, match="leads out of"):
        imported(tmp_path, mapping=MAPPING.replace("rows*", pattern))


def test_a_name_is_never_read_as_sql(tmp_path: Path) -> None:
    evil = "x\"'; DROP TABLE held_back; --"
    cell = f"kind = {{type = 'text?', header = '''{evil}'''}}"
    header = 'id,at,limit,"x""\'; DROP TABLE held_back; --"\n'
    imported(tmp_path, header + ROWS.partition("\n")[2], MAPPING.replace('kind = "text?"', cell))
    assert [row["segment"] for row in written(tmp_path)] == ["x", "y"]


def test_parquet_reads_as_csv_does(tmp_path: Path) -> None:
    imported(tmp_path)
    as_csv = written(tmp_path)
    (tmp_path / "rows.csv").unlink()
    local = pd.to_datetime(["2026-01-02 00:00", "2026-01-03 08:00", "2026-01-04 08:00"])
    frame = pd.DataFrame({"id": ["a", "b", "c"], "at": local, "limit": [10.5, 2, 0], "kind": ["x", None, "y"]})
    frame.to_parquet(tmp_path / "rows.parquet")
    import_files(parse_mapping(MAPPING, "m.toml"), tmp_path, tmp_path / "out")
    assert written(tmp_path) == as_csv


def test_columns_of_months_become_rows(tmp_path: Path) -> None:
    text = MAPPING.replace('kind = "text?"', 'kind = "text?"\npay_1 = "whole"\npay_2 = "whole"').partition("[[write]]")
    stack = '[tables.months]\nfrom = "rows"\nstack = {number = "k", first = 1, last = 2, columns = {late = "pay_{}"}}\n'
    status = """[[write]]
source = "payment"
from = "months"
[write.columns]
event_id = {text = "{id}-{k}"}
account_id = "id"
event_time = "at"
known_time = "at"
kind = {text = "status"}
amount_cents = 0
dpd_days = "late"
"""
    rows = "id,at,limit,kind,pay_1,pay_2\na,2026-01-02,1,x,30,60\n"
    imported(tmp_path, rows, text[0] + stack + text[1] + text[2] + status)
    assert [(row["event_id"], row["dpd_days"]) for row in written(tmp_path, "payment")] == [("a-1", 30), ("a-2", 60)]


DRAFTED = {
    "clients.csv": "client_id;opened;credit limit;age;status;default\n"
    + "".join(
        f"{k};{k % 28 + 1:02d}.02.2025;{1000 + k},50;{20 + k % 50};{'AB'[k % 2]};{k % 3 == 0:d}\n" for k in range(60)
    ),
    "buys.csv": "purchase_no,client_id,booked_at,amount,shop\n"
    + "".join(
        f"p{k},{k % 60},2025-03-{k % 28 + 1:02d} 10:00:00,{k + 1}.25,{'NA' if k % 9 else 'grocer'}\n" for k in range(90)
    ),
}


def test_a_draft_marks_its_guesses_and_runs_as_it_is(tmp_path: Path) -> None:
    for name, text in DRAFTED.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    draft = draft_mapping(tmp_path)
    assert 'delimiter = ";"' in draft
    assert '{type = "time", format = "%d.%m.%Y"}' in draft
    assert 'shop = {type = "text?", nothing = ["NA"]}' in draft
    assert 'account_id = "client_id"  # guess' in draft
    report = import_files(parse_mapping(draft, "draft.toml"), tmp_path, tmp_path / "out")
    assert report.rows == {"accounts": 60, "consumption": 90, "outcomes": 60}


def test_a_draft_of_a_chinese_export_keeps_its_names_units_and_digits(tmp_path: Path) -> None:
    (tmp_path / "客户.csv").write_bytes(
        "订单,客户编号,开户日期,额度(万元),性别,金额,是否逾期\r\n"
        '20260305000000001,00000001,2026年3月5日,1.25,男,"1,234.50",是\r\n'
        "20260305000000002,00000002,2026年3月15日,0.5,女,65.25,否\r\n".encode("gbk")
    )
    draft = draft_mapping(tmp_path)
    assert 'encoding = "gb18030"' in draft
    assert '"订单" = "text"' in draft, "a number would lose digits"
    assert '"性别" = "text"' in draft, "what is protected is known by its name"
    import_files(parse_mapping(draft, "draft.toml"), tmp_path, tmp_path / "out")
    [account, _] = pq.read_table(next((tmp_path / "out" / "accounts").iterdir())).to_pylist()
    assert (account["account_id"], account["limit_cents"], account["金额_cents"]) == ("00000001", 12_500_00, 1_234_50)
    assert account["opened_at"] == datetime(2026, 3, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cells", "declared"),
    [
        (["1,234.50", "65.25", "7"], 'decimal = ".", thousands = ","'),
        (["1.234,50", "65,25", "7"], 'decimal = ",", thousands = "."'),
        (["1 234,50", "65,25", "7"], 'decimal = ",", thousands = " "'),
        (["1.234", "65.250", "7"], 'x = "number"'),
        (["5/3/2026 10:00", "6/3/2026 09:30"], "a day before its month; check"),
        (["TRUE", "FALSE"], 'true = "TRUE", false = "FALSE"'),
        (["12%", "7.5 %"], 'type = "number", unit = "%"'),
        (["12,5%", "7%"], 'unit = "%", decimal = ","'),
        (["12%", "n/a%"], 'x = "text"'),
        (["1" * 100_000 + "x"], 'x = "text"'),  # in no more than a moment
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_draft_sees_how_a_column_is_written(tmp_path: Path, cells: list[str], declared: str) -> None:
    (tmp_path / "rows.csv").write_text("id;x\n" + "".join(f"{cell};{cell}\n" for cell in cells), encoding="utf-8")
    assert declared in draft_mapping(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16", "gb18030", "big5", "windows-1252"])
def test_a_file_of_another_encoding_reads_as_in_utf_8(tmp_path: Path, encoding: str) -> None:
    word = "é" if encoding == "windows-1252" else "文件"
    declared = MAPPING.replace('"rows*"', f'"rows*"\nencoding = "{encoding}"')
    imported(tmp_path, ROWS.replace(",x", f",{word}").encode(encoding), declared)
    assert [row["segment"] for row in written(tmp_path)] == [word, "y"]
    with pytest.raises(
        InputError, match=r"rows.csv.*: not .*name its encoding|not UTF-8; save the file as UTF-8, or say"
    ):
        imported(tmp_path, ROWS.replace(",x", ",\xff\xff").encode("latin-1"), declared.replace("windows-1252", "utf-8"))


def test_the_command_drafts_into_a_file_and_imports_with_it(tmp_path: Path) -> None:
    raw, mapping, out = tmp_path / "raw", tmp_path / "mapping.toml", tmp_path / "out"
    raw.mkdir()
    for name, text in DRAFTED.items():
        (raw / name).write_text(text, encoding="utf-8")
    assert CliRunner().invoke(app, ["import", "--draft", str(raw), str(mapping)]).exit_code == 0
    run = CliRunner().invoke(app, ["import", "--mapping", str(mapping), str(raw), str(out), "--sample"])
    assert run.exit_code == 0, run.output
    assert "means   purchase: median 45.25, nine in ten from" in run.output
