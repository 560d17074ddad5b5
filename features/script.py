"""The feature query as a script that a person can read, and run by hand in DuckDB."""

from datetime import UTC, datetime

from limitlens.data.engine import Relations
from limitlens.features.compiler import (
    Dialect,
    compile_links,
    compile_sql,
    compile_successions,
    compile_versions,
    translated,
)
from limitlens.features.declarations import FeatureSet
from limitlens.features.rows import Clock

_NUMBERS = """SELECT account_id, CAST(ROW_NUMBER() OVER (ORDER BY account_id) AS INT) AS account_no
FROM (SELECT DISTINCT account_id FROM accounts) AS known"""


def sql_script(
    features: FeatureSet, as_of: datetime, *, relations: Relations | None = None, dialect: Dialect = "duckdb"
) -> str:
    """Everything that has to run for the features of the book at one as-of time.

    Parameters
    ----------
    features : FeatureSet
    as_of : datetime
        Also the time before which rows are known.
    relations : mapping of source name to SQL text, optional
        Given: the script first defines them as views.
    dialect : {"duckdb", "spark"}

    Returns
    -------
    str
        Statements that end in semicolons; the last one returns the table, with ``account_id``.
    """
    clock = Clock(as_of, as_of)
    sources = ["accounts", *features.sources]
    head = f"-- {len(features.columns)} features as of {as_of.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    needed = f"-- Reads {', '.join(sources)}: accepted events, as limitlens check stores them."
    zone = "SET TimeZone = 'UTC'" if dialect == "duckdb" else "SET TIME ZONE 'UTC'"
    given = {name: relations[name] for name in sources} if relations else {}
    links = compile_links(features, clock)
    linked = [name for name in features.sources if any(f"every_{name}" in sql for sql in links.values())]
    of_all, others = compile_successions(features)
    once = {**of_all, **others, **compile_versions(features)}
    every = {f"every_{name}": f"SELECT * FROM {name}" for name in linked}
    lines = {"numbers": _NUMBERS, "spine": "SELECT account_no FROM numbers"}
    read_once = "TABLE" if dialect == "duckdb" else "VIEW"
    return (
        ";\n\n".join(
            [
                head if given else f"{head}\n{needed}",
                zone,
                *(f"CREATE OR REPLACE TEMP VIEW {name} AS {sql}" for name, sql in {**given, **every, **lines}.items()),
                *(_created(name, sql, read_once, dialect) for name, sql in once.items()),
                *(_created(name, sql, "VIEW", dialect) for name, sql in links.items()),
                f"SELECT account_id, found.* FROM numbers JOIN (\n{translated(compile_sql(features, clock), dialect)}\n"
                ") AS found USING (account_no) ORDER BY account_id",
            ]
        )
        + ";\n"
    )


def _created(name: str, query: str, kind: str, dialect: Dialect) -> str:
    return f"CREATE OR REPLACE TEMP {kind} {name} AS\n{translated(query, dialect)}"
