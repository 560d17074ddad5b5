"""Pauses: how many lines waited for a second look, and what it ended in."""

from dataclasses import dataclass

from limitlens.limits.ledger import Ledger
from limitlens.limits.policy import ADVERSE

#: Each pause with the decision that ended it, and whether a person ordered something for the line since but to keep it.
_ENDS = f"""
SELECT pause.as_of, COALESCE(pause.necessary_data, FALSE) AS of_data, ended.action, ended.as_of AS ended_at,
    EXISTS (
        FROM overrides WHERE overrides.account_id = pause.account_id AND overrides.at >= pause.as_of
        AND overrides.action <> 'keep'
    ) AS judged
FROM current AS pause LEFT JOIN decisions AS ended ON ended.account_id = pause.account_id
    AND ended.state.paused_at = pause.as_of AND ended.action IN {("unfreeze", *sorted(ADVERSE))}
WHERE pause.action = 'pause'
"""


@dataclass(frozen=True)
class Pauses:
    """What became of the pauses of a ledger.

    Parameters
    ----------
    lifted, carried_out, judged, waiting : int
        Pauses after which nothing adverse was asked for any more; that ended in an adverse action; that a person ended;
        that go on. They sum to all.
    days : float
        Median days to the end of those that were lifted; not a number where none was.
    of_data : int
        Pauses that would not have begun with all records in time, as far as it is known.
    """

    lifted: int
    carried_out: int
    judged: int
    waiting: int
    days: float
    of_data: int

    @property
    def all(self) -> int:
        """All of them."""
        return self.lifted + self.carried_out + self.judged + self.waiting

    def sentence(self) -> str:
        """In words, for a terminal or a page; empty where nothing was paused."""
        if not self.all:
            return ""
        let_go = f"{self.lifted:,} let go{f' (half of them within {self.days:.0f} days)' if self.lifted else ''}"
        rest = [f"{self.judged:,} ended by a person"] if self.judged else []
        rest += [f"{self.waiting:,} still waiting"] if self.waiting else []
        of_data = f"; {self.of_data:,} would not have begun with all records in time" if self.of_data else ""
        ends = ", ".join([let_go, f"{self.carried_out:,} carried out", *rest])
        return f"{self.all:,} pauses for a second look: {ends}{of_data}"


def pauses(ledger: Ledger) -> Pauses:
    """Count the pauses of a ledger by what they ended in.

    Raises
    ------
    WorkspaceError
        Nothing has been decided yet.
    """
    if ledger.query("SELECT 1 FROM decisions WHERE action = 'pause' LIMIT 1").empty:  # an old ledger knows no pause
        return Pauses(0, 0, 0, 0, float("nan"), 0)
    ends = ledger.query(_ENDS)
    lifted, over = ends["action"] == "unfreeze", ends["action"].notna()
    days = (ends["ended_at"] - ends["as_of"])[lifted].dt.days
    return Pauses(
        lifted=int(lifted.sum()),
        carried_out=int((over & ~lifted).sum()),
        judged=int((~over & ends["judged"]).sum()),
        waiting=int((~over & ~ends["judged"]).sum()),
        days=float(days.median()),
        of_data=int(ends["of_data"].sum()),
    )
