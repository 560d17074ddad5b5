from .check import LoadReport as LoadReport
from .check import check_events as check_events
from .events import EventStore as EventStore
from .importing import import_files as import_files
from .shipped_mappings import read_mapping as read_mapping
from .world import simulate as simulate

__all__ = ["EventStore", "LoadReport", "check_events", "import_files", "read_mapping", "simulate"]
