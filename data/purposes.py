"""Why each column of the contract is held, and which are sensitive: place and device say where somebody is and by what.

After art. 6 and 28 of PIPL and art. 5 of the GDPR: a purpose for each column, and those that need a consent of their
own told apart. The purpose is no rule of the contract and changes no digest of it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Purpose:
    """What a column is held for.

    Parameters
    ----------
    text : str
        For ``docs/data-contracts.md``.
    sensitive : bool
        It says where somebody is, or by what they sign in.
    """

    text: str
    sensitive: bool = False


_KEY = Purpose("to tell rows and lines apart")
_TIME = Purpose("to use only what was known")
_KIND = Purpose("to read the row")
_CREDIT = Purpose("to judge the risk of default")
_NETWORK = Purpose("to see money that several lines collect")
_TAKEOVER = Purpose("to see that somebody else uses the line", sensitive=True)

_EVENT = {
    "event_id": _KEY,
    "account_id": _KEY,
    "event_time": _CREDIT,
    "known_time": _TIME,
    "kind": _KIND,
    "retracted": Purpose("to take back what was wrong"),
}

#: By source and column.
PURPOSES: dict[str, dict[str, Purpose]] = {
    "accounts": {
        "account_id": _KEY,
        "opened_at": _CREDIT,
        "known_time": _TIME,
        "limit_cents": Purpose("to start from the limit in force"),
        "segment": Purpose("to apply the cut-offs of the segment"),
    },
    "consumption": {**_EVENT, "amount_cents": _CREDIT, "category": _CREDIT, "channel": _CREDIT},
    "payment": {
        **_EVENT,
        "amount_cents": _CREDIT,
        "instalment_id": Purpose("to count days past due"),
        "dpd_days": Purpose("to count days past due"),
        "counterparty": _NETWORK,
    },
    "device": {
        **_EVENT,
        "device_id": _TAKEOVER,
        "city": _TAKEOVER,
        "latitude_udeg": _TAKEOVER,
        "longitude_udeg": _TAKEOVER,
    },
    "shared_risk": {**_EVENT, "lender": Purpose("to know whose list it is, and whom to ask again")},
    "outcomes": {"account_id": _KEY, "as_of": _TIME, "known_time": _TIME, "bad": Purpose("to learn who defaulted")},
}

#: Sensitive columns, as (source, column).
SENSITIVE: frozenset[tuple[str, str]] = frozenset(
    (source, name) for source, columns in PURPOSES.items() for name, purpose in columns.items() if purpose.sensitive
)
