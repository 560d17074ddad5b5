"""Keys to sign with: Ed25519 (Bernstein et al. 2012; RFC 8032), in PEM files as OpenSSL makes them."""

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

from limitlens.data.errors import ConfigError


def new_key() -> tuple[bytes, bytes]:
    """A new private key and its public key, as PEM."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_of(private: bytes) -> str:
    """The public key to a private one, its 32 bytes in hexadecimal: how a policy names it.

    Parameters
    ----------
    private : bytes
        PEM.

    Raises
    ------
    ConfigError
        As :func:`signature`.
    """
    return _hex(_private(private).public_key())


def public_in(pem: bytes) -> str:
    """The public key of a PEM file, its 32 bytes in hexadecimal.

    Raises
    ------
    ConfigError
        It is no Ed25519 public key.
    """
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError("no Ed25519 public key in PEM; limitlens ledger new-key makes one beside the private key.")
    return _hex(key)


def signature(private: bytes, message: bytes) -> str:
    """Sign a message; 64 bytes in hexadecimal.

    Parameters
    ----------
    private : bytes
        PEM.
    message : bytes

    Raises
    ------
    ConfigError
        The key is no Ed25519 key without a password, as PEM.

    Examples
    --------
    >>> private, public = new_key()
    >>> is_signed(public_in(public), signature(private, b"a"), b"a"), public_in(public) == public_of(private)
    (True, True)
    """
    return _private(private).sign(message).hex()


def is_signed(public: str, signed: str, message: bytes) -> bool:
    """Whether a signature was made over a message with the private key to a public one, both in hexadecimal."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signed), message)
    except (ValueError, InvalidSignature):
        return False
    return True


def _private(pem: bytes) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError("no Ed25519 private key in PEM without a password; limitlens ledger new-key makes one.")
    return key


def _hex(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
