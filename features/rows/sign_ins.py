"""Rows of device: single events, steps from one to the next, devices and cities as they came into use."""

from limitlens.features.rows.clock import Scope, at_night, days_between, microseconds_between

#: Steps between events further apart say nothing; features of steps reach back as far.
STEP_DAYS = 90

_EARTH_KM = 6371.0


def device(scope: Scope) -> str:
    """Device events before the as-of time, with ``night``."""
    clock = scope.clock
    return f"""device_rows AS NOT MATERIALIZED (
        SELECT *, {at_night(scope.timezone)} AS night FROM device_seen WHERE event_time < {clock.as_of}
    )"""


def step(scope: Scope) -> str:
    """Each event beside the one before it, if that is at most 90 days older.

    ``device_switch``, ``city_change``: both are known and differ. ``speed_kmh``: great-circle distance (haversine)
    over the time between, of which at least a minute counts.
    """
    clock = scope.clock
    columns = ("event_time", "device_id", "city", "latitude_udeg", "longitude_udeg")
    before = ",\n".join(
        f"LAG({name}) OVER (PARTITION BY {clock.key} ORDER BY event_time, event_order) AS previous_{name}"
        for name in columns
    )
    near = f"previous_event_time >= event_time - INTERVAL '{STEP_DAYS}' DAY"
    return f"""device_steps AS (
        SELECT {clock.carried}, event_order, kind, {", ".join(columns)}, {before}
        FROM device_rows WHERE event_time >= {clock.since(2 * STEP_DAYS)}
    ),
    step_rows AS (
        SELECT *, COALESCE(device_id <> previous_device_id, FALSE) AS device_switch,
            COALESCE(city <> previous_city, FALSE) AS city_change,
            {_distance_km()} / {_hours("previous_event_time", "event_time")} AS speed_kmh
        FROM device_steps WHERE {near}
    )"""


def _distance_km() -> str:
    """Haversine formula (Sinnott 1984)."""
    north = f"({_radians('latitude_udeg')} - {_radians('previous_latitude_udeg')}) / 2"
    east = f"({_radians('longitude_udeg')} - {_radians('previous_longitude_udeg')}) / 2"
    crossing = f"COS({_radians('latitude_udeg')}) * COS({_radians('previous_latitude_udeg')})"
    chord = f"SQRT(POWER(SIN({north}), 2) + {crossing} * POWER(SIN({east}), 2))"
    return f"{2 * _EARTH_KM} * ASIN(CASE WHEN {chord} > 1 THEN 1 ELSE {chord} END)"


def _radians(column: str) -> str:
    return f"RADIANS(CAST({column} AS DOUBLE) / 1000000)"


def _hours(first: str, last: str) -> str:
    elapsed = microseconds_between(first, last)
    return f"(CAST(CASE WHEN {elapsed} < 60000000 THEN 60000000 ELSE {elapsed} END AS DOUBLE) / 3600000000)"


def used(scope: Scope) -> str:
    """One row for each device of the account, at its last use: ``known_days`` since its first."""
    clock = scope.clock
    return f"""device_spans AS (
        SELECT {clock.carried}, device_id, MIN(event_time) AS first_time, MAX(event_time) AS last_time
        FROM device_rows WHERE NOT device_id IS NULL GROUP BY {clock.carried}, device_id
    ),
    device_used_rows AS (
        SELECT *, last_time AS event_time, device_id AS event_order,
            {days_between("first_time", clock.as_of)} AS known_days
        FROM device_spans
    )"""


def places(scope: Scope) -> str:
    """One row for each city of the account, at its last use."""
    clock = scope.clock
    return f"""city_spans AS (
        SELECT {clock.carried}, city, MIN(event_time) AS first_time, MAX(event_time) AS last_time
        FROM device_rows WHERE NOT city IS NULL GROUP BY {clock.carried}, city
    ),
    city_used_rows AS (SELECT *, last_time AS event_time, city AS event_order FROM city_spans),
    first_seen AS (SELECT {clock.key}, MIN(event_time) AS first_event_time FROM device_rows GROUP BY {clock.key})"""


def new_city(scope: Scope) -> str:
    """One row for each city, when it was first seen; what the first moment of the account shows is not new."""
    return f"""new_city_rows AS (
        SELECT *, first_time AS event_time, city AS event_order
        FROM city_spans JOIN first_seen USING ({scope.clock.key}) WHERE first_time > first_event_time
    )"""


def new_device(scope: Scope) -> str:
    """One row for each device, when it was first seen; ``with_new_city``: at the same moment as a new city."""
    key = scope.clock.key
    return f"""city_moments AS (
        SELECT DISTINCT {key}, event_time AS first_time, TRUE AS city_is_new FROM new_city_rows
    ),
    new_device_rows AS NOT MATERIALIZED (
        SELECT *, first_time AS event_time, device_id AS event_order, COALESCE(city_is_new, FALSE) AS with_new_city
        FROM device_spans JOIN first_seen USING ({key}) LEFT JOIN city_moments USING ({key}, first_time)
        WHERE first_time > first_event_time
    )"""
