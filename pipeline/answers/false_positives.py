"""False positives: of the lines that PD alone flags, how many were good, measured on the holdout that is never cut."""

import shlex
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from limitlens.data.calendar import format_time
from limitlens.data.errors import WorkspaceError
from limitlens.limits.policy import ADVERSE, FLAGGED
from limitlens.limits.rates import Rate, cases_needed, difference
from limitlens.limits.state import unpacked
from limitlens.limits.verdict import IN_FAVOUR
from limitlens.pipeline.deciding.outcomes import outcome_settings, outcomes_known_by, outcomes_of
from limitlens.pipeline.pages.amounts import money
from limitlens.pipeline.workspace import Workspace

#: Ages of a line that are told apart, in days.
AGES = {"under 30 days": 30, "30 to 179 days": 180, "180 days and more": 10**9}

#: Half of the interval, in points, of which it is said how many cases it takes.
HALF_WIDTHS = (0.10, 0.05)

#: By what the rates are broken down.
SLICES = ("segment", "age", "arrears", "rule", "iteration")

#: What may have become of a line.
OUTCOMES = ("good", "bad", "indeterminate", "censored")

_DAYS_PER_MONTH = 365.25 / 12


@dataclass(frozen=True)
class FalsePositives:
    """Flags on PD alone and what became of the lines.

    Parameters
    ----------
    horizon_months : int
    known_by : str
        Outcomes are those known before it.
    flags : DataFrame
        The first flag of each line: ``account_id, as_of``; ``action``, what was done, or would have been but for the
        holdout; ``held_out`` (bool); ``pd, limit_cents``; ``segment, age, arrears, rule, reasons, iteration``;
        ``verdict``, by which a reviewer settled the case of a pause, empty where none did; ``outcome``.
    spared : DataFrame
        Decisions that a protection spared: ``spared_by, spared_action, decisions, lines, limit_cents``.
    cap_cents : int
        Largest limit of a line that a policy drew into the holdout; 0: any.
    """

    horizon_months: int
    known_by: str
    flags: pd.DataFrame
    spared: pd.DataFrame
    cap_cents: int = 0

    @cached_property
    def held_out(self) -> Rate:
        """Good ones of the flagged lines that were not acted on: the false positive share, without bias."""
        return good_of(self.flags[self.flags["held_out"]])

    @cached_property
    def acted_on(self) -> Rate:
        """Good ones of those that were acted on: naive, since the action has a part in what became of them."""
        return good_of(self.flags[self.acted])

    @cached_property
    def cleared(self) -> Rate:
        """Good ones of those that a reviewer cleared before they were acted on."""
        return good_of(self.flags[~self.flags["held_out"] & ~self.acted])

    @cached_property
    def upheld(self) -> Rate:
        """Good ones of those that a reviewer found rightly flagged."""
        return good_of(self.flags[self.flags["verdict"] == "uphold"])

    @property
    def acted(self) -> pd.Series:
        """Which flags were acted on: neither held out nor cleared."""
        return ~self.flags["held_out"] & ~self.flags["verdict"].isin(IN_FAVOUR)

    @property
    def bounds(self) -> tuple[float, float]:
        """Share of good ones among those acted on if every unknown outcome were bad, and if every one were good."""
        known = self.flags.loc[self.acted, "outcome"]
        good, unknown = (known == "good").sum(), known.isin(["censored", "indeterminate"]).sum()
        return (float(good / len(known)), float((good + unknown) / len(known))) if len(known) else (0.0, 1.0)

    def by(self, column: str) -> pd.DataFrame:
        """Rates by one of :data:`SLICES`: one row a value, those held out and those acted on."""
        rows = []
        for value, some in self.flags.groupby(column, sort=True):
            held, acted = good_of(some[some["held_out"]]), good_of(some[self.acted[some.index]])
            known = [held.count, held.of, *held.interval, acted.count, acted.of, *acted.interval]
            rows.append([column, str(value), *known])
        names = ["slice", "value"]
        names += [f"{what}_{part}" for what in ("held_out", "acted_on") for part in ("good", "known", "low", "high")]
        return pd.DataFrame(rows, columns=names)

    def months_needed(self, half_width: float) -> float:
        """Months more until so narrow an interval, at the pace at which flags were held out so far."""
        held = self.flags[self.flags["held_out"]]
        days = (self.flags["as_of"].max() - self.flags["as_of"].min()).days if len(self.flags) else 0
        pace = len(held) / max(days / _DAYS_PER_MONTH, 1.0)
        lacking = cases_needed(self.held_out, half_width) - self.held_out.of
        return max(lacking, 0) / pace if pace else float("inf")

    def lines(self) -> list[str]:
        """What was found, for a terminal."""
        known = f"outcomes within {self.horizon_months} months, as known by {self.known_by}"
        if self.flags.empty:
            return ["no line was flagged on PD alone", *self._spared_lines()]
        sentences = [f"{len(self.flags):,} lines were flagged on PD alone, each counted at its first flag; {known}"]
        cleared = self.flags["verdict"].isin(IN_FAVOUR) & ~self.flags["held_out"]
        for rows, name in ((self.acted, "acted on"), (self.flags["held_out"], "held out"), (cleared, "cleared")):
            became = self.flags.loc[rows, "outcome"]
            of = ", ".join(f"{(became == outcome).sum():,} {outcome}" for outcome in OUTCOMES)
            if name != "cleared" or len(became):
                sentences.append(f"  {name:<9} {len(became):>7,}: {of}")
        if (self.flags["verdict"] != "").any():
            sentences.append(
                f"reviewers: of the lines they cleared were good {rate_words(self.cleared)}; "
                f"of those they found rightly flagged {rate_words(self.upheld)}"
            )
        of = f", of lines of at most {money(self.cap_cents)} when they were drawn" if self.cap_cents else ""
        sentences.append(f"false positives, measured on the holdout{of}: {rate_words(self.held_out)}")
        bias, low, high = difference(self.acted_on, self.held_out)
        off = f"; off by {bias:+.1%} [{low:+.1%}, {high:+.1%}]" if not np.isnan(bias) else ""
        sentences.append(f"naive, from the lines acted on: {rate_words(self.acted_on)}{off}")
        sentences.append("  bounds, whatever the unknown ones are: [{:.1%}, {:.1%}]".format(*self.bounds))
        return [*sentences, *self._power_lines(), *self._slice_lines(), *self._spared_lines()]

    def _power_lines(self) -> list[str]:
        needs = []
        for half in HALF_WIDTHS:
            months = self.months_needed(half)
            when = "never at this pace" if np.isinf(months) else f"{months:,.0f} months more" if months else "reached"
            needs.append(f"±{half:.0%} takes {cases_needed(self.held_out, half):,} ({when})")
        return [f"power: {self.held_out.of:,} flags of known outcome are held out; {', '.join(needs)}"]

    def _slice_lines(self) -> list[str]:
        rows = []
        for row in pd.concat([self.by(name) for name in SLICES]).to_dict("records"):
            held = rate_words(Rate(row["held_out_good"], row["held_out_known"]))
            acted = rate_words(Rate(row["acted_on_good"], row["acted_on_known"]))
            rows.append(f"  {row['slice']:<10} {row['value']:<24} held out {held:<34} acted on {acted}")
        return ["by slice, good of those whose outcome is known:", *rows]

    def _spared_lines(self) -> list[str]:
        rows = [
            f"  {by:<24} {action:<9} {decisions:>7,} decisions about {lines:,} {'line' if lines == 1 else 'lines'}"
            for by, action, decisions, lines, _ in self.spared.itertuples(index=False)
        ]
        return ["spared, which protection alone was enough, and what would have been done:", *rows] if rows else []

    def cases(self) -> pd.DataFrame:
        """The flags as a list, the largest credit first, each with the command that explains it."""
        rows = self.flags.sort_values(["limit_cents", "account_id"], ascending=[False, True], ignore_index=True)
        why = [
            f"limitlens why {shlex.quote(account)} --as-of {format_time(as_of.to_pydatetime())}"
            for account, as_of in zip(rows["account_id"], rows["as_of"], strict=True)
        ]
        return rows.assign(why=why)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        bias, low, high = difference(self.acted_on, self.held_out)
        return {
            "horizon_months": self.horizon_months,
            "known_by": self.known_by,
            "held_out": _plain(self.held_out),
            "acted_on": _plain(self.acted_on),
            "cleared": _plain(self.cleared),
            "upheld": _plain(self.upheld),
            "bias": None if np.isnan(bias) else {"share": bias, "low": low, "high": high},
            "bounds": list(self.bounds),
            "cases_needed": {str(half): cases_needed(self.held_out, half) for half in HALF_WIDTHS},
            "slices": pd.concat([self.by(name) for name in SLICES]).to_dict("records") if len(self.flags) else [],
            "spared": self.spared.to_dict("records"),
            "cap_cents": self.cap_cents,
        }


