"""One month in the lives of many customers: from their state, through what happens, to events and the next state."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.data.world.answers import answer, settled
from limitlens.data.world.causes import FIRST_DAYS, consequences, episodes
from limitlens.data.world.chance import Chance
from limitlens.data.world.decisions import between
from limitlens.data.world.everyday import interest, salary_waits, sign_ins, spending, transfers
from limitlens.data.world.fortune import (
    Fortune,
    Payment,
    ability,
    birth,
    defaults_in,
    live,
    loses_income,
    pay,
    sigmoid,
    unpaid_after,
)
from limitlens.data.world.line import Line, after_actions, first_line, not_passed_on, refused
from limitlens.data.world.mechanisms import State
from limitlens.data.world.people import People
from limitlens.data.world.rows import rows_of
from limitlens.data.world.scene import Scene
from limitlens.data.world.traces import traces

_MIN_DUE_CENTS = 50_00

#: Customers so many instalments behind neither buy nor draw.
_STOPS_AT = 3


@dataclass(frozen=True)
class Lives:
    """State of n customers at the start of a month.

    ``balance_cents`` and ``phone`` are int64 arrays of shape (n,), ``unpaid_cents`` of shape (n, months): what is open
    of the instalment of each month.
    """

    fortune: Fortune
    line: Line
    balance_cents: IntArray
    phone: IntArray
    unpaid_cents: IntArray


@dataclass(frozen=True)
class Lived:
    """What one month brought: the next state, rows by source, episodes, and who defaulted when (days, else NaN).

    ``answers``: ``owner, day, answer`` to what the lender did.
    """

    lives: Lives
    rows: dict[str, pd.DataFrame]
    episodes: pd.DataFrame
    default_day: FloatArray
    answers: pd.DataFrame


def born(chance: Chance, people: People, state: State, months: int) -> Lives:
    """State before the first month."""
    count = len(people.number)
    none = np.zeros(count, np.int64)
    return Lives(birth(chance, people, state), first_line(people), none, none, np.zeros((count, months), np.int64))


def billed(people: People, lives: Lives, month_first: int) -> BoolArray:
    """Lines with an instalment in a month: open before it, and something owed that is not billed yet."""
    return (people.opened_day < month_first) & (_unbilled(lives) > 0)


def _unbilled(lives: Lives) -> IntArray:
    unbilled: IntArray = np.maximum(lives.balance_cents - lives.unpaid_cents.sum(axis=1), 0)
    return unbilled


def lived(
    scene: Scene,
    lives: Lives,
    *,
    acted: pd.DataFrame,
    economy_now: float,
    month_days: list[int],
    without: Collection[str] = (),
) -> Lived:
    """Let a month pass.

    Parameters
    ----------
    acted : DataFrame
        What the lender did to these customers, as :func:`limitlens.data.world.decisions.owned` gives it.
    economy_now : float
        State of the economy.
    month_days : list of int
        First day of each month since the start.
    without : collection of str
        Causes taken out of the world at their root.
    """
    none = np.zeros(len(scene.number))
    lost = loses_income(scene, lives.fortune) & ("income_loss" not in without)
    fortune = live(scene, lives.fortune, lost)
    able = ability(scene.people, fortune, economy_now)
    wait = (
        none if "salary_delay" in without else np.where(fortune.gone_from > scene.month.index, salary_waits(scene), 0.0)
    )
    episode_table = episodes(scene, able, fortune, lost=lost, wait_days=wait, without=without)
    fortune = consequences(scene, fortune, episode_table)
    before_first = month_days[scene.month.index - 1] if scene.month.index else -1
    to_answer, acting = between(acted, scene.month, before_first)
    answered = answer(scene, fortune, lives.line, to_answer, able=able, owing=lives.balance_cents > 0)
    fortune, able = answered.fortune, answered.able
    scene = _as_they_now_are(scene, answered.line)
    owing = billed(scene.people, lives, scene.month.first)
    payment = settled(pay(scene, fortune, able), fortune, answered.settles)
    reached, day = defaults_in(scene.people, fortune, payment, scene.month.index, month_days)
    bills, paid, unpaid_cents = _instalments(scene, lives, payment, owing, able=able, wait_days=wait)
    quiet = (fortune.gone_from < scene.month.index) | (lives.fortune.unpaid >= _STOPS_AT) | answered.line.left
    bought, left_cents = _spending(scene, lives, episode_table, able, quiet)
    marks = traces(scene, episode_table, left_cents, lives.phone)
    bought = pd.concat([bought, marks.consumption], ignore_index=True)
    stopped = refused(bought, acting, lives.balance_cents)
    passed_on = not_passed_on(marks.payment, bought, stopped) if stopped.any() else marks.payment
    bought = bought[~stopped]
    poor = np.where(fortune.poor_until > scene.month.index, 1 - scene.world.causes["income_loss"].severity, 1.0)
    poor = poor * np.exp(scene.world.state.income_shows * fortune.drift)
    moved = transfers(scene, able, income_share=poor, wait_days=wait)
    seen, phone = _sign_ins(scene, lives.phone, episode_table, quiet)
    rows = {
        "consumption": bought,
        "payment": pd.concat([bills, paid, moved, passed_on], ignore_index=True),
        "device": pd.concat([seen, marks.device], ignore_index=True),
    }
    after = Lives(
        replace(fortune, unpaid=unpaid_after(fortune, payment, owing)),
        after_actions(answered.line, acting),
        np.maximum(lives.balance_cents + _borrowed(bought, scene.people) - _sum(paid, scene.people), 0),
        phone,
        unpaid_cents,
    )
    return Lived(after, rows, episode_table, np.where(reached & owing, day, np.nan), answered.rows)


def _as_they_now_are(scene: Scene, line: Line) -> Scene:
    """The scene with what the lender's actions made of its people."""
    due_share = np.where(line.left, 1.0, scene.people.due_share)
    return replace(
        scene, people=replace(scene.people, activity=scene.people.activity * line.appetite, due_share=due_share)
    )


