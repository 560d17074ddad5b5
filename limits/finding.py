"""Findings: what a validation holds against a version, for its reviewer to decide or blocking, and how to mend it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

#: Nothing; who reviews the version decides; nobody but the approver of the policy may promote it.
Level = Literal["fine", "decision", "blocks"]


@dataclass(frozen=True)
class Finding:
    """A figure outside of its bound.

    Parameters
    ----------
    text : str
        What was found, in a sentence without its full stop.
    mend : str
        What would mend it, or how to decide, in sentences.
    blocks : bool
        ``promote`` refuses the version, but to the approver; otherwise whoever reviews it decides.
    """

    text: str
    mend: str
    blocks: bool = False


def level_of(findings: Iterable[Finding]) -> Level:
    """The worst of some findings.

    Examples
    --------
    >>> one, other = Finding("ranks badly", "Train again.", blocks=True), Finding("moved", "Read on.")
    >>> level_of([one, other]), level_of([other]), level_of([])
    ('blocks', 'decision', 'fine')
    """
    kinds = {one.blocks for one in findings}
    return "blocks" if True in kinds else "decision" if kinds else "fine"
