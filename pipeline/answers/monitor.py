"""Monitoring after release: what a month's decisions look like, beside the training, the months before and outcomes.

A month is that which ended when its book was decided. Everything about it is read as it was known then, so that it is
the same when it is asked for later; what became of its lines comes beside it once their horizon has elapsed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from limitlens.data.calendar import add_months, format_time, month_start
from limitlens.data.errors import WorkspaceError
from limitlens.data.progress import Progress, silent
from limitlens.limits.agreement import Agreement
from limitlens.limits.complaints import Complaint, complaints
from limitlens.limits.monitoring import (
    Alarm,
    amount_alarms,
    feature_shift_alarms,
    level_alarms,
    mean_pd_alarms,
    pd_shift_alarms,
    ranking_alarms,
    roll_alarms,
    tail_alarms,
)
from limitlens.limits.policy import Monitoring
from limitlens.limits.rates import Rate
from limitlens.limits.tail import tail_groups
from limitlens.limits.verdict import IN_FAVOUR
from limitlens.models.chaining import chained, moves
from limitlens.models.confidence import AS_THEY_ARE, Estimate, Recalibration, estimate
from limitlens.models.default_risk import DefaultRiskModel
from limitlens.models.label_choice import bucket_of
from limitlens.models.stability import Change, Stability, change_of, stability_of, usual_movement
from limitlens.pipeline.answers.monitor_tables import (
    Bins,
    Book,
    became,
    book_runs,
    books_of,
    month_number,
    rolls_until,
    training_of,
)
from limitlens.pipeline.reviewing.stats import judged_twice
from limitlens.pipeline.training.tail_report import age_of
from limitlens.pipeline.workspace import Workspace

#: Days before a date over which complaints are counted: some are about the 30 days after an opening.
COMPLAINT_DAYS = 92

#: Books that the PDs are brought to: few say too little, old ones are of another economy.
_LEARNED_BOOKS = 18

#: Books before the first shown that are read; a fixed number, so that a month is the same whenever it is asked for.
_LOOK_BACK = _LEARNED_BOOKS

#: Months that are shown where nothing else is asked for.
SHOWN_MONTHS = 12


@dataclass(frozen=True)
class Realised:
    """What became of the lines of a book: how many are known, how many went bad, how they ranked, known by when."""

    lines: int
    bads: int
    auc: float
    known_by: datetime

    @property
    def bad_share(self) -> float:
        """Share that went bad; not a number of none."""
        return self.bads / self.lines if self.lines else float("nan")


@dataclass(frozen=True)
class Month:
    """One month: that which ended at ``as_of``, when its book was decided.

    Parameters
    ----------
    as_of, since : datetime
        ``since``: the book before; equal to ``as_of`` for the first.
    model_version : str
    lines : int
        Decided, neither closed before nor in default.
    mean_pd, training_share : float
        Mean PD of them, and the share of bads the version learned from.
    psi : Stability or None
        Of the PD since the training; None where the training's rows cannot be had any more.
    csi_training, csi : dict of str to Stability
        Of each feature since the training, and since that earlier month to which it is nearest.
    amounts : dict of str to Change
        Of the mean log of each amount since the month before, beside what it usually is.
    expected : Estimate
        AUC and share of bads expected of them.
    realised : Realised or None
        What became of them, if that was known by the last month of the report.
    matured : datetime or None
        The book that matured last by ``as_of``: level, tail and ranking are judged on it.
    tail : DataFrame
        Of :func:`limitlens.limits.tail.tail_groups` on it; empty without one.
    rolls : DataFrame
        ``bucket, lines, worse`` in the month.
    overrides : Rate
        Lines that a person changed since the book before, of those decided.
    in_favour : Rate
        Of cases settled since then, those settled in favour of the customer.
    agreement : Agreement
        Of cases judged twice, until ``as_of``.
    complaints : list of Complaint
        Over the three months before ``as_of``.
    alarms : tuple of Alarm
    """

    as_of: datetime
    since: datetime
    model_version: str
    lines: int
    mean_pd: float
    training_share: float
    psi: Stability | None
    csi_training: dict[str, Stability]
    csi: dict[str, Stability]
    amounts: dict[str, Change]
    expected: Estimate
    realised: Realised | None
    matured: datetime | None
    tail: pd.DataFrame
    rolls: pd.DataFrame
    overrides: Rate
    in_favour: Rate
    agreement: Agreement
    complaints: list[Complaint]
    alarms: tuple[Alarm, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON; what is not a number is null."""
        realised = self.realised
        body = {
            "as_of": self.as_of.isoformat(),
            "since": self.since.isoformat(),
            "model_version": self.model_version,
            "lines": self.lines,
            "mean_pd": self.mean_pd,
            "training_share": self.training_share,
            "psi": asdict(self.psi) if self.psi else None,
            "csi_training": {name: asdict(one) for name, one in self.csi_training.items()},
            "csi": {name: asdict(one) for name, one in self.csi.items()},
            "amounts": {name: asdict(one) for name, one in self.amounts.items()},
            "expected": asdict(self.expected),
            "realised": asdict(realised) | {"known_by": realised.known_by.isoformat()} if realised else None,
            "matured": self.matured.isoformat() if self.matured else None,
            "tail": self.tail.to_dict("records"),
            "rolls": self.rolls.to_dict("records"),
            "overrides": asdict(self.overrides),
            "in_favour": asdict(self.in_favour),
            "agreement": asdict(self.agreement),
            "complaints": [asdict(one) for one in self.complaints],
            "alarms": [one.to_dict() for one in self.alarms],
        }
        plain: dict[str, Any] = _without_nan(body)
        return plain


