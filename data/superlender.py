"""Adapter of the SuperLender set: a growing-limit lender in Nigeria, one short loan after another.

An account is a customer; every loan is a version of it, known at the application. Times without a zone are
read as UTC; see ``docs/real-data.md`` for this and every other assumption.
"""

from pathlib import Path

import pandas as pd

from limitlens.data.contracts import Dtype
from limitlens.data.errors import InputError
from limitlens.data.importing import ImportReport, read_delivery, write_tables

#: Days from one instalment to the next, and from the end of the term to the delivered outcome.
INSTALMENT_DAYS = 30

NOTES = (
    "an account is a customer, every loan is a version of it, known at the application (creationdate)",
    "times have no zone and are read as UTC; creationdate is an hour behind the other times",
    "the plan of a loan is not delivered: equal instalments every 30 days from firstduedate",
    "of the repayments only the first and the last time are delivered: the first pays the first instalment, "
    "the others are paid when the loan closes",
    "the outcome of a loan is known 30 days after the end of its term",
    "demographics have no time and are taken as known at every application",
    "repayments of the labelled loans are not delivered",
)

_LOAN_COLUMNS: dict[str, Dtype] = {
    "customerid": "string",
    "systemloanid": "string",
    "loannumber": "integer",
    "approveddate": "timestamp",
    "creationdate": "timestamp",
    "loanamount": "cents",
    "totaldue": "cents",
    "termdays": "integer",
    "referredby": "string",
}
_REPAID_COLUMNS: dict[str, Dtype] = {
    **_LOAN_COLUMNS,
    "closeddate": "timestamp",
    "firstduedate": "timestamp",
    "firstrepaiddate": "timestamp",
}
_LABELLED_COLUMNS: dict[str, Dtype] = {**_LOAN_COLUMNS, "good_bad_flag": "string"}
_PERSON_COLUMNS: dict[str, Dtype] = {
    "customerid": "string",
    "birth_year": "integer",
    "bank_account_type": "string",
    "bank_name_clients": "string",
    "employment_status_clients": "string",
    "level_of_education_clients": "string",
}
_PERSON_NAMES = {
    "customerid": "account_id",
    "bank_name_clients": "bank_name",
    "employment_status_clients": "employment_status",
    "level_of_education_clients": "education",
}


def import_superlender(src: Path, out: Path) -> ImportReport:
    """Write the SuperLender set as tables of the contract.

    Parameters
    ----------
    src : Path
        Folder with ``trainprevloans``, ``testprevloans``, ``trainperf`` and ``traindemographics``, each ``.csv.gz``.
    out : Path
        Folder for ``accounts``, ``consumption``, ``payment`` and ``outcomes``.

    Returns
    -------
    ImportReport

    Raises
    ------
    InputError
        A file is missing or damaged, a cell does not read as declared, or one customer has two demographics.
    """
    earlier = [_loans(src / f"{name}.csv.gz", _REPAID_COLUMNS) for name in ("trainprevloans", "testprevloans")]
    repaid = pd.concat(earlier, ignore_index=True)
    labelled = _loans(src / "trainperf.csv.gz", _LABELLED_COLUMNS)
    loans = pd.concat([repaid, labelled], ignore_index=True)
    tables = {
        "accounts": _accounts(loans, _persons(src / "traindemographics.csv.gz")),
        "consumption": _consumption(loans),
        "payment": _payment(_instalments(repaid)),
        "outcomes": _outcomes(labelled),
    }
    return write_tables("superlender", tables, out, NOTES)


def _loans(path: Path, columns: dict[str, Dtype]) -> pd.DataFrame:
    return read_delivery(path, columns, nullable=["referredby"])


def _persons(path: Path) -> pd.DataFrame:
    nullable = ["employment_status_clients", "level_of_education_clients"]
    persons = read_delivery(path, _PERSON_COLUMNS, nullable=nullable).drop_duplicates()
    twice = persons.loc[persons["customerid"].duplicated(), "customerid"]
    if len(twice):
        raise InputError(
            f"{path}: customer {twice.iloc[0]} has two different rows, expected one; remove the wrong one."
        )
    return persons.rename(columns=_PERSON_NAMES)


