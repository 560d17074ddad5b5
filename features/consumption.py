"""Consumption: what the customer buys and borrows. Bursts of cash draws soon after opening are the classic sign."""

from limitlens.features.declarations import Aggregate

_C = "consumption"
_SPEND = ("purchase",)
_DRAW = ("draw",)

CONSUMPTION: tuple[Aggregate, ...] = (
    Aggregate("draw_count", _C, "count", (1, 2, 7, 30, 90, 180, 365, 0), _DRAW,
              why="frequent cash draws: need for cash now", reason="frequent_draws"),
    Aggregate("draw_sum", _C, "sum", (1, 2, 7, 30, 90, 180), _DRAW, "amount_cents", unit="cents",
              why="how much cash was taken", reason="large_draws"),
    Aggregate("draw_mean", _C, "mean", (30, 90, 0), _DRAW, "amount_cents", unit="cents",
              why="usual size of a draw", reason="large_draws"),
    Aggregate("draw_max", _C, "max", (2, 7, 30, 90, 0), _DRAW, "amount_cents", unit="cents",
              why="one unusually large draw", reason="large_draws"),
    Aggregate("draw_last", _C, "last", (0,), _DRAW, "amount_cents", unit="cents",
              why="size of the latest draw", reason="large_draws"),
    Aggregate("draw_days_since", _C, "days_since_last", (0,), _DRAW, unit="days",
              why="how fresh the last draw is", reason="frequent_draws"),
    Aggregate("night_draw_count", _C, "count", (2, 7, 30), _DRAW, only="night",
              why="cash drawn between midnight and six", reason="night_activity"),
    Aggregate("purchase_count", _C, "count", (1, 2, 7, 30, 90), _SPEND,
              why="everyday use of the line", reason="spending_pattern"),
    Aggregate("purchase_sum", _C, "sum", (2, 7, 30, 90, 180), _SPEND, "amount_cents", unit="cents",
              why="how much is spent", reason="high_spending"),
    Aggregate("purchase_mean", _C, "mean", (30, 90), _SPEND, "amount_cents", unit="cents",
              why="usual size of a purchase", reason="spending_pattern"),
    Aggregate("purchase_max", _C, "max", (7, 30, 90), _SPEND, "amount_cents", unit="cents",
              why="one unusually large purchase", reason="high_spending"),
    Aggregate("purchase_days_since", _C, "days_since_last", (0,), _SPEND, unit="days",
              why="a line that fell silent", reason="spending_pattern"),
    Aggregate("category_distinct", _C, "distinct", (30, 90), _SPEND, "category",
              why="breadth of spending; it narrows under stress", reason="spending_pattern"),
    Aggregate("channel_distinct", _C, "distinct", (30,), (*_SPEND, *_DRAW), "channel",
              why="breadth of channels", reason="spending_pattern"),
    Aggregate("weekend_count", _C, "count", (30,), _SPEND, only="weekend",
              why="rhythm of the week", reason="spending_pattern"),
    Aggregate("refund_sum", _C, "sum", (30, 90), ("refund",), "amount_cents", unit="cents",
              why="money flowing back", reason="spending_pattern"),
    Aggregate("refund_count", _C, "count", (90,), ("refund",),
              why="returns, or cash-out through refunds", reason="spending_pattern"),
    Aggregate("fee_sum", _C, "sum", (90, 0), ("fee",), "amount_cents", unit="cents",
              why="interest and charges carried", reason="high_balance"),
    Aggregate("statement_last", _C, "last", (0,), ("statement_balance",), "amount_cents", unit="cents",
              why="latest balance as billed", reason="high_balance"),
    Aggregate("statement_mean", _C, "mean", (90, 180), ("statement_balance",), "amount_cents", unit="cents",
              why="usual balance", reason="high_balance"),
    Aggregate("statement_max", _C, "max", (180,), ("statement_balance",), "amount_cents", unit="cents",
              why="peak balance", reason="high_balance"),
)  # fmt: skip
