"""The simulated portfolio: a world whose truth is known, the ground on which every answer can be proved.

Customers have a latent quality, an income and a stress that move by the month; what they buy, pay and sign in from
follows from that state and from planted causes, never from a label. Every random number belongs to one customer,
one month and one purpose, so a cause can be taken out at its root and everything else stays as it was.
"""

from limitlens.data.world.settings import WorldSettings, default_world, read_world
from limitlens.data.world.simulation import FUTURES, START, SimulationReport, simulate

__all__ = ["FUTURES", "START", "SimulationReport", "WorldSettings", "default_world", "read_world", "simulate"]
