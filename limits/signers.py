"""Signers: who stands behind a link of the chain, by name, user of the operating system and, if there is one, key."""

import os
import pwd
from pathlib import Path

from limitlens.data.errors import IntegrityError
from limitlens.limits.chain import Cell, count_links, last_head, links, next_head
from limitlens.limits.database import Connection, reading
from limitlens.limits.keys import is_signed, public_of, signature


def os_user() -> str:
    """Name of the user that runs this process; its number where it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def sign(connection: Connection, person: str, about: tuple[str, str], key: bytes | None = None) -> None:
    """Say who stands behind something, in the transaction that makes it.

    Parameters
    ----------
    connection : Connection
    person : str
    about : (str, str)
        Kind and name of what it is.
    key : bytes, optional
        A private key as PEM, with which the head of the chain so far is signed.

    Raises
    ------
    ConfigError
        The key is no Ed25519 key without a password, as PEM.
    """
    head = last_head(connection)
    public, signed = (public_of(key), signature(key, bytes.fromhex(head))) if key else ("", "")
    (number,) = connection.execute("SELECT COALESCE(MAX(signer), 0) + 1 FROM signers").fetchone()
    cells: list[Cell] = [number, person, os_user(), *about, public, signed, count_links(connection)]
    head = next_head(head, ["signer", *cells])
    connection.execute("INSERT INTO signers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [*cells, head])


def signed_by(workspace: Path, about: tuple[str, str]) -> list[tuple[str, str, str]]:
    """Person, user of the operating system and public key of everybody who stands behind something, in order."""
    with reading(workspace) as connection:
        sql = "SELECT person, os_user, public_key FROM signers WHERE kind = ? AND name = ? ORDER BY signer"
        return connection.execute(sql, about).fetchall()


def expect_signatures(workspace: Path) -> None:
    """Check every signature in the chain.

    Raises
    ------
    IntegrityError
        Names the first that was not made with its key over the chain before it.
    """
    head = ""
    with reading(workspace) as connection:
        chain = links(connection)
    for link in chain:
        if link.content[0] == "signer" and link.content[6]:
            _, _, person, _, kind, name, public, signed, _ = map(str, link.content)
            if not is_signed(public, signed, bytes.fromhex(head)):
                raise IntegrityError(
                    f"{workspace / 'ledger.sqlite'}: {kind} {name} was not signed by {person} with the key it names; "
                    "restore the file from a backup."
                )
        head = link.head
