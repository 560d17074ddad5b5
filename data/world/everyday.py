"""What customers do in an ordinary month: they buy, draw, are paid, pass money on, and sign in."""

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.data.world.fortune import sigmoid
from limitlens.data.world.people import CATEGORIES, People, elsewhere
from limitlens.data.world.rows import CASH, FAMILY_PHONES, RING_PHONES, hours, repeated, rows_of, whole_cents
from limitlens.data.world.scene import Scene

_PAY_DAYS = np.array([25, 10, 5, 15])
_PURCHASES = np.array([1.75, 1.9, 1.5, 1.6])
_DRAWS = np.array([0.25, 0.4, 0.25, 0.45])
_IS_PAID = np.array([0.985, 0.85, 0.8, 0.9])
_INCOME_SPREAD = np.array([0.05, 0.45, 0.2, 0.35])
_PAY_DAY_SPREAD = np.array([0.5, 6.0, 2.0, 4.0])
_SEASON = np.array([1.05, 1.15, 0.9, 0.95, 1.0, 1.1, 0.95, 0.95, 1.0, 1.05, 1.3, 1.25])
_STOCK = CATEGORIES.index("stock")


def spending(scene: Scene, able: FloatArray, free_cents: IntArray) -> pd.DataFrame:
    """Purchases, draws and refunds.

    Parameters
    ----------
    able : float64 array of shape (n,)
    free_cents : int64 array of shape (n,)
        What is left of the limit; no more than that is spent.
    """
    chance, people, keys = scene.chance, scene.people, (scene.number, scene.month.index)
    season, need = _SEASON[scene.month.of_year - 1], sigmoid(-1.1 * able)
    bought = chance.poisson(season * _PURCHASES[people.segment] * people.activity, "purchases", *keys)
    drawn = chance.poisson((_DRAWS[people.segment] + 0.5 * need) * people.activity, "draws", *keys)
    parts = [
        _spent(scene, "purchase", bought, 0.045 * people.limit_cents * (0.7 + 0.6 * need), 0.8),
        _spent(scene, "draw", drawn, 0.070 * people.limit_cents * (0.8 + 0.6 * need), 0.6),
    ]
    taken = sum(np.bincount(rows["owner"], rows["amount"], len(able)) for rows in parts)
    scale = np.minimum(1.0, free_cents / np.maximum(taken, 1))
    rows = pd.concat(parts, ignore_index=True)
    rows["amount_cents"] = whole_cents((rows["amount"] * scale[rows["owner"]]).to_numpy())
    rows = rows[(rows["amount_cents"] > 0) & _open(people, rows)].drop(columns="amount")
    return pd.concat([rows, _refunds(scene, rows)], ignore_index=True)


def _spent(scene: Scene, kind: str, counts: IntArray, scale: FloatArray, spread: float) -> pd.DataFrame:
    owner, place = repeated(np.arange(len(counts)), counts)
    keys = (scene.number[owner], scene.month.index, place)
    amount = scale[owner] * np.exp(spread * scene.chance.normal(f"{kind} amount", *keys) - spread**2 / 2)
    day = _day_after_pay(scene, kind, owner, place)
    rows = rows_of(kind, owner, place, day, kind, amount=amount)
    if kind == "draw":
        atm = scene.chance.below(0.6, "atm", *keys)
        return rows.assign(category=CASH, channel=np.where(atm, "atm", "app"))
    habit = scene.chance.below(0.45, "habit", *keys)
    bought = np.where(habit, scene.people.favourite[owner], scene.chance.pick(_STOCK, "category", *keys))
    stock = (scene.people.segment[owner] == 3) & scene.chance.below(0.5, "stock", *keys)
    channel = np.array(["pos", "online", "app"], object)[scene.chance.pick(3, "channel", *keys)]
    return rows.assign(category=np.where(stock, _STOCK, bought), channel=channel)


def _day_after_pay(scene: Scene, kind: str, owner: IntArray, place: IntArray) -> FloatArray:
    """More is spent in the days after the pay day than before the next."""
    keys = (scene.number[owner], scene.month.index, place)
    since_pay = scene.chance.uniform(f"{kind} day", *keys) ** 1.25 * scene.month.days
    day = np.floor((_PAY_DAYS[scene.people.segment[owner]] + since_pay) % scene.month.days)
    day_of_month: FloatArray = scene.month.first + day + hours(scene.chance.uniform(f"{kind} hour", *keys))
    return day_of_month


def _refunds(scene: Scene, rows: pd.DataFrame) -> pd.DataFrame:
    bought = rows[rows["kind"] == "purchase"]
    keys = (scene.number[bought["owner"]], scene.month.index, bought["place"])
    back = bought[scene.chance.below(0.02, "returned", *keys)]
    wait = 1 + 8 * scene.chance.uniform("return day", scene.number[back["owner"]], scene.month.index, back["place"])
    return back.assign(stream="refund", kind="refund", day=back["day"] + wait)


def interest(scene: Scene, revolved_cents: IntArray) -> pd.DataFrame:
    """Interest on what was carried over, charged two hours into the month."""
    fee = revolved_cents // 80
    charged = np.flatnonzero(fee > 0)
    day = np.full(len(charged), scene.month.first + 2 / 24)
    rows = rows_of("fee", charged, np.zeros(len(charged), np.int64), day, "fee", amount_cents=fee[charged])
    return rows.assign(category=CASH, channel="system")


def _open(people: People, rows: pd.DataFrame) -> BoolArray:
    return np.asarray(rows["day"].to_numpy() > people.opened_day[rows["owner"]])


