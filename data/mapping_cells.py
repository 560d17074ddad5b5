"""How a mapping reads the cells of a file: a text becomes an amount, a time, a number, or is no such thing."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from limitlens.data.contracts import MAX_CENTS
from limitlens.data.quoting import quoted, quoted_text

#: What a value of a mapping is; an amount is whole cents once it was read.
Kind = Literal["text", "whole", "number", "amount", "time", "yesno"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: What one amount of the file counts: 1 is 1.00 or 0.01 of the currency.
Unit = Literal["whole", "cents"]

#: Formats of times that have a name; every other is written as for strftime.
ISO, UNIX_SECONDS, UNIX_MILLISECONDS = "iso", "unix", "unix_ms"

#: Parts of a format of times: years to fractions of a second, names of months and days, a zone.
_FORMAT = re.compile(r"(%-?[YmdHMSfyjIpbBaAzZ]|[^%])+")

_NUMBER = "DECIMAL(38, 10)"

#: A dot before other than three digits is no mark of thousands.
_COMMA_DECIMALS = r"^\s*-?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?\s*$"


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
    unit : {"whole", "cents"}
        Of an amount.
    formats : tuple of str
        Of a time: ``iso``, ``unix``, ``unix_ms``, or as for strftime; the first that fits.
    zone : str
        Of a time that names none.
    nothing : tuple of str
        Texts that stand for an empty cell.
    true, false : tuple of str
        Texts of a yes and of a no.
    decimal : {".", ","}
        Mark before the decimals; the other one may part the thousands.
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
    decimal: Literal[".", ","] = "."

    def expected(self) -> str:
        """What a cell should be, for a message."""
        if self.kind == "time":
            return f"a time ({', '.join(self.formats)})"
        if self.kind == "amount":
            return "an amount of whole cents" if self.unit == "cents" else "an amount with at most two decimals"
        if self.kind == "yesno":
            return f"one of {', '.join((*self.true, *self.false))}"
        return {"whole": "a whole number", "number": "a number", "text": "a text"}[self.kind]

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
            return f"COALESCE({', '.join(self._time(form, text) for form in self.formats)})"
        if self.kind == "yesno":
            true, false = (", ".join(map(quoted_text, words)) for words in (self.true, self.false))
            return f"CASE WHEN {text} IN ({true}) THEN TRUE WHEN {text} IN ({false}) THEN FALSE END"
        return {"text": text, "number": self._number(text), "whole": _whole(self._decimal(text))}.get(
            self.kind, self._cents(text)
        )

    def _time(self, form: str, text: str) -> str:
        if form == ISO:  # a time of its own zone keeps it; a month alone is its first day
            full = f"CASE WHEN regexp_matches({text}, '^\\d{{4}}-\\d{{2}}$') THEN {text} || '-01' ELSE {text} END"
            own = f"regexp_matches({text}, '(?i)\\d{{2}}:\\d{{2}}.*(z|[+-]\\d{{2}}(:?\\d{{2}})?)$')"
            zoned = f"TRY_CAST({full} AS TIMESTAMPTZ)"
            return f"CASE WHEN {own} THEN {zoned} ELSE {_in_zone(self.zone, f'TRY_CAST({full} AS TIMESTAMP)')} END"
        if form in {UNIX_SECONDS, UNIX_MILLISECONDS}:
            micros = 1_000_000 if form == UNIX_SECONDS else 1_000
            return f"make_timestamptz(TRY_CAST(TRY_CAST({text} AS {_NUMBER}) * {micros} AS BIGINT))"
        parsed = f"TRY_CAST(try_strptime({text}, {quoted_text(form)}) AS TIMESTAMP)"
        zoned = f"TRY_CAST(try_strptime({text}, {quoted_text(form)}) AS TIMESTAMPTZ)"
        return zoned if "%z" in form or "%Z" in form else _in_zone(self.zone, parsed)

    def _plain(self, text: str) -> str:
        if self.decimal == ".":
            return text
        parted = f"regexp_matches({text}, '{_COMMA_DECIMALS}')"
        return f"CASE WHEN {parted} THEN replace(replace({text}, '.', ''), ',', '.') END"

    def _decimal(self, text: str) -> str:
        return f"TRY_CAST({self._plain(text)} AS {_NUMBER})"

    def _number(self, text: str) -> str:
        read = f"TRY_CAST({self._plain(text)} AS DOUBLE)"
        return f"CASE WHEN isfinite({read}) THEN {read} END"

    def _cents(self, text: str) -> str:
        scale = 100 if self.unit == "whole" else 1
        return _whole(f"({self._decimal(text)} * {scale})")


def _whole(number: str) -> str:
    """A whole number of a size that an amount may have, else null."""
    return f"CASE WHEN {number} % 1 = 0 AND ABS({number}) <= {MAX_CENTS} THEN CAST({number} AS BIGINT) END"


def _in_zone(zone: str, time: str) -> str:
    return f"timezone({quoted_text(zone)}, {time})"
