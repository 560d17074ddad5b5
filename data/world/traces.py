"""What the planted causes leave in the feeds: draws, purchases, money passed on, sign-ins."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.data.world.everyday import failed
from limitlens.data.world.mechanisms import Manner
from limitlens.data.world.people import CATEGORIES, elsewhere
from limitlens.data.world.rows import CASH, RING_PHONES, hours, repeated, rows_of, whole_cents
from limitlens.data.world.scene import Scene

#: Devices nobody saw before on the account.
_STRANGE = 900
_TRAVEL = CATEGORIES.index("travel")


@dataclass(frozen=True)
class Traces:
    """Rows that episodes add to each source."""

    consumption: pd.DataFrame
    payment: pd.DataFrame
    device: pd.DataFrame


@dataclass(frozen=True)
class _Struck:
    """The n episodes of one cause in one month: whom they strike, when, how hard, and whether at night."""

    scene: Scene
    cause: str
    manner: Manner
    owner: IntArray
    day: FloatArray
    strength: FloatArray

    def luck(self, purpose: str, *keys: IntArray) -> FloatArray:
        """Uniform numbers, one an episode, or one for each of its ``keys``."""
        return self.scene.chance.uniform(f"{self.cause} {purpose}", self.number, self.scene.month.index, *keys)

    def of(self, rows: IntArray) -> "_Struck":
        """Episodes by their places, repeated or left out."""
        return _Struck(self.scene, self.cause, self.manner, self.owner[rows], self.day[rows], self.strength[rows])

    @property
    def number(self) -> IntArray:
        return self.scene.number[self.owner]

    @property
    def night(self) -> BoolArray:
        return np.asarray(self.luck("at night") < self.manner.night)

    def count(self, bounds: tuple[int, int], purpose: str) -> IntArray:
        """How many there are of something: from the first bound to the second, equally likely."""
        return bounds[0] + (self.luck(purpose) * (bounds[1] - bounds[0] + 1)).astype(np.int64)


def traces(scene: Scene, episode_table: pd.DataFrame, free_cents: IntArray, phone: IntArray) -> Traces:
    """Events of the episodes of a month.

    Parameters
    ----------
    episode_table : DataFrame
        Episodes, as :func:`limitlens.data.world.causes.episodes` returns them.
    free_cents : int64 array of shape (n,)
        What ordinary spending left of the limit.
    phone : int64 array of shape (n,)
        Phone of each customer at the start of the month.
    """
    manners = {cause: settings.manner for cause, settings in scene.world.causes.items() if settings.manner is not None}
    struck_by = set(episode_table["cause"])
    parts = []
    for cause in [cause for cause in manners if cause in struck_by] or [*manners][:1]:  # no rows have columns, too
        rows = episode_table[episode_table["cause"] == cause]
        struck = _Struck(
            scene, cause, manners[cause], *(rows[name].to_numpy() for name in ("owner", "day", "strength"))
        )
        spent = _spent(struck, free_cents)
        parts.append((spent, _passed_on(struck, spent), _signed_in(struck, phone)))
    return Traces(*(pd.concat(frames, ignore_index=True) for frames in zip(*parts, strict=True)))


def _spent(struck: _Struck, free_cents: IntArray) -> pd.DataFrame:
    """Draws and purchases that share the money of each episode."""
    begins = struck.day + struck.manner.quiet_days * struck.luck("is quiet")
    draws = _some(struck, "draw", struck.count(struck.manner.draws, "draws"), begins)
    buys = _some(struck, "purchase", struck.count(struck.manner.purchases, "purchases"), begins)
    atm = struck.manner.atm
    draws = draws.assign(category=CASH, channel=np.where(draws["luck"] < atm, "atm", "app"))
    buys = buys.assign(category=_TRAVEL, channel=np.where(buys["luck"] < atm, "pos", "online"))
    rows = pd.concat([draws, buys.assign(weight=0.4 * buys["weight"])], ignore_index=True)
    share = rows["weight"] / rows.groupby("episode")["weight"].transform("sum")
    money = struck.strength * free_cents[struck.owner]
    rows["amount_cents"] = whole_cents((share * money[rows["episode"]]).to_numpy(np.float64))
    return rows[rows["amount_cents"] > 0].drop(columns=["weight", "luck"])


def _some(struck: _Struck, kind: str, counts: IntArray, begins: FloatArray) -> pd.DataFrame:
    which, place = repeated(np.arange(len(counts)), counts)
    each = struck.of(which)
    day = begins[which] + 0.1 + struck.manner.days * each.luck(f"{kind} day", place)
    rows = rows_of(f"{struck.cause}-{kind}", each.owner, place, _by_night(each, kind, day, place), kind)
    return rows.assign(episode=which, weight=0.5 + each.luck(f"{kind} weight", place), luck=each.luck("where", place))


def _by_night(each: _Struck, purpose: str, day: FloatArray, place: IntArray) -> FloatArray:
    """The same day at night, for episodes of the night that have begun by then."""
    late = np.floor(day) + hours(each.luck(f"{purpose} hour", place), night=True)
    moved: FloatArray = np.where(each.night & (late > each.day), late, day)
    return moved


def _passed_on(struck: _Struck, spent: pd.DataFrame) -> pd.DataFrame:
    """Draws sent on to somebody: an investment platform, a mule, the partner at home."""
    drawn = spent[spent["kind"] == "draw"]
    drawn = drawn[struck.luck("passes on")[drawn["episode"]] < struck.manner.passed_on]
    each = struck.of(drawn["episode"].to_numpy(np.int64))
    whom = {
        "platform": each.number % 40,
        "payee": each.number % 400,
        "mule": struck.scene.people.ring[each.owner],
        "person": each.number % 50_000,
    }[struck.manner.to]
    sent: pd.DataFrame = drawn[["owner", "place"]].assign(
        day=drawn["day"] + 0.005 + 0.035 * each.luck("passes on day", drawn["place"].to_numpy()),
        stream=f"{struck.cause}-send",
        kind="transfer_out",
        amount_cents=whole_cents(0.9 * drawn["amount_cents"].to_numpy(np.float64)),
        counterparty=[f"{struck.manner.to}-{k}" for k in whom],
    )
    return sent


def _signed_in(struck: _Struck, phone: IntArray) -> pd.DataFrame:
    """Sign-ins that come with an episode; the first stands at its beginning."""
    people, owner = struck.scene.people, struck.owner
    which, place = repeated(np.arange(len(owner)), struck.count((2, 5), "sign-ins"))
    each = struck.of(which)
    span = np.where(place == 0, 0.0, struck.manner.days + struck.manner.quiet_days)
    day = each.day + 0.01 + span * each.luck("sign-in day", place)
    device = phone[owner] + {"usual": 0, "new": 1, "strange": _STRANGE}[struck.manner.device]
    device = np.where(people.ring[owner] >= 0, RING_PHONES - people.ring[owner], device)
    there = elsewhere(struck.scene.chance, people.city[owner], f"{struck.cause} city", struck.number)
    city = np.where(struck.luck("away") < struck.manner.away, there, people.city[owner])
    rows = rows_of(f"{struck.cause}-login", each.owner, place, _by_night(each, "sign-in", day, place), "login")
    rows = rows.assign(device=device[which], city=city[which])
    reset = rows[(place == 0) & (each.luck("password") < struck.manner.password)]
    reset = reset.assign(stream=f"{struck.cause}-password", kind="password_change", day=reset["day"] + 0.003)
    mistyped = rows[(place == 0) & (each.luck("fails") < struck.manner.fails)]
    signed: pd.DataFrame = pd.concat([rows, reset, failed(mistyped)], ignore_index=True)
    return signed
