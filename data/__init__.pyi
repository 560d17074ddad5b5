from .check import LoadReport as LoadReport
from .check import check_events as check_events
from .events import EventStore as EventStore
from .id_key import new_key as new_key
from .id_key import read_key as read_key
from .importing import import_files as import_files
from .pseudonyms import IdKey as IdKey
from .shipped_mappings import read_mapping as read_mapping
from .world import simulate as simulate

__all__ = [
    "EventStore",
    "IdKey",
    "LoadReport",
    "check_events",
    "import_files",
    "new_key",
    "read_key",
    "read_mapping",
    "simulate",
]
