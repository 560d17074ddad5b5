"""Private set intersection: who asks learns which of its items the other side has too; the other side, how many asked.

Diffie-Hellman on the curve P-256 (Meadows 1986; Huberman, Franklin and Hogg 1999), in the semi-honest model, by
OpenMined's library. Each side hashes its items to points and multiplies them by a secret of its own; the product of
both secrets does not depend on the order, so equal items meet as equal points, and nobody can undo the other's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from limitlens.data.errors import InputError, WorkspaceError

#: More bytes than one item takes in a message: a compressed point, and its tag and length.
ITEM_BYTES = 36

#: Bytes of a compressed point.
_POINT_BYTES = 33

_KEY_BYTES = 32


@dataclass(frozen=True)
class Asked:
    """What an asking side sends, and what it keeps.

    Parameters
    ----------
    key : bytes
        Secret; it goes when the answer was read.
    message : bytes
        For the other side.
    """

    key: bytes = field(repr=False)
    message: bytes


@dataclass(frozen=True)
class Answered:
    """What an answering side sends back.

    Parameters
    ----------
    setup : bytes
        Its own items, in an order that says nothing.
    response : bytes
        The items it was asked about, in the order in which they came.
    """

    setup: bytes
    response: bytes


def ask(items: Sequence[str]) -> Asked:
    """Begin: items as points that only this side can tell.

    Parameters
    ----------
    items : sequence of str
        All different. Their number, and their order, are no secret.

    Raises
    ------
    WorkspaceError
        The library is not installed.
    """
    client = _library().client.CreateWithNewKey(True)
    return Asked(client.GetPrivateKeyBytes(), client.CreateRequest(list(items)).SerializeToString())


def answer(message: bytes, count: int, items: Sequence[str]) -> Answered:
    """Answer with a secret that is drawn for this once and forgotten.

    Parameters
    ----------
    message : bytes
        As :func:`ask` makes it.
    count : int
        So many items it must hold.
    items : sequence of str
        Those of the answering side, all different. Their number is no secret.

    Raises
    ------
    InputError
        The message is none of so many items.
    WorkspaceError
        The library is not installed.
    """
    psi = _library()
    request = _parsed(psi.Request, message)
    _expect_points(request.encrypted_elements, count)
    server = psi.server.CreateWithNewKey(True)
    try:
        response = server.ProcessRequest(request)
    except RuntimeError as error:  # a point that is none
        raise _broken() from error
    setup = server.CreateSetupMessage(0.0, count, list(items), psi.DataStructure.RAW)
    return Answered(setup.SerializeToString(), response.SerializeToString())


def matches(key: bytes, answered: Answered, count: int, listed: int) -> list[int]:
    """Places of the asked items that the other side has too.

    Parameters
    ----------
    key : bytes
        Of :class:`Asked`.
    answered : Answered
    count, listed : int
        Items that were asked about, and items of the other side.

    Returns
    -------
    list of int
        Ascending.

    Raises
    ------
    InputError
        The answer is not about so many items, or the key is none.
    WorkspaceError
        The library is not installed.
    """
    psi = _library()
    setup, response = _parsed(psi.ServerSetup, answered.setup), _parsed(psi.Response, answered.response)
    _expect_points(response.encrypted_elements, count)
    _expect_points(setup.raw.encrypted_elements, listed)
    if len(key) != _KEY_BYTES:
        raise _broken()
    try:
        return sorted(psi.client.CreateFromKey(key, True).GetIntersection(setup, response))
    except RuntimeError as error:
        raise _broken() from error


def _library() -> Any:
    try:
        import private_set_intersection.python as psi  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise WorkspaceError("sharing needs openmined-psi; run pip install 'limitlens[share]'.") from error
    return psi


def _parsed(kind: Any, message: bytes) -> Any:
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - it comes with the library

    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise _broken() from error


def _expect_points(points: Sequence[bytes], count: int) -> None:
    if len(points) != count or any(len(point) != _POINT_BYTES for point in points):
        raise _broken()


def _broken() -> InputError:
    return InputError("the message is not what it says it is; ask the other lender to begin a new exchange.")
