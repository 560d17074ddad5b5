"""What a model reads: the columns of a feature set, those of the line and the attributes, as one matrix."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from limitlens.data.arrays import FloatArray, IntArray
from limitlens.features.declarations import FeatureSet
from limitlens.features.line import line_column_names, line_columns
from limitlens.models.settings import TrainSettings

#: Values of each text column, in the order of their codes; anything else is missing.
Categories = Mapping[str, tuple[str, ...]]

#: A text attribute keeps this many of its values; rarer ones count as missing.
MAX_CATEGORIES = 100

#: Rows that become a part of the matrix at once.
_ROWS_AT_ONCE = 1 << 15


def model_columns(features: FeatureSet) -> tuple[str, ...]:
    """Inputs of a model over a feature set: its columns, those of the line, the attributes, the segment."""
    return (*features.columns, *line_column_names(features), *(name for name, _ in features.attributes), "segment")


def text_columns(features: FeatureSet) -> list[str]:
    """Inputs that are codes of a text."""
    return [*(name for name, kind in features.attributes if kind == "text"), "segment"]


def monotone_directions(features: FeatureSet) -> list[int]:
    """For each input 1 if the PD may only rise with it, -1 if only fall, else 0; as the catalogue declares."""
    declared = features.declaration_of
    return [declared[name].monotone if name in declared else 0 for name in model_columns(features)]


#: Days past due from which a line is far behind, and in how many leaves the rows of such lines need no own trees.
FAR_BEHIND_DAYS, ENOUGH_LEAVES = 30, 20


def column_parameters(features: FeatureSet, inputs: FloatArray, settings: TrainSettings) -> dict[str, Any]:
    """What :class:`limitlens.models.classifier.DefaultRiskClassifier` is told of the inputs.

    Days past due are learned first where few rows are far behind, as in a young book: that they are says most of them.
    With many, trees of all columns see it, and what else tells such lines apart.

    Parameters
    ----------
    features : FeatureSet
    inputs : float64 array of shape (n, len(model_columns(features)))
        What is learned from.
    settings : TrainSettings
        Of which the least rows of a leaf are read.
    """
    names, few = model_columns(features), ENOUGH_LEAVES * settings.min_data_in_leaf
    due = [place for place, name in enumerate(names) if name == "dpd_days" and (inputs[:, place] > 0).any()]
    return {
        "monotone": monotone_directions(features),
        "categorical": [names.index(name) for name in text_columns(features)],
        "learned_first": [place for place in due if (inputs[:, place] >= FAR_BEHIND_DAYS).sum() < few],
    }


def find_categories(features: FeatureSet, table: pd.DataFrame, known: Categories | None = None) -> Categories:
    """The most frequent values of each text column, sorted; values known before keep their codes.

    Examples
    --------
    >>> from limitlens.features.catalogue import CATALOGUE
    >>> table = pd.DataFrame({"segment": ["b", "c", "a", "a"]})
    >>> find_categories(CATALOGUE, table, {"segment": ("c",)})
    {'segment': ('c', 'a', 'b')}
    """
    categories = {}
    for name in text_columns(features):
        before = (known or {}).get(name, ())
        counts = table[name].value_counts().sort_index().drop(labels=list(before), errors="ignore")
        categories[name] = (*before, *sorted(counts.nlargest(MAX_CATEGORIES - len(before)).index))
    return categories


def model_inputs(
    features: FeatureSet, categories: Categories, table: pd.DataFrame, limit_cents: IntArray, line_age_days: IntArray
) -> FloatArray:
    """Inputs as a matrix, columns found by name, text as codes.

    Parameters
    ----------
    table : DataFrame of shape (n, ...)
        Feature table of the set, columns in any order.
    limit_cents, line_age_days : int64 arrays of shape (n,)

    Returns
    -------
    float64 array of shape (n, len(model_columns(features)))
    """
    columns = dict(line_columns(features, table, limit_cents, line_age_days).items())
    columns |= {name: table[name] for name, _ in features.attributes}
    for name, values in categories.items():
        codes = pd.Categorical(table[name], categories=list(values)).codes
        columns[name] = pd.Series(np.where(codes < 0, np.nan, codes.astype(np.float64)), index=table.index)
    names, declared = model_columns(features), len(features.columns)
    inputs = np.empty((len(table), len(names)), np.float64)
    read = table[list(features.columns)]
    for start in range(0, len(table), _ROWS_AT_ONCE):  # a second copy of all of them would be as large as the matrix
        rows = slice(start, start + _ROWS_AT_ONCE)
        inputs[rows, :declared] = read.iloc[rows].to_numpy(np.float64)
    for place, name in enumerate(names[declared:], declared):
        inputs[:, place] = columns[name].to_numpy(np.float64)
    return inputs


def account_numbers(account_ids: pd.Series) -> npt.NDArray[np.uint64]:
    """A number for each account: a hash of its id, so that it never depends on who else is in the table.

    Examples
    --------
    >>> account_numbers(pd.Series(["A1", "A2", "A1"])).tolist()
    [1631269015986820564, 14426753208092092616, 1631269015986820564]
    """
    codes, ids = pd.factorize(account_ids)
    first = b"".join([hashlib.sha256(str(one).encode()).digest()[:8] for one in ids.tolist()])
    return np.frombuffer(first, ">u8").astype(np.uint64)[codes]


def fold_of(account: npt.NDArray[np.uint64], folds: int, turn: int) -> IntArray:
    """Fold of each account when the folds are dealt for the turn-th time; every turn deals them anew.

    Parameters
    ----------
    account : uint64 array of shape (n,)
        As :func:`account_numbers` gives them.
    folds, turn : int

    References
    ----------
    Steele, G., Lea, D., Flood, C. (2014). Fast splittable pseudorandom number generators. *OOPSLA*: the mixing of bits.

    Examples
    --------
    >>> account = account_numbers(pd.Series(["A1", "A2", "A3", "A4", "A5"]))
    >>> [fold_of(account, 3, turn).tolist() for turn in range(2)]
    [[1, 1, 0, 1, 0], [1, 2, 2, 1, 2]]
    """
    mixed = account + np.uint64((turn + 1) * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return ((mixed ^ (mixed >> np.uint64(31))) % np.uint64(folds)).astype(np.int64)
