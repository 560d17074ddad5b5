"""Plots as SVG text: for the report, the notebook and the MLflow run."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from limitlens.limits.attribution import PLAYERS

#: One colour a cause, everywhere; chosen to be told apart by colour-blind readers (Okabe & Ito).
COLOURS = {
    "behaviour": "#0072B2",
    "data": "#E69F00",
    "model": "#CC79A7",
    "policy": "#009E73",
    "state": "#8A8F98",
}

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "limitlens",
    "font.family": "sans-serif",
    "font.sans-serif": ["Noto Sans", "Noto Sans CJK SC", "DejaVu Sans", "sans-serif"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9AA3AF",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E9EE",
    "xtick.color": "#4B5563",
    "ytick.color": "#4B5563",
}


@contextmanager
def _drawing(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def calibration(validation: Mapping[str, Any]) -> str:
    """Observed share of bads against mean PD, by tenth of the validation rows."""
    table = validation["calibration"]
    with _drawing(4.6, 3.6) as (figure, axes):
        top = max(*table["expected_share"], *table["observed_share"]) * 1.08
        axes.plot([0, top], [0, top], color="#9AA3AF", linewidth=1, linestyle="--")
        axes.plot(table["expected_share"], table["observed_share"], "o-", color=COLOURS["behaviour"], linewidth=1.5)
        axes.set(xlabel="PD, mean of each tenth", ylabel="share that went bad", xlim=(0, top), ylim=(0, top))
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.yaxis.set_major_formatter("{x:.0%}")
        return _svg(figure)


def changes_by_cause(changes: pd.DataFrame) -> str:
    """Limit changes of each period, stacked by cause, cuts below the line and raises above.

    Parameters
    ----------
    changes : DataFrame
        Indexed by period; columns ``(sign, player)`` flattened as ``up_behaviour`` … ``down_state``, in currency.
    """
    with _drawing(8.6, 3.4) as (figure, axes):
        places = range(len(changes))
        for sign in ("up", "down"):
            base = pd.Series(0.0, index=changes.index)
            for player in PLAYERS:
                height = changes[f"{sign}_{player}"]
                label = player if sign == "up" else None
                axes.bar(places, height, bottom=base, width=0.72, color=COLOURS[player], label=label)
                base += height
        axes.axhline(0, color="#4B5563", linewidth=0.8)
        step = max(1, len(changes) // 12)
        axes.set_xticks(list(places)[::step], list(changes.index)[::step])
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_ylabel("limits, in currency")
        axes.legend(ncols=5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.16))
        return _svg(figure)


def waterfall(before: float, shares: Mapping[str, float], after: float) -> str:
    """One limit change: before, each share, after (in currency)."""
    with _drawing(4.9, 2.7) as (figure, axes):
        names = ["before", *shares, "after"]
        level, tops = before, [before]
        axes.barh(0, before, color="#374151", height=0.62)
        for place, (player, share) in enumerate(shares.items(), 1):
            axes.barh(place, share, left=level, color=COLOURS[player], height=0.62)
            level += share
            tops.append(max(level, level - share))
        axes.barh(len(names) - 1, after, color="#374151", height=0.62)
        values = [before, *shares.values(), after]
        for place, (value, top) in enumerate(zip(values, [*tops, after], strict=True)):
            text = f"{value:,.2f}" if place in (0, len(values) - 1) or not value else f"{value:+,.2f}".replace("-", "−")
            axes.annotate(
                text, (max(top, 0), place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9
            )
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.margins(x=0.16)
        axes.locator_params(axis="x", nbins=4)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        return _svg(figure)


def contrast(rows: list[dict[str, Any]]) -> str:
    """What drove the flags of good customers beside what drove those of bad ones, in log-odds."""
    shown = rows[:10][::-1]
    with _drawing(7.2, 0.42 * len(shown) + 1.0) as (figure, axes):
        places = range(len(shown))
        for shift, key, colour, label in (
            (0.2, "false_positive_mean", COLOURS["data"], "good customers acted on"),
            (-0.2, "true_positive_mean", COLOURS["behaviour"], "bad customers acted on"),
        ):
            axes.barh([p + shift for p in places], [row[key] for row in shown], height=0.38, color=colour, label=label)
        axes.axvline(0, color="#4B5563", linewidth=0.8)
        axes.set_yticks(list(places), [row["feature"] for row in shown])
        axes.set_xlabel("mean push on the log-odds of default")
        axes.legend(frameon=False, loc="lower right")
        return _svg(figure)
