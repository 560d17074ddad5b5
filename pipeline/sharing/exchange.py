"""Exchange: three steps, a file between each. Ask about customers; answer from the risk list; receive who stands on it.

Each step is a link of the chain. Asking and answering are recorded before anything is handed out, so that a killed
command costs an exchange and never gives one away; the hits are written before their record, so that none is lost.
"""

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from limitlens.data import psi
from limitlens.data.contracts import SHARED_RISK
from limitlens.data.disk import make_folder, writable
from limitlens.data.errors import ConfigError, InputError, WorkspaceError
from limitlens.data.id_key import expect_outside
from limitlens.data.lock import exclusive
from limitlens.data.persons import read_customers, read_risk_list
from limitlens.data.secret_file import write_secret
from limitlens.data.spreadsheet import write_csv
from limitlens.data.storage import write_bytes, write_parquet
from limitlens.data.toml_reader import read_small
from limitlens.limits.exchanges import Exchange, exchanges, record_exchange
from limitlens.pipeline import tracking
from limitlens.pipeline.sharing.message import Message, opened, read_message, sealed
from limitlens.pipeline.sharing.pair_secret import PairSecret, read_secret
from limitlens.pipeline.sharing.share_settings import ShareLimits, ShareSettings
from limitlens.pipeline.workspace import Workspace

#: So far the clocks of two lenders may differ.
CLOCKS = timedelta(minutes=5)

_UTC = pa.timestamp("us", tz="UTC")

_HITS = pa.schema([(name, _UTC if name.endswith("_time") else pa.string()) for name in SHARED_RISK.column_names()[:-1]])


@dataclass(frozen=True)
class Side:
    """One of two lenders that exchange: where it records, who it is, and what both agreed on.

    Parameters
    ----------
    workspace : Workspace
    lender : str
        Its name in the secret.
    secret : Path
        File of the secret.
    settings : ShareSettings
    actor : str
        The person who takes the step.
    """

    workspace: Workspace
    lender: str
    secret: Path
    settings: ShareSettings
    actor: str

    def pair(self) -> PairSecret:
        """The secret.

        Raises
        ------
        ConfigError
            It cannot be read, it is of other lenders, or nobody takes the step.
        """
        if not self.actor.strip():
            raise ConfigError("an exchange is recorded with the name of a person; give it by --by.")
        pair = read_secret(self.secret, self.workspace.root)
        pair.other(self.lender)
        return pair


def request(side: Side, customers: Path, out: Path, *, at: datetime) -> Exchange:
    """Ask the other lender which customers stand on its risk list.

    Parameters
    ----------
    side : Side
    customers : Path
        File of :data:`limitlens.data.persons.CUSTOMERS`.
    out : Path
        The message for the other lender. Beside it, under :func:`own_path`, lies what this lender keeps to itself until
        the answer is received.
    at : datetime
        Now.

    Returns
    -------
    Exchange
        As recorded.

    Raises
    ------
    ConfigError, InputError
        A file is not what it should be, or lies in the workspace.
    WorkspaceError
        More would be asked than the settings allow, or openmined-psi is not installed.
    """
    pair, limits = side.pair(), side.settings.limits
    for path in (customers, out):
        expect_outside(path, side.workspace.root)
    _expect_place(out, customers)
    if own_path(out).exists():
        raise ConfigError(f"{own_path(out)}: is there already, of an exchange not yet received; name another --out.")
    number, persons = secrets.token_hex(16), read_customers(customers)
    expect_count(len(persons), limits.ids_per_exchange, customers.name)
    other, past = pair.other(side.lender), exchanges(side.workspace.root)
    expect_within(past, Exchange(number, other, "asked", at, side.actor, len(persons), 0, 0, ""), limits)
    items = list(pair.salted(number, side.settings.id_kind, persons))
    asked = psi.ask(items)
    message = Message(
        step="request",
        exchange=number,
        sender=side.lender,
        recipient=other,
        id_kind=side.settings.id_kind,
        made_at=at,
        expires_at=at + timedelta(hours=limits.valid_hours),
        ids=len(items),
    )
    content = sealed(message, asked.message, pair)
    step = Exchange(number, message.recipient, "asked", at, side.actor, len(items), 0, 0, _sha256(content))
    _record(side.workspace, step, limits)
    own = {"key": asked.key.hex(), "exchange": number, "request_sha256": step.sha256, "items": _digest(items)}
    try:
        write_secret(json.dumps(own) + "\n", own_path(out))
    except OSError as error:
        raise ConfigError(f"{own_path(out)}: cannot be written ({error.strerror}); name another --out.") from error
    write_bytes(content, out)
    return step


