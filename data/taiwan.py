"""Adapter of the Taiwan credit card set (UCI 350): six monthly extracts and one default label a client.

The set is monthly; days inside a month are chosen here and written down in ``docs/real-data.md``.
"""

from pathlib import Path

import pandas as pd

from limitlens.data.contracts import Dtype
from limitlens.data.importing import ImportReport, read_delivery, write_tables

OPENED_AT = pd.Timestamp("2005-01-01", tz="UTC")
AS_OF = pd.Timestamp("2005-10-01", tz="UTC")
OUTCOME_KNOWN = pd.Timestamp("2005-11-01", tz="UTC")

#: Days of the month on which the monthly figures are placed.
REPAYMENT_DAY, PURCHASE_DAY, STATEMENT_DAY = 15, 20, 25

#: How long before the end of its month the extract is known.
EXTRACT_LEAD = pd.Timedelta(hours=1)

EDUCATION = {1: "graduate", 2: "university", 3: "high_school", 4: "other"}
MARITAL_STATUS = {1: "married", 2: "single", 3: "other"}
SEX = {1: "male", 2: "female"}

NOTES = (
    "opened_at is not delivered: 2005-01-01 for every line",
    "days inside a month are not delivered: repayments on the 15th, purchases on the 20th, statements on the 25th",
    "purchases are what the bill grew by beyond the repayment; a negative rest is a refund",
    "a status of m months late is 30 m days past due; codes -2, -1 and 0 are 0 days",
    "limit, education, sex, marital status and age are of 2005-09 and taken as known from the opening",
)

_CLIENT_COLUMNS: dict[str, Dtype] = {
    "ID": "integer",
    "LIMIT_BAL": "cents",
    "SEX": "integer",
    "EDUCATION": "integer",
    "MARRIAGE": "integer",
    "AGE": "integer",
    "DEFAULT": "integer",
}
_MONTH_COLUMNS: dict[str, Dtype] = {
    "ID": "integer",
    "MONTH": "timestamp",
    "PAY_STATUS": "integer",
    "BILL_AMT": "cents",
    "PAY_AMT": "cents",
}


def import_taiwan(src: Path, out: Path) -> ImportReport:
    """Write the Taiwan set as tables of the contract.

    Parameters
    ----------
    src : Path
        Folder with ``clients.csv.gz`` and ``monthly_events.csv.gz``.
    out : Path
        Folder for ``accounts``, ``consumption``, ``payment`` and ``outcomes``.

    Returns
    -------
    ImportReport

    Raises
    ------
    InputError
        A file is missing, damaged, or a cell does not read as declared.

    Notes
    -----
    Source: Yeh & Lien (2009), Expert Systems with Applications 36(2), 2473-2480; UCI 350, CC BY 4.0.
    """
    clients = read_delivery(src / "clients.csv.gz", _CLIENT_COLUMNS)
    months = read_delivery(src / "monthly_events.csv.gz", _MONTH_COLUMNS).sort_values(["ID", "MONTH"])
    tables = {
        "accounts": _accounts(clients),
        "consumption": _consumption(months),
        "payment": _payment(months),
        "outcomes": _outcomes(clients),
    }
    return write_tables("taiwan", tables, out, NOTES)


def _account_id(client: pd.Series) -> pd.Series:
    return "T" + client.astype(str).str.zfill(5)


def _named(codes: pd.Series, names: dict[int, str]) -> pd.Series:
    return codes.map(names).fillna("undocumented_" + codes.astype(str))


def _accounts(clients: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "account_id": _account_id(clients["ID"]),
            "opened_at": OPENED_AT,
            "known_time": OPENED_AT - EXTRACT_LEAD,
            "limit_cents": clients["LIMIT_BAL"],
            "segment": "taiwan_card",
            "education": _named(clients["EDUCATION"], EDUCATION),
            "sex": _named(clients["SEX"], SEX),
            "marital_status": _named(clients["MARRIAGE"], MARITAL_STATUS),
            "age": clients["AGE"],
        }
    )


def _events(months: pd.DataFrame, kind: str, day: int, amount_cents: pd.Series | int) -> pd.DataFrame:
    account, month = _account_id(months["ID"]), months["MONTH"]
    return pd.DataFrame(
        {
            "event_id": account + "-" + month.dt.strftime("%Y-%m") + "-" + kind,
            "account_id": account,
            "event_time": month + pd.Timedelta(days=day - 1),
            "known_time": month + pd.offsets.MonthBegin() - EXTRACT_LEAD,
            "kind": kind,
            "amount_cents": amount_cents,
        }
    )


def _consumption(months: pd.DataFrame) -> pd.DataFrame:
    growth = months.groupby("ID")["BILL_AMT"].diff()
    flows = months.assign(spent=(growth + months["PAY_AMT"]).fillna(0).astype("int64"))
    bought, returned = flows[flows["spent"] > 0], flows[flows["spent"] < 0]
    statements = _events(months, "statement_balance", STATEMENT_DAY, months["BILL_AMT"])
    purchases = _events(bought, "purchase", PURCHASE_DAY, bought["spent"])
    refunds = _events(returned, "refund", PURCHASE_DAY, -returned["spent"])
    return pd.concat([statements, purchases, refunds], ignore_index=True)


def _payment(months: pd.DataFrame) -> pd.DataFrame:
    paid = months[months["PAY_AMT"] > 0]
    repayments = _events(paid, "repayment", REPAYMENT_DAY, paid["PAY_AMT"])
    statuses = _events(months, "status", STATEMENT_DAY, 0).assign(dpd_days=30 * months["PAY_STATUS"].clip(lower=0))
    return pd.concat([repayments, statuses.astype({"dpd_days": "Int64"})], ignore_index=True)


def _outcomes(clients: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "account_id": _account_id(clients["ID"]),
            "as_of": AS_OF,
            "known_time": OUTCOME_KNOWN,
            "bad": clients["DEFAULT"] == 1,
        }
    )
