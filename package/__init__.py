"""limitlens: credit limits whose every change is split, to the cent, into behaviour, data, model, policy and time.

The rooms are ``limitlens.data``, ``features``, ``models``, ``limits`` and ``pipeline``; what they hand on is
loaded when it is asked for, so that a command that needs little starts in a moment.
"""

import os

__all__ = ["__version__"]

# Threads that spin while they wait make two trainings on one machine many times slower than one after the other. The
# OpenMP runtimes (LightGBM's, and one of scikit-learn's own) read it once, when they are loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - no command but --version reads it

        return version("limitlens")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
