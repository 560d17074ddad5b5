"""A first mapping of files nobody has described: what each column looks like, with every guess marked as one."""

import codecs
import json
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from limitlens.data.delivery import ENDINGS, alike
from limitlens.data.engine import run_sql
from limitlens.data.errors import InputError
from limitlens.data.imported_files import Encoding, SourceFile, open_in, room_for_copies, unreadable
from limitlens.data.mapping_cells import PERCENT
from limitlens.data.nothing import WORDS
from limitlens.data.quoting import quoted

#: Rows of each file that are looked at.
LOOKED_AT = 20_000

_DELIMITERS = (",", ";", "\t", "|")

#: Formats of times that are tried, in this order; a day before its month where both would do.
_FORMATS = (
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m",
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M",
    "%d/%m/%Y",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y",
    "%m/%d/%Y %H:%M",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y%m%d",
    "%Y%m",
    "%Y年%m月%d日",
    "%Y年%m月%d日 %H:%M:%S",
)
#: Digits that such a format takes where nothing parts them.
_DIGITS = {"%Y%m%d": 8, "%Y%m": 6}
_ISO = re.compile(r"\d{4}-\d{2}(-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?)?")
_WHOLE = re.compile(r"[+-]?\d{1,13}(\.0+)?")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")

#: More digits than a number holds are a name, such as that of an order.
_LONG = re.compile(r"[+-]?\d{14,}(\.0+)?")

#: Marks before the decimals and between the thousands, and a number that is written with them.
_MARKS = {
    (".", ","): re.compile(r"[+-]?\d{1,3}(,\d{2,3})*(,\d{3})(\.\d+)?"),
    (",", "."): re.compile(r"[+-]?(\d{1,3}(\.\d{3})+(,\d+)?|\d+,\d+)"),
    (",", " "): re.compile(r"[+-]?(\d{1,3}([ \u00a0\u202f]\d{3})+(,\d+)?|\d+,\d+)"),
}
#: A number in percent, whatever its marks.
_PERCENT = re.compile(r"[+-]?\d[\d., \u00a0\u202f]*[%％]")
_WITH_MARKS = re.compile(r"[+-]?\d[\d., \u00a0\u202f]*")
_YES_NO = (
    ("true", "false"),
    ("TRUE", "FALSE"),
    ("True", "False"),
    ("1", "0"),
    ("Y", "N"),
    ("y", "n"),
    ("yes", "no"),
    ("Yes", "No"),
    ("是", "否"),
)

_MONEY = re.compile(
    r"amount|amt|limit|balance|bal$|due|paid|payment|repay|price|income|salary|bill|principal|fee|loan_?size|loanamount"
    r"|cents|fen$|金额|额度|余额|收入|本金|利息",
    re.I,
)
_UNITS = {
    "cents": re.compile(r"cents|fen$|分$", re.I),
    "ten_thousand": re.compile("万"),
    "thousand": re.compile("千元"),
}
_COUNTED = re.compile(r"count|number|num|days|term|status|times|age$", re.I)
_LABEL = re.compile(r"default|bad|target|label|dlq|delinq.*yrs|churn|^y$|违约|逾期", re.I)
_ID = re.compile(
    r"(^|_|\b)id$|(account|contract|card|customer|client|user|loan|event|payment)_?(id|no|number|key)$|编号|账号|卡号|流水号|订单号|合同号|客户号|身份证",
    re.I,
)
_ACCOUNT = (
    "account",
    "contract",
    "card",
    "customer",
    "client",
    "user",
    "loan",
    "账号",
    "合同",
    "卡号",
    "客户",
    "用户",
    "编号",
    "id",
)
_BAD = re.compile(r"bad|default|yes|true|^1$|^y$|是|违约|逾期", re.I)
_OPENED = re.compile(r"open|creat|approv|appl|start|since|开户|申请", re.I)
_PAYMENT = re.compile(r"pay|instal|due|arrear|dpd|status|还款|应还", re.I)
_LIMIT = re.compile(r"limit|额度", re.I)
_BARE = re.compile(r"[A-Za-z0-9_-]+")

#: Bytes of each file that are looked at for its encoding.
_LOOKED_AT_BYTES = 1_000_000


