"""Payment: what the customer owes and repays, and the money that flows in and out."""

from limitlens.features.declarations import Aggregate

_P = "payment"
_PAID = ("repayment",)
_IN = ("transfer_in",)
_OUT = ("transfer_out",)

PAYMENT: tuple[Aggregate, ...] = (
    Aggregate("due_count", _P, "count", (30, 90, 180), ("due",),
              why="instalments that fell due", reason="high_obligations"),
    Aggregate("due_sum", _P, "sum", (30, 90, 180), ("due",), "amount_cents", unit="cents",
              why="what had to be paid", reason="high_obligations"),
    Aggregate("repayment_count", _P, "count", (30, 90, 180, 0), _PAID,
              why="how often something was paid back", reason="few_repayments"),
    Aggregate("repayment_sum", _P, "sum", (30, 90, 180), _PAID, "amount_cents", unit="cents",
              why="how much was paid back", reason="few_repayments"),
    Aggregate("repayment_max", _P, "max", (180,), _PAID, "amount_cents", unit="cents",
              why="largest repayment; room to pay", reason="few_repayments"),
    Aggregate("repayment_last", _P, "last", (0,), _PAID, "amount_cents", unit="cents",
              why="latest repayment", reason="few_repayments"),
    Aggregate("repayment_days_since", _P, "days_since_last", (0,), _PAID, unit="days",
              why="time since anything was paid", reason="few_repayments"),
    Aggregate("late_repayment_count", _P, "count", (30, 90, 180, 365, 0), _PAID, only="late",
              why="instalments paid after their date", reason="late_payments", monotone=1),
    Aggregate("lateness_mean", _P, "mean", (90, 180, 365, 0), _PAID, "lateness_days", unit="days",
              why="how late, on average; negative is early", reason="late_payments", monotone=1),
    Aggregate("lateness_max", _P, "max", (90, 180, 365, 0), _PAID, "lateness_days", unit="days",
              why="worst delay", reason="late_payments", monotone=1),
    Aggregate("lateness_min", _P, "min", (0,), _PAID, "lateness_days", unit="days",
              why="earliest payment; a reserve", reason="late_payments", monotone=1),
    Aggregate("lateness_last", _P, "last", (0,), _PAID, "lateness_days", unit="days",
              why="how late the latest repayment was", reason="late_payments", monotone=1),
    Aggregate("late_status_count", _P, "count", (90, 180), ("status",), only="past_due",
              why="months reported past due", reason="late_payments", monotone=1),
    Aggregate("status_dpd_mean", _P, "mean", (90, 180), ("status",), "dpd_days", unit="days",
              why="days past due as reported, on average", reason="late_payments", monotone=1),
    Aggregate("status_dpd_max", _P, "max", (90, 180), ("status",), "dpd_days", unit="days",
              why="worst days past due as reported", reason="late_payments", monotone=1),
    Aggregate("transfer_in_count", _P, "count", (30, 90), _IN,
              why="inflows, salary among them", reason="low_inflow"),
    Aggregate("transfer_in_sum", _P, "sum", (7, 30, 90), _IN, "amount_cents", unit="cents",
              why="means to pay", reason="low_inflow"),
    Aggregate("transfer_in_max", _P, "max", (30, 90), _IN, "amount_cents", unit="cents",
              why="size of the salary", reason="low_inflow"),
    Aggregate("transfer_in_days_since", _P, "days_since_last", (0,), _IN, unit="days",
              why="a salary that did not come", reason="low_inflow"),
    Aggregate("transfer_out_count", _P, "count", (1, 2, 7, 30), _OUT,
              why="money leaving", reason="transfers_out"),
    Aggregate("transfer_out_sum", _P, "sum", (1, 2, 7, 30, 90), _OUT, "amount_cents", unit="cents",
              why="borrowed money passed on", reason="transfers_out"),
    Aggregate("transfer_out_max", _P, "max", (30,), _OUT, "amount_cents", unit="cents",
              why="one large transfer away", reason="transfers_out"),
)  # fmt: skip