@dataclass(frozen=True)
class Monitored:
    """Months of a workspace, the last one judged by the alarms of its policy."""

    months: tuple[Month, ...]
    horizon_months: int
    policy: str
    settings: Monitoring

    @property
    def last(self) -> Month:
        """The month that is asked about."""
        return self.months[-1]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "alarm": bool(self.last.alarms),
            "horizon_months": self.horizon_months,
            "policy": self.policy,
            "settings": asdict(self.settings),
            "months": [month.to_dict() for month in self.months],
        }

    def lines(self) -> Iterator[str]:
        """The figures of the last month, and what to do about each alarm."""
        month = self.last
        yield f"month until {format_time(month.as_of)}: {month.lines:,} lines, version {month.model_version}"
        learned = figure(month.training_share, ".2%")
        yield f"mean PD     {figure(month.mean_pd, '.2%')}; {learned} of the training's rows went bad"
        if month.psi:
            chance = figure(month.psi.critical, ".3f")
            yield f"PSI of PD   {month.psi.psi:.3f} since the training; {chance} may be chance"
        if month.csi:
            worst = max(month.csi, key=lambda name: month.csi[name].psi)
            moved = sum(one.moved for one in month.csi.values())
            yield (
                f"CSI         {moved} of {len(month.csi)} features moved beyond chance from every earlier month; most "
                f"{worst}, {month.csi[worst].psi:.3f}"
            )
        yield f"expected    {expected_words(month.expected)}"
        for book in self.months:
            if book.as_of == month.matured and book.realised:
                yield (
                    f"realised    of the book of {format_time(book.as_of)}: AUC {figure(book.realised.auc, '.3f')} "
                    f"(expected {figure(book.expected.auc, '.3f')}), {figure(book.realised.bad_share, '.2%')} bad "
                    f"(expected {figure(book.expected.bad_share, '.2%')})"
                )
        for row in month.rolls.to_dict("records"):
            share = f"{row['worse'] / row['lines']:.1%}" if row["lines"] else "none"
            yield f"rolled on   {row['bucket']:<8}{share} of {row['lines']:,}"
        yield f"overrides   {month.overrides.count:,} of {month.overrides.of:,} lines"
        yield f"reviews     {month.in_favour.count:,} of {month.in_favour.of:,} cases settled for the customer"
        for complaint in month.complaints:
            yield f"complaints  {complaint.what}: {complaint.count:,} of {complaint.out_of:,}"
        for alarm in month.alarms:
            yield f"ALARM       {alarm.words}"
            yield f"next        {alarm.next_step}"
        if not month.alarms:
            yield "no alarm"


def figure(value: float, spec: str) -> str:
    """A figure as text; a dash where there is none, such as a share of no lines or an AUC without a bad one.

    Examples
    --------
    >>> figure(0.125, ".1%"), figure(float("nan"), ".1%")
    ('12.5%', '–')
    """
    return format(value, spec) if np.isfinite(value) else "–"


