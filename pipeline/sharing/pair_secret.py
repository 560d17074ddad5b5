"""The secret of a pair of lenders: a file that both have and nobody else, given from hand to hand once.

It authenticates their messages, and with the number of an exchange it is the salt of that exchange: who lacks it can
neither ask nor read, and what was sent in one exchange fits no other.
"""

import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from limitlens.data.errors import ConfigError
from limitlens.data.id_key import expect_outside
from limitlens.data.secret_file import write_secret
from limitlens.data.toml_reader import read_small

_HEAD = "limitlens-share-1"

_NAME = "[a-z0-9][a-z0-9-]{0,39}"

_SHAPE = re.compile(rf"{_HEAD} ({_NAME}) ({_NAME}) ([0-9a-f]{{64}})\n?")


@dataclass(frozen=True)
class PairSecret:
    """A secret, and the two lenders that share it.

    Parameters
    ----------
    lenders : (str, str)
    secret : bytes
        Random, 32 bytes.
    """

    lenders: tuple[str, str]
    secret: bytes = field(repr=False)

    def other(self, lender: str) -> str:
        """The lender on the other side.

        Raises
        ------
        ConfigError
            The secret is not this lender's.
        """
        if lender not in self.lenders:
            raise ConfigError(
                f"the secret is of {' and '.join(self.lenders)}, and this is {lender!r}; name one of them by --as."
            )
        return self.lenders[1 - self.lenders.index(lender)]

    def seal(self, content: bytes) -> str:
        """HMAC-SHA256 over what a message says, in hexadecimal."""
        return hmac.digest(self._derived(b"seal"), content, "sha256").hex()

    def salted(self, exchange: str, id_kind: str, persons: Iterable[str]) -> dict[str, str]:
        """Ids by what stands for each in one exchange, in an order that says nothing about them.

        Parameters
        ----------
        exchange : str
        id_kind : str
        persons : iterable of str

        Examples
        --------
        >>> pair = PairSecret(("a", "b"), bytes(32))
        >>> [one], [other] = pair.salted("1", "phone", ["138"]), pair.salted("2", "phone", ["138"])
        >>> len(one), one == other
        (64, False)
        """
        salt = self._derived(f"salt {exchange} {id_kind}".encode())
        return dict(sorted((hmac.digest(salt, person.encode(), "sha256").hex(), person) for person in persons))

    def _derived(self, use: bytes) -> bytes:
        return hmac.digest(self.secret, use, "sha256")


def new_secret(path: Path, lenders: tuple[str, str]) -> None:
    """Make the secret of two lenders; one of them does, and gives the file to the other.

    Raises
    ------
    ConfigError
        A name has other than small letters, digits and hyphens, both are one, or the file is there or cannot be
        written.
    """
    if not all(re.fullmatch(_NAME, lender) for lender in lenders) or lenders[0] == lenders[1]:
        raise ConfigError(
            f"the lenders are {' and '.join(map(repr, lenders))}; expected two names of small letters, digits and "
            "hyphens, 40 at most."
        )
    try:
        write_secret(f"{_HEAD} {' '.join(lenders)} {secrets.token_hex(32)}\n", path)
    except FileExistsError as error:
        raise ConfigError(f"{path}: is there already; name another place.") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); name another place.") from error


def read_secret(path: Path, workspace: Path) -> PairSecret:
    """Read a secret.

    Parameters
    ----------
    path : Path
    workspace : Path
        It must not lie there.

    Raises
    ------
    ConfigError
        There is none, it is something else, or it lies in the workspace.
    """
    expect_outside(path, workspace)
    match = _SHAPE.fullmatch(read_small(path, "the secret of two lenders"))
    if match is None:
        raise ConfigError(f"{path}: no secret of two lenders; limitlens share new-secret makes one.")
    return PairSecret((match[1], match[2]), bytes.fromhex(match[3]))
