from .decisions import read_decisions
from .settings import FUTURES, WorldSettings, default_world, named_world, read_world
from .simulation import START, SimulationReport, simulate

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
