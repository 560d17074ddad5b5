"""The feed of the simulated world: which faults strike its rows, and when."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.calendar import DAY, add_months
from limitlens.data.faults import TOUCHED, Corrupted, Fault, apply_fault
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


def strike(table: pa.Table, source: str, faults: Sequence[Fault]) -> Corrupted:
    """Rows of one source after every fault of that source, one after the other."""
    touched = TOUCHED.empty_table()
    for fault in faults:
        if fault.source == source and _meets(fault, table):
            corrupted = apply_fault(fault, table)
            table, touched = corrupted.table, pa.concat_tables([touched, corrupted.touched])
    order = [(name, "ascending") for name in ("account_id", "event_id", "known_time", "fault", "repaired_at")]
    return Corrupted(table, touched.sort_by(order))


def _meets(fault: Fault, table: pa.Table) -> bool:
    """Whether any row can lie in the window of the fault."""
    if fault.start is None or fault.end is None or not len(table):
        return bool(len(table))
    known = pc.min_max(table["known_time"]).as_py()
    return bool(known["min"] < fault.end and known["max"] >= fault.start)
