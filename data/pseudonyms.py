"""Pseudonyms: what stands in a workspace for the ids of people, devices and payees.

A pseudonym is a prefix that says what it stands for and HMAC-SHA256 over kind and id, cut to 128 bits. Who has the key
finds the pseudonym of an id, and nobody the id of a pseudonym; without the key nobody can try ids out either. Equal ids
of a kind have equal pseudonyms, so that repeats are recognised and tables join.

An account whose id is all letters of another alphabet that are read as Latin ones has two parts: the pseudonym of the
id it is read as, and its own. So look-alikes are seen without the ids.
"""

import hashlib
import re
from base64 import b32encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.contracts import Source

#: Bytes of the HMAC that are kept: 128 bits, so that two of 10 billion ids are one with a chance below 1e-18.
_BYTES = 16

#: Digits of RFC 4648, small: so many carry :data:`_BYTES`.
_ALPHABET, _LENGTH = "abcdefghijklmnopqrstuvwxyz234567", 26

#: What the columns of the contract that stand for somebody or something outside are of; every event is some account's.
KINDS = {
    "account_id": "account",
    "event_id": "event",
    "device_id": "device",
    "counterparty": "counterparty",
    "instalment_id": "instalment",
}

#: How a pseudonym of each kind begins; a ``row`` is the text of one that could not be read.
PREFIXES = {
    "account": "acc_",
    "event": "evt_",
    "device": "dev_",
    "counterparty": "cpt_",
    "instalment": "ins_",
    "attribute": "att_",
    "row": "row_",
}

#: Regular expression of a whole pseudonym.
SHAPE = f"({'|'.join(PREFIXES.values())})[a-z2-7]{{{_LENGTH}}}(_[a-z2-7]{{{_LENGTH}}})?"

#: Letters that are read as Latin ones, and these (a part of the confusables of Unicode TR 39).
LOOK_ALIKE = ("АВЕКМНОРСТУХЅІЈаеорсухѕіјΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABEKMHOPCTYXSIJaeopcyxsijABEZHIKMNOPTYXo")

#: Letters of the pseudonym of an account that it shares with those it is read like.
ALIKE_LENGTH = len(PREFIXES["account"]) + _LENGTH

#: Rows that are named at once: their bits are held in memory.
_PIECE_ROWS = 1 << 20

_READ_AS = str.maketrans(*LOOK_ALIKE)


@dataclass(frozen=True)
class IdKey:
    """The key of the pseudonyms.

    Parameters
    ----------
    secret : bytes
        Random, 32 bytes.
    """

    secret: bytes = field(repr=False)

    @cached_property
    def fingerprint(self) -> str:
        """What a workspace may know of its key: the first 16 hexadecimal digits of its sha256."""
        return hashlib.sha256(self.secret).hexdigest()[:16]

    def pseudonym(self, kind: str, delivered: str) -> str:
        """What stands for an id.

        Parameters
        ----------
        kind : str
            One of :data:`PREFIXES`.
        delivered : str
            The id.

        Examples
        --------
        >>> IdKey(bytes(32)).pseudonym("account", "A004242")
        'acc_eosthd24trz2nujwvu2r3bf5da'
        """
        digest = _keyed(self.secret, kind)
        own = PREFIXES[kind] + b32encode(digest(delivered)).decode().lower().rstrip("=")
        read_as = delivered.translate(_READ_AS)
        if kind != "account" or read_as == delivered:
            return own
        return f"{self.pseudonym(kind, read_as)}_{own.removeprefix(PREFIXES[kind])}"

    def pseudonyms(self, kind: str, delivered: pa.ChunkedArray) -> pa.ChunkedArray:
        """:meth:`pseudonym` of every id of a column, each id of a million rows hashed once.

        Parameters
        ----------
        kind : str
        delivered : pyarrow.ChunkedArray
            Texts or integers.

        Returns
        -------
        pyarrow.ChunkedArray of str
            Null where there is no id, or an empty one.
        """
        pieces = (delivered.slice(start, _PIECE_ROWS) for start in range(0, len(delivered), _PIECE_ROWS))
        return pa.chunked_array([self._piece(kind, piece) for piece in pieces], pa.string())

    def replaced(self, table: pa.Table, source: Source) -> pa.Table:
        """A table of delivered rows with pseudonyms in the place of the ids of the contract."""
        return self._replaced(table, {name: KINDS[name] for name in id_columns(source)})

    def replaced_further(self, table: pa.Table, source: Source) -> pa.Table:
        """A table of an open source with pseudonyms in the columns beyond the contract whose names end in ``_id``."""
        declared = source.column_names()
        further = [name for name in table.column_names if name not in declared and name.lower().endswith("_id")]
        return self._replaced(table, dict.fromkeys(further, "attribute"))

    def _replaced(self, table: pa.Table, kinds: Mapping[str, str]) -> pa.Table:
        for name, kind in kinds.items():
            table = table.set_column(table.column_names.index(name), name, self.pseudonyms(kind, table[name]))
        return table

    def _piece(self, kind: str, delivered: pa.ChunkedArray) -> pa.Array:
        encoded = delivered.cast(pa.string()).combine_chunks().dictionary_encode()
        ids = encoded.dictionary
        names = _named(b"".join(map(_keyed(self.secret, kind), ids.to_pylist())), PREFIXES[kind])
        if kind == "account" and (foreign := _beyond_ascii(ids)):
            exact = {place: self.pseudonym(kind, ids[place].as_py()) for place in foreign}
            names = pa.array([exact.get(place, name) for place, name in enumerate(names.to_pylist())], pa.string())
        return pc.if_else(pc.equal(ids, ""), pa.scalar(None, pa.string()), names).take(encoded.indices)


