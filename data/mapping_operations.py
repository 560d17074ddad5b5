"""The closed list of what a mapping may do with a value: each operation is SQL of ours, none is the user's.

A value of a mapping is the name of a column, a number, true or false, a time, or a table of one operation::

    {text = "{customer}-{loan:5}"}                     texts, numbers and times put together
    {codes = {"1" = "graduate"}, of = "EDUCATION"}     a code and what it means; otherwise = a value for the others
    {is = ["Bad"], of = "flag"}, {given = "x"}         yes or no
    {above = ["x", 0]}, {below = […]}, {all = […]}, {any = […]}, {not = …}
    {add = […]}, {subtract = […]}, {multiply = […]}, {divide = […]}, {floor = x}, {most = […]}, {least = […]}
    {amount = 12.50}                                   an amount in whole units of the currency
    {later = "t", months = 1, days = "n", hours = -1}  a time moved; {month_start = "t"}, {day_over = "t"}
    {days_between = ["a", "b"]}                        whole days from one time to another
    {if = …, then = …, else = …}, {first_given = […]}
    {earliest = "t", per = "customer"}                 over all rows of a customer
    {change = "bill", per = "customer", order = "month"}
    {instalment = "total", number = "n", of = "count"} one of equal instalments, the rest of the cents in the last
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from limitlens.data.contracts import MAX_CENTS
from limitlens.data.mapping_cells import Kind, is_time_format
from limitlens.data.quoting import quoted, quoted_text
from limitlens.data.toml_reader import LARGEST

_PIECE = re.compile(r"\{([^{}:]+)(?::([^{}]+))?\}")


@dataclass(frozen=True)
class Value:
    """SQL of a value, and what it is."""

    sql: str
    kind: Kind


class UnfitError(Exception):
    """A value that cannot be: where below it, and why."""

    def __init__(self, message: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.message, self.path = message, path

    def below(self, key: str | int) -> "UnfitError":
        """The same, seen from the table around it."""
        return UnfitError(self.message, (key, *self.path))


@dataclass(frozen=True)
class Scope:
    """Columns that a value may name, and the zone of days and months."""

    columns: Mapping[str, Kind]
    zone: str

    def value(self, body: Any) -> Value:
        """SQL of a value as the mapping writes it.

        Raises
        ------
        UnfitError
            It names no column and no operation, or one that does not fit.
        """
        if isinstance(body, str):
            return self.column(body)
        if isinstance(body, bool):
            return Value(str(body).upper(), "yesno")
        if isinstance(body, int | float):
            if not abs(body) <= LARGEST:
                raise UnfitError(f"{body!r:.40}; expected a number of at most {LARGEST:,} either way.")
            return Value(f"({body!r})" if body < 0 else repr(body), "whole" if isinstance(body, int) else "number")
        if isinstance(body, datetime | date):
            moment = quoted_text(body.isoformat())
            if isinstance(body, datetime) and body.tzinfo:
                return Value(f"CAST({moment} AS TIMESTAMPTZ)", "time")
            return Value(self.in_zone(f"CAST({moment} AS TIMESTAMP)"), "time")
        if not isinstance(body, dict):
            raise UnfitError(
                f"{body!r} is no value; expected a column, a number, true or false, a time or an operation."
            )
        return self._operation(body)

    def column(self, name: str) -> Value:
        """A column by its name."""
        if name not in self.columns:
            listed = ", ".join(self.columns)
            raise UnfitError(f'no column {name!r}; there are {listed}. A text is written {{text = "{name}"}}.')
        return Value(quoted(name), self.columns[name])

    def in_zone(self, sql: str) -> str:
        """A local time as a moment, and a moment as a local time."""
        return f"timezone({quoted_text(self.zone)}, {sql})"

    def _operation(self, body: Mapping[str, Any]) -> Value:
        names = [name for name in OPERATIONS if name in body]
        if len(names) != 1:
            raise UnfitError(f"{dict(body)} names {len(names)} operations; expected one of {', '.join(OPERATIONS)}.")
        [name] = names
        operation = OPERATIONS[name]
        for key in body:
            if key not in {name, *operation.needed, *operation.further}:
                keys = ", ".join((*operation.needed, *operation.further)) or "no other key"
                raise UnfitError(f"unknown key {key!r} beside {name!r}; expected {keys}.", (key,))
        for key in operation.needed:
            if key not in body:
                raise UnfitError(f"{name!r} needs the key {key!r} beside it.", (name,))
        return operation.compile(self, name, body)

    def of(self, body: Mapping[str, Any], key: str, *kinds: Kind) -> Value:
        """The value under a key, of one of some kinds."""
        try:
            value = self.value(body[key])
            if kinds and value.kind not in kinds:
                raise UnfitError(f"{key} is {value.kind}; expected {' or '.join(kinds)}.")
        except UnfitError as unfit:
            raise unfit.below(key) from None
        return value

    def several(self, body: Mapping[str, Any], key: str, *kinds: Kind, count: int | None = None) -> list[Value]:
        """The values of a list under a key."""
        elements = body[key]
        if not isinstance(elements, list) or not elements or (count and len(elements) != count):
            raise UnfitError(f"{key} is {elements!r}; expected a list of {count or 'some'} values.", (key,))
        return [self.of({key: element}, key, *kinds) for element in elements]


@dataclass(frozen=True)
class Operation:
    """One operation: what it compiles to, and the keys beside it."""

    compile: Callable[[Scope, str, Mapping[str, Any]], Value]
    needed: tuple[str, ...] = ()
    further: tuple[str, ...] = ()


def _text(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
    template = body[name]
    if not isinstance(template, str):
        raise UnfitError(f'text is {template!r}; expected a text such as "T{{ID:5}}".', (name,))
    pieces, end = [], 0
    for match in _PIECE.finditer(template):
        pieces += [quoted_text(template[end : match.start()])] if match.start() > end else []
        pieces.append(_written(scope, match[1], match[2], name))
        end = match.end()
    rest = template[end:]
    return Value("(" + " || ".join([*pieces, *([quoted_text(rest)] if rest or not pieces else [])]) + ")", "text")


def _written(scope: Scope, column: str, form: str | None, key: str) -> str:
    try:
        value = scope.column(column)
    except UnfitError as unfit:
        raise unfit.below(key) from None
    if value.kind == "time":
        if form and not is_time_format(form):
            raise UnfitError(f"{{{column}:{form}}}: expected a format of a time such as %Y-%m.", (key,))
        return f"strftime({scope.in_zone(value.sql)}, {quoted_text(form or '%Y-%m-%dT%H:%M:%S')})"
    written = f"CAST({value.sql} AS VARCHAR)"
    if form is None:
        return written
    if not form.isdecimal() or len(form) > 3 or int(form) > 100:
        raise UnfitError(
            f"{{{column}:{form}}}: expected a width such as 5, or for a time a format such as %Y-%m.", (key,)
        )
    return f"lpad({written}, CAST(greatest({int(form)}, length({written})) AS INTEGER), '0')"


def _codes(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
    codes, of = body[name], scope.of(body, "of", "text", "whole", "yesno")
    if not isinstance(codes, dict) or not codes:
        raise UnfitError(f"codes is {codes!r}; expected a table of codes and what each means.", (name,))
    meanings = [Scope({}, scope.zone).value({"text": v} if isinstance(v, str) else v) for v in codes.values()]
    other = scope.of(body, "otherwise") if "otherwise" in body else None
    kind = _common([*meanings, *([other] if other else [])], name)
    cases = " ".join(
        f"WHEN {quoted_text(code)} THEN {meaning.sql}" for code, meaning in zip(codes, meanings, strict=True)
    )
    return Value(f"(CASE CAST({of.sql} AS VARCHAR) {cases} {f'ELSE {other.sql} ' if other else ''}END)", kind)


def _is(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
    of, among = scope.of(body, "of", "text", "whole", "yesno"), body[name]
    wanted = among if isinstance(among, list) else [among]
    if not wanted or not all(isinstance(one, str | int) for one in wanted):
        raise UnfitError(f"is lists {among!r}; expected texts, whole numbers, true or false.", (name,))
    listed = ", ".join(quoted_text(str(one).lower() if isinstance(one, bool) else str(one)) for one in wanted)
    return Value(f"COALESCE(CAST({of.sql} AS VARCHAR) IN ({listed}), FALSE)", "yesno")


def _given(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
    return Value(f"({scope.of(body, name).sql} IS NOT NULL)", "yesno")


def _compare(sign: str) -> Callable[[Scope, str, Mapping[str, Any]], Value]:
    def compiled(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
        left, right = scope.several(body, name, "whole", "number", "amount", "time", count=2)
        _common([left, right], name)
        return Value(f"COALESCE({left.sql} {sign} {right.sql}, FALSE)", "yesno")

    return compiled


def _joined(word: str) -> Callable[[Scope, str, Mapping[str, Any]], Value]:
    def compiled(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
        return Value("(" + f" {word} ".join(v.sql for v in scope.several(body, name, "yesno")) + ")", "yesno")

    return compiled


def _not(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
    return Value(f"(NOT {scope.of(body, name, 'yesno').sql})", "yesno")


def _sum(sign: str) -> Callable[[Scope, str, Mapping[str, Any]], Value]:
    def compiled(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
        values = scope.several(body, name, "whole", "number", "amount")
        return Value("(" + f" {sign} ".join(v.sql for v in values) + ")", _common(values, name))

    return compiled


def _multiply(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
    values = scope.several(body, name, "whole", "number", "amount")
    kinds = [value.kind for value in values]
    product = "(" + " * ".join(value.sql for value in values) + ")"
    if kinds.count("amount") > 1:
        raise UnfitError("an amount times an amount is nothing; multiply an amount by numbers.", (name,))
    if "amount" in kinds:
        return Value(product if "number" not in kinds else f"CAST(round({product}) AS BIGINT)", "amount")
    return Value(product, "number" if "number" in kinds else "whole")


def _divide(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
    left, right = scope.several(body, name, "whole", "number", "amount", count=2)
    if right.kind == "amount" and left.kind != "amount":
        raise UnfitError("a number divided by an amount is nothing; divide amounts by amounts or by numbers.", (name,))
    share = f"(CAST({left.sql} AS DOUBLE) / NULLIF({right.sql}, 0))"
    if left.kind == "amount" != right.kind:
        return Value(f"CAST(round({share}) AS BIGINT)", "amount")
    return Value(share, "number")


def _floor(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
    return Value(f"CAST(floor({scope.of(body, name, 'whole', 'number').sql}) AS BIGINT)", "whole")


def _extreme(function: str) -> Callable[[Scope, str, Mapping[str, Any]], Value]:
    def compiled(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
        values = scope.several(body, name, "whole", "number", "amount", "time")
        present = " AND ".join(f"{value.sql} IS NOT NULL" for value in values)
        listed = ", ".join(value.sql for value in values)
        return Value(f"(CASE WHEN {present} THEN {function}({listed}) END)", _common(values, name))

    return compiled


def _amount(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
    units = body[name]
    is_number = isinstance(units, int | float) and not isinstance(units, bool)
    if not is_number or not abs(units) * 100 <= MAX_CENTS or round(units * 100, 6) % 1:
        raise UnfitError(f"amount is {units!r:.40}; expected a number of at most two decimals, no larger.", (name,))
    return Value(f"CAST({round(units * 100)} AS BIGINT)", "amount")


def _later(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
    steps = {key: scope.of(body, key, "whole").sql for key in ("months", "days", "hours") if key in body}
    local = scope.in_zone(scope.of(body, name, "time").sql)
    for key in ("months", "days"):  # of the calendar of the zone; an hour is an hour
        local += f" + to_{key}(CAST({steps[key]} AS INTEGER))" if key in steps else ""
    moved = scope.in_zone(f"({local})")
    return Value(f"({moved} + to_hours({steps['hours']}))" if "hours" in steps else moved, "time")


def _month_start(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
    local = scope.in_zone(scope.of(body, name, "time").sql)
    return Value(scope.in_zone(f"CAST(date_trunc('month', {local}) AS TIMESTAMP)"), "time")


def _day_over(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
    time = scope.of(body, name, "time").sql
    local = scope.in_zone(time)
    return Value(
        f"(CASE WHEN {local} = date_trunc('day', {local}) THEN {scope.in_zone(f'({local} + to_days(1))')} "
        f"ELSE {time} END)",
        "time",
    )


def _days_between(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
    start, end = scope.several(body, name, "time", count=2)
    return Value(f"CAST(floor((epoch_us({end.sql}) - epoch_us({start.sql})) / 86400000000) AS BIGINT)", "whole")


def _if(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
    condition = scope.of(body, name, "yesno")
    chosen, other = scope.of(body, "then"), scope.of(body, "else")
    return Value(f"(CASE WHEN {condition.sql} THEN {chosen.sql} ELSE {other.sql} END)", _common([chosen, other], name))


def _first_given(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
    values = scope.several(body, name)
    return Value(f"COALESCE({', '.join(value.sql for value in values)})", _common(values, name))


def _earliest(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
    time, per = scope.of(body, name, "time"), scope.of(body, "per")
    _expect_rows_alone(name, time, per)
    return Value(f"MIN({time.sql}) OVER (PARTITION BY {per.sql})", "time")


def _change(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
    value, per, order = (
        scope.of(body, name, "whole", "number", "amount"),
        scope.of(body, "per"),
        scope.of(body, "order"),
    )
    _expect_rows_alone(name, value, per, order)
    before = f"LAG({value.sql}) OVER (PARTITION BY {per.sql} ORDER BY {order.sql})"
    return Value(f"({value.sql} - {before})", value.kind)


def _instalment(scope: Scope, name: str, body: Mapping[str, Any]) -> Value:
    total, number, count = (
        scope.of(body, name, "amount"),
        scope.of(body, "number", "whole"),
        scope.of(body, "of", "whole"),
    )
    share = f"({total.sql} // {count.sql})"
    rest = f"{total.sql} - {share} * ({count.sql} - 1)"
    return Value(f"(CASE WHEN {number.sql} < {count.sql} THEN {share} ELSE {rest} END)", "amount")


def _expect_rows_alone(key: str, *values: Value) -> None:
    """Refuse a value over all rows inside another one."""
    if any(" OVER (PARTITION BY " in value.sql for value in values):
        raise UnfitError(f"{key} holds a value over other rows; make that a derived column of its own first.", (key,))


def _common(values: list[Value], key: str) -> Kind:
    """The kind of values that go together; 0 goes with any number."""
    kinds = {value.kind for value in values if value.sql != "0"} or {"whole"}
    if kinds == {"whole", "number"}:
        return "number"
    if len(kinds) > 1:
        raise UnfitError(f"{key} mixes {', '.join(sorted(kinds))}; expected values of one kind.", (key,))
    return kinds.pop()


OPERATIONS: dict[str, Operation] = {
    "text": Operation(_text),
    "codes": Operation(_codes, ("of",), ("otherwise",)),
    "is": Operation(_is, ("of",)),
    "given": Operation(_given),
    "above": Operation(_compare(">")),
    "below": Operation(_compare("<")),
    "all": Operation(_joined("AND")),
    "any": Operation(_joined("OR")),
    "not": Operation(_not),
    "add": Operation(_sum("+")),
    "subtract": Operation(_sum("-")),
    "multiply": Operation(_multiply),
    "divide": Operation(_divide),
    "floor": Operation(_floor),
    "most": Operation(_extreme("greatest")),
    "least": Operation(_extreme("least")),
    "amount": Operation(_amount),
    "later": Operation(_later, (), ("months", "days", "hours")),
    "month_start": Operation(_month_start),
    "day_over": Operation(_day_over),
    "days_between": Operation(_days_between),
    "if": Operation(_if, ("then", "else")),
    "first_given": Operation(_first_given),
    "earliest": Operation(_earliest, ("per",)),
    "change": Operation(_change, ("per", "order")),
    "instalment": Operation(_instalment, ("number", "of")),
}
