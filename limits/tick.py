"""A tick of the watch: decisions made within the day, as text that the ledger keeps until a run takes them in."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from limitlens.limits.ledger_tables import DECISIONS


@dataclass(frozen=True)
class Tick:
    """Decisions that were made together.

    Parameters
    ----------
    tick : int
        Its number, from 1.
    as_of : datetime
    model_version, model_digest, policy_digest : str
        What decided.
    decisions : pyarrow.Table of schema :data:`limitlens.limits.ledger_tables.DECISIONS`
        Without ``run_id``: the run that takes them in gives it.
    """

    tick: int
    as_of: datetime
    model_version: str
    model_digest: str
    policy_digest: str
    decisions: pa.Table


def as_text(decisions: pa.Table) -> str:
    """Decisions as JSON; :func:`from_text` gives the same table, to the last bit."""
    return json.dumps(decisions.to_pylist(), ensure_ascii=False, default=datetime.isoformat)


def from_text(text: str) -> pa.Table:
    """Decisions out of the JSON of :func:`as_text`.

    Examples
    --------
    >>> from_text(as_text(DECISIONS.empty_table())).equals(DECISIONS.empty_table())
    True
    """
    rows = [_typed(row, pa.struct(list(DECISIONS))) for row in json.loads(text)]
    return pa.Table.from_pylist(rows, schema=DECISIONS)


def _typed(value: Any, of: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_struct(of):
        return {field.name: _typed(value.get(field.name), field.type) for field in of}
    return datetime.fromisoformat(value) if pa.types.is_timestamp(of) else value
