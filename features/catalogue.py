"""The catalogue: every feature that limitlens ships, with those that cross sources and those of the line."""

from limitlens.features.consumption import CONSUMPTION
from limitlens.features.declarations import FeatureSet, LineShare, Position, Ratio
from limitlens.features.device import DEVICE
from limitlens.features.payment import PAYMENT
from limitlens.features.reasons import check_reasons
from limitlens.features.shared_risk import SHARED_RISK

_C, _P, _D = "consumption", "payment", "device"

POSITIONS: tuple[Position, ...] = (
    Position("dpd_days", _P, "days", "days since the oldest instalment not covered", "late_payments", 1),
    Position("past_due_cents", _P, "cents", "how much is overdue", "late_payments", 1),
    Position("balance_cents", _C, "cents", "what is owed now", "high_balance"),
    Position("balance_mean_90d_cents", _C, "cents", "what was owed on average, counted back from now", "high_balance"),
)

RATIOS: tuple[Ratio, ...] = (
    Ratio("draw_surge_2d_30d", "draw_sum_2d", "draw_sum_30d", _C, "cash of the month drawn in two days",
          "frequent_draws"),
    Ratio("draw_surge_30d_180d", "draw_sum_30d", "draw_sum_180d", _C, "cash of the half-year drawn this month",
          "frequent_draws"),
    Ratio("draw_count_surge_7d_90d", "draw_count_7d", "draw_count_90d", _C, "draws of the quarter in a week",
          "frequent_draws"),
    Ratio("purchase_surge_7d_90d", "purchase_sum_7d", "purchase_sum_90d", _C, "spending of the quarter in a week",
          "high_spending"),
    Ratio("purchase_trend_30d_90d", "purchase_sum_30d", "purchase_sum_90d", _C, "this month in the quarter",
          "spending_pattern"),
    Ratio("purchase_trend_90d_180d", "purchase_sum_90d", "purchase_sum_180d", _C, "this quarter in the half-year",
          "spending_pattern"),
    Ratio("night_draw_share_30d", "night_draw_count_30d", "draw_count_30d", _C, "draws at night", "night_activity"),
    Ratio("night_draw_share_90d", "night_draw_count_90d", "draw_count_90d", _C, "draws at night", "night_activity"),
    Ratio("weekend_draw_share_90d", "weekend_draw_count_90d", "draw_count_90d", _C, "draws at weekends",
          "spending_pattern"),
    Ratio("night_purchase_share_90d", "night_purchase_count_90d", "purchase_count_90d", _C, "purchases at night",
          "night_activity"),
    Ratio("weekend_purchase_share_90d", "weekend_purchase_count_90d", "purchase_count_90d", _C,
          "purchases at weekends", "spending_pattern"),
    Ratio("cash_share_90d", "draw_sum_90d", "purchase_sum_90d", _C, "cash against purchases", "large_draws"),
    Ratio("draw_growth", "draw_last_ever", "draw_mean_ever", _C, "latest draw against the usual", "large_draws"),
    Ratio("refund_share_90d", "refund_sum_90d", "purchase_sum_90d", _C, "purchases given back", "spending_pattern"),
    Ratio("statement_trend", "statement_last_ever", "statement_mean_180d", _C, "balance against the usual",
          "high_balance"),
    Ratio("balance_trend", "balance_cents", "balance_mean_90d_cents", _C, "balance against the usual",
          "high_balance"),
    Ratio("transfer_out_of_draw_2d", "transfer_out_sum_2d", "draw_sum_2d", _P, "borrowed cash passed on at once",
          "transfers_out"),
    Ratio("passed_on_of_draw_30d", "passed_on_sum_30d", "draw_sum_30d", _P, "borrowed cash passed on",
          "transfers_out"),
    Ratio("outflow_of_inflow_30d", "transfer_out_sum_30d", "transfer_in_sum_30d", _P, "more leaving than coming",
          "transfers_out"),
    Ratio("outflow_surge_7d_90d", "transfer_out_sum_7d", "transfer_out_sum_90d", _P,
          "money of the quarter sent away in a week", "transfers_out"),
    Ratio("inflow_trend_30d_90d", "transfer_in_sum_30d", "transfer_in_sum_90d", _P, "inflow of this month",
          "low_inflow"),
    Ratio("inflow_trend_90d_180d", "transfer_in_sum_90d", "transfer_in_sum_180d", _P, "inflow of this quarter",
          "low_inflow"),
    Ratio("inflow_spread_180d", "transfer_in_std_180d", "transfer_in_mean_180d", _P, "inflows that vary",
          "low_inflow"),
    Ratio("inflow_last_share", "transfer_in_last_ever", "transfer_in_mean_180d", _P, "latest inflow to the usual",
          "low_inflow"),
    Ratio("repaid_of_due_90d", "repayment_sum_90d", "due_sum_90d", _P, "paid of what was due", "few_repayments"),
    Ratio("repaid_of_due_180d", "repayment_sum_180d", "due_sum_180d", _P, "paid of what was due", "few_repayments"),
    Ratio("late_share_180d", "late_count_180d", "due_count_180d", _P, "instalments settled late",
          "late_payments", 1),
    Ratio("exact_share_180d", "exact_count_180d", "due_count_180d", _P, "instalments paid to the cent, no more",
          "few_repayments"),
    Ratio("repaid_of_balance_30d", "repayment_sum_30d", "balance_mean_90d_cents", _P, "share of the debt that is paid",
          "few_repayments"),
    Ratio("repaid_of_statement_30d", "repayment_sum_30d", "statement_mean_90d", _P, "share of the bill that is paid",
          "few_repayments"),
    Ratio("repaid_of_statement_180d", "repayment_sum_180d", "statement_mean_180d", _P,
          "share of the bill that is paid", "few_repayments"),
    Ratio("due_of_inflow_90d", "due_sum_90d", "transfer_in_sum_90d", _P, "obligations against means",
          "high_obligations"),
    Ratio("balance_of_inflow_90d", "balance_cents", "transfer_in_sum_90d", _P, "debt against means", "high_balance"),
    Ratio("new_device_share_30d", "new_device_count_30d", "device_event_count_30d", _D, "sign-ins on new devices",
          "new_device"),
    Ratio("failed_login_share_30d", "failed_login_count_30d", "device_event_count_30d", _D, "sign-ins that fail",
          "failed_sign_ins"),
    Ratio("night_sign_in_share_30d", "night_event_count_30d", "device_event_count_30d", _D, "sign-ins at night",
          "night_activity"),
)  # fmt: skip