@dataclass(frozen=True)
class _Column:
    name: str
    header: str
    kind: str
    formats: tuple[str, ...]
    optional: bool
    nothing: tuple[str, ...]
    words: tuple[str, str] | None
    percent: bool
    marks: tuple[str, str] | None
    remark: str
    distinct: int
    some: tuple[str, ...]


@dataclass(frozen=True)
class _Draft:
    name: str
    files: tuple[str, ...]
    delimiter: str
    encoding: Encoding
    rows: int
    columns: tuple[_Column, ...]


def draft_mapping(folder: Path) -> str:
    """Write a first mapping for the files of a folder.

    Parameters
    ----------
    folder : Path
        CSV and Parquet files, in it or one folder below; those with equal columns become one table.

    Returns
    -------
    str
        TOML that :func:`limitlens.data.mapping.parse_mapping` reads; what is guessed carries a comment.

    Raises
    ------
    InputError
        No file is there, or one cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the one with the delivered files.")
    paths = sorted(path for level in ("*", "*/*") for path in folder.glob(level) if path.name.endswith(ENDINGS))
    if not paths:
        raise InputError(f"{folder}: no file found that ends in {', '.join(ENDINGS)}; put the delivered files there.")
    drafts, taken = list[_Draft](), set[str]()
    with room_for_copies() as room:
        alike = dict[tuple[tuple[str, ...], bool, Encoding], list[SourceFile]]()
        for path in paths:
            encoding = _encoding(path)
            seen = [open_in(encoding, path, folder, mark, room) for mark in _marks(path)]
            file = max(seen, key=lambda one: len(one.columns))
            alike.setdefault((file.columns, file.is_text, encoding), []).append(file)
        for (_, _, encoding), files in alike.items():
            name = _unique(_plain(Path(files[0].name).name.split(".")[0]), taken)
            drafts.append(_looked_at(name, files, encoding))
    return "\n".join([*_top(folder), *(line for draft in drafts for line in _table(draft)), *_writes(drafts)]) + "\n"


def _marks(path: Path) -> tuple[str, ...]:
    return (",",) if path.suffix == ".parquet" else _DELIMITERS


def _encoding(path: Path) -> Encoding:
    """UTF-8 where it reads so; else what its bytes look like."""
    if path.suffix == ".parquet":
        return "utf-8"
    try:
        with pa.input_stream(path, compression="detect") as stream:
            raw: bytes = stream.read(_LOOKED_AT_BYTES)
    except OSError as error:
        raise unreadable(path, error) from error
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    with suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf-8")().decode(raw)
        return "utf-8"
    hanzi, mixed = (len(re.findall(pair, raw)) for pair in (rb"[\x81-\xfe][\xa1-\xfe]", rb"[\x81-\xfe][\x00-\x7f]"))
    return "gb18030" if hanzi > mixed else "windows-1252"


def _unique(name: str, taken: set[str]) -> str:
    chosen, number = name, 2
    while chosen in taken:
        chosen, number = f"{name}_{number}", number + 1
    taken.add(chosen)
    return chosen


def _plain(name: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:36]
    return plain if plain[:1].isalpha() else f"t_{plain}".rstrip("_")


def _column_name(header: str) -> str:
    """What a mapping may call a column: its letters stay, for what it means may be protected."""
    plain = re.sub(r"[\W_]+", "_", header.lower()).strip("_")[:36]
    return plain if plain[:1].isalpha() else f"t_{plain}".rstrip("_")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _looked_at(name: str, files: Sequence[SourceFile], encoding: Encoding) -> _Draft:
    file, taken = files[0], set[str]()
    texts = ", ".join(f"CAST({quoted(column)} AS VARCHAR) AS {quoted(column)}" for column in file.columns)
    table = run_sql(f"SELECT {texts} FROM (SELECT * FROM {file.relation()} LIMIT {LOOKED_AT})")
    columns = [
        _column(_unique(_column_name(header), taken), header, table[header].to_pylist(), is_time=header in file.times)
        for header in file.columns
    ]
    return _Draft(name, tuple(one.name for one in files), file.delimiter, encoding, len(table), tuple(columns))


def _column(name: str, header: str, cells: list[str | None], *, is_time: bool) -> _Column:
    present = [cell for cell in cells if cell not in {None, ""}]
    nothing = tuple(sorted({str(cell) for cell in present if cell in WORDS}))
    values = [str(cell) for cell in present if cell not in nothing]
    percent = bool(values) and all(map(_PERCENT.fullmatch, values))
    distinct = {value.rstrip(" %％") for value in values} if percent else set(values)
    optional = len(values) < len(cells) or not cells
    marks = next((marks for marks in _MARKS if distinct and _written_with(marks, distinct)), None)
    words = next((pair for pair in _YES_NO if distinct and distinct <= set(pair)), None)
    kind, remark, formats = "text", "", tuple[str, ...]()
    plain = {_pointed(value, marks) for value in distinct} if marks else distinct
    if is_time:
        kind = "time"
    elif percent and all(map(_NUMBER.fullmatch, plain)):
        kind, remark = "number", "in percent, by its sign"
    elif words and (len(distinct) > 1 or _LABEL.search(header)):
        kind = "yesno"
    elif values and not _is_name(header) and (formats := _time_formats(distinct)):
        kind = "time"
        remark = "a day before its month; check" if formats[0].startswith("%d/") and _both(distinct) else ""
    elif values and all(map(_WHOLE.fullmatch, plain)) and not _padded(plain):
        kind, remark = _money(header, "whole")
    elif values and all(map(_NUMBER.fullmatch, plain)) and not (_padded(plain) or any(map(_LONG.fullmatch, plain))):
        kind, remark = _money(header, "number")
        if kind == "amount" and _unit(header) is None and any(round(float(one) * 100, 6) % 1 for one in plain):
            kind, remark = "number", "reads like an amount, but has more than two decimals"
    elif not values:
        remark = "always empty among the rows looked at"
    if marks and kind != "text":
        remark = f"{remark}; " * bool(remark) + f"{marks[0]!r} before the decimals, {marks[1]!r} between the thousands"
    some = tuple(sorted(distinct)[:2])
    return _Column(
        name,
        header,
        kind,
        formats,
        optional,
        nothing,
        words,
        percent and kind == "number",
        marks,
        remark,
        len(distinct),
        some,
    )


def _written_with(marks: tuple[str, str], values: set[str]) -> bool:
    """Whether all are numbers, and some are so written that no other marks would do."""
    bare = re.compile(rf"[+-]?\d+([{marks[0]}]\d+)?")
    marked = [value for value in values if not bare.fullmatch(value) or marks[0] == "," in value]
    if marks[1] == "." and not any("," in value for value in values):
        return False  # 1.234 is as well a number of three decimals
    return bool(marked) and all(_MARKS[marks].fullmatch(v) for v in marked) and all(map(_WITH_MARKS.fullmatch, values))


def _pointed(value: str, marks: tuple[str, str]) -> str:
    return re.sub(f"[{marks[1]}\u00a0\u202f]", "", value).replace(marks[0], ".")


def _unit(header: str) -> str | None:
    return next((unit for unit, words in _UNITS.items() if words.search(header)), None)


def _is_name(header: str) -> bool:
    return bool(_ID.search(header))


def _padded(values: set[str]) -> bool:
    return any(len(value) > 1 and value.startswith("0") and value[1] != "." for value in values)


def _money(header: str, kind: str) -> tuple[str, str]:
    if _MONEY.search(header) and not _COUNTED.search(header):
        return "amount", "an amount, by its name"
    return kind, ""


def _time_formats(values: set[str]) -> tuple[str, ...]:
    if all(map(_ISO.fullmatch, values)) and all(_reads(value[:7], "%Y-%m") for value in values):
        return ("iso",)
    return next(((form,) for form in _FORMATS if all(_reads(value, form) for value in values)), ())


def _both(values: set[str]) -> bool:
    return all(_reads(value.partition(" ")[0], "%m/%d/%Y") for value in values)


def _reads(value: str, form: str) -> bool:
    try:
        year = datetime.strptime(value, form).year  # noqa: DTZ007 (asked is whether it reads)
    except ValueError:
        return False
    return 1900 <= year < 2200 and len(value) == _DIGITS.get(form, len(value))


def _top(folder: Path) -> list[str]:
    return [
        "# A first mapping, made of what the files look like. Look at every line that says guess; docs/mapping.md",
        "# says what may stand here. Then: limitlens import --mapping THIS_FILE SRC OUT --sample",
        f"name = {json.dumps(_plain(folder.resolve().name))}",
        '# currency = "CNY"',
        'unit = "whole"  # guess: an amount of 1 is 1.00; "cents" where it is 0.01',
        'zone = "UTC"    # guess: of times that name none, such as Asia/Shanghai',
        'notes = ["drafted; say here what stands in for what was not delivered"]',
        "",
    ]


def _table(draft: _Draft) -> list[str]:
    lines = [f"[tables.{draft.name}]  # {draft.rows:,} rows looked at"]
    lines.append(f"read = {json.dumps(list(draft.files), ensure_ascii=False)}")
    if draft.delimiter != ",":
        lines.append(f"delimiter = {json.dumps(draft.delimiter)}")
    if draft.encoding != "utf-8":
        lines.append(f"encoding = {json.dumps(draft.encoding)}  # guess: it is not UTF-8; look at the names")
    lines.append(f"[tables.{draft.name}.columns]")
    return [*lines, *map(_column_line, draft.columns), ""]


def _column_line(column: _Column) -> str:
    written = f'"{column.kind}{"?" if column.optional else ""}"'
    keys = dict[str, str]()
    if column.header != column.name:
        keys["header"] = json.dumps(column.header, ensure_ascii=False)
    if column.formats and column.formats != ("iso",):
        keys["format"] = json.dumps(column.formats[0], ensure_ascii=False)
    if column.nothing:
        keys["nothing"] = json.dumps(list(column.nothing), ensure_ascii=False)
    if column.kind == "amount" and (unit := _unit(column.header)):
        keys["unit"] = json.dumps(unit)
    if column.percent:
        keys["unit"] = json.dumps(PERCENT)
    if column.marks and column.kind in {"whole", "number", "amount"}:
        keys |= {"decimal": json.dumps(column.marks[0]), "thousands": json.dumps(column.marks[1])}
    if column.kind == "yesno" and column.words and column.words not in {("true", "false"), ("1", "0")}:
        keys |= {"true": json.dumps(column.words[0], ensure_ascii=False)}
        keys |= {"false": json.dumps(column.words[1], ensure_ascii=False)}
    body = written
    if keys:
        body = "{" + ", ".join([f"type = {written}", *(f"{key} = {value}" for key, value in keys.items())]) + "}"
    return f"{_key(column.name)} = {body}" + (f"  # guess: {column.remark}" if column.remark else "")


def _writes(drafts: Sequence[_Draft]) -> Iterable[str]:
    """What each table may become; accounts come of the table that has fewest rows of one account."""
    known = [draft for draft in drafts if _account(draft)]
    if not known:
        yield "# No column looks like the id of an account: name one below."
        known = list(drafts[:1])
    labelled = [draft for draft in known if _label(draft)]
    lines = min(labelled or known, key=_repeats)
    yield from _accounts(lines)
    for draft in known:
        if _label(draft):
            yield from _outcomes(draft)
        elif draft is not lines or len(known) == 1:
            yield from _events(draft)


def _account(draft: _Draft) -> _Column | None:
    named = [column for column in draft.columns if column.kind in {"text", "whole"} and _ID.search(column.header)]
    ranked = [column for word in _ACCOUNT for column in named if word in column.header.lower()]
    return next(iter(ranked), None)


def _label(draft: _Draft) -> _Column | None:
    """A column of two values that is called like an outcome."""
    return _first(draft, lambda column: bool(_LABEL.search(column.header)) and column.distinct <= 2)


def _repeats(draft: _Draft) -> float:
    account = _account(draft)
    return draft.rows / max(account.distinct, 1) if account else float("inf")


def _first(draft: _Draft, fits: Callable[[_Column], bool]) -> _Column | None:
    return next((column for column in draft.columns if fits(column)), None)


def _id_line(draft: _Draft, key: str) -> str:
    account = _account(draft) or draft.columns[0]
    return f"{key} = {json.dumps(account.name, ensure_ascii=False)}  # guess"


def _time_line(key: str, column: _Column | None, stands_in: str = "2020-01-01T00:00:00Z") -> str:
    if column is None:
        return f"{key} = {stands_in}  # guess: no time is delivered for it; choose one"
    return f"{key} = {json.dumps(column.name, ensure_ascii=False)}  # guess"


def _accounts(draft: _Draft) -> Iterable[str]:
    opened = _first(draft, lambda c: c.kind == "time" and bool(_OPENED.search(c.header))) or _first(
        draft, lambda c: c.kind == "time"
    )
    limit = _first(draft, lambda c: c.kind == "amount" and bool(_LIMIT.search(c.header)))
    account, label = _account(draft), _label(draft)
    yield from ("[[write]]", 'source = "accounts"', f'from = "{draft.name}"', "[write.columns]")
    yield _id_line(draft, "account_id")
    yield _time_line("opened_at", opened)
    yield _time_line("known_time", opened)
    yield (
        f"limit_cents = {json.dumps(limit.name, ensure_ascii=False)}  # guess"
        if limit
        else "# limit_cents: no column looks like one"
    )
    yield f'segment = {{text = "{draft.name}"}}  # guess: one segment'
    reserved = {"account_id", "opened_at", "known_time", "limit_cents", "segment"}
    for column in draft.columns:
        if column in {account, label, limit} or column.kind == "time" or column.name in reserved:
            continue
        if column.kind == "text" and column.distinct > draft.rows * 0.5:
            yield f"# {column.name}: {column.distinct:,} different texts are no attribute"
            continue
        name = column.name.removesuffix("_cents") + "_cents" if column.kind == "amount" else column.name
        name = f"delivered_{name}" if any(alike(column, [name]) for column in reserved) else name
        yield f"{_key(name)} = {json.dumps(column.name, ensure_ascii=False)}  # guess: known at the opening"
    yield ""


def _outcomes(draft: _Draft) -> Iterable[str]:
    label = _label(draft)
    times = [column for column in draft.columns if column.kind == "time"]
    moment = json.dumps(times[0].name, ensure_ascii=False) if times else "2020-01-01T00:00:00Z"
    yield from ("[[write]]", 'source = "outcomes"', f'from = "{draft.name}"', "[write.columns]")
    yield _id_line(draft, "account_id")
    yield f"as_of = {{later = {moment}, days = 1}}  # guess: when was it decided? after known_time"
    yield f"known_time = {{later = {moment}, months = 6}}  # guess: when was it known?"
    if label and label.kind != "yesno":
        bad = next(filter(_BAD.search, label.some), label.some[0] if label.some else "1")
        meant = json.dumps([bad], ensure_ascii=False)
        yield f"bad = {{is = {meant}, of = {json.dumps(label.name, ensure_ascii=False)}}}  # guess: which value is bad?"
    elif label:
        yield f"bad = {json.dumps(label.name, ensure_ascii=False)}  # guess: true is bad"
    yield ""


def _events(draft: _Draft) -> Iterable[str]:
    time = _first(draft, lambda column: column.kind == "time")
    amount = _first(draft, lambda column: column.kind == "amount" and not _LIMIT.search(column.header))
    if not time or not amount:
        lacking = "time" if not time else "amount"
        yield f"# {draft.name}: no column looks like the {lacking} of an event; join it to the accounts, or name one."
        yield ""
        return
    words = " ".join([draft.name, *(column.header for column in draft.columns)])
    source, kind = ("payment", "repayment") if _PAYMENT.search(words) else ("consumption", "purchase")
    account = _account(draft) or draft.columns[0]
    own = _first(draft, lambda c: bool(_ID.search(c.header)) and c is not account and c.distinct == draft.rows)
    made = f"{account.name}}}-{{{own.name if own else time.name}"
    yield from ("[[write]]", f'source = "{source}"  # guess', f'from = "{draft.name}"', "[write.columns]")
    yield f'event_id = {{text = "{draft.name}-{{{made}}}"}}  # guess: what makes a row of it one of a kind?'
    yield _id_line(draft, "account_id")
    yield _time_line("event_time", time)
    yield f"known_time = {json.dumps(time.name, ensure_ascii=False)}  # guess: when did you know of it?"
    kinds = "due, repayment, transfer_in, transfer_out or status" if source == "payment" else "purchase, draw or refund"
    yield f'kind = {{text = "{kind}"}}  # guess: {kinds}'
    yield f"amount_cents = {json.dumps(amount.name, ensure_ascii=False)}  # guess"
    yield ""
