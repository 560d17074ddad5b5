from .catalogue import CATALOGUE
from .declarations import Aggregate, FeatureSet, LineShare, Position, Ratio
from .spine import book, lines_at
from .table import build_table

__all__ = ["CATALOGUE", "Aggregate", "FeatureSet", "LineShare", "Position", "Ratio", "book", "build_table", "lines_at"]