def good_of(flags: pd.DataFrame) -> Rate:
    """Good ones among the lines that turned out good or bad."""
    return Rate(int((flags["outcome"] == "good").sum()), int(flags["outcome"].isin(["good", "bad"]).sum()))


def rate_words(rate: Rate) -> str:
    """A share with its interval and of how many.

    Examples
    --------
    >>> rate_words(Rate(6, 20)), rate_words(Rate(0, 0))
    ('30.0% [11.9%, 54.3%] of 20', 'unknown, of none')
    """
    if not rate.of:
        return "unknown, of none"
    low, high = rate.interval
    return f"{rate.share:.1%} [{low:.1%}, {high:.1%}] of {rate.of:,}"


def _plain(rate: Rate) -> dict[str, Any]:
    return asdict(rate) | {"share": rate.share if rate.of else None, "interval": list(rate.interval)}


def false_positives(workspace: Workspace, horizon_months: int | None = None) -> FalsePositives:
    """Measure the false positives of everything the ledger decided.

    A line is flagged on PD alone where its adverse action, or the one that the holdout alone spared, has no rule behind
    it; rules act on the holdout too, so for them nothing is measured. Each line counts once, at its first flag. Lines
    are in the holdout by chance, so its flags stand for all.

    Parameters
    ----------
    workspace : Workspace
    horizon_months : int, optional
        Default: that of the labels of the model that decided last.

    Raises
    ------
    WorkspaceError
        Nothing has been decided yet, or the horizon is below one month.
    """
    runs = workspace.ledger.runs()
    if not runs:
        raise WorkspaceError("nothing has been decided yet; run limitlens decide first.")
    settings = outcome_settings(workspace, runs[-1], horizon_months)
    flags = _flags(workspace)
    flags["verdict"] = _verdicts(flags, workspace.ledger.verdicts())
    flags["outcome"] = outcomes_of(workspace, flags, runs[-1], horizon_months) if len(flags) else ""
    known_by = outcomes_known_by(workspace)
    caps = [workspace.policy(digest).holdout.max_limit_cents for digest in {run.policy_digest for run in runs}]
    cap = max(caps) if all(caps) else 0
    return FalsePositives(settings.horizon_months, format_time(known_by), flags, _spared(workspace), cap)


