"""Incidents of a store: its profiles judged up to a day, and the lines an incident touches."""

from dataclasses import replace
from datetime import datetime, timedelta

import pandas as pd

from limitlens.data.calendar import DAY, midnight, reach_of_most
from limitlens.data.contracts import ACCOUNTS, SOURCES
from limitlens.data.engine import Values, run_sql
from limitlens.data.events import EventStore
from limitlens.data.expectations import judge
from limitlens.data.incident import Incident, Scope
from limitlens.data.panel import daily_sql
from limitlens.data.profile_columns import NONE
from limitlens.data.quality_settings import Judging
from limitlens.data.quoting import quoted
from limitlens.data.rules import EARLY

#: A line is touched that had rows of the slice in so many days before the incident.
TOUCHED_DAYS = 90

#: The slice of the lines with a row in the quarantine; its values are loads.
QUARANTINED = "quarantined_in_load"

#: The slice of the lines of which a load that was taken back had a row; its values are loads.
WITHDRAWN = "withdrawn_load"

#: Fewer lines are no feed.
LEAST_LINES = 10

#: A day is complete once rows of its last hours have come.
LAST_HOURS = timedelta(hours=6)


def complete_until(reach: dict[str, datetime]) -> datetime:
    """The midnight until which whole days have come, by how far the sources reach.

    Of three sources two have to reach there, of two or one the farther one: a source that stays out is to be noticed.

    Examples
    --------
    >>> from limitlens.data.calendar import format_time, parse_time
    >>> reach = {"consumption": parse_time("2026-03-05T23:10"), "payment": parse_time("2026-03-05T11:00")}
    >>> format_time(complete_until(reach)), format_time(complete_until({"payment": reach["payment"]}))
    ('2026-03-06', '2026-03-05')
    """
    most = reach_of_most(reach.values()) if len(reach) > 2 else max(reach.values())
    return midnight(most + LAST_HOURS)


def profiles_of(store: EventStore, settings: Judging, until: datetime) -> pd.DataFrame:
    """The profiles of all loads together, as far back as the settings remember."""
    since = (until - DAY * settings.memory_days).date()
    table = run_sql(daily_sql(store.profiles()), values={"since": since})
    profiles: pd.DataFrame = table.to_pandas(date_as_object=False)
    return profiles


def incidents_of_last_load(store: EventStore, settings: Judging) -> list[Incident]:
    """Judge the days that are new since the load before; of a first load the last ones only.

    Returns
    -------
    list of Incident
        The worst first; empty before there is an event.
    """
    reach = store.reach_by_load()
    if not reach:
        return []
    until = complete_until(reach[-1])
    before = complete_until(reach[-2]) if len(reach) > 1 else until - DAY * settings.first_load_days
    return judged(profiles_of(store, settings, until), store, settings, before, until) if before < until else []


def incidents_since(store: EventStore, settings: Judging, since: datetime, source: str) -> list[Incident]:
    """Judge all days of a source from a midnight on, with all that has come by now."""
    reach = store.reach_by_load()
    until = complete_until(reach[-1]) if reach else since
    if since >= until:
        return []
    profiles = profiles_of(store, settings, until)
    return judged(profiles[profiles["source"] == source], store, settings, since, until)


def judged(
    profiles: pd.DataFrame, store: EventStore, settings: Judging, first_day: datetime, until: datetime
) -> list[Incident]:
    """:func:`limitlens.data.expectations.judge` of a store; what a few lines do by themselves holds nothing.

    A customer who pays twelve instalments at once brings more rows than a small slice ever saw. So an excess of rows
    from fewer than :data:`LEAST_LINES` lines is a warning.
    """
    incidents = judge(profiles, settings, first_day, until)
    return [
        replace(one, state="warn") if one.fault == "excess" and _lines(one, store) < LEAST_LINES else one
        for one in incidents
    ]


def _lines(incident: Incident, store: EventStore) -> int:
    """Lines that brought the rows of an incident."""
    inside, values = accounts_of(incident.scope, incident.since, incident.until, store)
    sql = f"""
    SELECT COUNT(DISTINCT account_id) AS lines FROM ({store.relation(incident.source)})
    WHERE delivered_known_time >= $first_day AND delivered_known_time < $end
        AND ($of_kind = '' OR kind = $of_kind) AND account_id IN ({inside})
    """
    brought = {"first_day": incident.since, "end": incident.until, "of_kind": incident.kind}
    count: int = run_sql(sql, values={**values, **brought})["lines"][0].as_py()
    return count


def accounts_of(scope: Scope, since: datetime, until: datetime | None, store: EventStore) -> tuple[str, Values]:
    """SQL of the accounts in a slice, one column, ``account_id``, and what stands for each ``$name`` in it.

    Those with rows of the slice that became known in the 90 days before ``since``, up to ``until`` (default: ever
    after); of a slice of the lines, all lines in it.

    Parameters
    ----------
    scope : Scope
    since : datetime
    until : datetime or None
    store : EventStore
    """
    source, kind, column, wanted = scope
    declared = [one.name for one in SOURCES[source].columns]
    if column == QUARANTINED:
        held = f"SELECT DISTINCT account_id FROM ({store.quarantine()})"
        of_load = {"source": source, "wanted": wanted, "early": EARLY}
        return f"{held} WHERE source = $source AND load = $wanted AND rule <> $early", of_load
    if column == WITHDRAWN:
        return f"SELECT DISTINCT account_id FROM ({store.versions(source, [wanted])})", {}
    if column and (column == "account_id" or column not in declared):
        lines = f"SELECT account_id FROM ({store.relation(ACCOUNTS.name)}) GROUP BY account_id"
        return f"{lines} HAVING {_is_wanted(f'ARG_MAX({quoted(column)}, known_time)')}", {"wanted": wanted}
    conditions: dict[str, tuple[str, object]] = {
        "since": ("delivered_known_time >= $since", since - DAY * TOUCHED_DAYS),
        **({"until": ("delivered_known_time < $until", until)} if until else {}),
        **({"kind": ("kind = $kind", kind)} if kind else {}),
        **({"wanted": (_is_wanted(quoted(column)), wanted)} if column else {}),
    }
    where = " AND ".join(sql for sql, _ in conditions.values())
    values = {name: value for name, (_, value) in conditions.items()}
    return f"SELECT DISTINCT account_id FROM ({store.relation(source)}) WHERE {where}", values


def lines_touched(incident: Incident, store: EventStore) -> int:
    """How many accounts an incident touches."""
    accounts, values = accounts_of(incident.scope, incident.since, incident.until, store)
    count: int = run_sql(f"SELECT COUNT(*) AS n FROM ({accounts})", values=values)["n"][0].as_py()
    return count


def _is_wanted(sql: str) -> str:
    return f"COALESCE(CAST({sql} AS VARCHAR), '{NONE}') = $wanted"
