"""Findings: what a validation holds against a version, for its reviewer to decide or blocking, and how to mend it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

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


def recorded_findings(validation: Mapping[str, Any]) -> list[tuple[str, Finding]]:
    """Every finding that was recorded with the validation of a version, with the section it stands in.

    Parameters
    ----------
    validation : mapping
        Its file. What blocks are its doubts, which ``promote`` reads; what is to be decided stands in its verdict,
        which a file of before there were verdicts has not.

    Examples
    --------
    >>> recorded_findings({"doubts": ["it ranks worse than a coin"]})
    [('', Finding(text='it ranks worse than a coin', mend='', blocks=True))]
    """
    sections = validation.get("verdict", {"sections": []})["sections"]
    recorded = [(section["title"], Finding(**one)) for section in sections for one in section["findings"]]
    known = {finding.text: (title, finding) for title, finding in recorded if finding.blocks}
    blocking = [known.get(doubt, ("", Finding(doubt, "", blocks=True))) for doubt in validation["doubts"]]
    return [*blocking, *((title, finding) for title, finding in recorded if not finding.blocks)]