SHARES: tuple[LineShare, ...] = (
    LineShare("utilisation", "balance_cents", _C, "how much of the line is used", "high_utilisation"),
    LineShare("utilisation_mean_90d", "balance_mean_90d_cents", _C, "usual use of the line", "high_utilisation"),
    LineShare("utilisation_change_30d", "balance_change_30d", _C, "more of the line in use than a month ago",
              "high_utilisation"),
    LineShare("statement_share_90d", "statement_mean_90d", _C, "usual use of the line", "high_utilisation"),
    LineShare("draw_share_2d", "draw_sum_2d", _C, "line drawn in cash within two days", "frequent_draws"),
    LineShare("draw_share_7d", "draw_sum_7d", _C, "line drawn in cash within a week", "frequent_draws"),
    LineShare("draw_share_30d", "draw_sum_30d", _C, "line drawn in cash within a month", "large_draws"),
    LineShare("draw_max_share_30d", "draw_max_30d", _C, "largest draw of the month, of the line", "large_draws"),
    LineShare("purchase_share_30d", "purchase_sum_30d", _C, "line spent within a month", "high_spending"),
    LineShare("repayment_share_30d", "repayment_sum_30d", _P, "line paid back within a month", "few_repayments"),
    LineShare("draws_per_day", "draw_count_ever", _C, "draws since opening", "frequent_draws", by="age"),
)  # fmt: skip

#: Every feature that ships.
CATALOGUE = check_reasons(
    FeatureSet(
        aggregates=(*CONSUMPTION, *PAYMENT, *DEVICE, *SHARED_RISK), ratios=RATIOS, positions=POSITIONS, shares=SHARES
    )
)