def _sum(rows: pd.DataFrame, people: People) -> IntArray:
    return np.bincount(rows["owner"], rows["amount_cents"], len(people.number)).astype(np.int64)


def _borrowed(bought: pd.DataFrame, people: People) -> IntArray:
    returned = bought["kind"] == "refund"
    return _sum(bought[~returned], people) - _sum(bought[returned], people)


def _spending(
    scene: Scene, lives: Lives, episode_table: pd.DataFrame, able: FloatArray, quiet: BoolArray
) -> tuple[pd.DataFrame, IntArray]:
    """Everyday consumption with interest, and what it leaves of the limit; a line emptied at once has none."""
    emptied = np.isin(np.arange(len(quiet)), episode_table.loc[episode_table["cause"].isin(FIRST_DAYS), "owner"])
    free = np.maximum(np.where(lives.line.can_draw, lives.line.limit_cents, 0) - lives.balance_cents, 0)
    bought = spending(scene, able, np.where(quiet | emptied, 0, free))
    left = np.maximum(free - _sum(bought[bought["kind"] != "refund"], scene.people), 0)
    revolved = np.where((scene.people.due_share < 1) | (lives.fortune.unpaid > 0), lives.balance_cents, 0)
    return pd.concat([bought, interest(scene, revolved)], ignore_index=True), np.where(quiet, 0, left)


def _sign_ins(
    scene: Scene, phone: IntArray, episode_table: pd.DataFrame, quiet: BoolArray
) -> tuple[pd.DataFrame, IntArray]:
    """Everyday sign-ins: none of those who are gone, none at home of those on a trip with a new phone."""
    rows, later = sign_ins(scene, phone)
    trips = episode_table[episode_table["cause"].isin(["innocent_device", "travel"])].groupby("owner")["day"].min()
    first_lines = episode_table.loc[episode_table["cause"].isin(FIRST_DAYS), "owner"]
    begun = rows["owner"].map(trips)
    rows = rows[~(quiet[rows["owner"]] | rows["owner"].isin(first_lines) | (begun <= rows["day"]))]
    later = later.copy()
    later[trips.index] += 1
    return rows, later


