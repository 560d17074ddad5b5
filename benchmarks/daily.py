"""What deciding more lines daily costs: `python -m benchmarks.daily [--accounts 4000 --seed 301]`.

One honest world of eighteen months and a model trained on the first sixteen. The seventeenth month is decided on three
calendars: month starts and new lines; with the lines daily that had a new phone in a new city; with the lines past due
daily.
"""

import argparse
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from limitlens.data.calendar import add_months
from limitlens.data.check import check_events
from limitlens.data.world import START, named_world, simulate
from limitlens.limits.policy_file import parse_policy
from limitlens.pipeline import Workspace, decide, default_policy, default_settings, promote, train
from limitlens.pipeline.release.promote import Override

CALENDARS = {
    "month starts": "",
    "signed in anew: daily": 'any_of = [{ column = "new_device_and_city_count_7d", at_least = 1 }]',
    "past due: daily": 'any_of = [{ column = "dpd_days", above = 0 }]',
}
TRAINED, DECIDED = 16, 17


def policy_text(conditions: str) -> str:
    """The shipped policy with this section instead of its own, and without a second look."""
    sections = re.compile(r"^\[(?:second_look|daily)\].*?(?=^\[|\Z)", re.MULTILINE | re.DOTALL)
    return sections.sub("", default_policy().text) + (f"\n[daily]\n{conditions}\n" if conditions else "")


def decided(base: Workspace, folder: Path, text: str) -> tuple[int, float]:
    """Decisions of the month after the last decision, and the CPU seconds they took."""
    shutil.copytree(base.root, folder)
    space, before = Workspace(folder), time.process_time()
    count = len(base.ledger.query("SELECT account_id FROM decisions"))
    decide(space, until=add_months(START, DECIDED), policy=parse_policy(text))
    seconds = time.process_time() - before
    return len(space.ledger.query("SELECT account_id FROM decisions")) - count, seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=301)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder, world = Path(name), named_world("honest")
        simulate(folder / "world", accounts=chosen.accounts, months=18, seed=chosen.seed, world=world, futures=0)
        base = Workspace(folder / "base")
        check_events(folder / "world", base.events)
        train(base, default_settings(), default_policy(), developer="developer", until=add_months(START, TRAINED))
        promote(base, None, add_months(START, DECIDED), override=Override("head of credit risk", "a benchmark"))
        decide(base, as_of=add_months(START, TRAINED))
        print("| calendar | decisions in a month | CPU s of `decide` |\n|---|---|---|")
        for place, (calendar, conditions) in enumerate(CALENDARS.items()):
            count, seconds = decided(base, folder / f"work{place}", policy_text(conditions))
            print(f"| {calendar} | {count:,} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
