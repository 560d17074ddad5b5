"""The feature query as a script that a person can read, and run by hand in DuckDB."""

from datetime import UTC, datetime

from limitlens.features.compiler import Dialect, compile_links, compile_sql
from limitlens.features.declarations import FeatureSet
from limitlens.features.rows import Clock
from limitlens.features.table import Relations

_NEEDED = """-- Reads accounts, {sources} (accepted events, as limitlens check stores them) and spine, the accounts to
-- compute: CREATE VIEW spine AS SELECT DISTINCT account_id FROM accounts"""


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
        Given: the script first defines them as views, and ``spine`` as every account.
    dialect : {"duckdb", "spark"}

    Returns
    -------
    str
        Statements that end in semicolons; the last one returns the table.
    """
    clock = Clock(as_of, as_of)
    head = f"-- {len(features.columns)} features as of {as_of.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    zone = "SET TimeZone = 'UTC'" if dialect == "duckdb" else "SET TIME ZONE 'UTC'"
    links = compile_links(features, clock, dialect)
    return (
        ";\n\n".join(
            [
                head if relations else f"{head}\n{_NEEDED.format(sources=', '.join(features.sources))}",
                zone,
                *_views(features, relations or {}),
                *(f"CREATE OR REPLACE TEMP VIEW {name} AS\n{sql}" for name, sql in links.items()),
                compile_sql(features, clock, dialect),
            ]
        )
        + ";\n"
    )


def _views(features: FeatureSet, relations: Relations) -> list[str]:
    found = {name: relations[name] for name in ("accounts", *features.sources) if name in relations}
    if found:
        found["spine"] = "SELECT DISTINCT account_id FROM accounts"
    found |= {f"every_{name}": f"SELECT * FROM {name}" for name in features.sources}
    return [f"CREATE OR REPLACE TEMP VIEW {name} AS {sql}" for name, sql in found.items()]