def _instalments(
    scene: Scene,
    lives: Lives,
    payment: Payment,
    owing: BoolArray,
    *,
    able: FloatArray,
    wait_days: FloatArray,
) -> tuple[pd.DataFrame, pd.DataFrame, IntArray]:
    """Instalments of the month, repayments, and what stays open of every instalment."""
    owed = np.flatnonzero(owing)
    unbilled = _unbilled(lives)
    due = np.maximum(scene.people.due_share * unbilled, np.minimum(unbilled, _MIN_DUE_CENTS))
    due_day: FloatArray = scene.month.first + scene.people.due_day[owed].astype(np.float64) - 1
    bills = rows_of("due", owed, np.zeros(len(owed), np.int64), due_day, "due", instalment=scene.month.index)
    bills = bills.assign(amount_cents=due[owed].astype(np.int64), known_day=scene.month.first + 1 / 24)
    open_now = payment.missed | payment.catches_up
    current = bills[~open_now[owed]].drop(columns="known_day")
    repaid = _repaid(scene, current, able, wait_days, payment.reminded)
    paid = pd.concat([repaid, _arrears(scene, lives, payment)], ignore_index=True)
    keys = (scene.number[paid["owner"]], scene.month.index, paid["place"], paid["instalment"] + 1)
    paid["instalment"] = paid["instalment"].where(~scene.chance.below(0.06, "no reference", *keys), -1)
    unpaid = lives.unpaid_cents.copy()
    unpaid[payment.cures] = 0
    oldest = np.flatnonzero(payment.catches_up)
    unpaid[oldest, _oldest(lives, oldest)] = 0
    late = np.flatnonzero(owing & open_now)
    unpaid[late, scene.month.index] = due[late].astype(np.int64)
    return bills, paid, unpaid


def _repaid(
    scene: Scene, bills: pd.DataFrame, able: FloatArray, wait_days: FloatArray, reminded: BoolArray
) -> pd.DataFrame:
    """The instalment of the month, early or late, at once or in two parts; late salary makes late payers.

    Nobody pays before the month, in which the lender bills it; who had to be reminded pays within five days of that.
    """
    owner = bills["owner"].to_numpy()
    number, m = scene.number[owner], scene.month.index
    late = scene.chance.uniform("pays late", number, m) < sigmoid(-2.3 - 0.85 * able[owner])
    delay = 1 - 5.0 * np.log(scene.chance.uniform("pays how late", number, m))
    earliest = np.minimum(8.9, scene.people.due_day[owner] - 1.2)
    days = np.where(late, delay, -0.1 - earliest * scene.chance.uniform("pays how early", number, m))
    waits = (wait_days[owner] > 0) & scene.chance.below(0.7, "needs the salary", number, m)
    days = np.minimum(np.where(waits, np.maximum(days, wait_days[owner] - 3), days), 26.0)
    if scene.world.reminder is not None:
        soon = scene.world.reminder.after_days + 5 * scene.chance.uniform("after the reminder", number, m)
        days = np.where(reminded[owner], soon, days)
    rows = bills.assign(stream="repay", kind="repayment", day=bills["day"] + days)
    halves = scene.chance.below(0.03, "in two parts", number, m)
    half = rows["amount_cents"] // 2
    second = rows.assign(amount_cents=half, place=1)[halves]
    second = second.assign(day=second["day"] + 2 + 7 * scene.chance.uniform("second part", number[halves], m))
    return pd.concat([rows.assign(amount_cents=rows["amount_cents"] - np.where(halves, half, 0)), second])


def _arrears(scene: Scene, lives: Lives, payment: Payment) -> pd.DataFrame:
    """Old instalments paid now: all of them by who cures, the oldest by who catches up."""
    owner, instalment = np.nonzero(np.where(payment.cures[:, None], lives.unpaid_cents, 0))
    one = np.flatnonzero(payment.catches_up)
    owner, instalment = np.concatenate([owner, one]), np.concatenate([instalment, _oldest(lives, one)])
    day = scene.month.first + payment.arrears_day[owner]
    rows = rows_of("arrears", owner, 2 + instalment, day, "repayment", instalment=instalment)
    return rows.assign(amount_cents=lives.unpaid_cents[owner, instalment])


def _oldest(lives: Lives, owner: IntArray) -> IntArray:
    oldest: IntArray = (lives.unpaid_cents[owner] > 0).argmax(axis=1)
    return oldest
