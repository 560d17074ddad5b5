"""The mapping of the Taiwan set keeps what was delivered, in the lender's clock and in cents."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from limitlens.data.contracts import SOURCES
from limitlens.data.errors import ConfigError, InputError
from limitlens.data.importing import import_files
from limitlens.data.protected import is_protected
from limitlens.data.shipped_mappings import read_mapping

REAL = Path(__file__).parents[2] / "shared" / "data" / "taiwan"

TAIWAN = read_mapping("taiwan")

CLIENTS = """\
ID,LIMIT_BAL,SEX,EDUCATION,MARRIAGE,AGE,DEFAULT
1,20000,2,2,1,24,1
2,50000,1,5,0,40,0
"""
MONTHS = """\
ID,MONTH,LIMIT_BAL,PAY_STATUS,BILL_AMT,PAY_AMT
1,2005-04,20000,-2,0,0
1,2005-05,20000,-1,1000,0
1,2005-06,20000,2,1500,400
2,2005-04,50000,0,700,50
2,2005-05,50000,0,-30,730
2,2005-06,50000,-1,0,0
"""


def _deliver(folder: Path, clients: str = CLIENTS, months: str = MONTHS) -> Path:
    for name, text in {"clients": clients, "monthly_events": months}.items():
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def _table(out: Path, source: str) -> pd.DataFrame:
    frame: pd.DataFrame = pq.read_table(out / source / "taiwan.parquet").to_pandas()
    return frame


def _amounts(events: pd.DataFrame, account: str, kind: str) -> dict[str, int]:
    mine = events[(events["account_id"] == account) & (events["kind"] == kind)]
    return dict(zip(mine["event_time"].dt.strftime("%m-%d"), mine["amount_cents"].tolist(), strict=True))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    import_files(TAIWAN, _deliver(tmp_path), tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not REAL.is_dir():
        pytest.skip("the Taiwan set is not here; docs/real-data.md says where to get it")
    out = tmp_path_factory.mktemp("taiwan")
    import_files(TAIWAN, REAL, out)
    return out


def test_spending_is_what_the_bill_grew_by_beyond_the_repayment(small: Path) -> None:
    consumption = _table(small, "consumption")
    assert _amounts(consumption, "T00001", "purchase") == {"05-20": 100_000, "06-20": 90_000}
    assert _amounts(consumption, "T00002", "purchase") == {"06-20": 3_000}


def test_a_negative_rest_is_a_refund(tmp_path: Path) -> None:
    months = MONTHS.replace("2,2005-05,50000,0,-30,730", "2,2005-05,50000,0,-30,500")
    import_files(TAIWAN, _deliver(tmp_path, months=months), tmp_path / "out")
    assert _amounts(_table(tmp_path / "out", "consumption"), "T00002", "refund") == {"05-20": 23_000}


def test_every_bill_is_a_statement_balance_zero_and_credit_included(small: Path) -> None:
    consumption = _table(small, "consumption")
    assert _amounts(consumption, "T00001", "statement_balance") == {"04-25": 0, "05-25": 100_000, "06-25": 150_000}
    assert _amounts(consumption, "T00002", "statement_balance")["05-25"] == -3_000


def test_months_late_are_thirty_days_each_and_the_other_codes_are_none(small: Path) -> None:
    payment = _table(small, "payment")
    statuses = payment[payment["kind"] == "status"]
    assert statuses["dpd_days"].tolist() == [0, 0, 60, 0, 0, 0]
    assert _amounts(payment, "T00001", "repayment") == {"06-15": 40_000}


def test_a_month_is_known_an_hour_before_it_ends(small: Path) -> None:
    known = _table(small, "payment").groupby("event_id")["known_time"].max()
    assert known["T00001-2005-06-status"] == pd.Timestamp("2005-06-30T23:00Z")


def test_codes_the_source_does_not_explain_keep_their_number(small: Path) -> None:
    accounts = _table(small, "accounts").set_index("account_id")
    assert accounts.loc["T00002", ["education", "marital_status", "sex"]].tolist() == [
        "undocumented_5",
        "undocumented_0",
        "male",
    ]


def test_what_is_protected_stands_under_protected_names(small: Path) -> None:
    attributes = set(_table(small, "accounts")) - set(SOURCES["accounts"].column_names())
    assert set(filter(is_protected, attributes)) == {"sex", "marital_status", "age"}
    assert {name for name in attributes if not is_protected(name)} == {"education"}


def test_the_outcome_is_known_a_month_after_its_as_of(small: Path) -> None:
    outcome = _table(small, "outcomes").iloc[0].to_dict()
    assert outcome == {
        "account_id": "T00001",
        "as_of": pd.Timestamp("2005-10-01T00:00Z"),
        "known_time": pd.Timestamp("2005-11-01T00:00Z"),
        "bad": True,
    }


def test_the_same_files_give_the_same_bytes(small: Path, tmp_path: Path) -> None:
    import_files(TAIWAN, tmp_path, tmp_path / "again")
    for path in small.glob("*/*.parquet"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(small)).read_bytes()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"clients\.csv\.gz: no such file"):
        import_files(TAIWAN, tmp_path, tmp_path / "out")


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = _deliver(tmp_path) / "monthly_events.csv.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match=r"monthly_events\.csv\.gz: (not a readable file|cannot be read)"):
        import_files(TAIWAN, tmp_path, tmp_path / "out")


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"clients\.csv\.gz: no column LIMIT_BAL, got ID, LIMIT, SEX"):
        import_files(TAIWAN, _deliver(tmp_path, clients=CLIENTS.replace("LIMIT_BAL", "LIMIT")), tmp_path / "out")


@pytest.mark.parametrize(
    ("cell", "got"), [("many", "'many'"), ("", "an empty cell"), ("inf", "'inf'"), ("0.001", "'0.001'")]
)
def test_a_cell_that_is_no_amount_is_named(tmp_path: Path, cell: str, got: str) -> None:
    months = MONTHS.replace("2,2005-04,50000,0,700", f"2,2005-04,50000,0,{cell}")
    with pytest.raises(
        InputError, match=f"row 4, column BILL_AMT: got {got}, expected an amount.*mapping_taiwan.toml:"
    ):
        import_files(TAIWAN, _deliver(tmp_path, months=months), tmp_path / "out")


def test_an_unknown_data_set_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="mars: neither a file nor one of gmsc, superlender, taiwan"):
        read_mapping("mars")


@pytest.mark.slow
def test_real_client_3_matches_a_reading_by_hand(real: Path) -> None:
    consumption, payment = _table(real, "consumption"), _table(real, "payment")
    assert _amounts(consumption, "T00003", "purchase") == {
        "05-20": 39_900,
        "06-20": 38_300,
        "07-20": 22_800,
        "08-20": 196_800,
        "09-20": 1_673_000,
    }
    assert _amounts(payment, "T00003", "repayment")["04-15"] == 500_000
    assert _table(real, "accounts").set_index("account_id").loc["T00003", "limit_cents"] == 9_000_000


def test_real_rows_reconcile_with_the_delivered_files(real: Path) -> None:
    clients = pd.read_csv(REAL / "clients.csv.gz")
    bills = clients[[f"BILL_AMT{k}" for k in range(6, 0, -1)]].to_numpy()
    paid = clients[[f"PAY_AMT{k}" for k in range(6, 0, -1)]].to_numpy()
    spent = np.diff(bills, axis=1) + paid[:, 1:]
    kinds = pd.concat([_table(real, "consumption"), _table(real, "payment")])["kind"].value_counts()
    assert kinds.to_dict() == {
        "statement_balance": bills.size,
        "status": bills.size,
        "repayment": np.count_nonzero(paid > 0),
        "purchase": np.count_nonzero(spent > 0),
        "refund": np.count_nonzero(spent < 0),
    }
    assert _table(real, "outcomes")["bad"].sum() == clients["DEFAULT"].sum()
    assert _table(real, "consumption").query("kind == 'purchase'")["amount_cents"].sum() == spent[spent > 0].sum() * 100


@pytest.mark.slow
def test_real_events_are_known_after_they_happen_and_before_the_label(real: Path) -> None:
    for source in ("consumption", "payment"):
        events = _table(real, source)
        assert (events["known_time"] >= events["event_time"]).all()
        assert (events["known_time"] < pd.Timestamp("2005-10-01T00:00Z")).all()
