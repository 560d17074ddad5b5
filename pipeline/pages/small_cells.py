"""Cells of published tables: a count of few people says who they are."""

from collections.abc import Sequence

#: A smaller count of people is not shown.
FEWEST = 10

UNDER = f"under {FEWEST}"


def published(counts: Sequence[int]) -> list[str]:
    """Counts of one row as a page shows them: 1 to 9 are not told, and nor can one be had from the sum of the row.

    Where one cell alone is hidden, the next smallest that is not 0 is hidden too (complementary suppression: Cox 1980).

    Examples
    --------
    >>> published([120, 4, 30, 0])
    ['120', 'under 10', 'not shown', '0']
    >>> published([120, 4, 3, 0]), published([12, 40])
    (['120', 'under 10', 'under 10', '0'], ['12', '40'])
    """
    hidden = [0 < count < FEWEST for count in counts]
    shown = [UNDER if small else f"{count:,}" for small, count in zip(hidden, counts, strict=True)]
    if sum(hidden) == 1 and (rest := [(count, n) for n, count in enumerate(counts) if count >= FEWEST]):
        shown[min(rest)[1]] = "not shown"
    return shown


def is_shown(part: float, of: float) -> bool:
    """Whether a share of people may be told: neither it nor what is left of them is a few."""
    return not (0 < round(part) < FEWEST or 0 < round(of - part) < FEWEST)


def share(part: float, of: float) -> str:
    """A share of people, unless it or what is left of them is a few.

    Parameters
    ----------
    part, of : float
        Numbers of people.

    Examples
    --------
    >>> share(50, 200), share(0, 200), share(3, 200), share(198, 200)
    ('25.00%', '0.00%', 'under 10', 'all but under 10')
    """
    if 0 < round(part) < FEWEST:
        return UNDER
    if 0 < round(of - part) < FEWEST:
        return f"all but {UNDER}"
    return f"{part / of:.2%}" if of else "of none"
