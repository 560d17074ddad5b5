"""The contract of every table that may come in: columns, units, rules.

A contract is data. The check (:mod:`limitlens.data.check`) compiles it to one pass over each file, and
``docs/data-contracts.md`` is generated from it, so a rule stands in one place only.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

from limitlens.data.protected import PROTECTED_PARTS, PROTECTED_WORDS, THINGS

Dtype = Literal["string", "timestamp", "cents", "integer", "number", "boolean"]

#: Largest amount accepted in one row, in cents. Sums over 900,000 such rows still fit in an int64.
MAX_CENTS = 10**13

#: Largest share of the rows of one source that a load may hold back; what breaks more has another cause than its rows.
MAX_QUARANTINED_SHARE = 0.1


#: An instalment is missed when what is open of it exceeds both an amount and a share of it: a rounding difference is no
#: arrears (EBA RTS on materiality, Delegated Regulation (EU) 2018/171, has 100 euro and 1% of all that is owed).
MATERIAL_CENTS, MATERIAL_PERCENT = 1_00, 1


@dataclass(frozen=True)
class Column:
    """One column of a source.

    Parameters
    ----------
    name : str
        Column name in the delivered file.
    dtype : {"string", "timestamp", "cents", "integer", "number", "boolean"}
        ``timestamp`` is UTC with microseconds; ``cents`` is int64 in the account's currency; ``number`` may have
        decimals.
    meaning : str
        What the column says, for ``docs/data-contracts.md``.
    required : bool
        The column must be in every file. Optional columns are filled with nulls when absent.
    nullable : bool
        A null in this column does not quarantine the row.
    minimum, maximum : int, optional
        Inclusive bounds; a row outside them is quarantined.
    one_of : tuple of str
        Allowed values; empty: any.
    """

    name: str
    dtype: Dtype
    meaning: str
    required: bool = True
    nullable: bool = False
    minimum: int | None = None
    maximum: int | None = None
    one_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """One source: a folder of Parquet or CSV files with the same columns.

    Parameters
    ----------
    name : str
        Folder name.
    meaning : str
        One sentence for ``docs/data-contracts.md``.
    columns : tuple of Column
    key : tuple of str
        Columns that identify a version of a row. Two equal rows with one key are a repeat delivery; two
        different rows with one key are a conflict, and both are quarantined.
    required : bool
        The folder must exist.
    open_columns : bool
        Further columns are kept as static attributes (``accounts``) instead of being listed as unused.
    """

    name: str
    meaning: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    required: bool = False
    open_columns: bool = False

    def column_names(self) -> list[str]:
        """Names of the declared columns, in order."""
        return [column.name for column in self.columns]


def _event_columns(kinds: tuple[str, ...], kind_meaning: str) -> tuple[Column, ...]:
    return (
        Column("event_id", "string", "identifies the event; a correction repeats it with a later known_time"),
        Column("account_id", "string", "the line the event belongs to; must stand in accounts"),
        Column("event_time", "timestamp", "when it happened"),
        Column("known_time", "timestamp", "when the lender could first know this version of it"),
        Column("kind", "string", kind_meaning, one_of=kinds),
    )


_RETRACTED = Column(
    "retracted",
    "boolean",
    "true: the event is withdrawn from this known_time on",
    required=False,
    nullable=True,
)

ACCOUNTS = Source(
    name="accounts",
    meaning="The lines and their static attributes, one row a version; the latest version known counts.",
    columns=(
        Column("account_id", "string", "identifies one line of one customer"),
        Column("opened_at", "timestamp", "when the line was opened"),
        Column("known_time", "timestamp", "when the lender could first know this version of the row"),
        Column(
            "limit_cents",
            "cents",
            "the limit in force before limitlens decides; empty: the account has none, as a loan",
            required=False,
            nullable=True,
            minimum=0,
        ),
        Column("segment", "string", "customer segment; the policy may give it cut-offs of its own"),
    ),
    key=("account_id", "known_time"),
    required=True,
    open_columns=True,
)

CONSUMPTION = Source(
    name="consumption",
    meaning="Purchases, cash draws and refunds on the line; fees and statement balances where delivered.",
    columns=(
        *_event_columns(
            ("purchase", "draw", "refund", "fee", "statement_balance"),
            "purchase and draw raise the balance, refund lowers it, fee is interest or charges, "
            "statement_balance states the balance itself (it wins over the computed one)",
        ),
        Column("amount_cents", "cents", "amount, not negative except for a statement_balance in credit"),
        Column("category", "string", "what was bought, or what the cash is for", nullable=True),
        Column("channel", "string", "where it happened: pos, online, atm, app, ...", nullable=True),
        _RETRACTED,
    ),
    key=("event_id", "known_time"),
)

PAYMENT = Source(
    name="payment",
    meaning="Instalments due and repaid, transfers in and out; delivered days past due where there are any.",
    columns=(
        *_event_columns(
            ("due", "repayment", "transfer_in", "transfer_out", "status"),
            "due is an instalment (event_time is the due date, which may lie ahead), repayment pays one, "
            "transfer_in and transfer_out move money to and from the customer's own account, "
            "status delivers days past due, true at its time (see Days past due below)",
        ),
        Column("amount_cents", "cents", "amount; 0 for status", minimum=0),
        Column("instalment_id", "string", "links a repayment to its due; empty: oldest due first", nullable=True),
        Column(
            "dpd_days",
            "integer",
            "days past due, for kind status",
            required=False,
            nullable=True,
            minimum=0,
            maximum=36_500,
        ),
        Column(
            "counterparty",
            "string",
            "who sent or received a transfer; shared ones show a network",
            required=False,
            nullable=True,
        ),
        _RETRACTED,
    ),
    key=("event_id", "known_time"),
)

DEVICE = Source(
    name="device",
    meaning="Logins and changes of device, password or address book.",
    columns=(
        *_event_columns((), "login, login_failed, device_change, password_change, ...; any non-empty word"),
        Column("device_id", "string", "identifies the device", nullable=True),
        Column("city", "string", "place at city level", nullable=True),
        Column(
            "latitude_udeg",
            "integer",
            "latitude of the place in millionths of a degree; with the longitude it gives the speed between places",
            required=False,
            nullable=True,
            minimum=-90_000_000,
            maximum=90_000_000,
        ),
        Column(
            "longitude_udeg",
            "integer",
            "longitude of the place in millionths of a degree",
            required=False,
            nullable=True,
            minimum=-180_000_000,
            maximum=180_000_000,
        ),
        _RETRACTED,
    ),
    key=("event_id", "known_time"),
)

SHARED_RISK = Source(
    name="shared_risk",
    meaning="Lines whose customers stand on the risk list of another lender, as an exchange with it showed.",
    columns=(
        *_event_columns(("listed",), "listed: the customer stood on the list when it was asked"),
        Column("lender", "string", "whose list it is"),
        _RETRACTED,
    ),
    key=("event_id", "known_time"),
)

OUTCOMES = Source(
    name="outcomes",
    meaning="Delivered labels, where the lender has them; they win over labels computed from payments.",
    columns=(
        Column("account_id", "string", "the line"),
        Column("as_of", "timestamp", "the moment whose knowledge the label belongs to"),
        Column("known_time", "timestamp", "when the outcome was known"),
        Column("bad", "boolean", "true: defaulted inside the horizon after as_of"),
    ),
    key=("account_id", "as_of", "known_time"),
)

#: Every source, in the order they are checked (accounts first: events refer to them).
SOURCES: dict[str, Source] = {s.name: s for s in (ACCOUNTS, CONSUMPTION, PAYMENT, DEVICE, SHARED_RISK, OUTCOMES)}

#: The sources that come day by day: of these alone it is noted when one is absent, silent or unusual.
FEEDS: tuple[str, ...] = ("consumption", "payment", "device")

#: Every source of events; each may be absent.
EVENT_SOURCES: tuple[str, ...] = (*FEEDS, SHARED_RISK.name)


def contract_digest() -> str:
    """Sha256 over every declaration above, so that a decision can say which contract its data passed.

    Examples
    --------
    >>> len(contract_digest())
    64
    """
    body = {
        "sources": [asdict(s) for s in SOURCES.values()],
        "protected": [sorted(PROTECTED_WORDS), sorted(THINGS), PROTECTED_PARTS],
        "max": MAX_CENTS,
    }
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
