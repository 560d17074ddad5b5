"""Rows of the risk lists of other lenders."""

from limitlens.features.rows.clock import Scope


def shared_risk(scope: Scope) -> str:
    """What exchanges before the as-of time showed."""
    return f"""shared_risk_rows AS NOT MATERIALIZED (
        SELECT * FROM shared_risk_seen WHERE event_time < {scope.clock.as_of}
    )"""
