"""Erasures: which recorded files were written again without the rows of erased accounts, and how those are known again.

::

    <root>/erasures/<number>.json   sha256 of each file before and after, digests of the links that lost their content
    <root>/erasures/key             the key of the keyed hashes that stand for the erased ids
    <root>/erasing.json             an erasure that has begun and is not finished; gone afterwards

A mark of a load and a link of the ledger keep the sha256 that was recorded; who compares a file with it asks here what
has become of it since.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.contracts import Source
from limitlens.data.damage import damaged, read_json
from limitlens.data.delivery import DeliveredFile
from limitlens.data.pseudonyms import IdKey

#: Folder of the marks of erasures, below a workspace.
FOLDER = "erasures"

#: Where the rows of erased accounts are known by.
KEY = f"{FOLDER}/key"

#: Bytes of the key.
KEY_BYTES = 32

#: What parts the words of a row that could not be read.
_WORDS = re.compile(r"[,;\t|\"' ]+")


@dataclass(frozen=True)
class Erasure:
    """What one erasure did, without a word about whom.

    Parameters
    ----------
    number : int
        From 1.
    accounts : tuple of str
        HMAC-SHA256 of each erased id, under the key of the workspace.
    key : str
        Sha256 of that key.
    files : mapping of path to (str, str)
        Sha256 of each recorded file before and after.
    links : mapping of str to str
        Hash of what is left of each link that lost content, by its recorded one.
    """

    number: int
    accounts: tuple[str, ...]
    key: str
    files: Mapping[str, tuple[str, str]]
    links: Mapping[str, str]


def mark_of(number: int) -> str:
    """Path of the mark of an erasure below the workspace."""
    return f"{FOLDER}/{number:04d}.json"


def erasures(root: Path) -> list[Erasure]:
    """Every erasure of a workspace, in order.

    Raises
    ------
    IntegrityError
        A mark is damaged.
    """
    return [read_json(path, _shaped) for path in sorted((root / FOLDER).glob("*.json"))]


def followed(path: str, sha256: str, done: Iterable[Erasure]) -> str:
    """Sha256 that a recorded file has by now, after the erasures that replaced it.

    Examples
    --------
    >>> first = Erasure(1, (), "", {"a.parquet": ("01", "02")}, {})
    >>> followed("a.parquet", "01", [first]), followed("b.parquet", "01", [first])
    ('02', '01')
    """
    for erasure in done:
        before, after = erasure.files.get(path, ("", ""))
        sha256 = after if before == sha256 else sha256
    return sha256


def keyed(account_id: str, key: bytes) -> str:
    """What stands for an erased id."""
    return hmac.digest(key, account_id.encode(), hashlib.sha256).hex()


@dataclass(frozen=True)
class ErasedAccounts:
    """Knows the rows of erased accounts again, whenever they are delivered.

    Parameters
    ----------
    root : Path
        Workspace folder.
    ids : IdKey, optional
        Key by which the ids that come become those of the workspace; default: they are.
    """

    root: Path
    ids: IdKey | None = None

    @cached_property
    def _known(self) -> tuple[frozenset[str], bytes]:
        done = erasures(self.root)
        if not done:
            return frozenset(), b""
        path = self.root / KEY
        try:
            key = bytes.fromhex(path.read_text("ascii"))
        except (OSError, ValueError) as error:
            raise damaged(path, error) from error
        if any(erasure.key != hashlib.sha256(key).hexdigest() for erasure in done):
            raise damaged(path, "it is another key than that of the erasures")
        return frozenset(hashed for erasure in done for hashed in erasure.accounts), key

    @cached_property
    def _asked(self) -> dict[str, bool]:
        return {}

    def __contains__(self, account_id: str) -> bool:
        """Whether an account with this id was erased; space around it does not count."""
        hashes, key = self._known
        if not hashes:
            return False
        if account_id not in self._asked:
            stored = self.ids.pseudonym("account", account_id.strip()) if self.ids else account_id.strip()
            self._asked[account_id] = keyed(stored, key) in hashes
        return self._asked[account_id]

    def without(self, file: DeliveredFile, source: Source) -> tuple[DeliveredFile, int]:
        """A delivered file without the rows of erased accounts, and how many they were.

        Raises
        ------
        IntegrityError
            The key is gone or another one: the rows of erased accounts could not be told from others.
        """
        if not self._known[0] or "account_id" not in source.column_names():
            return file, 0
        ids = pc.cast(file.table["account_id"], pa.string())
        gone = [one for one in pc.unique(ids).drop_null().to_pylist() if one in self]
        ragged = [(row, text) for row, text in file.ragged if not any(word in self for word in _WORDS.split(text))]
        if not gone and len(ragged) == len(file.ragged):
            return file, 0
        stay = np.flatnonzero(~pc.is_in(ids, pa.array(gone, pa.string())).to_numpy())
        left = replace(file, table=file.table.take(pa.array(stay)), ragged=ragged)
        return left, file.rows - left.rows


def _shaped(body: Any) -> Erasure:
    files = {str(path): (str(before), str(after)) for path, (before, after) in body["files"].items()}
    links = {str(head): str(digest) for head, digest in body["links"].items()}
    return Erasure(int(body["erasure"]), tuple(map(str, body["accounts"])), str(body["key"]), files, links)
