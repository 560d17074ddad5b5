"""Which decisions stood on data that were taken back, and what they would have been without."""

from collections.abc import Sequence

import pandas as pd

from limitlens.pipeline.deciding.make_good import decisions_after, redecided
from limitlens.pipeline.workspace import Workspace


def stood_on(workspace: Workspace, holds: Sequence[int]) -> pd.DataFrame:
    """Recorded decisions after the fault of some holds that would be others with all that is known today.

    Each is decided again from the state that the line was in, not from what an earlier other decision would have left.

    Parameters
    ----------
    workspace : Workspace
    holds : sequence of int
        Numbers of holds, in force or released.

    Returns
    -------
    DataFrame
        ``account_id, as_of, action, limit_before_cents, limit_cents, known_now_action, known_now_limit_cents``, by
        time and account.
    """
    every = workspace.ledger.every_hold()
    columns = ["account_id", "as_of", "action", "limit_before_cents", "limit_cents"]
    now = ["known_now_action", "known_now_limit_cents"]
    if not workspace.ledger.runs() or not holds:
        return pd.DataFrame(columns=[*columns, *now])
    suspect = pd.concat([decisions_after(workspace, every[number]) for number in holds], ignore_index=True)
    again = redecided(workspace, suspect.drop_duplicates(["account_id", "as_of"], ignore_index=True))
    other = (again["action"] != again[now[0]]) | (again["limit_cents"] != again[now[1]])
    rows: pd.DataFrame = again.loc[other, [*columns, *now]].sort_values(["as_of", "account_id"], ignore_index=True)
    return rows
