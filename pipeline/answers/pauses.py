"""Pauses: how many lines waited for a second look, and what it ended in."""

from dataclasses import dataclass

from limitlens.limits.ledger import Ledger
from limitlens.limits.policy import ADVERSE


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
    found = ledger.query("SELECT account_id, as_of, necessary_data FROM current WHERE action = 'pause'")
    if found.empty:  # an older ledger knows no pauses
        return Pauses(0, 0, 0, 0, float("nan"), 0)
    after = ledger.query(
        "SELECT decisions.account_id, decisions.as_of, decisions.action, decisions.state.paused_at AS paused_at "
        "FROM decisions JOIN (SELECT DISTINCT account_id FROM decisions WHERE action = 'pause') USING (account_id)"
    )
    ends = after[after["action"].isin([*ADVERSE, "unfreeze"]) & after["paused_at"].notna()]
    ended = found.merge(ends, how="left", left_on=["account_id", "as_of"], right_on=["account_id", "paused_at"])
    lifted = ended["action"] == "unfreeze"
    open_ = ended[ended["action"].isna()]
    later = open_.merge(after[after["paused_at"].isna()], on="account_id", suffixes=("_of", ""))
    judged = later.loc[later["as_of"] > later["as_of_of"], ["account_id", "as_of_of"]].drop_duplicates()
    days = (ended["as_of_y"] - ended["as_of_x"])[lifted].dt.days
    return Pauses(
        lifted=int(lifted.sum()),
        carried_out=int(ended["action"].isin(ADVERSE).sum()),
        judged=len(judged),
        waiting=len(open_) - len(judged),
        days=float(days.median()) if len(days) else float("nan"),
        of_data=int(found["necessary_data"].fillna(False).astype(bool).sum()),
    )
