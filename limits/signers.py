"""Signers: who stands behind a link of the chain, by name, user of the operating system and, if there is one, key."""

import os
import pwd
from pathlib import Path

from limitlens.data.errors import IntegrityError
from limitlens.limits.chain import Cell, Link, count_links, last_head, links, next_head
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


def expect_signers(workspace: Path) -> None:
    """Check that somebody stands behind whatever was recorded since the first signer, and every signature.

    Raises
    ------
    IntegrityError
        Names the first of which the signer is gone, or that was not signed with the key over the chain before it.
    """
    with reading(workspace) as connection:
        chain = links(connection)
    signed_for = {(str(link.content[4]), str(link.content[5])) for link in chain if link.content[0] == "signer"}
    by_verdict = {str(link.content[15]) for link in chain if link.content[0] == "verdict"}
    head, begun = "", False
    for link in chain:
        begun = begun or link.content[0] == "signer"
        about = _about(link)
        if begun and about and about not in signed_for and not (about[0] == "override" and about[1] in by_verdict):
            raise IntegrityError(
                f"{workspace / 'ledger.sqlite'}: nobody stands behind {' '.join(about)}: its signer is gone; restore "
                "the file from a backup."
            )
        if link.content[0] == "signer" and link.content[6]:
            _, _, person, _, kind, name, public, signed, _ = map(str, link.content)
            if not is_signed(public, signed, bytes.fromhex(head)):
                raise IntegrityError(
                    f"{workspace / 'ledger.sqlite'}: {kind} {name} was not signed by {person} with the key it names; "
                    "restore the file from a backup."
                )
        head = link.head


def _about(link: Link) -> tuple[str, str] | None:
    """What of a link a person has to stand behind."""
    kind, first, *rest = map(str, link.content)
    if kind in {"override", "verdict"}:
        return kind, first
    if kind == "record" and rest[0] in {"model", "promotion", "withdrawal", "sign-off"}:
        return rest[0], rest[1]
    return None
