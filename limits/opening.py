"""The opening of a line: who qualifies, and with which limit. There is no history yet, only an application."""

from dataclasses import astuple

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray
from limitlens.data.errors import ConfigError
from limitlens.limits.decision import holds
from limitlens.limits.policy import Disqualifier, Policy


def qualify(applications: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """Decide applications by the opening table of the policy and its disqualifiers.

    Parameters
    ----------
    applications : DataFrame of shape (n, ...)
        ``segment`` (str), the columns that the disqualifiers name (numbers; a missing value disqualifies nobody), and
        if people ask for a limit ``requested_limit_cents`` (missing: the usual one).
    policy : Policy

    Returns
    -------
    DataFrame indexed like ``applications``
        ``qualifies`` (bool); ``limit_cents`` (int64): what was asked for within the band of the segment, in whole
        rounding units, 0 where the applicant does not qualify; ``fired_rules`` (list of str), the disqualifiers.

    Raises
    ------
    ConfigError
        A disqualifier names a column that the applications do not have.

    Examples
    --------
    >>> from limitlens.pipeline import default_policy
    >>> asked = pd.DataFrame({"segment": ["student", "salaried"], "requested_limit_cents": [90_000_00, 4_321_00]})
    >>> qualify(asked, default_policy())["limit_cents"].tolist()
    [1000000, 430000]
    """
    fired = {one.name: _disqualified(applications, one) for one in policy.disqualifiers}
    qualifies = ~np.any([np.zeros(len(applications), bool), *fired.values()], axis=0)
    bands = [policy.opening_of(segment) for segment in applications["segment"]]
    least, usual, most = np.array([astuple(band) for band in bands], np.int64).reshape(-1, 3).T
    asked = applications["requested_limit_cents"] if "requested_limit_cents" in applications else pd.Series(usual)
    cents = asked.to_numpy(np.float64, na_value=np.nan)
    within = np.clip(np.where(np.isnan(cents), usual, cents), least, most).astype(np.int64)
    limit = within // policy.steps.rounding_cents * policy.steps.rounding_cents
    return pd.DataFrame(
        {
            "qualifies": qualifies,
            "limit_cents": np.where(qualifies, limit, 0),
            "fired_rules": [[name for name, hit in fired.items() if hit[i]] for i in range(len(applications))],
        },
        index=applications.index,
    )


def _disqualified(applications: pd.DataFrame, by: Disqualifier) -> BoolArray:
    disqualified = np.ones(len(applications), bool)
    for condition in by.when:
        if condition.column not in applications:
            raise ConfigError(f"{by.name!r} names column {condition.column!r}; add it to the applications.")
        disqualified &= holds(condition, applications[condition.column].to_numpy(np.float64, na_value=np.nan))
    return disqualified
