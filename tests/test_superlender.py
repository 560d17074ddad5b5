"""The mapping of the SuperLender set turns loans into versions, plans and repayments without looking ahead."""

import gzip
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from benchmarks.case_superlender import agreement, read_loans, three_columns
from limitlens.data.contracts import SOURCES
from limitlens.data.errors import InputError
from limitlens.data.importing import import_files
from limitlens.data.protected import is_protected
from limitlens.data.shipped_mappings import read_mapping

REAL = Path(__file__).parents[2] / "shared" / "data" / "superlender"
SUPERLENDER = read_mapping("superlender")
LOAN = "customerid,systemloanid,loannumber,approveddate,creationdate,loanamount,totaldue,termdays,referredby"

FILES = {
    "trainprevloans": f"""\
{LOAN},closeddate,firstduedate,firstrepaiddate
ada,11,1,2017-01-02 09:00:00,2017-01-02 08:00:00,10000,11500.5,15,,2017-01-19 11:00:00,2017-01-17,2017-01-19 10:45:00
ada,12,2,2017-03-01 09:00:00,2017-03-01 08:00:00,20000,26000.0,90,,2017-05-20 12:00:00,2017-03-31,2017-03-30
""",
    "testprevloans": f"""\
{LOAN},closeddate,firstduedate,firstrepaiddate
eze,21,1,2017-02-01 09:00:00,2017-02-01 08:00:00,5000,6000,30,ada,2017-03-01 12:00:00,2017-03-03,2017-03-01 11:45:00
""",
    "trainperf": f"""\
{LOAN},good_bad_flag
ada,13,3,2017-07-05 09:00:00,2017-07-05 08:00:00,30000,34500,30,,Bad
""",
    "traindemographics": """\
customerid,birth_year,bank_account_type,bank_name_clients,employment_status_clients,level_of_education_clients
ada,1985,Savings,A Bank,Permanent,
ada,1985,Savings,A Bank,Permanent,
""",
}


def _deliver(folder: Path, **changed: str) -> Path:
    for name, text in {**FILES, **changed}.items():
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def _table(out: Path, source: str) -> pd.DataFrame:
    frame: pd.DataFrame = pq.read_table(out / source / "superlender.parquet").to_pandas()
    return frame


