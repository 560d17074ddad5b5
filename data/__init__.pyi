from .adapters import ADAPTERS, adapter
from .check import LoadReport, check_events
from .events import EventStore
from .world import simulate

__all__ = ["ADAPTERS", "EventStore", "LoadReport", "adapter", "check_events", "simulate"]
