"""Stress tests on record: what each stood on and what came out, as links of the chain."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from limitlens.limits.database import connect, reading
from limitlens.limits.records import record


@dataclass(frozen=True)
class StressTest:
    """A stress test that was made.

    Parameters
    ----------
    made_at, as_of : str
        ISO times: of the test, and of the decisions that it stressed.
    run_id : str
        Run of these decisions.
    inputs : str
        JSON: what it stood on, each thing with its digest.
    inputs_sha256, results_sha256 : str
        Of the inputs, and of all results, which MLflow keeps.
    summary : str
        JSON: the totals of each scenario.
    """

    made_at: str
    as_of: str
    run_id: str
    inputs: str
    inputs_sha256: str
    results_sha256: str
    summary: str


def stress_test(
    made_at: datetime, as_of: datetime, run_id: str, inputs: Mapping[str, str], *, results: str, summary: Any
) -> StressTest:
    """A stress test as it is recorded; ``results`` is the text of the results, of which the sha256 is kept."""
    standing = json.dumps(dict(inputs), sort_keys=True, ensure_ascii=False)
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in (standing, results)]
    totals = json.dumps(summary, ensure_ascii=False)
    return StressTest(made_at.isoformat(), as_of.isoformat(), run_id, standing, digests[0], digests[1], totals)


def record_stress_test(workspace: Path, test: StressTest) -> None:
    """Record a stress test, a link of the chain."""
    with connect(workspace) as connection:
        connection.execute("INSERT INTO stress_tests VALUES (?, ?, ?, ?, ?, ?, ?)", list(astuple(test)))
        record(connection, workspace, "stress test", names=[test.made_at])


def stress_tests(workspace: Path) -> list[StressTest]:
    """Every stress test, in the order they were made."""
    with reading(workspace) as connection:
        return [StressTest(*row) for row in connection.execute("SELECT * FROM stress_tests ORDER BY rowid")]


def overdue(tests: list[StressTest], at: datetime, every_days: int) -> str:
    """Why another stress test is due; empty where none is.

    Parameters
    ----------
    tests : list of StressTest
    at : datetime
        Now.
    every_days : int
        How old the last one may be.

    Examples
    --------
    >>> from datetime import UTC
    >>> made = datetime(2026, 7, 1, tzinfo=UTC)
    >>> test = stress_test(made, made, "r", {}, results="", summary={})
    >>> overdue([test], datetime(2026, 7, 31, tzinfo=UTC), 92), overdue([], made, 92)
    ('', 'no stress test was ever made, and the policy asks for one every 92 days')
    >>> overdue([test], datetime(2026, 10, 2, tzinfo=UTC), 92)
    'the last stress test is 93 days old (2026-07-01), and the policy asks for one every 92 days'
    """
    asked = f"the policy asks for one every {every_days:,} days"
    if not tests:
        return f"no stress test was ever made, and {asked}"
    last = max(datetime.fromisoformat(test.made_at) for test in tests)
    age = (at - last).days
    return f"the last stress test is {age:,} days old ({last:%Y-%m-%d}), and {asked}" if age > every_days else ""
