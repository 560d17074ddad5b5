"""What each number of event tables means, in words that a person who knows the business can judge."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from limitlens.data.contracts import ACCOUNTS, EVENT_SOURCES, OUTCOMES, SOURCES
from limitlens.data.engine import RunSql, prepared
from limitlens.data.quoting import quoted, quoted_text

_DAY_MICROS = 86_400_000_000
_MONTH_DAYS = 30.44


def meanings(relations: Mapping[str, str], currency: str = "") -> list[str]:
    """Say what is there, a line a number: "purchase: median 12.00 CNY, 3.0 a month".

    Parameters
    ----------
    relations : mapping of str to str
        A DuckDB SELECT of each source with the columns of its contract and, for accounts, attributes.
    currency : str
        Written after each amount; empty: none is.

    Returns
    -------
    list of str
    """
    unit = f" {currency}" if currency else ""
    lines = list[str]()
    with prepared(relations) as run:
        if ACCOUNTS.name in relations:
            lines += _accounts(run, unit)
        for source in EVENT_SOURCES:
            if source in relations:
                lines += _events(run, source, unit)
        if OUTCOMES.name in relations:
            lines += _outcomes(run)
    return lines


def written(out: Path, name: str) -> dict[str, str]:
    """What :func:`meanings` reads of a folder with files ``<source>/<name>.parquet``."""
    paths = {source: out / source / f"{name}.parquet" for source in SOURCES}
    return {
        source: f"SELECT * FROM read_parquet([{quoted_text(str(path))}], hive_partitioning = FALSE)"
        for source, path in paths.items()
        if path.is_file()
    }


def _accounts(run: RunSql, unit: str) -> Iterator[str]:
    columns = run("DESCRIBE accounts", {}).to_pylist()
    [row] = run(
        f"SELECT COUNT(*) AS n, COUNT(DISTINCT account_id) AS accounts, {_span('opened_at')} FROM accounts",
        {},
    ).to_pylist()
    if not row["n"]:
        yield "accounts: none"
        return
    versions = row["n"] / row["accounts"]
    yield f"accounts: {row['accounts']:,}, opened {row['first']} to {row['last']}, {versions:.1f} versions each"
    declared = set(ACCOUNTS.column_names())
    for column in columns:
        name, kind = str(column["column_name"]), str(column["column_type"])
        if name == "limit_cents" or (name.endswith("_cents") and kind == "BIGINT"):
            label = "limit" if name == "limit_cents" else f"attribute {name}"
            yield f"{label}: {_amounts(run, 'accounts', name, unit)}"
        elif name not in declared and kind in {"BIGINT", "DOUBLE"}:
            yield f"attribute {name}: {_numbers(run, name)}"
        elif name not in declared:
            yield f"attribute {name}: {_shares(run, name)}"
    yield f"segment: {_shares(run, 'segment')}"


def _span(column: str) -> str:
    """SQL of the first and the last day, as texts: a mistaken time may be later than any that Python has."""
    days = (f"strftime(timezone('UTC', {of}({column})), '%Y-%m-%d')" for of in ("MIN", "MAX"))
    return "{} AS first, {} AS last".format(*days)


def _amounts(run: RunSql, relation: str, column: str, unit: str, where: str = "TRUE") -> str:
    of = quoted(column)
    [row] = run(
        f"SELECT COUNT({of}) AS n, COUNT(*) AS every, quantile_disc({of}, [0.05, 0.5, 0.95]) AS q FROM {relation} "
        f"WHERE {where}",
        {},
    ).to_pylist()
    if not row["n"]:
        return "none"
    low, median, high = (f"{cents / 100:,.2f}" for cents in row["q"])
    empty = f", {1 - row['n'] / row['every']:.0%} without" if row["n"] < row["every"] else ""
    return f"median {median}{unit}, nine in ten from {low} to {high}{empty}"


def _numbers(run: RunSql, column: str) -> str:
    of = quoted(column)
    [row] = run(
        f"SELECT COUNT({of}) AS n, COUNT(*) AS every, MIN({of}) AS low, median({of}) AS median, MAX({of}) AS high "
        "FROM accounts",
        {},
    ).to_pylist()
    if not row["n"]:
        return "none"
    empty = f", {1 - row['n'] / row['every']:.0%} without" if row["n"] < row["every"] else ""
    return f"median {row['median']:,.4g}, from {row['low']:,.4g} to {row['high']:,.4g}{empty}"


def _shares(run: RunSql, column: str) -> str:
    of = f"COALESCE(CAST({quoted(column)} AS VARCHAR), 'none')"
    rows = run(
        f"SELECT {of} AS value, COUNT(*) / SUM(COUNT(*)) OVER () AS share, COUNT(*) OVER () AS kinds FROM accounts "
        "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 4",
        {},
    ).to_pylist()
    rest = f", {rows[0]['kinds'] - len(rows):,} more" if rows and rows[0]["kinds"] > len(rows) else ""
    return ", ".join(f"{row['value']} {row['share']:.0%}" for row in rows) + rest


def _events(run: RunSql, source: str, unit: str) -> Iterator[str]:
    lag = f"(epoch_us(known_time) - epoch_us(event_time)) / {_DAY_MICROS}"
    days = f"(epoch_us(MAX(event_time)) - epoch_us(MIN(event_time))) / {_DAY_MICROS}"
    rows = run(
        f"SELECT kind, COUNT(*) AS n, COUNT(DISTINCT account_id) AS accounts, {_span('event_time')}, "
        f"{days} AS days, median({lag}) AS lag FROM {source} GROUP BY kind ORDER BY kind",
        {},
    ).to_pylist()
    for row in rows:
        months = max(row["days"] / _MONTH_DAYS, 1)
        rate = row["n"] / row["accounts"] / months
        of_kind = f"kind = {quoted_text(str(row['kind']))}"
        has_amounts = "amount_cents" in SOURCES[source].column_names()
        worth = f"{_amounts(run, source, 'amount_cents', unit, of_kind)}; " if has_amounts else ""
        if row["kind"] == "status":
            worth = f"{_past_due(run)}; "
        yield (
            f"{row['kind']}: {worth}{rate:.1f} a month of {row['accounts']:,} accounts, "
            f"{row['first']} to {row['last']}, {_known(row['lag'])}"
        )


def _known(lag_days: float) -> str:
    if lag_days < 0:
        return f"known {-lag_days:,.1f} days ahead"
    return "known at once" if lag_days < 0.05 else f"known {lag_days:,.1f} days later"


def _past_due(run: RunSql) -> str:
    [row] = run(
        "SELECT COUNT(*) FILTER (WHERE dpd_days > 0) / COUNT(*) AS share, "
        "median(dpd_days) FILTER (WHERE dpd_days > 0) AS days FROM payment WHERE kind = 'status'",
        {},
    ).to_pylist()
    return f"{row['share']:.1%} past due" + (f", of those median {row['days']:,.0f} days" if row["share"] else "")


def _outcomes(run: RunSql) -> Iterator[str]:
    later = f"(epoch_us(known_time) - epoch_us(as_of)) / {_DAY_MICROS}"
    [row] = run(
        f"SELECT COUNT(*) AS n, COUNT(*) FILTER (WHERE bad) / COUNT(*) AS share, {_span('as_of')}, "
        f"median({later}) AS lag FROM outcomes",
        {},
    ).to_pylist()
    if not row["n"]:
        yield "outcomes: none"
        return
    yield (
        f"outcomes: {row['share']:.1%} of {row['n']:,} bad, as of {row['first']} to {row['last']}, {_known(row['lag'])}"
    )
