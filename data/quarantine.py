"""The quarantine as people work with it: what is held back and why, what came mended since, what is left to mend."""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from limitlens.data.contracts import ACCOUNTS, OUTCOMES, SOURCES
from limitlens.data.engine import run_sql
from limitlens.data.errors import InputError
from limitlens.data.events import PLAIN, EventStore
from limitlens.data.quoting import quoted
from limitlens.data.rules import EARLY
from limitlens.data.spreadsheet import write_csv
from limitlens.data.storage import write_parquet

#: What a row is recognised by once it comes again.
_IDS = {ACCOUNTS.name: "account_id", OUTCOMES.name: "account_id"}


def quarantined(store: EventStore) -> str:
    """SQL of every row held back, with ``mended``: whether its event (or account) was accepted by a later load.

    Parameters
    ----------
    store : EventStore

    Returns
    -------
    str
        Columns of :data:`limitlens.data.events.QUARANTINE` and ``mended`` (boolean).
    """
    accepted = " UNION ALL ".join(
        f"SELECT DISTINCT '{load}' AS load, '{name}' AS source, {_IDS.get(name, 'event_id')} AS id "
        f"FROM ({store.relation(name, [load])})"
        for load in _loads_since_the_first_held(store)
        for name in SOURCES
    )
    nothing = "SELECT NULL::VARCHAR AS load, NULL::VARCHAR AS source, NULL::VARCHAR AS id WHERE FALSE"
    by_account = ", ".join(f"'{name}'" for name in _IDS)
    return f"""
    SELECT held.*, accepted.load IS NOT NULL AS mended FROM ({store.quarantine()}) AS held
    LEFT JOIN (
        SELECT MAX(load) AS load, source, id FROM ({accepted or nothing}) GROUP BY source, id
    ) AS accepted ON accepted.source = held.source AND accepted.load > held.load
        AND accepted.id = CASE WHEN held.source IN ({by_account}) THEN held.account_id ELSE held.event_id END
    """


def _loads_since_the_first_held(store: EventStore) -> list[str]:
    first = run_sql(f"SELECT MIN(load) AS load FROM ({store.quarantine()})")["load"][0].as_py()
    return [load["load"] for load in store.loads() if first is not None and load["load"] > first]


def all_mended(store: EventStore, source: str, load: str) -> bool:
    """Whether every row that a load lost to the quarantine came mended; rows that wait for their time are no loss."""
    rows = pa.table({"source": [source], "load": [load]})
    sql = f"""
    SELECT COUNT(*) AS left_over FROM held JOIN wanted USING (source, load) WHERE NOT mended AND rule <> '{EARLY}'
    """
    left_over: int = run_sql(sql, {"held": quarantined(store), "wanted": rows})["left_over"][0].as_py()
    return not left_over


def quarantine_table(store: EventStore) -> pd.DataFrame:
    """Rows held back by load, source, file, column and rule, and how many ``mended``; the latest load first."""
    sql = f"""
    SELECT load, source, file, "column", rule, COUNT(*) AS rows, COUNT(*) FILTER (mended) AS mended
    FROM ({quarantined(store)}) GROUP BY ALL ORDER BY load DESC, rows DESC, source, file, "column", rule
    """
    counts: pd.DataFrame = run_sql(sql).to_pandas()
    return counts


def quarantine_rows(store: EventStore, *, source: str | None = None, rule: str | None = None) -> pa.Table:
    """Rows held back that have not come mended, as they were delivered: by source, file and row.

    Parameters
    ----------
    store : EventStore
    source, rule : str, optional
        Only these.
    """
    wanted = pa.table(
        {"source": [source], "rule": [rule]}, schema=pa.schema([(n, pa.string()) for n in ("source", "rule")])
    )
    sql = """
    SELECT held.* EXCLUDE (mended) FROM held, wanted WHERE NOT mended
        AND COALESCE(held.source = wanted.source, TRUE) AND COALESCE(held.rule = wanted.rule, TRUE)
    ORDER BY held.source, held.file, held.row
    """
    return run_sql(sql, {"held": quarantined(store), "wanted": wanted})


def export_quarantine(store: EventStore, out: Path, *, source: str, rule: str | None = None) -> int:
    """Write rows held back of one source as a file to mend and deliver again.

    Its declared columns, whatever else the rows have (attributes of the accounts; ``text`` of a line that could not be
    read), then ``broken_column`` and ``rule``. Where ids are pseudonyms, ``delivered_file`` and ``delivered_row`` say
    which row of the lender's own file is to be mended: the pseudonym itself is not taken in again.

    Parameters
    ----------
    store : EventStore
    out : Path
        Ends in ``.parquet`` or ``.csv``.
    source : str
    rule : str, optional

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    InputError
        The source is unknown, or the name of the file has another ending.
    """
    writers = {".csv": write_csv, ".parquet": write_parquet}
    if source not in SOURCES or out.suffix not in writers:
        raise InputError(f"{out}: expected a source of {list(SOURCES)} and a file that ends in .parquet or .csv.")
    rows = quarantine_rows(store, source=source, rule=rule)
    keys = run_sql("SELECT DISTINCT UNNEST(json_keys(row_json)) AS key FROM held ORDER BY key", {"held": rows})
    declared = SOURCES[source].column_names()
    names = [*declared, *(key for key in keys["key"].to_pylist() if key not in declared)]
    columns = ", ".join(f"json_extract_string(row_json, '$.{quoted(name)}') AS {quoted(name)}" for name in names)
    place = "" if store.ids() in (None, PLAIN) else ', file AS delivered_file, "row" AS delivered_row'
    table = run_sql(f'SELECT {columns}, "column" AS broken_column, rule{place} FROM held', {"held": rows})
    writers[out.suffix](table, out)
    return len(table)
