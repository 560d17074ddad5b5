"""Webhook: each interception is one POST of JSON, signed, to an address that whoever stops the draw gives.

Interceptions name customers and what is held against them, and whoever could forge one could stop a customer's
drawing. So they go over https, and over http only to this machine, and a secret that both sides know signs them.
"""

import hmac
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote

import urllib3
from urllib3.exceptions import HTTPError

from limitlens.data.errors import ConfigError, WorkspaceError
from limitlens.data.progress import Progress
from limitlens.data.toml_reader import read_bytes
from limitlens.pipeline.watching.inbox import REFUSED, set_aside
from limitlens.pipeline.watching.listeners import Listener, as_json

#: Where the secret stands, unless a file is named.
SECRET = "LIMITLENS_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable

#: Seconds for a connection, and for an answer: the next tick has to wait so long.
_PATIENCE = 5.0

#: Answers to which the same request may get another one in a moment.
_BUSY = frozenset({408, 429, 500, 502, 503, 504})

#: Answers about the address or the secret, not about what was sent: mended at either end, the next may be taken.
_WRONG_DOOR = frozenset({401, 403, 404, 405, 407, 410})


def secret_in(path: Path | None, environment: Mapping[str, str]) -> bytes | None:
    """The secret that signs interceptions, of a file or else of the environment; None: they are not signed.

    Parameters
    ----------
    path : Path or None
        Line breaks at its end do not count.
    environment : mapping of str to str

    Raises
    ------
    ConfigError
        It is empty, or the file cannot be read, or is no small one.
    """
    if path is None and SECRET not in environment:
        return None
    secret = read_bytes(path, "a file with the secret").rstrip(b"\r\n") if path else environment[SECRET].encode()
    if not secret:
        raise ConfigError(f"{path or SECRET}: the secret is empty; write one there, or sign nothing.")
    return secret


def key_of(entry: Mapping[str, Any]) -> str:
    """What tells an interception from all others, as a header may have it.

    Examples
    --------
    >>> key_of({"account_id": "A 1", "at": "2025-10-01T14:00:00+00:00"})
    '2025-10-01T14:00:00+00:00/A%201'
    """
    return quote(f"{entry['at']}/{entry['account_id']}", safe="/:+")


def signature(body: bytes, secret: bytes) -> str:
    """HMAC of a body, as its header has it.

    Examples
    --------
    >>> signature(b"{}", b"secret")[:15]
    'sha256=77325902'
    """
    return f"sha256={hmac.digest(secret, body, 'sha256').hex()}"


def posted_to(url: str, inbox: Path, secret: bytes | None, progress: Progress) -> Listener:
    """A receiver that gets each interception as one request.

    Parameters
    ----------
    url : str
    inbox : Path
        Of what the receiver refuses, a file stands among the refused files here.
    secret : bytes or None
        Signs each body.
    progress : callable
        Told of what is refused.

    Raises
    ------
    ConfigError
        The address is none of https, or of http on this machine, or has a password in it.
    """
    name = _private(url)
    pool, behind = urllib3.PoolManager(timeout=_PATIENCE), False

    def answer_to(entry: Mapping[str, Any], tries: int) -> int:
        body = as_json(entry).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": key_of(entry)}
        headers |= {"Limitlens-Signature": signature(body, secret)} if secret else {}
        retries = urllib3.Retry(
            tries - 1,
            status_forcelist=_BUSY,
            allowed_methods=None,
            backoff_factor=0.5,
            respect_retry_after_header=False,
            raise_on_status=False,
        )
        try:
            response = pool.request(
                "POST", url, body=body, headers=headers, retries=retries, redirect=False, preload_content=False
            )
        except HTTPError as error:
            why = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) else error
            raise WorkspaceError(f"webhook: {name} cannot be reached ({why}); interceptions are told again.") from error
        response.close()
        return response.status

    def take(entries: Sequence[Mapping[str, Any]]) -> None:
        nonlocal behind
        tries, behind = 1 if behind else 3, True
        for entry in entries:
            status = answer_to(entry, tries)
            if 400 <= status < 500 and status not in _BUSY | _WRONG_DOOR:
                refused = inbox / REFUSED / "webhook" / f"{quote(key_of(entry), safe='')[:200]}.json"
                set_aside(refused, as_json(entry), f"{name} answered {status}")
                progress(f"webhook: {name} answered {status} and takes no such interception; it stands in {refused}")
            elif status in _WRONG_DOOR or 300 <= status < 400:
                raise WorkspaceError(
                    f"webhook: {name} answered {status}; mend the address or the secret. Interceptions are told again."
                )
            elif not 200 <= status < 300:
                raise WorkspaceError(f"webhook: {name} answered {status}; interceptions are told again.")
        behind = False

    return Listener("webhook", take)


def _private(url: str) -> str:
    """The address without its path, which may be a secret, if nobody on the way can read what is sent there."""
    try:
        parts = urllib3.util.parse_url(url)
    except HTTPError as error:
        raise ConfigError(f"--webhook: {error}; expected such as https://bank.example/interceptions.") from error
    if parts.auth:
        raise ConfigError("--webhook: a password in the address is seen by all who list processes; sign with a secret.")
    if not parts.host or not (parts.scheme == "https" or (parts.scheme == "http" and _is_here(parts.host))):
        raise ConfigError(
            f"--webhook: {parts.scheme or 'no scheme'}://{parts.host or ''}; interceptions name customers: "
            "expected https, or http to this machine."
        )
    return f"{parts.scheme}://{parts.netloc}"


def _is_here(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
