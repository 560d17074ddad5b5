"""The day: what the last run decided, and what customers complain of, as figures."""

from dataclasses import dataclass

from limitlens.limits.attribution import PLAYERS
from limitlens.limits.complaints import Complaint, complaints
from limitlens.limits.ledger import Run
from limitlens.limits.policy import ACTIONS
from limitlens.pipeline.workspace import Workspace

#: Days before the last run over which complaints are counted.
COMPLAINT_DAYS = 90

_MOVED = ", ".join(
    f"COALESCE(SUM({side}(share_cents_{player}, 0)), 0)::BIGINT AS {side}_{player}"
    for player in PLAYERS
    for side in ("GREATEST", "LEAST")
)

_BY_ACTION_SQL = f"""
SELECT action, COUNT(*) AS lines, COUNT(*) FILTER (limit_cents <> limit_before_cents) AS changed,
    SUM(GREATEST(limit_cents - limit_before_cents, 0))::BIGINT AS raised,
    SUM(LEAST(limit_cents - limit_before_cents, 0))::BIGINT AS cut, {_MOVED}
FROM current WHERE run_id = $run GROUP BY action
"""

_LATELY_SQL = """
SELECT account_id, as_of, state.opened_at AS opened_at, action, limit_before_cents, limit_cents,
    state.can_draw AS could_draw, can_draw
FROM decisions WHERE as_of > $run - TO_DAYS($days)
"""


@dataclass(frozen=True)
class Day:
    """What the last run decided.

    Parameters
    ----------
    run : Run
    policy : str
        Its name.
    actions : dict of str to int
        Lines by action, from the mildest.
    changed, raised_cents, cut_cents : int
        Limits changed, and the credit added and removed.
    causes : dict of str to (int, int)
        What each player raised and cut, in cents, over the split decisions.
    complaints : list of Complaint
        Over the last :data:`COMPLAINT_DAYS` days.
    """

    run: Run
    policy: str
    actions: dict[str, int]
    changed: int
    raised_cents: int
    cut_cents: int
    causes: dict[str, tuple[int, int]]
    complaints: list[Complaint]

    @property
    def lines(self) -> int:
        """Lines decided."""
        return sum(self.actions.values())


def day(workspace: Workspace, run: Run) -> Day:
    """Count what a run decided.

    Parameters
    ----------
    workspace : Workspace
    run : Run
    """
    rows = workspace.ledger.query(_BY_ACTION_SQL, {"run": run.run_id}).set_index("action")
    sums = rows.sum().astype("int64").to_dict()
    counts = rows["lines"].to_dict()
    lately = workspace.ledger.query(_LATELY_SQL, {"run": run.as_of, "days": COMPLAINT_DAYS})
    return Day(
        run=run,
        policy=workspace.policy(run.policy_digest).name,
        actions={action: lines for action in ACTIONS if (lines := counts.get(action))},
        changed=sums["changed"],
        raised_cents=sums["raised"],
        cut_cents=sums["cut"],
        causes={player: (sums[f"GREATEST_{player}"], sums[f"LEAST_{player}"]) for player in PLAYERS},
        complaints=complaints(lately) if len(lately) else [],
    )
