"""What a process may use of the machine: threads for training, scoring and queries, memory for queries."""

import os
from collections.abc import Iterator
from functools import cache
from math import ceil
from pathlib import Path

from limitlens.data.errors import ConfigError

#: Environment variable that says so; the option ``--threads`` of a command sets it.
THREADS = "LIMITLENS_THREADS"

#: Queries spill to disk above it, unless :func:`limitlens.data.engine.limit_memory` says otherwise.
MEMORY_LIMIT = "4GB"


def chosen_threads() -> int | None:
    """Threads that :data:`THREADS` names, if it is set.

    Raises
    ------
    ConfigError
        It is not a whole number of at least 1.
    """
    text = os.environ.get(THREADS, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ConfigError(f"{THREADS} is {text!r}; expected a whole number of at least 1, or leave it unset.")
    return int(text)


def thread_count() -> int:
    """Threads to train, score and query with: the chosen ones, else as many as this process has CPUs.

    What the affinity of the process and the quota of its container allow, not what the machine has: more threads than
    that would wait for each other.

    Raises
    ------
    ConfigError
        As :func:`chosen_threads`.
    """
    return chosen_threads() or _cpus()


@cache
def _cpus() -> int:
    return max(1, ceil(min([len(os.sched_getaffinity(0)), *_quotas(Path("/sys/fs/cgroup"))])))


def _quotas(groups: Path) -> Iterator[float]:
    """CPUs that the control groups of this process grant it, of either version, as the container or the host sees them.

    Source: Linux kernel documentation, "Control Group v2" (``cpu.max``) and "CFS Bandwidth Control" (``cpu.cfs_*``).
    """
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, inner = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            top = groups / controllers
            for folder in (top, top / inner.lstrip("/")):
                yield from _quota(folder)


def _quota(folder: Path) -> Iterator[float]:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period")
            )
    except OSError:
        return
    if quota != "max" and int(quota) > 0:
        yield int(quota) / int(period)
