"""Plots as SVG text: for the report, the notebook and the MLflow run. Money comes in currency."""

import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import matplotlib as mpl
import matplotlib.colors
import matplotlib.dates
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from limitlens.data.arrays import FloatArray
from limitlens.limits.attribution import PLAYERS
from limitlens.limits.rates import Rate

#: One colour a cause, everywhere; chosen to be told apart by colour-blind readers (Okabe & Ito).
COLOURS = {
    "behaviour": "#0072B2",
    "data": "#E69F00",
    "model": "#CC79A7",
    "policy": "#009E73",
    "state": "#8A8F98",
}

_INK, _SOFT, _LINE, _GRID = "#1F2937", "#4B5563", "#9AA3AF", "#E9ECF1"
_GOOD = "#D55E00"

#: DejaVu Sans comes with matplotlib, so that a plot is laid out alike on every machine. Names are never formulas.
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "limitlens",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": _INK,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _SOFT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
}

#: Shares that are marked on an axis of square roots.
_SHARES = (0.0, 0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)

#: Points of a curve: as many as can be seen.
_POINTS = 101

#: Narrowest an inch is drawn on a narrow page, in pixels, before its figure scrolls: a third less than its own 96, so
#: that letters stay at least 8 pixels high.
_LEAST = 64

_TAG = re.compile(r"<[^<>]+>")
_ID = re.compile(r'(\bid="|href="#|url\(#)')


@contextmanager
def _canvas(width: float, height: float) -> Iterator[Figure]:
    with mpl.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


