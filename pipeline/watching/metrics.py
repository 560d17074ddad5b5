"""Metrics of the watch, as Prometheus reads them; on this machine alone, since nobody is asked who reads."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from limitlens.data.errors import WorkspaceError
from limitlens.pipeline.watching.listeners import Untold
from limitlens.pipeline.watching.tick import Ticked

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

#: Bounds of the seconds: a tick takes half of one, one that decides a line some three.
_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """What is counted since the watch started, and where it stands; no label names a customer.

    Parameters
    ----------
    registry : prometheus_client.CollectorRegistry
    """

    def __init__(self, registry: "CollectorRegistry") -> None:
        from prometheus_client import Counter, Gauge, Histogram  # noqa: PLC0415 - an extra

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"limitlens_watch_{name}", what, labels, registry=registry)

        def seconds(name: str, what: str) -> Histogram:
            return Histogram(f"limitlens_watch_{name}_seconds", what, buckets=_SECONDS, registry=registry)

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"limitlens_watch_{name}", what, labels, registry=registry)

        self._ticks = counter("ticks", "Looks into the inbox.")
        self._rows = counter("rows", "Rows that came.")
        self._quarantined = counter("rows_quarantined", "Rows held back.")
        self._deduplicated = counter("rows_deduplicated", "Rows known already.")
        self._refused = counter("files_refused", "Files of which nothing was taken in.")
        self._lines = counter("lines", "Lines looked at.")
        self._actions = counter("actions", "Pauses, and those lifted.", "action")
        self._tick_seconds = seconds("tick", "From the begin to the end of a tick that took something in.")
        self._action_seconds = seconds("action", "From the oldest file of a tick to an action in the ledger.")
        self._backlog = gauge("backlog_files", "Files that wait in the inbox.")
        self._untold = gauge("untold", "Interceptions that a listener was not told of yet.", "listener")
        for action in ("pause", "unfreeze"):
            self._actions.labels(action)

    def ticked(self, ticked: Ticked, seconds: float, waited_seconds: float) -> None:
        """Count a tick.

        Parameters
        ----------
        ticked : Ticked
        seconds : float
            It took.
        waited_seconds : float
            From the arrival of the oldest file that it took in to its end.
        """
        self._ticks.inc()
        self._rows.inc(ticked.rows)
        self._quarantined.inc(ticked.quarantined)
        self._deduplicated.inc(ticked.deduplicated)
        self._refused.inc(len(ticked.refused))
        self._lines.inc(ticked.touched)
        if ticked.rows or ticked.refused or ticked.touched:
            self._tick_seconds.observe(seconds)
        if not ticked.decisions.empty:
            for action in ticked.decisions["action"]:
                if action in ("pause", "unfreeze"):
                    self._actions.labels(action).inc()
            self._action_seconds.observe(waited_seconds)

    def left(self, backlog: int, untold: Mapping[str, Untold]) -> None:
        """Say what waits: files, and interceptions by listener."""
        self._backlog.set(backlog)
        for name, one in untold.items():
            self._untold.labels(name).set(one.count)


@contextmanager
def served(port: int) -> Iterator[Metrics]:
    """Serve metrics on a port of this machine.

    Raises
    ------
    WorkspaceError
        The port is taken, or prometheus-client is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise WorkspaceError("metrics need prometheus-client; run pip install 'limitlens[metrics]'.") from error
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        raise WorkspaceError(f"--metrics-port {port}: {error.strerror}; name a free port.") from error
    try:
        yield metrics
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
