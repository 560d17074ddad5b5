"""Is an outage noticed as a stress test says: `python -m benchmarks.stress_outages [--seed 4] [--cases 17]`.

The worlds and cases of `benchmarks.incidents` in which rows do not come: what is found when the days are delivered
without them, beside what the profiles of the whole delivery say once the rows of the slice are taken off them
(`limitlens stress`, `noticed`). Slices of events (channel, city of a sign-in) are left out: stress tests know none.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.incidents import END, FAULT_DAYS, Portfolio, cases, struck
from limitlens.data.calendar import DAY
from limitlens.data.check import check_events
from limitlens.data.events import EventStore
from limitlens.data.incidents import profiles_of
from limitlens.data.quality_settings import default_quality
from limitlens.pipeline.stressing.outages import noticed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--cases", type=int, default=17)
    given = parser.parse_args()
    settings, equal, seen = default_quality().judging, 0, 0
    with tempfile.TemporaryDirectory() as name:
        portfolio = Portfolio.made(given.seed, Path(name))
        store = EventStore(Path(name) / "whole")
        check_events(portfolio.folder / "all", store)
        profiles = profiles_of(store, settings, END)
        missing = [(fault, scope) for kind, fault, scope in cases() if kind == "missing_batch"]
        lines = [one for one in missing if one[1].column in ("", *portfolio.accounts.column_names)]
        for fault, scope in lines[: given.cases]:
            delivered = portfolio.delivered(fault.source, struck(portfolio, fault, scope)[0])
            found = delivered is None or any(one.state == "hold" for one in delivered)
            kind = fault.kinds[0] if fault.kinds else ""
            days = (END - FAULT_DAYS * DAY, END)
            said = noticed(profiles, store, settings, (fault.source, kind, scope.column, scope.value), days)
            seen, equal = seen + 1, equal + (found == said)
            where = " ".join(word for word in (fault.source, kind, scope.column, scope.value) if word)
            print(f"{where}: delivered {'held' if found else 'not held'}, stress {'held' if said else 'not held'}")
    print(f"{equal} of {seen} cases alike")


if __name__ == "__main__":
    main()
