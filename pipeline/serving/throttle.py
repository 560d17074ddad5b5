"""Wrong keys cost time: after a few, an address has to wait twice as long after each."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

#: Wrong keys that cost nothing, and the longest wait.
FREE, LONGEST = 3, timedelta(minutes=5)


@dataclass(frozen=True)
class Throttle:
    """Wrong keys by address: how many in a row, and until when the address waits.

    Examples
    --------
    >>> noon = datetime(2026, 7, 1, 12)
    >>> throttle = Throttle()
    >>> for _ in range(5):
    ...     throttle = throttle.after_wrong("10.0.0.7", noon)
    >>> throttle.waits("10.0.0.7", noon).seconds, throttle.waits("10.0.0.8", noon).seconds
    (2, 0)
    >>> throttle.after_right("10.0.0.7").waits("10.0.0.7", noon).seconds
    0
    """

    wrong: Mapping[str, tuple[int, datetime]] = field(default_factory=dict)

    def waits(self, address: str, now: datetime) -> timedelta:
        """How long an address still has to wait."""
        _, until = self.wrong.get(address, (0, now))
        return max(until - now, timedelta(0))

    def after_wrong(self, address: str, now: datetime) -> "Throttle":
        """A wrong key came; what is long over is forgotten."""
        count = self.wrong.get(address, (0, now))[0] + 1
        wait = min(timedelta(seconds=2 ** min(count - FREE - 1, 30)), LONGEST) if count > FREE else timedelta(0)
        lately = {one: seen for one, seen in self.wrong.items() if now - seen[1] < 12 * LONGEST}
        return replace(self, wrong=lately | {address: (count, now + wait)})

    def after_right(self, address: str) -> "Throttle":
        """The right key came."""
        return replace(self, wrong={one: seen for one, seen in self.wrong.items() if one != address})
