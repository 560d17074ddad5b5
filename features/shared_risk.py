"""Shared risk: on whose risk list the customer stands, of the lenders with which there was an exchange."""

from limitlens.features.declarations import Aggregate

_S = "shared_risk"

SHARED_RISK: tuple[Aggregate, ...] = (
    Aggregate("risk_list_lender_distinct", _S, "distinct", (30, 90, 365), (), "lender", unit="lenders",
              why="other lenders that have had trouble with the customer", reason="shared_risk", monotone=1),
    Aggregate("risk_list_days_since", _S, "days_since_last", (365,), unit="days",
              why="how fresh the last listing is", reason="shared_risk"),
)  # fmt: skip
