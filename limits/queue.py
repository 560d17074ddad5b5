"""The review queue: which of the lines sent to review people look at first, and how far a day reaches.

It acts after the decisions and changes none of them: what waits beyond the capacity stays as it was decided.
"""

import numpy as np
import pandas as pd

from limitlens.data.arrays import FloatArray
from limitlens.limits.decision import avoidable_loss_cents, log_odds
from limitlens.limits.policy import Order, Policy


def review_queue(reviews: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """Give every review its place.

    Parameters
    ----------
    reviews : DataFrame of shape (n, ...)
        One row an account: ``account_id`` (str), ``segment``, ``pd``, ``limit_cents``, ``balance_cents`` (int64),
        ``fired_rules`` (list of str), ``jumped_with`` (str): which lines jumped with it, if unusually many did.
    policy : Policy
        Its ``[reviews]`` say what comes first.

    Returns
    -------
    DataFrame indexed like ``reviews``
        ``place`` (int64) from 1 on; ``within_capacity`` (bool), whether the first day reaches it; ``evidence`` (bool),
        whether a hard rule sent it; ``avoidable_loss_cents`` and ``avoidable_harm_cents`` (int64). Lines that jumped
        with others come first: one look at the data may settle them all. Of equals the larger avoidable loss comes
        first, then the account.

    Examples
    --------
    >>> from limitlens.pipeline import default_policy
    >>> lines = {"account_id": ["A", "B"], "segment": "salaried", "pd": [0.13, 0.17], "limit_cents": 10_000_00}
    >>> reviews = pd.DataFrame(lines).assign(balance_cents=0, fired_rules=[["pd_review"]] * 2, jumped_with="")
    >>> review_queue(reviews, default_policy())["place"].tolist()
    [2, 1]
    """
    limit, balance = (reviews[name].to_numpy(np.int64) for name in ("limit_cents", "balance_cents"))
    loss = avoidable_loss_cents(reviews["pd"].to_numpy(np.float64), limit, balance, policy)
    harm = avoidable_harm_cents(reviews)
    senders = {rule.name for rule in policy.evidence if rule.action == "review"}
    evidence = np.array([not senders.isdisjoint(fired) for fired in reviews["fired_rules"]], bool)
    keys = pd.DataFrame(
        {
            "alone": reviews["jumped_with"].to_numpy() == "",
            "later": ~evidence if policy.reviews.rules_first else False,
            "rank": _rank(reviews, loss, harm, policy),
            "less": -loss,
            "account_id": reviews["account_id"].to_numpy(),
        }
    )
    place = np.empty(len(reviews), np.int64)
    place[keys.sort_values(list(keys.columns)).index] = np.arange(1, len(reviews) + 1)
    return pd.DataFrame(
        {
            "place": place,
            "within_capacity": place <= policy.reviews.capacity_per_day,
            "evidence": evidence,
            "avoidable_loss_cents": np.round(loss).astype(np.int64),
            "avoidable_harm_cents": np.round(harm).astype(np.int64),
        },
        index=reviews.index,
    )


def avoidable_harm_cents(reviews: pd.DataFrame) -> FloatArray:
    """Credit that a good customer is expected to lose if nobody looks: P(good) × how sure the loss is × credit.

    Parameters
    ----------
    reviews : DataFrame of shape (n, ...)
        As :func:`review_queue` takes them.

    Returns
    -------
    float64 array of shape (n,)
        (1 − PD) × PD × max(limit − balance, 0): the higher its PD, the surer is a line to be acted on in the end.
    """
    pd_, limit, balance = (reviews[name].to_numpy(np.float64) for name in ("pd", "limit_cents", "balance_cents"))
    harm: FloatArray = (1 - pd_) * pd_ * np.maximum(limit - balance, 0)
    return harm


def _rank(reviews: pd.DataFrame, loss: FloatArray, harm: FloatArray, policy: Policy) -> FloatArray:
    """What is smallest comes first."""
    pd_ = reviews["pd"].to_numpy(np.float64)
    cut = np.array([policy.cut_offs(segment).decrease_above_pd for segment in reviews["segment"]], float)
    by: dict[Order, FloatArray] = {
        "nearest_cut_off": np.abs(log_odds(pd_) - log_odds(cut)),
        "avoidable_loss": -loss,
        "pd": -pd_,
        "avoidable_harm": -harm,
    }
    return by[policy.reviews.order]
