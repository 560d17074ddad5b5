"""Functions compiled by numba, and kept compiled on the disk for the next process.

Without ``fastmath``: an addition is the one that is written. The Global Interpreter Lock is free while one runs.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def compiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compile a function when it is first called, or load it where it was compiled before.

    Numba keeps what it compiled beside the source, or in the user's cache folder where it may not write there. Where it
    may write to neither, the function is compiled in each process.
    """
    try:
        fast: Callable[Arguments, Result] = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no folder to keep it in
        fast = numba.njit(nogil=True, error_model="numpy")(function)
    return fast


def inlined(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compile a function as a part of those that call it, which are compiled: many arrays are slow to hand on."""
    fast: Callable[Arguments, Result] = numba.njit(forceinline=True, nogil=True, error_model="numpy")(function)
    return fast
