"""The catalogue: every feature that limitlens ships, with those that cross sources and those of the line."""

from limitlens.features.consumption import CONSUMPTION
from limitlens.features.declarations import FeatureSet, LineShare, Position, Ratio
from limitlens.features.device import DEVICE
from limitlens.features.payment import PAYMENT

_C, _P, _D = "consumption", "payment", "device"

POSITIONS: tuple[Position, ...] = (
    Position("dpd_days", _P, "days", "days since the oldest instalment not covered", "late_payments", 1),
    Position("past_due_cents", _P, "cents", "how much is overdue", "late_payments", 1),
    Position("balance_cents", _C, "cents", "what is owed now", "high_balance"),
)

RATIOS: tuple[Ratio, ...] = (
    Ratio("draw_surge_2d_30d", "draw_sum_2d", "draw_sum_30d", _C, "cash of the month drawn in two days",
          "frequent_draws"),
    Ratio("draw_surge_30d_180d", "draw_sum_30d", "draw_sum_180d", _C, "cash of the half-year drawn this month",
          "frequent_draws"),
    Ratio("purchase_surge_7d_90d", "purchase_sum_7d", "purchase_sum_90d", _C, "spending of the quarter in a week",
          "high_spending"),
    Ratio("purchase_trend_30d_90d", "purchase_sum_30d", "purchase_sum_90d", _C, "this month in the quarter",
          "spending_pattern"),
    Ratio("night_draw_share_30d", "night_draw_count_30d", "draw_count_30d", _C, "draws at night", "night_activity"),
    Ratio("draw_growth", "draw_last_ever", "draw_mean_ever", _C, "latest draw against the usual", "large_draws"),
    Ratio("statement_trend", "statement_last_ever", "statement_mean_180d", _C, "balance against the usual",
          "high_balance"),
    Ratio("transfer_out_of_draw_2d", "transfer_out_sum_2d", "draw_sum_2d", _P, "borrowed cash passed on at once",
          "transfers_out"),
    Ratio("outflow_of_inflow_30d", "transfer_out_sum_30d", "transfer_in_sum_30d", _P, "more leaving than coming",
          "transfers_out"),
    Ratio("inflow_trend_30d_90d", "transfer_in_sum_30d", "transfer_in_sum_90d", _P, "inflow of this month",
          "low_inflow"),
    Ratio("repaid_of_due_90d", "repayment_sum_90d", "due_sum_90d", _P, "paid of what was due", "few_repayments"),
    Ratio("repaid_of_due_180d", "repayment_sum_180d", "due_sum_180d", _P, "paid of what was due", "few_repayments"),
    Ratio("late_share_180d", "late_repayment_count_180d", "repayment_count_180d", _P, "repayments that were late",
          "late_payments", 1),
    Ratio("late_share_ever", "late_repayment_count_ever", "repayment_count_ever", _P, "repayments that were late",
          "late_payments", 1),
    Ratio("repaid_of_statement_30d", "repayment_sum_30d", "statement_mean_90d", _P, "share of the bill that is paid",
          "few_repayments"),
    Ratio("repaid_of_statement_180d", "repayment_sum_180d", "statement_mean_180d", _P,
          "share of the bill that is paid", "few_repayments"),
    Ratio("balance_of_inflow_90d", "balance_cents", "transfer_in_sum_90d", _P, "debt against means", "high_balance"),
    Ratio("new_device_share_30d", "new_device_count_30d", "device_event_count_30d", _D, "sign-ins on new devices",
          "new_device"),
)  # fmt: skip

SHARES: tuple[LineShare, ...] = (
    LineShare("utilisation", "balance_cents", _C, "how much of the line is used", "high_utilisation"),
    LineShare("statement_share_90d", "statement_mean_90d", _C, "usual use of the line", "high_utilisation"),
    LineShare("draw_share_2d", "draw_sum_2d", _C, "line drawn in cash within two days", "frequent_draws"),
    LineShare("draw_share_7d", "draw_sum_7d", _C, "line drawn in cash within a week", "frequent_draws"),
    LineShare("draw_share_30d", "draw_sum_30d", _C, "line drawn in cash within a month", "large_draws"),
    LineShare("purchase_share_30d", "purchase_sum_30d", _C, "line spent within a month", "high_spending"),
    LineShare("past_due_share", "past_due_cents", _P, "overdue part of the line", "late_payments", 1),
    LineShare("repayment_share_30d", "repayment_sum_30d", _P, "line paid back within a month", "few_repayments"),
)

CATALOGUE = FeatureSet(aggregates=(*CONSUMPTION, *PAYMENT, *DEVICE), ratios=RATIOS, positions=POSITIONS, shares=SHARES)
