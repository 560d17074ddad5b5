"""The faults a feed can have: what becomes of a row, in SQL, and what a repair does.

The SQL reads the columns of the row and what :mod:`limitlens.data.faults` knows of its event: ``repair_time``,
``next_time`` of the next version, ``corrected_time`` of the next one that the fault does not hit, and ``rank`` among
those hit before it. Words in braces are filled in from the fault.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from limitlens.data.contracts import Dtype

#: What a sentinel says for "unknown", by type of column.
SENTINELS: Mapping[Dtype, str] = {"cents": "999999999", "integer": "999999999", "string": "'UNKNOWN'"}


@dataclass(frozen=True)
class Operator:
    """What becomes of a touched row.

    Parameters
    ----------
    meaning : str
    arrives : mapping of column to SQL, or None
        Columns of the row as it arrives that are not the true ones; None: it does not arrive.
    again : mapping of column to SQL, optional
        The same for a second row.
    repair : "restate", "retract" or None
        What a repair does: states the truth, withdraws the second row; None: there is nothing to repair.
    column : mapping of source to column
        For an operator with a choice, the column it hits unless another is named.
    """

    meaning: str
    arrives: Mapping[str, str] | None = field(default_factory=dict)
    again: Mapping[str, str] | None = None
    repair: Literal["restate", "retract"] | None = "restate"
    column: Mapping[str, str] = field(default_factory=dict)


# A late row stays behind no version that corrects it, or the correction would be undone; nor does a copy.
_LATE = "LEAST(known_time + {wait}, corrected_time - TO_MICROSECONDS(rank))"
_OWN_DELAY = "TO_MICROSECONDS(CAST(3600e6 + {luck} * ({wait_us} - 3600e6) AS BIGINT))"
_COPIED = "LEAST(known_time + INTERVAL 1 HOUR, LEAST(next_time, repair_time) - INTERVAL 1 MICROSECOND)"

#: The id of a row that arrives again as a new event.
FRESH_ID = "event_id || '-' || SUBSTR(MD5(event_id || ':{seed}'), 1, 6)"

_VALUE = {"consumption": "amount_cents", "payment": "amount_cents", "device": "device_id"}
_CATEGORY = {"consumption": "category", "payment": "counterparty", "device": "city"}

#: Every operator. SQL in braces is filled in from the fault.
OPERATORS: dict[str, Operator] = {
    "late_batch": Operator("rows become known later, by the repair days", {"known_time": _LATE}, repair=None),
    "missing_batch": Operator("rows do not arrive", None),
    "duplicate_same_ids": Operator("rows arrive twice, an hour apart", again={"known_time": _COPIED}, repair=None),
    "duplicate_fresh_ids": Operator(
        "rows arrive again as new events", again={"event_id": FRESH_ID, "known_time": _COPIED}, repair="retract"
    ),
    "unit_x100": Operator("amounts a hundredfold", {"amount_cents": "amount_cents * 100"}),
    "sign_flip": Operator("amounts with the other sign", {"amount_cents": "-amount_cents"}),
    "nulls": Operator("a column is empty", {"{column}": "NULL"}, column=_VALUE),
    "sentinel": Operator("a column says 999999999 or UNKNOWN", {"{column}": "{sentinel}"}, column=_VALUE),
    "shifted_clock": Operator(
        "local time delivered as UTC: events eight hours ahead", {"event_time": "event_time + INTERVAL 8 HOUR"}
    ),
    "delayed_postings": Operator(
        "each row becomes known later by its own delay, from one hour to the repair days",
        {"known_time": _LATE.replace("{wait}", _OWN_DELAY)},
        repair=None,
    ),
    "category_recoded": Operator(
        "a text column holds the codes of another table",
        {"{column}": "'C' || UPPER(SUBSTR(MD5({column}), 1, 6))"},
        column=_CATEGORY,
    ),
    "correction": Operator(
        "amounts wrong by a factor from 0.5 to 1.5, until they are corrected",
        {"amount_cents": "CAST(ROUND(amount_cents * (0.5 + {luck})) AS BIGINT)"},
    ),
}

#: Names of the operators.
FAULTS: tuple[str, ...] = tuple(OPERATORS)
