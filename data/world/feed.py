"""The feed of the simulated world: which faults strike its rows, and when."""

from collections.abc import Iterator
from datetime import datetime

from limitlens.data.calendar import DAY, add_months
from limitlens.data.faults import Fault
from limitlens.data.world.settings import PlannedFault, WorldSettings


def planned_faults(world: WorldSettings, *, seed: int, start: datetime, months: int) -> list[Fault]:
    """The faults of a world with their times, in the order in which they strike.

    Parameters
    ----------
    seed : int
        Of the world; each planned fault chooses its own rows or accounts.
    start : datetime
        First of the first month.
    months : int
        Months simulated; faults planned later are left out.
    """
    return [
        fault
        for place, planned in enumerate(world.faults)
        for source in planned.sources
        for fault in _planned(planned, source, 1_000 * seed + place, start, months)
    ]


def _planned(planned: PlannedFault, source: str, seed: int, start: datetime, months: int) -> Iterator[Fault]:
    ends: list[datetime | None] = [
        add_months(start, (month or months) - 1) for month in planned.before_months if month <= months
    ]
    for end in ends if planned.before_months else [None]:
        yield Fault(
            planned.name,
            source,
            share=planned.share,
            by="row" if planned.by == "row" else "account",
            kinds=planned.kinds,
            start=end - DAY * planned.days if end else None,
            end=end,
            recall=planned.recall,
            repair_days=planned.repair_days,
            seed=seed,
        )
