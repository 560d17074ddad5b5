"""The rows that features count: what was visible at a moment, and what each row says in its context.

Every function returns the SQL of one or more common table expressions; :data:`ROW_SETS` says what each set of rows
is, :data:`TABLES` in which order the expressions it needs have to stand.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from limitlens.features.rows import instalments, listings, network, sign_ins, spending
from limitlens.features.rows.clock import Clock, Scope
from limitlens.features.rows.seen import seen

__all__ = ["ROW_SETS", "TABLES", "Clock", "Layer", "RowSet", "Scope", "tables_for"]

Layer = Literal["event", "day", "week", "month", "account", "device", "network"]


@dataclass(frozen=True)
class RowSet:
    """Rows an aggregate can count.

    Parameters
    ----------
    source : str
        Source whose behaviour they show.
    meaning : str
        One row is what.
    layer : str
        Layer of behaviour.
    needs : tuple of str
        Further sources it reads; without them its features are left out.
    reach_days : int
        Longest window the rows allow; 0: the whole history.
    fractions : tuple of str
        Columns that are not whole numbers, whose sum would depend on the order of the rows.
    made_of : tuple of str
        Columns of its source that say which rows there are, besides account, kind and times.
    """

    source: str
    meaning: str
    layer: Layer = "event"
    needs: tuple[str, ...] = ()
    reach_days: int = 0
    fractions: tuple[str, ...] = ()
    made_of: tuple[str, ...] = ()


_PLACE = ("city", "latitude_udeg", "longitude_udeg")

#: Every set of rows, by name.
ROW_SETS: dict[str, RowSet] = {
    "consumption": RowSet("consumption", "an event of consumption"),
    "flow": RowSet("consumption", "an event that raised or lowered the balance", "account", needs=("payment",)),
    "payment": RowSet("payment", "an event of payment"),
    "instalment": RowSet("payment", "an instalment, at its due date or when it was settled before", "account"),
    "passed_on": RowSet("payment", "a transfer out within two days of a draw", needs=("consumption",), reach_days=90),
    "shared_payee": RowSet(
        "payment", "a payee of the last 90 days", "network", reach_days=network.PAYEE_DAYS, made_of=("counterparty",)
    ),
    "device": RowSet("device", "an event of a device"),
    "step": RowSet(
        "device",
        "a device event beside the one before it",
        reach_days=sign_ins.STEP_DAYS,
        fractions=("speed_kmh",),
        made_of=("device_id", *_PLACE),
    ),
    "device_used": RowSet(
        "device",
        "a device of the account, at its last use",
        "device",
        fractions=("known_days",),
        made_of=("device_id",),
    ),
    "city_used": RowSet("device", "a city of the account, at its last use", "device", made_of=("city",)),
    "new_device": RowSet("device", "a device, when the account first used it", "device", made_of=("device_id", "city")),
    "new_city": RowSet("device", "a city, when the account was first seen there", "device", made_of=("city",)),
    "shared_device": RowSet(
        "device", "a device of the account, with all accounts seen on it", "network", made_of=("device_id",)
    ),
    "shared_risk": RowSet("shared_risk", "a day on which the customer stood on another lender's risk list"),
}


@dataclass(frozen=True)
class _Table:
    """The SQL of some expressions, and the names of those that must stand before them."""

    sql: Callable[[Scope], str]
    after: tuple[str, ...] = ()


#: Every group of expressions; a set of rows has the name of its group.
TABLES: dict[str, _Table] = {
    "consumption_seen": _Table(lambda scope: seen("consumption", scope.clock)),
    "payment_seen": _Table(lambda scope: seen("payment", scope.clock)),
    "device_seen": _Table(lambda scope: seen("device", scope.clock)),
    "consumption": _Table(spending.consumption, ("consumption_seen",)),
    "payment": _Table(instalments.payment, ("payment_seen",)),
    "device": _Table(sign_ins.device, ("device_seen",)),
    "flow": _Table(spending.flow, ("consumption", "payment")),
    "balance": _Table(spending.balance, ("flow",)),
    "passed_on": _Table(spending.passed_on, ("consumption", "payment")),
    "arrears": _Table(instalments.arrears, ("payment",)),
    "instalment": _Table(instalments.instalment, ("arrears",)),
    "shared_payee": _Table(network.shared_payee, ("payment",)),
    "step": _Table(sign_ins.step, ("device",)),
    "device_used": _Table(sign_ins.used, ("device",)),
    "city_used": _Table(sign_ins.places, ("device",)),
    "new_city": _Table(sign_ins.new_city, ("city_used",)),
    "new_device": _Table(sign_ins.new_device, ("device_used", "new_city")),
    "shared_device": _Table(network.shared_device, ("device",)),
    "shared_risk_seen": _Table(lambda scope: seen("shared_risk", scope.clock)),
    "shared_risk": _Table(listings.shared_risk, ("shared_risk_seen",)),
}


def tables_for(names: Iterable[str], scope: Scope) -> list[str]:
    """SQL of the named groups of expressions and of all they need, in order.

    Examples
    --------
    >>> [sql.split(" AS")[0] for sql in tables_for(["step"], Scope(Clock()))]
    ['device_seen', 'device_rows', 'device_steps']
    """
    needed: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += TABLES[name].after
    return [table.sql(scope) for name, table in TABLES.items() if name in needed]
