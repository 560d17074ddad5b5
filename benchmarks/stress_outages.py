"""Is an outage noticed as a stress test says: `python -m benchmarks.stress_outages [--seeds 4 5 6] [--values 3]`.

The worlds of `benchmarks.incidents`; rows of ten days do not come, or come too late for the decision: of a source or
one of its kinds, and of values of each attribute of the lines, of many lines and of few. What is found when the days
are delivered without these rows stands beside `noticed` of `limitlens stress`: what the profiles of the whole delivery
say once the rows are taken off them. Slices of events (channel, city of a sign-in) are left out: stress tests know
none. A row each: what was out, how many rows, and both answers.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc

from benchmarks.incidents import END, FAULT_DAYS, STRUCK, Portfolio, Scope, struck
from limitlens.data.calendar import DAY
from limitlens.data.check import check_events
from limitlens.data.events import EventStore
from limitlens.data.faults import Fault
from limitlens.data.incidents import profiles_of
from limitlens.data.quality_settings import default_quality
from limitlens.pipeline.stressing.outages import Missing, noticed

#: Attributes of the lines by which an outage is told apart.
ATTRIBUTES = ("segment", "home_city")


def scopes(portfolio: Portfolio, values: int) -> Iterator[Scope]:
    """The whole, and of each attribute so many values, from the one with the most lines on down."""
    yield Scope("source")
    for column in ATTRIBUTES:
        counts = pc.value_counts(portfolio.accounts[column]).to_pylist()
        ordered = sorted(counts, key=lambda one: (-one["counts"], one["values"]))
        spread = ordered[:: max(1, len(ordered) // values)][:values]
        yield from (Scope(column, column, one["values"]) for one in spread)


def cases(portfolio: Portfolio, values: int) -> Iterator[tuple[Fault, Scope]]:
    """Missing rows of each source and kind, whole and in slices; late ones of the whole."""
    days = {"start": END - FAULT_DAYS * DAY, "end": END}
    for source, several in STRUCK.items():
        for kinds in dict.fromkeys([(), *several]):
            for scope in scopes(portfolio, values):
                yield Fault("missing_batch", source, kinds=kinds, **days), scope
            yield Fault("late_batch", source, kinds=kinds, **days), Scope("source")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[4, 5, 6])
    parser.add_argument("--values", type=int, default=3)
    given = parser.parse_args()
    settings, equal, seen = default_quality().judging, 0, 0
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as name:
            portfolio = Portfolio.made(seed, Path(name))
            store = EventStore(Path(name) / "whole")
            check_events(portfolio.folder / "all", store)
            profiles = profiles_of(store, settings, END)
            for fault, scope in cases(portfolio, given.values):
                table, rows = struck(portfolio, fault, scope)
                delivered = portfolio.delivered(fault.source, table)
                held = delivered is None or any(one.state == "hold" for one in delivered)
                days = (END - FAULT_DAYS * DAY, END)
                missing = Missing(fault.source, fault.kinds, scope.column, scope.value)
                stressed = noticed(profiles, store, settings, missing, days)
                seen, equal = seen + 1, equal + (held == stressed)
                where = " ".join(word for word in (fault.source, *fault.kinds, scope.column, scope.value) if word)
                answers = " ".join(
                    f"{who} {'held' if one else '-':4}" for who, one in (("delivered", held), ("stress", stressed))
                )
                differs = "" if held == stressed else " DIFFERS"
                print(f"{seed} {fault.name:13} {where:42} {rows:6,} rows {answers}{differs}", flush=True)
    print(f"{equal} of {seen} cases alike")


if __name__ == "__main__":
    main()
