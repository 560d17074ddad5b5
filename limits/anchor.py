"""An anchor: what a workspace holds at a moment, signed, so that its past can be proved from outside."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from limitlens.data.errors import IntegrityError
from limitlens.limits.keys import is_signed, public_in, signature


@dataclass(frozen=True)
class Anchor:
    """What was there at a moment.

    Parameters
    ----------
    at : str
        ISO 8601.
    links : int
        Links of the chain.
    head : str
        Hash of the last one, and so of all that the chain holds: decisions and orders, and by their records loads,
        policies, models and promotions.
    """

    at: str
    links: int
    head: str


def signed(anchor: Anchor, private: bytes) -> str:
    """The anchor as JSON with its signature.

    Raises
    ------
    ConfigError
        The key is no Ed25519 key without a password, as PEM.

    Examples
    --------
    >>> from limitlens.limits.keys import new_key
    >>> private, public = new_key()
    >>> anchor = Anchor("2026-07-01T00:00:00+00:00", 1, "3f")
    >>> checked(signed(anchor, private), public) == anchor
    True
    """
    body = asdict(anchor)
    return json.dumps(body | {"signature": signature(private, _bytes(body))}, indent=1) + "\n"


def checked(text: str, public: bytes) -> Anchor:
    """The anchor of a text that was signed with the private key to a public one.

    Raises
    ------
    ConfigError
        The key is no Ed25519 public key as PEM.
    IntegrityError
        The text is no anchor, or not signed with that key.
    """
    key = public_in(public)
    try:
        body = json.loads(text)
        by = str(body.pop("signature"))
        anchor = Anchor(str(body["at"]), int(body["links"]), str(body["head"]))
        whole = is_signed(key, by, _bytes(body))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        whole = False
    if not whole:
        raise IntegrityError("the anchor was not signed with this key, or was changed since.")
    return anchor


def _bytes(body: Mapping[str, object]) -> bytes:
    """What is signed: the values without layout."""
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