def answer(side: Side, asked: Path, risk_list: Path, out: Path, *, at: datetime) -> Exchange:
    """Answer a request: what goes back lets the other lender see which of its customers stand on the list.

    Parameters
    ----------
    side : Side
    asked : Path
        The request.
    risk_list : Path
        File of :data:`limitlens.data.persons.RISK_LIST`.
    out : Path
        The message for the other lender.
    at : datetime
        Now.

    Returns
    -------
    Exchange
        As recorded.

    Raises
    ------
    ConfigError, InputError
        A file is not what it should be or lies in the workspace; the request is damaged, has expired or is not for
        this lender.
    WorkspaceError
        It was answered already, more is asked than the settings allow, or openmined-psi is not installed.
    """
    pair, limits = side.pair(), side.settings.limits
    for path in (risk_list, out):
        expect_outside(path, side.workspace.root)
    _expect_place(out, asked, risk_list)
    content = read_message(asked, limits.ids_per_exchange)
    message, points = opened(content, pair, asked.name)
    _expect_fit(message, side, "request", asked.name, at)
    expect_count(message.ids, limits.ids_per_exchange, asked.name)
    persons = read_risk_list(risk_list)
    expect_count(len(persons), limits.ids_per_exchange, risk_list.name)
    _expect_new(side.workspace, message, limits, at)
    items = list(pair.salted(message.exchange, message.id_kind, persons))
    answered = psi.answer(points, message.ids, items)
    reply = Message(
        step="answer",
        exchange=message.exchange,
        sender=side.lender,
        recipient=message.sender,
        id_kind=message.id_kind,
        made_at=at,
        expires_at=message.expires_at,
        ids=message.ids,
        listed=len(items),
        setup_bytes=len(answered.setup),
        request_sha256=_sha256(content),
    )
    sent = sealed(reply, answered.setup + answered.response, pair)
    step = Exchange(
        message.exchange, message.sender, "answered", at, side.actor, message.ids, len(items), 0, _sha256(sent)
    )
    _record(side.workspace, step, limits)
    write_bytes(sent, out)
    return step


def receive(side: Side, asked: Path, answered: Path, customers: Path, out: Path, *, at: datetime) -> Exchange:
    """Read an answer, and write the lines of the customers who stand on the list, as a file that ``check`` takes in.

    Parameters
    ----------
    side : Side
    asked : Path
        The request; what was kept beside it is removed in the end.
    answered : Path
        The answer.
    customers : Path
        The file that was asked about, unchanged.
    out : Path
        Rows of :data:`limitlens.data.contracts.SHARED_RISK`, in ``.parquet`` or ``.csv``.
    at : datetime
        Now; from then on a hit is known.

    Returns
    -------
    Exchange
        As recorded.

    Raises
    ------
    ConfigError, InputError
        A file is not what it should be or lies in the workspace; the answer is damaged, has expired or answers another
        request; the file of hits is there with others.
    WorkspaceError
        It was received already, or openmined-psi is not installed.
    """
    pair, limits = side.pair(), side.settings.limits
    for path in (customers, out):
        expect_outside(path, side.workspace.root)
    if out.suffix not in {".parquet", ".csv"}:
        raise ConfigError(f"{out}: expected a file that ends in .parquet or .csv.")
    content = read_message(answered, 2 * limits.ids_per_exchange)
    message, points = opened(content, pair, answered.name)
    _expect_fit(message, side, "answer", answered.name, at)
    _expect_asked(side.workspace, message, asked, answered.name)
    _expect_free(out, message.exchange)
    own = _read_own(own_path(asked), message)
    persons = read_customers(customers)
    salted = pair.salted(message.exchange, message.id_kind, persons)
    items = list(salted)
    if _digest(items) != own["items"]:
        raise InputError(f"{customers.name}: other ids than were asked about; name the file of the request.")
    halves = psi.Answered(points[: message.setup_bytes], points[message.setup_bytes :])
    places = psi.matches(bytes.fromhex(own["key"]), halves, len(items), message.listed)
    hits = [salted[items[place]] for place in places]
    accounts = sorted({account for person in hits for account in persons[person]})
    _write_hits(out, message, accounts, at)
    digest = _sha256(content)
    step = Exchange(
        message.exchange, message.sender, "received", at, side.actor, len(items), message.listed, len(hits), digest
    )
    _record(side.workspace, step, limits)
    own_path(asked).unlink()
    return step


