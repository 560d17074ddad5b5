"""What came in: contracts, quarantine, storage, the simulated portfolio, adapters of public data sets."""

from limitlens.data.adapters import ADAPTERS, adapter
from limitlens.data.check import LoadReport, check_events
from limitlens.data.events import EventStore
from limitlens.data.world import simulate

__all__ = ["ADAPTERS", "EventStore", "LoadReport", "adapter", "check_events", "simulate"]