def expected_words(expected: Estimate) -> str:
    """AUC and share of bads with their intervals.

    Examples
    --------
    >>> expected_words(Estimate(9, 0.8, (0.75, 0.85), 0.05, (0.04, 0.06)))
    'AUC 0.800 [0.750, 0.850], 5.00% bad [4.00%, 6.00%]'
    """
    (auc_low, auc_high), (low, high) = expected.auc_interval, expected.bad_interval
    return (
        f"AUC {figure(expected.auc, '.3f')} [{auc_low:.3f}, {auc_high:.3f}], {figure(expected.bad_share, '.2%')} bad "
        f"[{low:.2%}, {high:.2%}]"
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def monitor(
    workspace: Workspace,
    *,
    until: datetime | None = None,
    months: int = SHOWN_MONTHS,
    settings: Monitoring | None = None,
    progress: Progress = silent,
) -> Monitored:
    """Look at the months in which the book was decided; nothing is written.

    Parameters
    ----------
    workspace : Workspace
    until : datetime, optional
        The last month ended then or before; default: the last one decided.
    months : int
        How many are shown.
    settings : Monitoring, optional
        When a figure is an alarm; default: what the policy of the last month says.
    progress : callable

    Raises
    ------
    WorkspaceError
        No book has been decided by then, other than in a backtest.
    """
    every = book_runs(workspace, until)
    if not every:
        by = f" by {format_time(until)}" if until else ""
        raise WorkspaceError(f"no book has been decided{by} (a backtest is none); run limitlens decide first.")
    policy = workspace.policy(every[-1].policy_digest)
    settings = settings or policy.alarms
    runs = every[-(months + _LOOK_BACK) :]
    models = {version: workspace.iteration(version).model for version in sorted({run.model_version for run in runs})}
    first = {version: next(run.as_of for run in every if run.model_version == version) for version in models}
    trainings = {
        version: training_of(workspace, version, model, first[version], progress) for version, model in models.items()
    }
    books = books_of(workspace, runs, models, trainings, progress)
    between = [book for training in trainings.values() if training for book in training.between]
    past = add_months(month_start(runs[0].as_of), -settings.past_months - 1)
    model = models[runs[-1].model_version]
    matured = _matured(workspace, [*between, *books], [run.as_of for run in every], models)
    seen = _Seen(
        workspace,
        settings,
        books,
        between,
        {version: training.bins if training else None for version, training in trainings.items()},
        {version: workspace.validation(version) for version in models},
        matured,
        _moves(workspace, [*between, *books], [run.as_of for run in every], models, matured),
        {version: _steps(workspace, model) for version, model in models.items()},
        rolls_until(workspace, model, past, month_start(runs[-1].as_of), progress),
    )
    shown = tuple(_month(seen, place) for place in range(max(0, len(books) - months), len(books)))
    return Monitored(shown, model.settings.horizon_months, policy.name, settings)


#: A book as months are told apart: version and date.
_Key = tuple[str, datetime]


def _key(book: Book) -> _Key:
    return book.model_version, book.as_of


@dataclass(frozen=True)
class _Seen:
    """Everything the months are made of.

    ``between``: books scored on paper, between training and first decision. ``matured``: by book, the first decided
    date at which it was known what became of it, and what did. ``moves``: the same of the step that its PDs are brought
    to, and ``steps`` by version how many of them are the horizon.
    """

    workspace: Workspace
    settings: Monitoring
    books: Sequence[Book]
    between: Sequence[Book]
    trainings: Mapping[str, Bins | None]
    validations: Mapping[str, dict[str, Any]]
    matured: Mapping[_Key, tuple[datetime, pd.Series]]
    moves: Mapping[_Key, tuple[datetime, pd.DataFrame]]
    steps: Mapping[str, int]
    rolls: pd.DataFrame

    def matured_by(self, as_of: datetime, books: Sequence[Book]) -> list[Book]:
        """Those of some books that had matured at a time, in order."""
        by_then = {key for key, (known_by, _) in self.matured.items() if known_by <= as_of}
        return [book for book in books if _key(book) in by_then]

    def outcome(self, book: Book) -> pd.DataFrame:
        """Rows of a matured book that are known, with ``bad``."""
        bad = self.matured[_key(book)][1]
        return book.rows.assign(bad=bad).dropna(subset="bad").astype({"bad": bool}).reset_index(drop=True)

    def expected(self, book: Book) -> Estimate:
        """What was expected of a book when it was decided."""
        return estimate(book.rows["pd"].to_numpy(np.float64), self._learned(book))

    def _learned(self, book: Book) -> Recalibration:
        """What became of the lines of the version until then."""
        of_version = [key for key in map(_key, [*self.between, *self.books]) if key[0] == book.model_version]
        by_then = [key for key in of_version if key in self.moves and self.moves[key][0] <= book.as_of]
        if not by_then:
            return AS_THEY_ARE
        counts = pd.concat([self.moves[key][1] for key in by_then[-_LEARNED_BOOKS:]], ignore_index=True)
        return chained(counts, self.steps[book.model_version])


def _matured(
    workspace: Workspace,
    books: Sequence[Book],
    decided: Sequence[datetime],
    models: Mapping[str, DefaultRiskModel],
    months: int | None = None,
) -> dict[_Key, tuple[datetime, pd.Series]]:
    """When it was known what became of each book within so many months (default: the horizon), and what did."""
    matured: dict[_Key, tuple[datetime, pd.Series]] = {}
    for book in books:
        for later in (as_of for as_of in decided if as_of > book.as_of):
            model = models[book.model_version]
            bad = became(workspace, book, model, later, months or model.settings.horizon_months)
            if bad is not None:
                matured[_key(book)] = (later, bad)
                break
    return matured


def _steps(workspace: Workspace, model: DefaultRiskModel) -> int:
    """Steps of the horizon: months, or one where the lender delivers what became of a line by its end."""
    return 1 if "outcomes" in workspace.events.present() else model.settings.horizon_months


def _moves(
    workspace: Workspace,
    books: Sequence[Book],
    decided: Sequence[datetime],
    models: Mapping[str, DefaultRiskModel],
    matured: Mapping[_Key, tuple[datetime, pd.Series]],
) -> dict[_Key, tuple[datetime, pd.DataFrame]]:
    """What became of the lines of each book in one step, and when that was known.

    Lines that are in no book a month later, and did not default, say nothing.
    """
    if "outcomes" in workspace.events.present():
        return {_key(book): _whole_horizon(book, *matured[_key(book)]) for book in books if _key(book) in matured}
    soon = _matured(workspace, books, decided, models, months=1)
    every = sorted(books, key=_key)
    return {
        _key(book): _to_next(book, later, *soon[_key(book)])
        for book, later in pairwise(every)
        if _key(book) in soon
        and later.model_version == book.model_version
        and month_number(later.as_of) == month_number(book.as_of) + 1
    }


def _whole_horizon(book: Book, known_by: datetime, bad: pd.Series) -> tuple[datetime, pd.DataFrame]:
    rows = book.rows.assign(bad=bad).dropna(subset="bad")
    return known_by, moves(rows["account_id"], rows["pd"].to_numpy(np.float64), rows["bad"].to_numpy(bool))


def _to_next(book: Book, later: Book, known_by: datetime, bad: pd.Series) -> tuple[datetime, pd.DataFrame]:
    rows = book.rows[["account_id", "pd"]].assign(bad=bad).dropna(subset="bad")
    rows = rows.merge(later.rows[["account_id", "pd"]].rename(columns={"pd": "after"}), on="account_id", how="left")
    rows = rows[(rows["bad"] == 1) | rows["after"].notna()]
    before, after = rows["pd"].to_numpy(np.float64), rows["after"].to_numpy(np.float64)
    return max(known_by, later.as_of), moves(rows["account_id"], before, rows["bad"].to_numpy(bool), after)


def _month(seen: _Seen, place: int) -> Month:
    book = seen.books[place]
    as_of, version = book.as_of, book.model_version
    since = seen.books[place - 1].as_of if place else as_of
    pd_, validation = book.rows["pd"].to_numpy(np.float64), seen.validations[version]
    learned = validation["train"]
    share = learned["bads"] / learned["rows"] if learned["rows"] else float("nan")
    of_training = _stabilities(seen.trainings[version], book.bins, seen.settings.chance)
    psi = of_training.pop("pd", None)
    csi = _nearest([_stabilities(one, book.bins, seen.settings.chance) for one in book.earlier])
    csi.pop("pd", None)
    money, month = _amounts(book, seen.settings), month_number(as_of)
    expected, realised = seen.expected(book), None
    matured = seen.matured_by(as_of, seen.books[max(0, place - _LOOK_BACK) : place])
    if _key(book) in seen.matured:
        realised = _realised(seen.outcome(book), seen.matured[_key(book)][0])
    judged, tail, of_judged = (matured[-1], *_tail(seen, matured[-1])) if matured else (None, pd.DataFrame(), [])
    alarms = (
        *mean_pd_alarms(pd_, share, seen.settings),
        *pd_shift_alarms(psi, seen.settings),
        *feature_shift_alarms(csi, _usual(csi, book), seen.settings),
        *amount_alarms(money, seen.settings),
        *roll_alarms(seen.rolls, month, seen.settings),
        *of_judged,
        *ranking_alarms(validation["metrics"]["auc"], expected, _ranked(seen, judged), seen.settings),
    )
    overrides, verdicts = _between(seen.workspace.ledger.overrides(), since, as_of), seen.workspace.ledger.verdicts()
    settled = _between(verdicts[verdicts["settles"].astype(bool)], since, as_of)
    rolls = seen.rolls[seen.rolls["month"] == month].drop(columns="month").reset_index(drop=True)
    return Month(
        as_of=as_of,
        since=since,
        model_version=version,
        lines=len(book.rows),
        mean_pd=float(pd_.mean()) if len(pd_) else float("nan"),
        training_share=share,
        psi=psi,
        csi_training=of_training,
        csi=csi,
        amounts=money,
        expected=expected,
        realised=realised,
        matured=judged.as_of if judged else None,
        tail=tail,
        rolls=rolls,
        overrides=Rate(overrides["account_id"].nunique(), len(book.rows)),
        in_favour=Rate(int(settled["verdict"].isin(IN_FAVOUR).sum()), len(settled)),
        agreement=judged_twice(verdicts[verdicts["at"] <= as_of]),
        complaints=_complaints(seen.workspace, as_of),
        alarms=alarms,
    )


def _between(rows: pd.DataFrame, since: datetime, until: datetime) -> pd.DataFrame:
    return rows[(rows["at"] > since) & (rows["at"] <= until)]


def _stabilities(before: Bins | None, after: Bins, chance: float) -> dict[str, Stability]:
    """Each column since an earlier book; chance is left to all columns together, and to the PD alone."""
    if before is None:
        return {}
    names = [name for name in after.counts if name in before.counts]
    shared = chance / max(len(names) - 1, 1)
    return {
        name: stability_of(
            before.counts[name],
            after.counts[name],
            lines=(before.lines, after.lines),
            level=1 - (chance if name == "pd" else shared),
        )
        for name in names
    }


def _nearest(earlier: Sequence[Mapping[str, Stability]]) -> dict[str, Stability]:
    """Each column since that earlier month to which it is nearest, in terms of what chance explains."""
    names = {name for month in earlier for name in month}
    return {
        name: min((month[name] for month in earlier if name in month), key=lambda one: one.psi / one.critical)
        for name in sorted(names)
    }


def _usual(csi: Mapping[str, Stability], book: Book) -> dict[str, float]:
    """How far the columns whose shift would be one were from their nearest month before."""
    return {
        name: usual_movement([month.counts[name] for month in book.earlier if name in month.counts])
        for name, one in csi.items()
        if one.moved
    }


def _amounts(book: Book, settings: Monitoring) -> dict[str, Change]:
    """By how much amounts changed since the month before; chance is left to all of them together."""
    level = 1 - settings.chance / max(len(book.bins.amounts), 1)
    changes = {
        name: change_of([month.amounts[name] for month in [*book.earlier, book.bins]], settings.past_months, level)
        for name in book.bins.amounts
    }
    return {name: one for name, one in changes.items() if one}


def _tail(seen: _Seen, book: Book) -> tuple[pd.DataFrame, list[Alarm]]:
    """The tail of a matured book, and the alarms about it and its level."""
    rows = seen.outcome(book)
    bad, pd_ = rows["bad"].to_numpy(bool), rows["pd"].to_numpy(np.float64)
    groups = {"age": age_of(rows), "segment": rows["segment"]}
    if rows["dpd_days"].notna().any():
        groups = {"days past due": bucket_of(rows["dpd_days"]), **groups}
    tail = tail_groups(bad, pd_, groups)
    return tail, [*level_alarms(bad, pd_, seen.settings), *tail_alarms(tail)]


def _realised(rows: pd.DataFrame, known_by: datetime) -> Realised:
    bads = int(rows["bad"].sum())
    auc = float(roc_auc_score(rows["bad"], rows["pd"])) if 0 < bads < len(rows) else float("nan")
    return Realised(len(rows), bads, auc, known_by)


def _ranked(seen: _Seen, book: Book | None) -> tuple[Estimate, float] | None:
    """What was expected of a matured book, and how its lines ranked."""
    return (seen.expected(book), _realised(seen.outcome(book), book.as_of).auc) if book else None


_OF_PERIOD = """
SELECT account_id, as_of, state.opened_at AS opened_at, action, limit_before_cents, limit_cents,
    state.can_draw AS could_draw, can_draw
FROM decisions
WHERE as_of > $since AND as_of <= $until AND run_id IN (SELECT run_id FROM runs WHERE NOT backtest)
"""


def _complaints(workspace: Workspace, as_of: datetime) -> list[Complaint]:
    since = (pd.Timestamp(as_of) - pd.Timedelta(days=COMPLAINT_DAYS)).to_pydatetime()
    return complaints(workspace.ledger.query(_OF_PERIOD, {"since": since, "until": as_of}))
