"""The watch may do less within the day than a date of the plan may: that is no cause of a change."""

import pandas as pd

from limitlens.limits.state import STATE_COLUMNS

_STATE = [f"state.{name}" for name in STATE_COLUMNS]


def looked_at_alike(previous: pd.DataFrame, changes: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Decisions to split, as if both had been looked at in the same way; nothing differs where no watch was involved.

    What the watch did is split with the state of its moment on both sides: it pauses or lifts a pause, whatever was
    decided before. What keeps or lifts its pause is taken as if the watch had looked. What was decided after it lifted
    a pause is taken as if a date of the plan had lifted it. Each leaves both limits as they were recorded.

    Parameters
    ----------
    previous, changes : DataFrame of n rows with a plain index
        Decisions at t0 and t1 with ``action``, ``limit_cents`` and ``state.*``.
    """
    seen, saw = changes["state.watched"], previous["state.watched"]
    if not (seen.any() or saw.any()):
        return previous, changes
    before = previous.assign(**{"state.watched": saw & (seen | (previous["action"] != "unfreeze"))})
    for name in _STATE:
        before[name] = changes[name].where(seen, before[name])
    before["limit_cents"] = changes["limit_before_cents"].where(seen, before["limit_cents"])
    goes_on = ~seen & saw & (previous["action"] == "pause") & changes["state.paused_at"].notna()
    return before, changes.assign(**{"state.watched": seen | goes_on})
