"""An iteration: one version of data contract, features, model and policy, named by their digests."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from limitlens.data.arrays import FloatArray
from limitlens.features.line import limit_and_age, line_columns
from limitlens.limits.decision import decide
from limitlens.limits.policy import Policy
from limitlens.models.default_risk import DefaultRiskModel, predict_pd


def digest_of(model_digest: str, policy_digest: str) -> str:
    """Sha256 over the digests of a model and a policy."""
    return hashlib.sha256(f"{model_digest}:{policy_digest}".encode()).hexdigest()


@dataclass(frozen=True)
class Iteration:
    """A model and a policy that decide together.

    Parameters
    ----------
    model : DefaultRiskModel
        Carries its feature set, calibration and data contract.
    policy : Policy
        Its rules read the feature table of the model it was released with.
    model_version : str
        Version in the model registry.
    """

    model: DefaultRiskModel
    policy: Policy
    model_version: str

    @cached_property
    def digest(self) -> str:
        """Sha256 over the digests of model and policy."""
        return digest_of(self.model.digest, self.policy.digest)

    def score(self, table: pd.DataFrame, state: pd.DataFrame) -> FloatArray:
        """PD of each line, from its features and its state."""
        limit, age = limit_and_age(state)
        return predict_pd(self.model, table, limit, age)

    def rules(self, table: pd.DataFrame, pd_: FloatArray, state: pd.DataFrame) -> pd.DataFrame:
        """Decisions of the policy for given PDs; the rules see features and line columns."""
        limit, age = limit_and_age(state)
        line = line_columns(self.model.features, table, limit, age)
        return decide(pd.concat([table, line], axis=1), pd_, state, self.policy)

    def decide(self, table: pd.DataFrame, state: pd.DataFrame) -> pd.DataFrame:
        """Score and decide: the function ``v`` of this iteration."""
        return self.rules(table, self.score(table, state), state)
