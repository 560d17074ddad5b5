"""Messages of an exchange: a file each, sealed with the secret of both lenders, and no id in it.

The first line is what the file is, with the seal over all that follows: a line of JSON, then the points of
:mod:`limitlens.data.psi`. Nothing of a file is parsed before its seal holds.
"""

import hmac
import json
import re
import stat
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

from limitlens.data.errors import InputError
from limitlens.data.psi import ITEM_BYTES
from limitlens.pipeline.sharing.pair_secret import PairSecret

_FIRST = b"limitlens-share-1 "

#: Bytes of the seal in hexadecimal.
_SEAL = 64

#: More bytes than the lines before the points have.
_HEAD_BYTES = 4096


_Step = Literal["request", "answer"]


@dataclass(frozen=True)
class Message:
    """What a message says of itself.

    Parameters
    ----------
    step : {"request", "answer"}
    exchange : str
        Number of the exchange, 32 hexadecimal digits, random; with the secret it is the salt.
    sender, recipient : str
        The lenders.
    id_kind : str
        What the ids are.
    made_at, expires_at : datetime
        An answer expires with its request.
    ids : int
        Customers asked about.
    listed : int
        Ids of the risk list; 0 in a request.
    setup_bytes : int
        So many bytes of an answer are the risk list.
    request_sha256 : str
        Of the file that an answer answers; empty in a request.
    """

    step: _Step
    exchange: str
    sender: str
    recipient: str
    id_kind: str
    made_at: datetime
    expires_at: datetime
    ids: int
    listed: int = 0
    setup_bytes: int = 0
    request_sha256: str = ""


def sealed(message: Message, points: bytes, pair: PairSecret) -> bytes:
    """The file of a message.

    Examples
    --------
    >>> from datetime import UTC
    >>> at = datetime(2026, 7, 1, tzinfo=UTC)
    >>> pair = PairSecret(("a", "b"), bytes(32))
    >>> request = Message("request", "0" * 32, "a", "b", "phone", at, at, 0)
    >>> opened(sealed(request, b"points", pair), pair, "the file") == (request, b"points")
    True
    """
    times = {name: getattr(message, name).isoformat() for name in ("made_at", "expires_at")}
    content = json.dumps(asdict(message) | times, ensure_ascii=False).encode() + b"\n" + points
    return _FIRST + pair.seal(content).encode() + b"\n" + content


def opened(content: bytes, pair: PairSecret, name: str) -> tuple[Message, bytes]:
    """What the file of a message says, and its points.

    Parameters
    ----------
    content : bytes
    pair : PairSecret
    name : str
        How errors call the file.

    Raises
    ------
    InputError
        It is no message, was damaged or changed, or sealed with another secret; or what is sealed is no message.
    """
    head = len(_FIRST) + _SEAL + 1
    if not content.startswith(_FIRST):
        raise InputError(f"{name}: no message of limitlens share; ask the other lender for the whole file.")
    seal, rest = content[len(_FIRST) : head - 1], content[head:]
    if not hmac.compare_digest(seal, pair.seal(rest).encode()):
        raise InputError(
            f"{name}: damaged, changed on its way, or sealed with another secret; compare the secrets of both lenders, "
            "and send the file again."
        )
    line, _, points = rest.partition(b"\n")
    return _read(line, name), points


def _read(line: bytes, name: str) -> Message:
    """What a message says of itself; a seal shows that the other lender made it, and not that it is right."""
    try:
        body = json.loads(line)
        times = {key: datetime.fromisoformat(body[key]) for key in ("made_at", "expires_at")}
        message = Message(**{**body, **times})
        texts = (message.sender, message.recipient, message.id_kind, message.request_sha256)
        counts = (message.ids, message.listed, message.setup_bytes)
        right = (
            message.step in get_args(_Step)
            and re.fullmatch("[0-9a-f]{32}", message.exchange) is not None
            and all(time.tzinfo is not None for time in (message.made_at, message.expires_at))
            and all(type(text) is str and text.isprintable() for text in texts)
            and all(type(count) is int and count >= 0 for count in counts)
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        right = False
    if not right:
        raise InputError(f"{name}: not a message of this version; compare the versions of limitlens of both lenders.")
    return message


def read_message(path: Path, most_ids: int) -> bytes:
    """Bytes of the file of a message, which is refused unread where it is too large.

    Parameters
    ----------
    path : Path
    most_ids : int
        Most points it may hold.

    Raises
    ------
    InputError
        It cannot be read, is no regular file, or is larger.
    """
    most = _HEAD_BYTES + ITEM_BYTES * most_ids
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: not a regular file; save the message as one and name that.")
        if status.st_size > most:
            raise InputError(
                f"{path}: {status.st_size:,} bytes, expected at most {most:,} for {most_ids:,} ids; ask for less, or "
                "allow more in the settings."
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name the file of the message.") from error
