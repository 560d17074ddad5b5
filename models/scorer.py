"""A scorer: members that agree on a score, and the calibration that makes it a PD.

Each member is a LightGBM model trained without the accounts of one fold, and every turn deals the folds anew. An
account is scored by the member of each turn that never saw it, at any date: so its own outcome is in none of its
scores, and a score changes only when the line or the version does. An average of many moves less from one training to
the next than any of them.
"""

from dataclasses import dataclass
from typing import Any

from limitlens.data.arrays import FloatArray
from limitlens.models.calibration import Calibration, to_pd
from limitlens.models.member import AccountArray, Member
from limitlens.models.together import mean_scores


@dataclass(frozen=True)
class Scorer:
    """Members, oldest first, and their calibration."""

    members: tuple[Member, ...]
    calibration: Calibration

    def scores(self, inputs: FloatArray, account: AccountArray | None) -> FloatArray:
        """Mean log-odds of the members, before calibration.

        Parameters
        ----------
        inputs : float64 array of shape (n, columns)
        account : uint64 array of shape (n,) or None
            Whose row each is, by :func:`limitlens.models.inputs.account_numbers`; None: no member has seen any of them.
        """
        return mean_scores(self.members, inputs, account)

    def log_odds(self, inputs: FloatArray, account: AccountArray | None) -> FloatArray:
        """Calibrated log-odds; parameters as in :meth:`scores`."""
        return self.calibration.log_odds(self.scores(inputs, account))

    def pd(self, inputs: FloatArray, account: AccountArray | None) -> FloatArray:
        """Probability of default, in (0, 1); parameters as in :meth:`scores`."""
        return to_pd(self.log_odds(inputs, account))

    def to_dict(self) -> dict[str, Any]:
        """Everything but the texts, which stand in it by their sha256."""
        members = [{"sha256": member.sha256, "fold": member.fold, "turn": member.turn} for member in self.members]
        return {"members": members, "calibration": self.calibration.to_dict()}