@contextmanager
def _drawing(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    with _canvas(width, height) as figure:
        yield figure, figure.add_subplot()


def _svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element; its ids begin with ``name``, because ids are shared by all plots of a page."""
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # Text stays text: the reader's browser has the glyphs that the font of the layout lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    least = f'style="min-width: {_LEAST * figure.get_figwidth():.0f}px" '
    text = buffer.getvalue().replace("<svg ", f"<svg {least}", 1)
    return _TAG.sub(lambda tag: _ID.sub(rf"\g<1>{name}-", tag[0]), text[text.index("<svg") :])


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows of a horizontal plot, first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.invert_yaxis()


def _bare(axes: Axes) -> None:
    """No horizontal axis: every bar says its own number."""
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)


def _amount(number: float, _: object = None) -> str:
    return f"{number:,.0f}".replace("-", "−")


def _root(shares_: FloatArray) -> FloatArray:
    """Square roots; an axis asks below 0, too."""
    return np.sqrt(np.maximum(shares_, 0.0))


def calibration(validation: Mapping[str, Any]) -> str:
    """Observed share of bads against mean PD, by tenth of the validation rows, with the exact 95% interval.

    On square roots: most lines have small PDs.
    """
    table = validation["calibration"]
    intervals = [Rate(bads, rows).interval for bads, rows in zip(table["bads"], table["rows"], strict=True)]
    with _drawing(4.9, 3.7) as (figure, axes):
        top = max(*table["expected_share"], *(high for _, high in intervals)) * 1.04
        axes.plot([0, top], [0, top], color=_LINE, linewidth=1, linestyle="--")
        axes.vlines(table["expected_share"], *zip(*intervals, strict=True), color=COLOURS["behaviour"], alpha=0.4)
        axes.plot(table["expected_share"], table["observed_share"], "o-", color=COLOURS["behaviour"], linewidth=1.5)
        axes.set(xlabel="PD, mean of each tenth", ylabel="share that went bad", xlim=(0, top), ylim=(0, top))
        for scale, ticks, axis in (
            (axes.set_xscale, axes.set_xticks, axes.xaxis),
            (axes.set_yscale, axes.set_yticks, axes.yaxis),
        ):
            scale("function", functions=(_root, np.square))
            ticks([share for share in _SHARES if share <= top])
            axis.set_major_formatter("{x:.0%}")
        return _svg(figure, "calibration")


def changes_by_cause(changes: pd.DataFrame, name: str) -> str:
    """Limit changes by cause, cuts on one side and raises on the other: bars over time, or a row a cause at one date.

    Parameters
    ----------
    changes : DataFrame
        Indexed by period; columns ``up_behaviour``, ``down_behaviour`` … ``up_state``, ``down_state`` in
        currency.
    name : str
        Begins the ids inside the plot; unique on its page.
    """
    return _at_once(changes.iloc[0], name) if len(changes) == 1 else _over_time(changes, name)


def _over_time(changes: pd.DataFrame, name: str) -> str:
    with _drawing(10.6, 3.4) as (figure, axes):
        places = range(len(changes))
        for sign in ("up", "down"):
            base = pd.Series(0.0, index=changes.index)
            for player in PLAYERS:
                height = changes[f"{sign}_{player}"]
                label = player if sign == "up" else None
                axes.bar(places, height, bottom=base, width=0.6, color=COLOURS[player], label=label)
                base += height
        axes.axhline(0, color=_SOFT, linewidth=0.8)
        axes.grid(visible=False, axis="x")
        step = -(-len(changes) // 10)
        axes.set_xticks(list(places)[::step], list(changes.index)[::step])
        axes.set_xlim(-0.8, len(changes) - 0.2)
        axes.use_sticky_edges = False
        axes.margins(y=0.08)
        axes.spines["bottom"].set_visible(False)
        axes.yaxis.set_major_formatter(_amount)
        figure.legend(ncols=len(PLAYERS), frameon=False, loc="outside upper left")
        return _svg(figure, name)


def _at_once(change: pd.Series, name: str) -> str:
    with _drawing(10.6, 2.3) as (figure, axes):
        for place, player in enumerate(PLAYERS):
            for sign, side, offset in (("up", "left", 5), ("down", "right", -5)):
                width = change[f"{sign}_{player}"]
                axes.barh(place, width, height=0.58, color=COLOURS[player])
                if width:
                    text = f"{'+' if width > 0 else ''}{_amount(width)}"
                    axes.annotate(text, (width, place), (offset, 0), textcoords="offset points", va="center", ha=side,
                                  fontsize=9)  # fmt: skip
        axes.axvline(0, color=_SOFT, linewidth=0.8)
        axes.margins(x=0.14)
        _rows(axes, PLAYERS)
        _bare(axes)
        return _svg(figure, name)


def waterfall(before: float, shares: Mapping[str, float], after: float) -> str:
    """One limit change: before, each share where the one above it ends, after (in currency).

    A share is that of a cause, or of a part of one: ``behaviour: payment``.
    """
    names = ["before", *shares, "after"]
    colours = [_INK, *(COLOURS[name.partition(":")[0]] for name in shares), _INK]
    levels = list(accumulate(shares.values(), initial=before))
    starts, ends = [0.0, *levels[:-1], 0.0], [*levels, after]
    with _drawing(5.2, 2.9) as (figure, axes):
        for place, (start, end, colour) in enumerate(zip(starts, ends, colours, strict=True)):
            axes.barh(place, end - start, left=start, color=colour, height=0.58)
            text = f"{end - start:,.2f}" if place in (0, len(names) - 1) else f"{end - start:+,.2f}"
            axes.annotate(text.replace("-", "−").replace("+0.00", "0.00"), (max(start, end, 0), place), (5, 0),
                          textcoords="offset points", va="center", fontsize=9)  # fmt: skip
            if place < len(names) - 1:
                axes.plot([end, end], [place, place + 1], color=_LINE, linewidth=0.8, zorder=0)
        axes.set_xlim(min(0.0, *ends), max(*ends) * 1.28 or 1.0)
        _rows(axes, names)
        _bare(axes)
        return _svg(figure, "waterfall")


def life(
    labels: Sequence[str],
    limits: Sequence[float],
    pds: Sequence[float],
    causes: Mapping[int, str],
    asked: int,
) -> str:
    """The limit of one line (in currency) and its PD, decision by decision, evenly spaced.

    Parameters
    ----------
    labels, limits, pds
        One of each point; a PD that is not known is NaN.
    causes : mapping of int to str
        Main cause of the points that changed the limit.
    asked : int
        The point that is explained.
    """
    places = range(len(labels))
    with _canvas(8.6, 3.6) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        for axes in (above, below):
            axes.axvspan(asked - 0.5, asked + 0.5, color=_GRID, alpha=0.6, zorder=0, linewidth=0)
            axes.grid(visible=False, axis="x")
            axes.tick_params(length=0)
        above.step(places, limits, where="mid", color=_INK, linewidth=1.6)
        for player in dict.fromkeys(causes.values()):
            mine = [place for place, cause in causes.items() if cause == player]
            points = {"color": COLOURS.get(player, _INK), "markersize": 8, "label": player, "clip_on": False}
            above.plot(mine, [limits[place] for place in mine], "o", **points)
        above.set(ylabel="limit", ylim=(0, max(*limits, 1.0) * 1.15))
        above.yaxis.set_major_formatter(_amount)
        below.plot(places, pds, "o-", color=COLOURS["behaviour"], linewidth=1.4, markersize=4)
        below.set(ylabel="PD", ylim=(0, float(np.nanmax(pds)) * 1.2), xlim=(-0.5, len(labels) - 0.5))
        below.yaxis.set_major_formatter("{x:.0%}")
        step = -(-len(labels) // 8)
        below.set_xticks(list(places)[::step], list(labels)[::step])
        if causes:
            figure.legend(ncols=len(COLOURS), frameon=False, loc="outside upper left", title="changed by", fontsize=9,
                          alignment="left", title_fontsize=9)  # fmt: skip
        return _svg(figure, "life")


def contrast(rows: Sequence[Mapping[str, Any]]) -> str:
    """By how much the contribution on good flagged lines exceeds that on bad ones at equal PD, with intervals."""
    with _drawing(8.6, 0.34 * len(rows) + 1.2) as (figure, axes):
        axes.axvline(0, color=_SOFT, linewidth=1)
        for place, row in enumerate(rows):
            colour = _GOOD if row["told"] else _LINE
            axes.plot([row["push_low"], row["push_high"]], [place, place], color=colour, linewidth=2)
            axes.plot(row["push"], place, "o", color=colour, markersize=7)
        axes.set_xlabel("contribution to the log-odds, good less bad at equal PD")
        _rows(axes, [row["feature"] for row in rows])
        axes.plot([], [], "o-", color=_GOOD, label="tells good from bad")
        axes.plot([], [], "o-", color=_LINE, label="may be chance")
        figure.legend(ncols=2, frameon=False, loc="outside upper left")
        return _svg(figure, "contrast")


def shares(curves: Mapping[str, tuple[FloatArray, FloatArray]], axes_names: tuple[str, str], name: str) -> str:
    """Curves of one share against another, each from 0 to 1; the dashed line is chance.

    Parameters
    ----------
    curves : mapping of name to (float64 array, float64 array)
        Across and up.
    axes_names : (str, str)
    name : str
        Begins the ids inside the plot; unique on its page.
    """
    across = np.linspace(0, 1, _POINTS)
    with _drawing(4.9, 3.7) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=_LINE, linewidth=1, linestyle="--")
        for (label, points), colour in zip(curves.items(), (COLOURS["behaviour"], _GOOD), strict=False):
            axes.plot(across, np.interp(across, *points), color=colour, linewidth=1.6, label=label)
        axes.set(xlabel=axes_names[0], ylabel=axes_names[1], xlim=(0, 1), ylim=(0, 1.01))
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.yaxis.set_major_formatter("{x:.0%}")
        figure.legend(ncols=2, frameon=False, loc="outside upper left", fontsize=9)
        return _svg(figure, name)


def ratios(rows: Sequence[Mapping[Any, Any]], near: tuple[float, float], name: str) -> str:
    """Observed by expected bads of some groups with their intervals, on a log scale.

    Parameters
    ----------
    rows : sequence of mappings
        With ``name, bads, ratio, low, high, off``; where ``off``, in red.
    near : (float, float)
        What is near enough.
    name : str
        Begins the ids inside the plot; unique on its page.
    """
    with _drawing(8.6, 0.32 * len(rows) + 0.9) as (figure, axes):
        axes.axvspan(*near, color=_GRID, zorder=0)
        axes.axvline(1, color=_SOFT, linewidth=1)
        for place, row in enumerate(rows):
            colour = _GOOD if row["off"] else COLOURS["behaviour"]
            ends = [min(max(row[end], 0.25), 4.0) for end in ("low", "high")]
            axes.plot(ends, [place, place], color=colour, linewidth=2)
            axes.plot(min(max(row["ratio"], 0.25), 4.0), place, "o", color=colour, markersize=7)
        axes.set_xscale("log")
        axes.set(xlabel="observed / expected bads", xlim=(0.24, 4.2))
        axes.set_xticks([0.25, 0.5, 0.8, 1, 1.25, 2, 4], ["¼", "½", "0.8", "1", "1.25", "2", "4"], minor=False)
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        _rows(axes, [f"{row['name']} ({row['bads']:,} bad)" for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        return _svg(figure, f"ratios-{name}")


def importance(weight: pd.Series) -> str:
    """Mean absolute contribution of each feature to the log-odds, the strongest on top."""
    with _drawing(7.4, 0.28 * len(weight) + 0.6) as (figure, axes):
        axes.barh(range(len(weight)), weight.to_numpy(), height=0.62, color=COLOURS["behaviour"])
        axes.set_xlabel("mean absolute contribution to the log-odds of default")
        _rows(axes, [str(name) for name in weight.index])
        return _svg(figure, "importance")


def dependence(values: pd.Series, contribution: pd.Series, name: str) -> str:
    """Contribution of one feature to the log-odds against its value; lines without a value stand at the left edge."""
    known = values.dropna()
    left = known.min() - 0.06 * (known.max() - known.min() or 1) if len(known) else 0.0
    with _drawing(4.9, 3.0) as (figure, axes):
        axes.axhline(0, color=_LINE, linewidth=1)
        missing = values.isna().to_numpy()
        shown = values.fillna(left)
        points: dict[str, Any] = {"linestyle": "", "marker": ".", "markersize": 4, "alpha": 0.5, "rasterized": True}
        axes.plot(shown[~missing], contribution[~missing], color=COLOURS["behaviour"], **points)
        if missing.any():
            axes.plot(shown[missing], contribution[missing], color=_GOOD, label="no value", **points)
            axes.legend(frameon=False)
        axes.set(xlabel=name, ylabel="contribution")
        return _svg(figure, f"dependence-{name}")


def frontier(curves: Mapping[str, Sequence[tuple[float, float, float]]]) -> str:
    """Good customers hit against bad ones caught, a line a policy; the dot is the policy itself, up and left is better.

    Parameters
    ----------
    curves : mapping of name to (shift of the cut-offs, share of good hit, share of bad caught)
    """
    with _drawing(7.4, 4.4) as (figure, axes):
        for (name, points), colour in zip(curves.items(), (COLOURS["behaviour"], _GOOD), strict=False):
            ordered = sorted(points)
            axes.plot([x for _, x, _ in ordered], [y for *_, y in ordered], ".-", color=colour, label=name)
            own = [(x, y) for shift, x, y in ordered if shift == 0]
            axes.plot([x for x, _ in own], [y for _, y in own], "o", color=colour, markersize=10)
        axes.set(xlabel="share of good customers hit", ylabel="share of bad customers caught in time")
        axes.set(xlim=(0, None), ylim=(0, None))
        axes.xaxis.set_major_formatter("{x:.1%}")
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.legend(frameon=False, title="cut-offs on PD moved, the dot as they are", alignment="left")
        return _svg(figure, "frontier")


def vintages(curves: pd.DataFrame) -> str:
    """Share gone bad by age in months, a line a vintage, the older ones paler."""
    with _drawing(7.4, 3.8) as (figure, axes):
        for place, name in enumerate(curves):
            strength = 0.25 + 0.75 * (place + 1) / len(curves.columns)
            axes.plot(curves.index, curves[name], color=COLOURS["behaviour"], alpha=strength, linewidth=1.5, label=name)
        axes.set(xlabel="months since opening", ylabel="share gone bad", ylim=(0, None))
        axes.yaxis.set_major_formatter("{x:.1%}")
        axes.legend(frameon=False, fontsize=8, ncols=1 + len(curves.columns) // 9)
        return _svg(figure, "vintages")


#: Colour of a state of incoming data.
STATE_COLOURS = {"ok": "#009E73", "warn": "#E69F00", "hold": "#D55E00", "learning": "#C9CED6", "none": "#FFFFFF"}


def state_map(states: pd.DataFrame, name: str) -> str:
    """A row a source or slice, a column a day, the colour its state; ``none`` is a day without rows."""
    order = list(STATE_COLOURS)
    codes = np.array([[order.index(state) for state in row] for row in states.to_numpy()], float).reshape(states.shape)
    with _drawing(10.6, 0.9 + 0.34 * len(states)) as (figure, axes):
        colours = mpl.colors.ListedColormap(list(STATE_COLOURS.values()))
        axes.pcolormesh(codes, cmap=colours, vmin=-0.5, vmax=len(order) - 0.5, edgecolors=_GRID, linewidth=0.6)
        axes.set_yticks(np.arange(len(states)) + 0.5, list(states.index))
        step = max(1, len(states.columns) // 6)
        axes.set_xticks(np.arange(0, len(states.columns), step) + 0.5, list(states.columns)[::step])
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.tick_params(length=0)
        for state, colour in STATE_COLOURS.items():
            axes.plot([], [], "s", color=colour, markeredgecolor=_LINE, label=state)
        figure.legend(ncols=len(order), frameon=False, loc="outside upper left")
        return _svg(figure, name)


def band(curve: pd.DataFrame, figure_name: str, window: tuple[Any, Any], name: str) -> str:
    """A figure by day beside the band it was expected in; the days of the incident are shaded."""
    with _drawing(10.6, 3.0) as (figure, axes):
        axes.fill_between(curve.index, curve["low"], curve["high"], color=_GRID, label="expected")
        axes.plot(curve.index, curve["expected"], color=_LINE, linewidth=1, linestyle="--")
        axes.plot(curve.index, curve["observed"], ".-", color=COLOURS["behaviour"], linewidth=1.2, label="observed")
        begin, end = (float(mpl.dates.date2num(time)) for time in window)
        axes.axvspan(begin - 0.5, end - 0.5, color=_GOOD, alpha=0.12)
        axes.set(ylabel=figure_name)
        axes.legend(frameon=False, fontsize=8, ncols=2)
        return _svg(figure, name)


#: Colours of what is lost as decided, if nobody answers a shock, and if the policy does.
_LOSSES = (COLOURS["state"], _GOOD, COLOURS["behaviour"])

#: Severities that all have a tick of their own.
_MANY = 8

#: Colours of lines that are closed, frozen and cut.
_MOVES = (_INK, COLOURS["behaviour"], "#56B4E9")


def stress_losses(losses: Mapping[str, Sequence[float]], labels: Sequence[str], name: str) -> str:
    """Expected loss of each scenario: as decided, unanswered, answered (in currency), a bar each.

    Parameters
    ----------
    losses : mapping of the title of a scenario to three amounts
    labels : sequence of three str
    name : str
        Begins the ids inside the plot; unique on its page.
    """
    with _drawing(5.6, 0.62 * len(losses) + 0.9) as (figure, axes):
        for row, amounts in enumerate(losses.values()):
            for place, (amount, colour) in enumerate(zip(amounts, _LOSSES, strict=True)):
                label = labels[place] if not row else None
                axes.barh(row + 0.26 * (place - 1), amount, height=0.24, color=colour, label=label)
        axes.xaxis.set_major_formatter(_amount)
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(3))
        _rows(axes, ["\n".join(textwrap.wrap(title, 20 if title.isascii() else 12)) for title in losses])
        figure.legend(ncols=len(labels), frameon=False, loc="outside upper left", fontsize=9)
        return _svg(figure, name)


def stress_curve(severities: Sequence[float], losses: Mapping[str, Sequence[float]], axis: str, name: str) -> str:
    """Expected loss by severity, a line each for unanswered and answered (in currency)."""
    with _drawing(4.9, 3.0) as (figure, axes):
        for (label, amounts), colour in zip(losses.items(), _LOSSES[1:], strict=True):
            axes.plot(severities, amounts, "o-", color=colour, linewidth=1.6, markersize=5, label=label)
        largest = max(max(amounts) for amounts in losses.values())
        axes.set(xlabel=axis, ylim=(0, max(1.1 * largest, 1.0)))
        if len(severities) <= _MANY:
            axes.set_xticks(severities, [f"{severity:g}" for severity in severities])
        else:
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(7, integer=True))
        axes.yaxis.set_major_formatter(_amount)
        figure.legend(ncols=2, frameon=False, loc="outside upper left", fontsize=9)
        return _svg(figure, name)


def stress_moves(severities: Sequence[float], counts: Mapping[str, Sequence[int]], axis: str, name: str) -> str:
    """Lines by what happens to them, stacked, a bar a severity."""
    with _drawing(4.9, 3.0) as (figure, axes):
        base = np.zeros(len(severities))
        for (label, lines), colour in zip(counts.items(), _MOVES, strict=True):
            axes.bar(range(len(severities)), lines, bottom=base, width=0.6, color=colour, label=label)
            base += np.asarray(lines)
        step = -(-len(severities) // _MANY)
        axes.set_xticks(range(len(severities))[::step], [f"{severity:g}" for severity in severities[::step]])
        axes.set(xlabel=axis, ylim=(0, max(float(base.max()) * 1.1, 1.0)))
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(5, integer=True))
        axes.yaxis.set_major_formatter(_amount)
        figure.legend(ncols=len(counts), frameon=False, loc="outside upper left", fontsize=9)
        return _svg(figure, name)


def by_month(
    labels: Sequence[str],
    curves: Mapping[str, Sequence[float]],
    name: str,
    *,
    interval: tuple[Sequence[float], Sequence[float]] | None = None,
    levels: Mapping[str, float] | None = None,
    shares: bool = False,
) -> str:
    """Figures month by month, narrow enough for a phone; what is not known is a gap.

    Parameters
    ----------
    labels : sequence of str
        One a month.
    curves : mapping of name to values
    name : str
        Begins the ids inside the plot; unique on its page.
    interval : (sequence of float, sequence of float), optional
        Around the first curve.
    levels : mapping of name to value, optional
        Horizontal lines.
    shares : bool
        Values are shown in percent.
    """
    places, palette = range(len(labels)), (COLOURS["behaviour"], _GOOD, COLOURS["policy"], COLOURS["model"])
    with _drawing(4.9, 3.1) as (figure, axes):
        if interval:
            axes.fill_between(places, *interval, color=COLOURS["behaviour"], alpha=0.15, linewidth=0, step="mid")
        for (label, values), colour in zip(curves.items(), palette, strict=False):
            axes.plot(places, values, "o-", color=colour, linewidth=1.4, markersize=4, label=label)
        for (label, level), style in zip((levels or {}).items(), ("--", ":", "-."), strict=False):
            axes.axhline(level, color=_SOFT, linewidth=1, linestyle=style, label=label)
        step = -(-len(labels) // 4)
        axes.set_xticks(list(places)[::step], list(labels)[::step])
        axes.set_xlim(-0.5, len(labels) - 0.5)
        if shares:
            axes.yaxis.set_major_formatter("{x:.1%}")
        figure.legend(ncols=2, frameon=False, loc="outside upper left", fontsize=8)
        return _svg(figure, name)
