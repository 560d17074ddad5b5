from .settings import FUTURES, WorldSettings, default_world, read_world
from .simulation import START, SimulationReport, simulate

__all__ = ["FUTURES", "START", "SimulationReport", "WorldSettings", "default_world", "read_world", "simulate"]
