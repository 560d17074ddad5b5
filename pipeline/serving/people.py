"""People of the desk: who may sign in with which key, and what each may do."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from limitlens.data.toml_reader import Reader, load_toml, read_toml

Role = Literal["reader", "reviewer", "approver"]

#: From the one who may least; each may what those before may.
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class Person:
    """One person: ``reader`` sees, ``reviewer`` also judges cases, ``approver`` also releases holds.

    ``key_sha256``: of the key that the person signs in with; the key itself is kept nowhere.
    """

    role: Role
    key_sha256: str


def read_people(path: Path) -> dict[str, Person]:
    """Read the people of a TOML file, by name.

    Raises
    ------
    ConfigError
        It is missing or wrong, with file and line.
    """
    return parse_people(read_toml(path), str(path))


def parse_people(text: str, source: str = "people.toml") -> dict[str, Person]:
    """:func:`read_people` of a text.

    Examples
    --------
    >>> people = parse_people(f'''
    ... ["Chen Wei"]
    ... role = "reviewer"
    ... key_sha256 = "{digest_of("a key")}"
    ... ''')
    >>> signed_in(people, "a key"), signed_in(people, "another")
    ('Chen Wei', None)
    """
    body, reader = load_toml(text, source), Reader(text, source)
    if not body:
        raise reader.error((), 'no person is named; add a section such as ["Chen Wei"] with role and key_sha256.')
    people: dict[str, Person] = {name: reader.section(body, (name,), Person) for name in body}
    for name, person in people.items():
        if len(person.key_sha256) != 64 or not set(person.key_sha256) <= set("0123456789abcdef"):
            raise reader.error((name, "key_sha256"), "no sha256 in hexadecimal; limitlens serve --new-key makes one.")
        if any(other.key_sha256 == person.key_sha256 for who, other in people.items() if who != name):
            raise reader.error((name, "key_sha256"), "two people have the same key; make one for each.")
    return people


def new_key() -> str:
    """A key nobody can guess: 256 random bits, so that a plain sha256 of it gives nothing away."""
    return secrets.token_urlsafe(32)


def digest_of(key: str) -> str:
    """Sha256 of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def signed_in(people: Mapping[str, Person], key: str) -> str | None:
    """Whose key it is, if anybody's; every digest is compared, in a time that says nothing of it."""
    digest = digest_of(key)
    names = [name for name, person in people.items() if hmac.compare_digest(person.key_sha256, digest)]
    return names[0] if names else None


def may(people: Mapping[str, Person], name: str | None, role: Role) -> bool:
    """Whether somebody may do what a role may."""
    person = people.get(name or "")
    return person is not None and ROLES.index(person.role) >= ROLES.index(role)