def _flags(workspace: Workspace) -> pd.DataFrame:
    adverse = ", ".join(f"'{action}'" for action in sorted(FLAGGED))
    sql = f"""
    SELECT * FROM decisions WHERE action IN ({adverse}) OR spared_by = ['holdout'] ORDER BY as_of, account_id
    """
    rows = unpacked(workspace.ledger.table(sql))
    hard = {digest: _hard(workspace, digest) for digest in rows["policy_digest"].unique()}
    by_rule = [bool(hard[d] & set(fired)) for d, fired in zip(rows["policy_digest"], rows["fired_rules"], strict=True)]
    rows = rows[~np.array(by_rule, bool)].drop_duplicates("account_id").reset_index(drop=True)
    held_out = ~rows["action"].isin(FLAGGED)
    segments = workspace.events.segments()
    age = pd.cut(rows["state.line_age_days"], [-1, *(days - 1 for days in AGES.values())], labels=list(AGES))
    return pd.DataFrame(
        {
            "account_id": rows["account_id"],
            "as_of": rows["as_of"],
            "action": rows["spared_action"].where(held_out, rows["action"]),
            "held_out": held_out,
            "pd": rows["pd"],
            "limit_cents": rows["limit_before_cents"],
            "segment": rows["account_id"].map(segments),
            "age": age.astype(str),
            "arrears": [next((r for r in fired if r.startswith("past_due")), "none") for fired in rows["fired_rules"]],
            "rule": "pd_" + rows["spared_action"].where(held_out, rows["action"]),
            "reasons": rows["reasons"],
            "iteration": "model " + rows["model_version"] + ", policy " + rows["policy_digest"].str[:8],
        }
    )


def _verdicts(flags: pd.DataFrame, verdicts: pd.DataFrame) -> pd.Series:
    """The verdict that settled the case in which each flag fell, empty where none did."""
    settled = verdicts.loc[verdicts["settles"], ["account_id", "since", "as_of", "verdict"]]
    cases = flags[["account_id", "as_of"]].merge(settled, on="account_id", suffixes=("", "_judged"))
    cases = cases[(cases["since"] <= cases["as_of"]) & (cases["as_of"] <= cases["as_of_judged"])]
    of_account = dict(zip(cases["account_id"], cases["verdict"], strict=True))
    return pd.Series([of_account.get(account, "") for account in flags["account_id"]], flags.index, dtype=str)


def _hard(workspace: Workspace, digest: str) -> set[str]:
    """Rules of a policy that are adverse by themselves."""
    return {rule.name for rule in workspace.policy(digest).evidence if rule.action in ADVERSE}


def _spared(workspace: Workspace) -> pd.DataFrame:
    """Decisions that protections spared, by protection and by what would have been done."""
    sql = """
    SELECT COALESCE(NULLIF(ARRAY_TO_STRING(spared_by, ' or '), ''), 'all together') AS spared_by, spared_action,
        COUNT(*) AS decisions, COUNT(DISTINCT account_id) AS lines, SUM(limit_before_cents)::BIGINT AS limit_cents
    FROM decisions WHERE spared_action IS NOT NULL GROUP BY ALL ORDER BY decisions DESC, spared_by, spared_action
    """
    spared: pd.DataFrame = workspace.ledger.query(sql)
    return spared