def _event(out: Path, source: str, event_id: str) -> pd.Series:
    return _table(out, source).set_index("event_id").loc[event_id]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    import_files(SUPERLENDER, _deliver(tmp_path), tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not REAL.is_dir():
        pytest.skip("the SuperLender set is not here; docs/real-data.md says where to get it")
    out = tmp_path_factory.mktemp("superlender")
    import_files(SUPERLENDER, REAL, out)
    return out


def test_every_loan_is_a_version_known_at_its_application(small: Path) -> None:
    ada = _table(small, "accounts").query("account_id == 'ada'")
    assert ada["limit_cents"].tolist() == [1_000_000, 2_000_000, 3_000_000]
    assert ada["known_time"].iloc[2] == pd.Timestamp("2017-07-05T08:00Z")
    assert set(ada["opened_at"]) == {pd.Timestamp("2017-01-02T09:00Z")}


def test_a_version_carries_the_application_and_the_person(small: Path) -> None:
    latest = _table(small, "accounts").query("account_id == 'ada'").iloc[2]
    assert latest["interest_share"] == pytest.approx(0.15)
    assert latest[["loan_number", "total_due_cents", "term_days", "referred"]].tolist() == [3, 3_450_000, 30, False]
    assert latest["bank_name"] == "A Bank"
    assert pd.isna(latest["education"])


def test_a_customer_without_demographics_is_kept(small: Path) -> None:
    eze = _table(small, "accounts").query("account_id == 'eze'").iloc[0]
    assert eze["referred"]
    assert pd.isna(eze["birth_year"])


def test_what_is_protected_stands_under_a_protected_name(small: Path) -> None:
    attributes = set(_table(small, "accounts")) - set(SOURCES["accounts"].column_names())
    assert set(filter(is_protected, attributes)) == {"birth_year"}


def test_a_loan_is_drawn_with_its_fee_at_approval(small: Path) -> None:
    approved = pd.Timestamp("2017-01-02T09:00Z")
    draw, fee = _event(small, "consumption", "11-draw"), _event(small, "consumption", "11-fee")
    assert (draw["event_time"], draw["known_time"], draw["amount_cents"]) == (approved, approved, 1_000_000)
    assert fee["amount_cents"] == 150_050


def test_a_plan_has_equal_instalments_every_thirty_days_and_the_rest_in_the_last(small: Path) -> None:
    dues = _table(small, "payment").query("kind == 'due' and event_id.str.startswith('12-')")
    assert dues["amount_cents"].tolist() == [866_666, 866_666, 866_668]
    assert dues["event_time"].dt.strftime("%m-%d").tolist() == ["03-31", "04-30", "05-30"]
    assert set(dues["known_time"]) == {pd.Timestamp("2017-03-01T09:00Z")}


def test_the_first_instalment_is_repaid_first_and_the_others_when_the_loan_closes(small: Path) -> None:
    repaid = _table(small, "payment").query("kind == 'repayment' and event_id.str.startswith('12-')")
    assert repaid["instalment_id"].tolist() == ["12-1", "12-2", "12-3"]
    assert repaid["event_time"].dt.strftime("%m-%dT%H").tolist() == ["03-30T00", "05-20T12", "05-20T12"]
    assert repaid["amount_cents"].sum() == 2_600_000


def test_a_loan_of_one_instalment_is_repaid_at_the_first_repayment(small: Path) -> None:
    repayment = _event(small, "payment", "11-1-repayment")
    assert repayment["event_time"] == repayment["known_time"] == pd.Timestamp("2017-01-19T10:45Z")
    assert repayment["amount_cents"] == 1_150_050


def test_a_repayment_with_a_date_alone_is_known_when_the_day_is_over(small: Path) -> None:
    assert _event(small, "payment", "12-1-repayment")["known_time"] == pd.Timestamp("2017-03-31T00:00Z")


def test_a_labelled_loan_has_an_outcome_but_no_plan_and_no_repayment(small: Path) -> None:
    assert not _table(small, "payment")["event_id"].str.startswith("13-").any()
    assert _table(small, "outcomes").iloc[0].to_dict() == {
        "account_id": "ada",
        "as_of": pd.Timestamp("2017-07-05T09:00Z"),
        "known_time": pd.Timestamp("2017-09-03T09:00Z"),
        "bad": True,
    }


def test_two_different_rows_of_one_customer_are_refused(tmp_path: Path) -> None:
    twice = FILES["traindemographics"] + "ada,1986,Savings,A Bank,Permanent,\n"
    with pytest.raises(InputError, match=r"traindemographics\.csv\.gz: customerid ada has two different rows"):
        import_files(SUPERLENDER, _deliver(tmp_path, traindemographics=twice), tmp_path / "out")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (_deliver(tmp_path) / "trainperf.csv.gz").unlink()
    with pytest.raises(InputError, match=r"trainperf\.csv\.gz: no such file"):
        import_files(SUPERLENDER, tmp_path, tmp_path / "out")


def test_a_time_that_is_none_is_named(tmp_path: Path) -> None:
    wrong = FILES["trainprevloans"].replace("2017-05-20 12:00:00", "soon")
    with pytest.raises(InputError, match="row 2, column closeddate: got 'soon', expected a time"):
        import_files(SUPERLENDER, _deliver(tmp_path, trainprevloans=wrong), tmp_path / "out")


def test_the_same_files_give_the_same_bytes(small: Path, tmp_path: Path) -> None:
    import_files(SUPERLENDER, tmp_path, tmp_path / "again")
    for path in small.glob("*/*.parquet"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(small)).read_bytes()


def test_real_rows_and_sums_reconcile_with_the_delivered_files(real: Path) -> None:
    earlier = pd.concat(pd.read_csv(REAL / f"{name}.csv.gz") for name in ("trainprevloans", "testprevloans"))
    labelled = pd.read_csv(REAL / "trainperf.csv.gz")
    sums = pd.concat([_table(real, "consumption"), _table(real, "payment")]).groupby("kind")["amount_cents"].sum()
    assert len(_table(real, "accounts")) == len(earlier) + len(labelled)
    assert len(_table(real, "consumption")) == 2 * (len(earlier) + len(labelled))
    assert len(_table(real, "payment")) == 2 * (earlier["termdays"] // 30).clip(lower=1).sum()
    assert sums["draw"] == (earlier["loanamount"].sum() + labelled["loanamount"].sum()) * 100
    assert sums["due"] == sums["repayment"] == round(earlier["totaldue"].sum() * 100)
    assert _table(real, "outcomes")["bad"].sum() == (labelled["good_bad_flag"] == "Bad").sum()


def test_real_repayments_are_never_known_before_they_happen(real: Path) -> None:
    repaid = _table(real, "payment").query("kind == 'repayment'")
    assert (repaid["known_time"] >= repaid["event_time"]).all()


def test_real_labels_see_the_application_and_not_the_loan_itself(real: Path) -> None:
    labels = _table(real, "outcomes")[["account_id", "as_of"]]
    versions = _table(real, "accounts").merge(labels, on="account_id")
    flows = _table(real, "consumption").merge(labels, on="account_id")
    own = flows[flows["event_time"] == flows["as_of"]]
    assert (versions["known_time"] < versions["as_of"]).all()
    assert len(own) == 2 * len(labels)
    assert (own["known_time"] >= own["as_of"]).all()


def test_the_case_study_reads_every_raise_and_cut_of_the_lender(real_data: Path) -> None:
    counts = read_loans(real_data / "superlender")["theirs"].value_counts()
    assert counts.to_dict() == {"kept": 16_051, "raised": 5_564, "cut": 1_033}


def test_the_case_study_counts_agreement_and_credit_by_hand() -> None:
    rows = pd.DataFrame(
        {
            "theirs": ["raised", "cut", "kept", "kept"],
            "ours": ["raise", "raise", "review", "cut"],
            "bad": [False, False, True, True],
            "before_cents": [100, 200, 100, 400],
            "amount_cents": [150, 100, 100, 400],
            "our_cents": [120, 240, 100, 200],
        }
    )
    assert agreement(rows) == 0.5
    found = three_columns(rows)
    assert found.loc["credit of good customers"].tolist() == ["−16.7%", "+20.0%"]
    assert found.loc["credit of bad customers"].tolist() == ["+0.0%", "−40.0%"]
    assert found.loc["bad customers cut"].tolist() == ["0 (0.0% of the cut)", "1 (100.0% of the cut)"]
