from .decisions import read_decisions as read_decisions
from .settings import FUTURES as FUTURES
from .settings import WorldSettings as WorldSettings
from .settings import default_world as default_world
from .settings import named_world as named_world
from .settings import read_world as read_world
from .simulation import START as START
from .simulation import SimulationReport as SimulationReport
from .simulation import simulate as simulate

__all__ = [
    "FUTURES",
    "START",
    "SimulationReport",
    "WorldSettings",
    "default_world",
    "named_world",
    "read_decisions",
    "read_world",
    "simulate",
]
