"""How far a long job has come: a line of text that also says how much of the whole is done."""

from collections.abc import Callable

#: Told what a job is doing, a line at a time.
Progress = Callable[[str], None]


def silent(_: str) -> None:
    """Progress that nobody reads; the default of every job."""


class Part(str):
    """What is being done, and how much of it is done; for whoever only reads text, it is text.

    Parameters
    ----------
    text : str
    done, whole : float
        Of equal units of work, however large.

    Examples
    --------
    >>> part = Part("member 2 of 10", 2, 10)
    >>> print(part), part.done / part.whole
    member 2 of 10
    (None, 0.2)
    """

    __slots__ = ("done", "whole")

    done: float
    whole: float

    def __new__(cls, text: str, done: float, whole: float) -> "Part":
        """Text with two numbers."""
        part = super().__new__(cls, text)
        part.done, part.whole = done, whole
        return part
