"""An anchor: what a workspace holds at a moment, signed, so that its past can be proved from outside.

Signatures are Ed25519 (Bernstein et al. 2012; RFC 8032), keys are PEM files as OpenSSL makes them.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from limitlens.data.errors import ConfigError, IntegrityError


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


def new_key() -> tuple[bytes, bytes]:
    """A new private key and its public key, as PEM."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signed(anchor: Anchor, private: bytes) -> str:
    """The anchor as JSON with its signature.

    Raises
    ------
    ConfigError
        The key is no Ed25519 key without a password, as PEM.

    Examples
    --------
    >>> private, public = new_key()
    >>> anchor = Anchor("2026-07-01T00:00:00+00:00", 1, "3f")
    >>> checked(signed(anchor, private), public) == anchor
    True
    """
    body = asdict(anchor)
    return json.dumps(body | {"signature": private_key(private).sign(_bytes(body)).hex()}, indent=1) + "\n"


def private_key(pem: bytes) -> Ed25519PrivateKey:
    """The key of a PEM file.

    Raises
    ------
    ConfigError
        It is no Ed25519 key without a password.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError("no Ed25519 private key in PEM without a password; limitlens ledger new-key makes one.")
    return key


def public_hex(key: Ed25519PublicKey) -> str:
    """The 32 bytes of a public key, in hexadecimal: how a policy names one."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def checked(text: str, public: bytes) -> Anchor:
    """The anchor of a text that was signed with the private key to a public one.

    Raises
    ------
    ConfigError
        The key is no Ed25519 public key as PEM.
    IntegrityError
        The text is no anchor, or not signed with that key.
    """
    try:
        key = load_pem_public_key(public)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError("no Ed25519 public key in PEM; limitlens ledger new-key makes one beside the private key.")
    try:
        body = json.loads(text)
        signature = bytes.fromhex(body.pop("signature"))
        key.verify(signature, _bytes(body))
        anchor = Anchor(str(body["at"]), int(body["links"]), str(body["head"]))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, InvalidSignature):
        raise IntegrityError("the anchor was not signed with this key, or was changed since.") from None
    return anchor


def _bytes(body: Mapping[str, object]) -> bytes:
    """What is signed: the values without layout."""
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
