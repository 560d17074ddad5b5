from .adapters import ADAPTERS as ADAPTERS
from .adapters import adapter as adapter
from .check import LoadReport as LoadReport
from .check import check_events as check_events
from .events import EventStore as EventStore
from .id_key import new_key as new_key
from .id_key import read_key as read_key
from .pseudonyms import IdKey as IdKey
from .world import simulate as simulate

__all__ = [
    "ADAPTERS",
    "EventStore",
    "IdKey",
    "LoadReport",
    "adapter",
    "check_events",
    "new_key",
    "read_key",
    "simulate",
]
