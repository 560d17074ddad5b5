"""Work that several processes of one machine share; each has its own memory and queries of its own."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from typing import TypeVar

from limitlens.data.engine import limit_memory, memory_limit
from limitlens.data.errors import WorkspaceError
from limitlens.data.resources import THREADS, thread_count

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_processes(work: Callable[[Task], Result], tasks: Iterable[Task], processes: int) -> Iterator[Result]:
    """Do some tasks in so many processes; one is this one itself.

    Another is started anew rather than forked, since queries leave threads behind, and ends when the one that started
    it does. The threads and the memory for queries of this process are dealt out among them. Tasks are taken as
    processes become free, so that few wait at a time.

    Parameters
    ----------
    work : callable
        A function of a module.
    tasks : iterable
    processes : int

    Yields
    ------
    object
        What ``work`` gave, in the order of the tasks.

    Raises
    ------
    WorkspaceError
        A process was killed, for want of memory as a rule.
    """
    if processes == 1:
        yield from map(work, tasks)
        return
    share = (max(1, thread_count() // processes), f"{memory_limit() // processes}B")
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin, initargs=share)
    waiting = deque[Future[Result]]()
    with pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(work, task))
                if len(waiting) > processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise WorkspaceError(
                f"one of {processes} processes was killed, for want of memory as a rule; take fewer with --processes."
            ) from error
        finally:
            for late in waiting:
                late.cancel()


def _begin(threads: int, memory: str) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    os.environ[THREADS] = str(threads)
    limit_memory(memory)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
    os._exit(1)
