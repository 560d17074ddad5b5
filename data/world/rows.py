"""Rows of events: counts become rows, shares of a day become hours, rows become Arrow tables of the contract."""

import hashlib
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.arrays import FloatArray, IntArray
from limitlens.data.contracts import SOURCES
from limitlens.data.events import ARROW_TYPES
from limitlens.data.world.chance import Chance
from limitlens.data.world.people import CATEGORIES, CITIES, PLACES
from limitlens.data.world.scene import Scene

#: Category of what is not bought.
CASH = -1

#: Phones of rings, and of families, are numbered downwards from here; those of customers upwards from 0.
RING_PHONES, FAMILY_PHONES = -1, -1_000_000_001

_TIME = pa.timestamp("us", tz="UTC")
_DAY_US = 86_400_000_000

#: Weight of each hour of the day in what people do awake, and in what is done at night.
_AWAKE = np.array([2, 1, 1, 1, 1, 2, 4, 6, 8, 9, 10, 10, 11, 10, 9, 9, 9, 10, 11, 11, 9, 7, 5, 3], np.float64)
_NIGHT = np.array([9, 10, 10, 9, 8, 5, 3, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4, 5, 6, 7, 8], np.float64)


def repeated(chosen: IntArray, counts: IntArray) -> tuple[IntArray, IntArray]:
    """Index of each row's owner, and the row's number among those of its owner.

    Examples
    --------
    >>> [part.tolist() for part in repeated(np.array([4, 7]), np.array([2, 1]))]
    [[4, 4, 7], [0, 1, 0]]
    """
    owner = np.repeat(chosen, counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    return owner, np.arange(len(owner)) - first


def hours(uniform: FloatArray, *, night: bool = False) -> FloatArray:
    """Time of day as a share of the day, from uniform numbers."""
    weights = _NIGHT if night else _AWAKE
    reached = np.concatenate([[0.0], np.cumsum(weights) / weights.sum()])
    of_day: FloatArray = np.interp(uniform, reached, np.arange(25) / 24)
    return of_day


def whole_cents(amount: FloatArray) -> IntArray:
    """Amounts in whole hundreds of cents, never negative."""
    return (np.floor(np.maximum(amount, 0) / 100) * 100).astype(np.int64)


def rows_of(stream: str, owner: IntArray, place: IntArray, day: FloatArray, kind: str, **columns: Any) -> pd.DataFrame:
    """Rows of one stream: ``owner`` is the customer's index, ``place`` the row's number in the owner's month."""
    frame = pd.DataFrame({"owner": owner, "place": place, "day": day})
    return frame.assign(stream=stream, kind=kind, **columns)


def to_table(scene: Scene, source: str, rows: pd.DataFrame, start: datetime) -> pa.Table:
    """Rows of one source as the contract declares them, known promptly: one minute to two hours after they happen."""
    owner = rows["owner"].to_numpy(np.int64)
    account = pa.array(scene.people.names()).take(pa.array(owner))
    seconds = (rows["day"].to_numpy(np.float64) * 86_400).astype(np.int64)
    happened = int(start.timestamp()) * 1_000_000 + seconds * 1_000_000
    opaque = scene.world.portfolio.opaque_ids
    ids = _opaque_ids(scene, rows) if opaque else _event_ids(rows, account, scene.month.index)
    lag = 1 + scene.chance.pick(119, f"lag {source}", scene.number[owner], scene.month.index, rows["place"], seconds)
    known = happened + lag * 60_000_000
    if "known_day" in rows:
        planned = int(start.timestamp()) * 1_000_000 + (rows["known_day"].fillna(0) * _DAY_US).astype(np.int64)
        known = np.where(rows["known_day"].notna(), planned, known)
    columns: dict[str, pa.Array] = {
        "event_id": ids,
        "account_id": account,
        "event_time": pa.array(happened).cast(_TIME),
        "known_time": pa.array(known).cast(_TIME),
        "kind": _words(rows["kind"]),
        "retracted": pa.array(np.zeros(len(rows), bool)),
    }
    for name, words in (("category", CATEGORIES), ("city", CITIES)):
        if name in rows:
            columns[name] = _coded(rows[name], words)
    for name in ("channel", "counterparty"):
        if name in rows:
            columns[name] = _words(rows[name])
    if "city" in rows:
        latitude, longitude = np.array(PLACES, np.int64)[rows["city"].to_numpy(np.int64)].T
        columns |= {"latitude_udeg": pa.array(latitude), "longitude_udeg": pa.array(longitude)}
    if "instalment" in rows:
        columns["instalment_id"] = _instalment_ids(rows["instalment"], account)
    if "device" in rows:
        columns["device_id"] = _device_ids(rows["device"].to_numpy(np.int64), account)
    for name, word in (("device_id", "phone"), ("counterparty", "party")) if opaque else ():
        if name in columns:
            columns[name] = _hashed(scene.chance, columns[name], word)
    if "amount_cents" in rows:
        columns["amount_cents"] = pa.array(rows["amount_cents"].to_numpy(np.int64))
    declared = SOURCES[source].columns
    empty = {c.name: pa.nulls(len(rows), ARROW_TYPES[c.dtype]) for c in declared}
    table = pa.table({c.name: columns.get(c.name, empty[c.name]).cast(ARROW_TYPES[c.dtype]) for c in declared})
    return table.take(pc.sort_indices(table, [(key, "ascending") for key in ("account_id", "event_time", "event_id")]))


def _event_ids(rows: pd.DataFrame, account: pa.Array, month: int) -> pa.Array:
    """Ids such as ``draw-03-A000042-1``: equal whatever else the month holds."""
    place = pa.array(rows["place"].to_numpy(np.int64)).cast(pa.string())
    return pc.binary_join_element_wise(_words(rows["stream"]), f"{month + 1:02d}", account, place, "-")


def _instalment_ids(month: pd.Series, account: pa.Array) -> pa.Array:
    """Id of the instalment of a month, null where the month is -1."""
    number = month.fillna(-1).to_numpy(np.int64)
    text = pa.array(number + 1).cast(pa.string())
    ids = pc.binary_join_element_wise(account, pc.utf8_lpad(text, 2, "0"), "-")
    return pc.if_else(pa.array(number >= 0), ids, pa.scalar(None, pa.string()))


def _device_ids(device: IntArray, account: pa.Array) -> pa.Array:
    """Id of a phone; the phones of a ring are its members' together."""
    owner = pc.if_else(pa.array(device < 0), pa.scalar("ring"), account)
    owner = pc.if_else(pa.array(device <= FAMILY_PHONES), pa.scalar("family"), owner)
    return pc.binary_join_element_wise("phone", owner, pa.array(np.abs(device)).cast(pa.string()), "-")


def _opaque_ids(scene: Scene, rows: pd.DataFrame) -> pa.Array:
    """Ids such as ``9120371200354411``: hashes of what the others spell out."""
    codes, streams = pd.factorize(rows["stream"])
    stream = np.array([_number_of(word) for word in streams], np.uint64)[codes]
    number = scene.number[rows["owner"].to_numpy(np.int64)]
    return pa.array(scene.chance.bits("event", number, scene.month.index, stream, rows["place"])).cast(pa.string())


def _hashed(chance: Chance, words: pa.Array, word: str) -> pa.Array:
    """Words such as ``phone-9120371200354411`` instead of telling ones; null stays null."""
    coded = words.dictionary_encode()
    numbers = chance.bits(word, np.array([_number_of(text) for text in coded.dictionary.to_pylist()], np.uint64))
    named = pc.binary_join_element_wise(word, pa.array(numbers).cast(pa.string()), "-")
    return named.take(coded.indices)


def _number_of(word: str) -> int:
    return int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")


def _words(values: pd.Series) -> pa.Array:
    """Text that repeats, by way of its codes."""
    codes, words = pd.factorize(values)
    kept = pa.array(np.where(codes < 0, 0, codes), mask=codes < 0)
    return pa.array(list(words) or [""], pa.string()).take(kept)


def _coded(values: pd.Series, words: tuple[str, ...]) -> pa.Array:
    codes = values.fillna(-1).to_numpy(np.int64)
    return pa.array(words).take(pa.array(np.maximum(codes, 0), mask=codes < 0))
