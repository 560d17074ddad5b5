"""A hit of an exchange is a feature with a source and a date, has a share of its own in `why`, and can be undone."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from limitlens.data.check import check_events
from limitlens.data.world import simulate
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.spine import book
from limitlens.features.table import build_table
from limitlens.limits.policy_file import at_once, parse_policy
from limitlens.pipeline.answers.why import why
from limitlens.pipeline.answers.why_text import render
from limitlens.pipeline.check_delivery import check
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.deciding.verify import verify
from limitlens.pipeline.release.promote import Override, promote
from limitlens.pipeline.sharing.exchange import Side, answer, receive, request
from limitlens.pipeline.sharing.pair_secret import new_secret
from limitlens.pipeline.sharing.share_settings import default_share_settings
from limitlens.pipeline.training.train import train
from limitlens.pipeline.withdraw_load import withdraw_load
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings
from tests.conftest import FEW_COLUMNS, MadeOnce

pytest.importorskip("private_set_intersection.python")
pytestmark = pytest.mark.slow

START, FIRST, SECOND = (datetime(2025, month, 1, tzinfo=UTC) for month in (1, 10, 11))
EXCHANGED = FIRST + timedelta(days=9)
LISTED = "risk_list_lender_distinct_90d"
RULE = f"""
[[rules]]
name = "listed"
action = "close"
reason = "shared_risk"
when = [{{ column = "{LISTED}", at_least = 1 }}]
"""


def exchanged(folder: Path, lines: list[str], listed: list[str], at: datetime) -> Path:
    """A delivery of the hits among some lines, of persons whose ids only the two lenders know."""
    number = f"{at:%Y%m%d}"
    (folder / f"{number}.csv").write_text(
        "person_id,account_id\n" + "\n".join(f"person {line},{line}" for line in lines)
    )
    (folder / f"{number}.list.csv").write_text("person_id\n" + "\n".join(f"person {line}" for line in listed))
    if not (folder / "secret").exists():
        new_secret(folder / "secret", ("lender-a", "lender-b"))
        (folder / "other").mkdir()
    a, b = (
        Side(Workspace(folder / name), lender, folder / "secret", default_share_settings(), "Chen Wei")
        for name, lender in (("base", "lender-a"), ("other", "lender-b"))
    )
    asked, answered, out = folder / f"{number}.request", folder / f"{number}.answer", folder / number
    request(a, folder / f"{number}.csv", asked, at=at)
    answer(b, asked, folder / f"{number}.list.csv", answered, at=at)
    receive(a, asked, answered, folder / f"{number}.csv", out / "shared_risk" / "hits.parquet", at=at)
    shutil.copytree(folder / "world" / "accounts", out / "accounts")
    return out


def make_book(folder: Path) -> None:
    """A book whose model and policy know of an early exchange, decided before and after another one."""
    simulate(folder / "world", accounts=500, months=11, seed=5, futures=0, start=START)
    lines = pq.read_table(folder / "world" / "accounts")["account_id"].to_pylist()
    base = Workspace(folder / "base")
    check_events(folder / "world", base.events)
    check(base, exchanged(folder, lines, lines[200:230], START + timedelta(days=120)))
    small = replace(default_settings(), columns=(*FEW_COLUMNS, LISTED), n_estimators=20, folds=2, min_data_in_leaf=10)
    train(base, small, parse_policy(at_once(default_policy()).text + RULE), developer="developer", until=FIRST)
    promote(base, None, FIRST, override=Override("head of credit risk", "a small book"))
    decide(base, as_of=FIRST)
    check(base, exchanged(folder, lines, lines[:40], EXCHANGED), loaded_at=EXCHANGED)
    decide(base, as_of=SECOND)


@pytest.fixture(scope="module")
def listed(made_once: MadeOnce, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("listed") / "book"
    shutil.copytree(made_once("shared risk", make_book), folder)
    return Workspace(folder / "base")


def test_a_hit_counts_from_the_exchange_on_and_for_its_window(listed: Workspace) -> None:
    features, relations = CATALOGUE.only([LISTED, "risk_list_days_since_365d"]), listed.events.relations()
    moments = {EXCHANGED: 0, EXCHANGED + timedelta(seconds=1): 1, EXCHANGED + timedelta(days=91): 0}
    for at, count in moments.items():
        table = build_table(features, book([at], relations)[["account_id", "as_of", "known_by"]], relations)
        hit = table[table["account_id"].isin(_hits(listed))]
        assert len(hit) > 20
        assert set(hit[LISTED]) == {count}
        assert not table.loc[~table["account_id"].isin(_hits(listed)), LISTED].any()


def _hits(space: Workspace) -> list[str]:
    rows = pq.read_table(space.root.parent / f"{EXCHANGED:%Y%m%d}" / "shared_risk" / "hits.parquet")
    return [str(line) for line in rows["account_id"].to_pylist()]


def test_a_hit_has_a_share_of_its_own_which_is_the_change_where_nothing_else_moved_it(listed: Workspace) -> None:
    sql = f"SELECT * FROM current WHERE as_of = '{SECOND}' AND list_contains(fired_rules, 'listed') ORDER BY account_id"
    closed = listed.ledger.query(sql)
    assert len(closed) > 20
    alone = 0
    for line in closed["account_id"].head(8):
        told = why(listed, line, SECOND)
        shares = {group.name: group.share_cents for group in told.split.groups}
        assert told.split.share_cents
        assert sum(shares.values()) == told.split.share_cents["behaviour"]
        moved = told.decision.limit_cents - told.decision.limit_before_cents
        alone += moved < 0 and shares["shared_risk"] == moved
        [fact] = [fact for group in told.split.groups if group.name == "shared_risk" for fact in group.facts]
        assert (fact.feature, fact.before, fact.after, fact.rules) == (LISTED, 0, 1, ("listed",))
        assert "another lender reported a risk" in render(told)
    assert alone > 4


def test_a_load_of_hits_that_was_taken_back_counts_no_more_and_the_past_holds(
    listed: Workspace, tmp_path: Path
) -> None:
    shutil.copytree(listed.root, tmp_path / "work")
    space = Workspace(tmp_path / "work")
    load = space.events.loads()[-1]["load"]
    withdraw_load(space, load, at=SECOND, actor="Chen Wei", reason="another lender's mistake")
    relations, at = space.events.relations(), SECOND + timedelta(days=1)
    table = build_table(CATALOGUE.only([LISTED]), book([at], relations)[["account_id", "as_of", "known_by"]], relations)
    assert not table[LISTED].any()
    verify(space)