def _accounts(loans: pd.DataFrame, persons: pd.DataFrame) -> pd.DataFrame:
    versions = pd.DataFrame(
        {
            "account_id": loans["customerid"],
            "opened_at": loans.groupby("customerid")["approveddate"].transform("min"),
            "known_time": loans["creationdate"],
            "limit_cents": loans["loanamount"],
            "segment": "growing_loan",
            "loan_number": loans["loannumber"],
            "loan_amount_cents": loans["loanamount"],
            "total_due_cents": loans["totaldue"],
            "term_days": loans["termdays"],
            "interest_share": loans["totaldue"] / loans["loanamount"] - 1,
            "referred": loans["referredby"].notna(),
        }
    )
    return versions.merge(persons.astype({"birth_year": "Int64"}), on="account_id", how="left", validate="many_to_one")


def _consumption(loans: pd.DataFrame) -> pd.DataFrame:
    approved = loans["approveddate"]
    draws = _events(loans, "draw", approved, approved, loans["loanamount"])
    fees = _events(loans, "fee", approved, approved, loans["totaldue"] - loans["loanamount"])
    return pd.concat([draws, fees], ignore_index=True)


def _instalments(loans: pd.DataFrame) -> pd.DataFrame:
    count = (loans["termdays"] // INSTALMENT_DAYS).clip(lower=1)
    plan = loans.assign(count=count).loc[loans.index.repeat(count)]
    number = plan.groupby(level=0).cumcount() + 1
    share = plan["totaldue"] // plan["count"]
    last = plan["totaldue"] - share * (plan["count"] - 1)
    return plan.assign(
        number=number,
        instalment_id=plan["systemloanid"] + "-" + number.astype(str),
        due_time=plan["firstduedate"] + pd.to_timedelta((number - 1) * INSTALMENT_DAYS, unit="D"),
        repaid_time=plan["firstrepaiddate"].where(number == 1, plan[["firstrepaiddate", "closeddate"]].max(axis=1)),
        amount=share.where(number < plan["count"], last),
    ).reset_index(drop=True)


def _payment(plan: pd.DataFrame) -> pd.DataFrame:
    dues = _events(plan, "due", plan["due_time"], plan["approveddate"], plan["amount"])
    repayments = _events(plan, "repayment", plan["repaid_time"], _day_over(plan["repaid_time"]), plan["amount"])
    events = pd.concat([dues, repayments], ignore_index=True)
    return events.assign(instalment_id=pd.concat([plan["instalment_id"]] * 2, ignore_index=True))


def _day_over(time: pd.Series) -> pd.Series:
    """A time of exactly midnight is a date alone: what happened that day is known when the day is over."""
    return time.where(time != time.dt.normalize(), time + pd.Timedelta(days=1))


def _events(
    rows: pd.DataFrame, kind: str, event_time: pd.Series, known_time: pd.Series, amount_cents: pd.Series
) -> pd.DataFrame:
    identity = rows["instalment_id"] if "instalment_id" in rows else rows["systemloanid"]
    return pd.DataFrame(
        {
            "event_id": identity + "-" + kind,
            "account_id": rows["customerid"],
            "event_time": event_time,
            "known_time": known_time,
            "kind": kind,
            "amount_cents": amount_cents,
        }
    )


def _outcomes(loans: pd.DataFrame) -> pd.DataFrame:
    settled = pd.to_timedelta(loans["termdays"] + INSTALMENT_DAYS, unit="D")
    return pd.DataFrame(
        {
            "account_id": loans["customerid"],
            "as_of": loans["approveddate"],
            "known_time": loans["approveddate"] + settled,
            "bad": loans["good_bad_flag"] == "Bad",
        }
    )
