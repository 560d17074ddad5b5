from .adapters import ADAPTERS as ADAPTERS
from .adapters import adapter as adapter
from .check import LoadReport as LoadReport
from .check import check_events as check_events
from .events import EventStore as EventStore
from .world import simulate as simulate

__all__ = ["ADAPTERS", "EventStore", "LoadReport", "adapter", "check_events", "simulate"]
