"""What was known: consumption, payment and device events become one point-in-time table."""

from limitlens.features.catalogue import CATALOGUE
from limitlens.features.declarations import Aggregate, FeatureSet, LineShare, Position, Ratio
from limitlens.features.spine import book, lines_at
from limitlens.features.table import build_table

__all__ = ["CATALOGUE", "Aggregate", "FeatureSet", "LineShare", "Position", "Ratio", "book", "build_table", "lines_at"]