def own_path(asked: Path) -> Path:
    """Where what an asking lender keeps to itself lies: beside the request.

    Examples
    --------
    >>> own_path(Path("for-lender-b.request")).as_posix()
    'for-lender-b.request.own'
    """
    return asked.with_name(f"{asked.name}.own")


def expect_count(count: int, most: int, name: str) -> None:
    """Refuse no ids, and more than a limit.

    Raises
    ------
    InputError
        Names the limit.
    """
    if not 1 <= count <= most:
        raise InputError(f"{name}: {count:,} ids, expected 1 to {most:,} (ids_per_exchange of the settings).")


def expect_within(past: Sequence[Exchange], step: Exchange, limits: ShareLimits) -> None:
    """Refuse what one lender would ask too often, or about too many: enough questions would enumerate a risk list.

    Parameters
    ----------
    past : sequence of Exchange
        On record.
    step : Exchange
        That would come.
    limits : ShareLimits

    Raises
    ------
    WorkspaceError
        Names the limit, and how much of it is left.
    """
    since = step.at - timedelta(days=limits.period_days)
    same = [one.ids for one in past if (one.lender, one.step) == (step.lender, step.step) and one.at > since]
    period = f"{step.lender} in {limits.period_days} days"
    if len(same) >= limits.exchanges_per_period:
        raise WorkspaceError(
            f"{len(same)} exchanges {step.step} with {period}, and {limits.exchanges_per_period} are allowed "
            "(exchanges_per_period of the settings); wait until the first is older."
        )
    if (left := limits.ids_per_period - sum(same)) < step.ids:
        raise WorkspaceError(
            f"{step.ids:,} ids, and {max(left, 0):,} more are allowed with {period} (ids_per_period of the settings); "
            "ask about fewer, or wait."
        )


def _expect_fit(message: Message, side: Side, step: str, name: str, at: datetime) -> None:
    """Refuse a message of another step, of or for another lender, about other ids, or of another time."""
    other = side.pair().other(side.lender)
    if (message.step, message.sender, message.recipient) != (step, other, side.lender):
        raise InputError(
            f"{name}: {message.step} of {message.sender} to {message.recipient}, expected the {step} of {other} to "
            f"{side.lender}; name the right file."
        )
    if message.id_kind != side.settings.id_kind:
        raise InputError(
            f"{name}: its ids are {message.id_kind!r}, and the settings have {side.settings.id_kind!r}; agree on one "
            "id_kind."
        )
    if at > message.expires_at:
        raise InputError(f"{name}: expired {message.expires_at:%Y-%m-%d %H:%M} UTC; begin a new exchange.")
    if message.made_at > at + CLOCKS:
        raise InputError(f"{name}: made {message.made_at:%Y-%m-%d %H:%M} UTC, which is to come; compare the clocks.")
    if message.expires_at - message.made_at > timedelta(hours=side.settings.limits.valid_hours):
        raise InputError(
            f"{name}: valid until {message.expires_at:%Y-%m-%d %H:%M} UTC, longer than the "
            f"{side.settings.limits.valid_hours} hours of the settings; agree on valid_hours."
        )


