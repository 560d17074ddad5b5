"""The public data sets limitlens can read, by name."""

from collections.abc import Callable
from pathlib import Path

from limitlens.data.errors import InputError
from limitlens.data.importing import ImportReport
from limitlens.data.superlender import import_superlender
from limitlens.data.taiwan import import_taiwan

#: An adapter reads the delivered files of a folder and writes ``<out>/<source>/*.parquet``.
Adapter = Callable[[Path, Path], ImportReport]

ADAPTERS: dict[str, Adapter] = {"superlender": import_superlender, "taiwan": import_taiwan}


def adapter(name: str) -> Adapter:
    """Look up the adapter of a data set.

    Parameters
    ----------
    name : str
        Key of :data:`ADAPTERS`.

    Raises
    ------
    InputError
        No adapter has this name.

    Examples
    --------
    >>> adapter("taiwan").__name__
    'import_taiwan'
    """
    if name not in ADAPTERS:
        raise InputError(f"Got data set {name!r}, expected one of: {', '.join(sorted(ADAPTERS))}.")
    return ADAPTERS[name]