def id_columns(source: Source) -> list[str]:
    """Declared columns of a source that become pseudonyms.

    Examples
    --------
    >>> from limitlens.data.contracts import DEVICE
    >>> id_columns(DEVICE)
    ['event_id', 'account_id', 'device_id']
    """
    return [name for name in source.column_names() if name in KINDS]


def is_pseudonym(text: str) -> bool:
    """Whether a text has the shape of one.

    Examples
    --------
    >>> is_pseudonym("acc_eosthd24trz2nujwvu2r3bf5da"), is_pseudonym("A004242")
    (True, False)
    """
    return re.fullmatch(SHAPE, text) is not None


def _keyed(secret: bytes, kind: str) -> Callable[[str], bytes]:
    """HMAC-SHA256 (RFC 2104) over kind, a zero byte and an id, its first bytes; what all ids share is hashed once."""
    block = secret.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + kind.encode() + b"\0")
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def digest(delivered: str) -> bytes:
        first, second = inner.copy(), outer.copy()
        first.update(delivered.encode())
        second.update(first.digest())
        return second.digest()[:_BYTES]

    return digest


def _named(digests: bytes, prefix: str) -> pa.Array:
    """The texts of many digests at once, as ``b32encode`` gives them one by one."""
    count = len(digests) // _BYTES
    bits = np.unpackbits(np.frombuffer(digests, np.uint8).reshape(count, _BYTES), axis=1)
    bits = np.pad(bits, ((0, 0), (0, 5 * _LENGTH - 8 * _BYTES))).reshape(count, _LENGTH, 5)
    places = bits @ np.array([16, 8, 4, 2, 1], np.uint8)
    text = np.empty((count, len(prefix) + _LENGTH), np.uint8)
    text[:, : len(prefix)] = np.frombuffer(prefix.encode(), np.uint8)
    text[:, len(prefix) :] = np.frombuffer(_ALPHABET.encode(), np.uint8)[places]
    offsets = np.arange(count + 1, dtype=np.int64) * text.shape[1]
    large = pa.LargeStringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text))
    return large.cast(pa.string())


def _beyond_ascii(ids: pa.Array) -> list[int]:
    """Places of the ids with more bytes than letters: only these can be read as others."""
    places: list[int] = pc.indices_nonzero(pc.not_equal(pc.binary_length(ids), pc.utf8_length(ids))).to_pylist()
    return places
