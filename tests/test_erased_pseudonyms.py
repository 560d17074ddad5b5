"""Erased accounts in a workspace whose ids are pseudonyms."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from limitlens.data.engine import run_sql
from limitlens.data.pseudonyms import IdKey
from limitlens.pipeline.check_delivery import check
from limitlens.pipeline.deciding.verify import verify
from limitlens.pipeline.privacy.erase import erase
from limitlens.pipeline.withdraw_load import withdraw_load
from limitlens.pipeline.workspace import Workspace
from tests.test_versions import T0, login

pytestmark = pytest.mark.slow

KEY, NOW = IdKey(bytes(range(32))), datetime(2026, 12, 1, tzinfo=UTC)


def quiet(_: str) -> None:
    """Progress nobody reads."""


@pytest.fixture
def delivery(tmp_path: Path) -> Path:
    """Two accounts with a login each, by the ids of the lender."""
    line = {"opened_at": T0, "known_time": T0, "limit_cents": 100_00, "segment": "new"}
    tables = {
        "accounts": [{"account_id": name, **line} for name in ("A1", "A2")],
        "device": [login(1, 1, 0, 2, "D1"), login(2, 2, 0, 2, "D2")],
    }
    for source, rows in tables.items():
        (tmp_path / "in" / source).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in" / source / "1.parquet")
    return tmp_path / "in"


def accounts_of(space: Workspace) -> set[str]:
    rows = [run_sql(space.events.relation(source))["account_id"].to_pylist() for source in ("accounts", "device")]
    return {account for column in rows for account in column}


def test_an_erased_account_that_is_delivered_again_by_its_own_id_does_not_come_back(
    delivery: Path, tmp_path: Path
) -> None:
    space, one = Workspace(tmp_path / "work"), KEY.pseudonym("account", "A1")
    check(space, delivery, quiet, key=KEY)
    assert one in accounts_of(space)
    erase(space, [one], at=NOW, actor="Li Na", reason="asked for")
    again = check(space, delivery, quiet, key=KEY)
    assert accounts_of(space) == {KEY.pseudonym("account", "A2")}
    assert (again.sources["accounts"].erased, again.sources["device"].erased) == (1, 1)
    verify(space)


def test_an_account_of_a_load_that_was_taken_back_is_erased_with_the_rows_that_took_it_back(
    delivery: Path, tmp_path: Path
) -> None:
    space, one = Workspace(tmp_path / "work"), KEY.pseudonym("account", "A1")
    check(space, delivery, quiet, key=KEY)
    withdraw_load(space, "0001", at=NOW, actor="Li Na", reason="another year")
    erase(space, [one], at=NOW, actor="Li Na", reason="asked for")
    assert one not in accounts_of(space)
    check(space, delivery, quiet, key=KEY)
    assert accounts_of(space) == {KEY.pseudonym("account", "A2")}
    verify(space)
