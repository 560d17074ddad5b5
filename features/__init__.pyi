from .catalogue import CATALOGUE as CATALOGUE
from .declarations import Aggregate as Aggregate
from .declarations import FeatureSet as FeatureSet
from .declarations import LineShare as LineShare
from .declarations import Position as Position
from .declarations import Ratio as Ratio
from .spine import book as book
from .spine import lines_at as lines_at
from .table import build_table as build_table

__all__ = ["CATALOGUE", "Aggregate", "FeatureSet", "LineShare", "Position", "Ratio", "book", "build_table", "lines_at"]
