"""How a mapping reads the cells of a file: a text becomes an amount, a time, a number, or is no such thing."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from limitlens.data.contracts import MAX_CENTS
from limitlens.data.quoting import quoted, quoted_text

#: What a value of a mapping is; an amount is whole cents once it was read.
Kind = Literal["text", "whole", "number", "amount", "time", "yesno"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: What an amount of 1 in the file counts: 0.01, 1.00, 1,000.00 or 10,000.00 (万) of the currency; what a number does.
Unit = Literal["cents", "whole", "thousand", "ten_thousand", "%"]
PERCENT: Unit = "%"
_CENTS: dict[Unit, int] = {"cents": 1, "whole": 100, "thousand": 100_000, "ten_thousand": 1_000_000}

#: Marks before the decimals, and between the thousands; a space is one that does not break, too.
Decimal = Literal[".", ","]
Thousands = Literal[",", ".", " ", "'"]

#: Formats of times that have a name; every other is written as for strftime.
ISO, UNIX_SECONDS, UNIX_MILLISECONDS = "iso", "unix", "unix_ms"

#: Parts of a format of times: years to fractions of a second, names of months and days, a zone.
_FORMAT = re.compile(r"(%-?[YmdHMSfyjIpbBaAzZ]|[^%])+")

_NUMBER = "DECIMAL(38, 10)"

#: Parts of a format that take one digit where there are two, and so shift what follows where nothing parts them.
_PART = "%-?[YmdHMSyj]"

#: A date of ISO 8601 alone, a month alone, or with a time and perhaps a zone; what stands behind it is no time.
_ISO_TIME = (
    r"(?i)^\s*\d{4}[-/]\d{1,2}([-/]\d{1,2}([T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?UTC|Z|[+-]\d{2}(:?\d{2})?)?)?)?\s*$"
)

#: Years of the contract, with a day at either end for zones.
_FIRST, _LAST = "TIMESTAMPTZ '1899-12-31 00:00:00Z'", "TIMESTAMPTZ '2200-01-01 23:59:59Z'"


def is_time_format(form: str) -> bool:
    """Whether a format, written as for strftime, has parts that are known, one at least.

    Examples
    --------
    >>> is_time_format("%d.%m.%Y %H:%M"), is_time_format("dd.mm"), is_time_format("%Q")
    (True, False, False)
    """
    return "%" in form and _FORMAT.fullmatch(form) is not None


@dataclass(frozen=True)
class Cell:
    """One column of a file.

    Parameters
    ----------
    name : str
        How the mapping calls it.
    header : str
        How the file calls it.
    kind : str
        One of :data:`KINDS`.
    optional : bool
        A cell may be empty.
    unit : {"cents", "whole", "thousand", "ten_thousand", "%"}
        Of an amount; ``%`` of a number that is in percent, with the sign behind it or without.
    formats : tuple of str
        Of a time: ``iso``, ``unix``, ``unix_ms``, or as for strftime; the first that fits.
    zone : str
        Of a time that names none.
    nothing : tuple of str
        Texts that stand for an empty cell.
    true, false : tuple of str
        Texts of a yes and of a no.
    decimal : {".", ","}
        Mark before the decimals.
    thousands : {",", ".", " ", "'"}, optional
        Mark that may part the thousands; a dot where a comma stands before the decimals.
    """

    name: str
    header: str
    kind: Kind
    optional: bool = False
    unit: Unit = "whole"
    formats: tuple[str, ...] = (ISO,)
    zone: str = "UTC"
    nothing: tuple[str, ...] = ()
    true: tuple[str, ...] = ("true", "1")
    false: tuple[str, ...] = ("false", "0")
    decimal: Decimal = "."
    thousands: Thousands | None = None

    def expected(self) -> str:
        """What a cell should be, for a message."""
        if self.kind == "time":
            return f"a time ({', '.join(self.formats)}) from 1900 to 2199"
        if self.kind == "amount":
            return {
                "cents": "an amount of whole cents",
                "whole": "an amount with at most two decimals",
                "thousand": "an amount of thousands with at most five decimals",
                "ten_thousand": "an amount of ten thousands with at most six decimals",
            }[self.unit]
        if self.unit == PERCENT:
            return "a number in percent, such as 12.5 or 12.5%"
        if self.kind == "yesno":
            return f"one of {', '.join((*self.true, *self.false))}"
        return {"whole": "a whole number of at most 13 digits", "number": "a number", "text": "a text"}[self.kind]

    def text(self, *, is_time: bool) -> str:
        """SQL of the cell as delivered, null where it stands for nothing; times of Parquet stay times."""
        if is_time and self.kind == "time":
            return quoted(self.header)
        raw = f"NULLIF(CAST({quoted(self.header)} AS VARCHAR), '')"
        if not self.nothing:
            return raw
        return f"CASE WHEN {raw} NOT IN ({', '.join(map(quoted_text, self.nothing))}) THEN {raw} END"

    def value(self, text: str, *, is_time: bool, zoned: bool = False) -> str:
        """SQL of the value of a text, null where it reads as none.

        Parameters
        ----------
        text : str
            SQL.
        is_time, zoned : bool
            It is no text but a time of a Parquet file, with a zone of its own.
        """
        if self.kind == "time":
            if is_time:
                return f"CAST({text} AS TIMESTAMPTZ)" if zoned else _in_zone(self.zone, f"CAST({text} AS TIMESTAMP)")
            time = f"COALESCE({', '.join(self._time(form, text) for form in self.formats)})"
            return f"CASE WHEN {time} BETWEEN {_FIRST} AND {_LAST} THEN {time} END"
        if self.kind == "yesno":
            true, false = (", ".join(map(quoted_text, words)) for words in (self.true, self.false))
            return f"CASE WHEN {text} IN ({true}) THEN TRUE WHEN {text} IN ({false}) THEN FALSE END"
        if self.kind == "amount":
            return _whole(self._decimal(text), _CENTS[self.unit])
        return {"text": text, "number": self._number(text), "whole": _whole(self._decimal(text))}[self.kind]

    def _time(self, form: str, text: str) -> str:
        if form == ISO:  # a time of its own zone keeps it; a month alone is its first day
            full = f"CASE WHEN regexp_matches({text}, '^\\d{{4}}-\\d{{2}}$') THEN {text} || '-01' ELSE {text} END"
            own = f"regexp_matches({text}, '(?i):\\d{{2}}.*(utc|z|[+-]\\d{{2}}(:?\\d{{2}})?)\\s*$')"
            zoned = f"TRY_CAST({full} AS TIMESTAMPTZ)"
            local = _in_zone(self.zone, f"TRY_CAST({full} AS TIMESTAMP)")
            is_one = f"regexp_matches({text}, {quoted_text(_ISO_TIME)})"
            return f"CASE WHEN NOT {is_one} THEN NULL WHEN {own} THEN {zoned} ELSE {local} END"
        if form in {UNIX_SECONDS, UNIX_MILLISECONDS}:
            micros = 1_000_000 if form == UNIX_SECONDS else 1_000
            return f"make_timestamptz(TRY_CAST(TRY_CAST({text} AS {_NUMBER}) * {micros} AS BIGINT))"
        parsed = f"TRY_CAST(try_strptime({text}, {quoted_text(form)}) AS TIMESTAMP)"
        if re.fullmatch(f"({_PART}){{2,}}", form):  # nothing but digits: each part has all of its own
            parsed = f"CASE WHEN strftime({parsed}, {quoted_text(form)}) = trim({text}) THEN {parsed} END"
        zoned = f"TRY_CAST(try_strptime({text}, {quoted_text(form)}) AS TIMESTAMPTZ)"
        return zoned if "%z" in form or "%Z" in form else _in_zone(self.zone, parsed)

    def _plain(self, text: str) -> str:
        """SQL of the digits with a dot before the decimals; null where a mark stands where it means nothing."""
        mark = self.thousands or ("." if self.decimal == "," else None)
        part = {" ": r"[ \x{A0}\x{202F}]", None: r"[^\s\S]"}.get(mark, rf"\x{{{ord(mark or ' '):X}}}")
        further = r"\d{2,3}" if mark == "," else r"\d{3}"  # 12,34,567 as in India
        whole = rf"\d+|\d{{1,3}}({part}{further})*{part}\d{{3}}"
        number = rf"^\s*[+-]?(({whole})([{self.decimal}]\d*)?|[{self.decimal}]\d+)([eE][+-]?\d+)?\s*$"
        together = f"regexp_replace({text}, {quoted_text(part)}, '', 'g')" if mark else text
        dotted = f"replace({together}, ',', '.')" if self.decimal == "," else together
        return f"CASE WHEN regexp_matches({text}, {quoted_text(number)}) THEN {dotted} END"

    def _decimal(self, text: str) -> str:
        return f"TRY_CAST({self._plain(text)} AS {_NUMBER})"

    def _number(self, text: str) -> str:
        plain = self._plain(text)
        if self.unit == PERCENT:
            unsigned = rf"regexp_replace({text}, '\s*[%％]\s*$', '')"
            plain = f"{self._plain(unsigned)} || 'e-2'"
        read = f"TRY_CAST({plain} AS DOUBLE)"
        return f"CASE WHEN isfinite({read}) THEN {read} END"


def _whole(number: str, scale: int = 1) -> str:
    """A whole number of a size that an amount may have, else null."""
    scaled = f"({number} * {scale})"
    whole = f"CASE WHEN {scaled} % 1 = 0 AND ABS({scaled}) <= {MAX_CENTS} THEN CAST({scaled} AS BIGINT) END"
    return f"CASE WHEN ABS({number}) <= {MAX_CENTS} THEN {whole} END"


def _in_zone(zone: str, time: str) -> str:
    return f"timezone({quoted_text(zone)}, {time})"