def salary_waits(scene: Scene) -> FloatArray:
    """Days by which each customer's employer pays late this month, 0 for most."""
    delay, employer = scene.world.causes["salary_delay"], scene.people.employer
    keys = (employer + 1, scene.month.index)
    strikes = scene.chance.below(delay.rate, "employer pays late", *keys) & (employer >= 0)
    return np.where(strikes, delay.severity * (0.6 + 0.8 * scene.chance.uniform("how late", *keys)), 0.0)


def transfers(scene: Scene, able: FloatArray, *, income_share: FloatArray, wait_days: FloatArray) -> pd.DataFrame:
    """Income on the pay day, from an employer or from clients, and money sent to others."""
    rows = pd.concat([_income(scene, income_share, wait_days), _sent(scene, able)], ignore_index=True)
    return rows[_open(scene.people, rows) & (rows["amount_cents"] > 0)]


def _income(scene: Scene, income_share: FloatArray, wait_days: FloatArray) -> pd.DataFrame:
    chance, people, keys = scene.chance, scene.people, (scene.number, scene.month.index)
    regular = chance.below(_IS_PAID[people.segment], "is paid", *keys)
    spread = _INCOME_SPREAD[people.segment]
    income = people.income_cents * income_share * np.exp(spread * chance.normal("pay", *keys) - spread**2 / 2)
    jitter = _PAY_DAY_SPREAD[people.segment] * chance.uniform("pay day", *keys)
    day = scene.month.first + _PAY_DAYS[people.segment] - 1 + jitter + wait_days
    paid = np.flatnonzero(regular)
    payer = np.where(people.employer >= 0, people.employer, 1_000 + people.number)[paid]
    rows = rows_of("pay", paid, np.zeros(len(paid), np.int64), day[paid], "transfer_in")
    return rows.assign(amount_cents=whole_cents(income[paid]), counterparty=_parties("payer", payer))


def _sent(scene: Scene, able: FloatArray) -> pd.DataFrame:
    chance, people = scene.chance, scene.people
    counts = chance.poisson(0.2 + 0.25 * sigmoid(-able), "sends", scene.number, scene.month.index)
    owner, place = repeated(np.arange(len(able)), counts)
    keys = (people.number[owner], scene.month.index, place)
    sent = 0.08 * people.income_cents[owner] * np.exp(0.7 * chance.normal("sent", *keys))
    day = scene.month.first + np.floor(chance.uniform("send day", *keys) * 28)
    rows = rows_of("send", owner, place, day + hours(chance.uniform("send hour", *keys)), "transfer_out")
    whom = chance.pick(50_000, "to whom", *keys)
    return rows.assign(amount_cents=whole_cents(sent), counterparty=_parties("person", whom))


def _parties(kind: str, numbers: IntArray) -> pd.Series:
    codes, unique = pd.factorize(numbers)
    return pd.Series(np.array([f"{kind}-{k}" for k in unique], object)[codes] if len(unique) else codes)


def sign_ins(scene: Scene, phone: IntArray) -> tuple[pd.DataFrame, IntArray]:
    """Sign-ins of the month, and the phone each customer has afterwards.

    Some change their phone, some travel, some mistype; the members of a ring, and of a family, use its phone now and
    then.
    """
    chance, people, month = scene.chance, scene.people, scene.month
    every = (people.number, month.index)
    owner, place = repeated(np.arange(len(phone)), chance.poisson(1.4 * np.sqrt(people.activity), "sign-ins", *every))
    keys = (people.number[owner], month.index, place)
    day = month.first + np.floor(chance.uniform("sign-in day", *keys) * month.days)
    day = day + hours(chance.uniform("sign-in hour", *keys))
    changes = chance.below(0.018, "new phone", *every)
    change_day = month.first + 26 * chance.uniform("new phone day", *every)
    leaves = month.first + 22 * chance.uniform("leaves", *every)
    away = chance.below(0.035, "trip", *every)[owner] & (day >= leaves[owner]) & (day < leaves[owner] + 4)
    trip = elsewhere(chance, people.city, "trip to", *every)
    shared = (people.ring[owner] >= 0) & chance.below(0.3, "ring phone", *keys)
    device = np.where(
        shared, RING_PHONES - people.ring[owner], phone[owner] + (changes[owner] & (day >= change_day[owner]))
    )
    if (people.family >= 0).any():
        often = scene.world.causes["family_phone"].severity
        at_home = (people.family[owner] >= 0) & chance.below(often, "family phone", *keys)
        device = np.where(at_home, FAMILY_PHONES - people.family[owner], device)
    seen = rows_of("login", owner, place, day, "login", device=device)
    seen = seen.assign(city=np.where(away, trip[owner], people.city[owner]))
    chosen = np.flatnonzero(changes)
    switch = rows_of("phone", chosen, np.zeros(len(chosen), np.int64), change_day[chosen], "device_change")
    switch = switch.assign(device=phone[chosen] + 1, city=people.city[chosen])
    mistyped = seen[chance.below(0.04, "mistyped", *keys)]
    rows = pd.concat([seen, switch, failed(mistyped)], ignore_index=True)
    return rows[_open(people, rows)], phone + changes


def failed(sign_ins_after: pd.DataFrame) -> pd.DataFrame:
    """A failed sign-in a minute before each of some sign-ins."""
    return sign_ins_after.assign(
        stream=sign_ins_after["stream"] + "-failed", kind="login_failed", day=sign_ins_after["day"] - 1 / 1440
    )