def _expect_place(out: Path, *read: Path) -> None:
    """Refuse a place where no file can be written, or that is read, before an exchange is spent on it."""
    if out.resolve() in [path.resolve() for path in read]:
        raise ConfigError(f"{out}: is read, too; name another --out.")
    with writable(out):
        make_folder(out.parent)


def _expect_free(out: Path, exchange: str) -> None:
    """Refuse a file that has rows of anything but this exchange, as a call that was killed would leave them."""
    if not out.exists():
        return
    try:
        rows = pq.read_table(out) if out.suffix == ".parquet" else csv.read_csv(out)
        ids = rows["event_id"].cast(pa.string()).to_pylist()
    except (OSError, pa.ArrowException, KeyError):
        ids = [None]
    if not all(one and one.startswith(f"shared-{exchange}-") for one in ids):
        raise InputError(f"{out}: holds other rows; name another file.")


def _expect_new(workspace: Workspace, message: Message, limits: ShareLimits, at: datetime) -> None:
    """Refuse a request that would not be recorded, before a secret is spent on it."""
    past = exchanges(workspace.root)
    if any(one.exchange == message.exchange for one in past):
        raise WorkspaceError(f"exchange {message.exchange[:12]} is on record already; a request is answered once.")
    expect_within(past, Exchange(message.exchange, message.sender, "answered", at, "", message.ids, 0, 0, ""), limits)


def _expect_asked(workspace: Workspace, message: Message, asked_file: Path, name: str) -> None:
    """Refuse an answer to what was not asked, or was received; in the end a secret is not needed any more."""
    steps = {one.step: one for one in exchanges(workspace.root) if one.exchange == message.exchange}
    asked = steps.get("asked")
    if asked is None or (message.request_sha256, message.ids) != (asked.sha256, asked.ids):
        raise InputError(f"{name}: answers no request of this workspace; name the right file.")
    if "received" in steps:
        if own_path(asked_file).exists() and _read_own(own_path(asked_file), message):
            own_path(asked_file).unlink()
        raise WorkspaceError(f"exchange {message.exchange[:12]} was received already; begin a new one.")


def _read_own(path: Path, message: Message) -> dict[str, str]:
    """What was kept beside the request."""
    try:
        own: dict[str, str] = json.loads(read_small(path, "what was kept beside the request"))
    except ValueError as error:
        raise InputError(f"{path}: damaged; begin a new exchange.") from error
    if not {"key", "exchange", "items"} <= own.keys() or own["exchange"] != message.exchange:
        raise InputError(f"{path}: belongs to another exchange; name the request that was answered.")
    return own


def _record(workspace: Workspace, step: Exchange, limits: ShareLimits) -> None:
    """Make a step a link of the chain, with its head in MLflow, if the limits allow it."""
    with exclusive(workspace.root, "share"):
        if step.step != "received":
            expect_within(exchanges(workspace.root), step, limits)
        record_exchange(workspace.root, step)
        tags = {tracking.HEAD: workspace.ledger.head()}
        with tracking.recorded_run(workspace.mlflow, "share", tags, name=f"exchange {step.step} with {step.lender}"):
            pass


def _write_hits(out: Path, message: Message, accounts: Sequence[str], at: datetime) -> None:
    seen_at = min(message.made_at, at)
    rows = [
        (f"shared-{message.exchange}-{place}", account, seen_at, at, "listed", message.sender)
        for place, account in enumerate(accounts, 1)
    ]
    table = pa.Table.from_pylist([dict(zip(_HITS.names, row, strict=True)) for row in rows], schema=_HITS)
    (write_csv if out.suffix == ".csv" else write_parquet)(table, out)


def _digest(items: Sequence[str]) -> str:
    """Of the salted ids that were asked about."""
    return _sha256("\n".join(items).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
