"""Bad days of the watch: poison among good files, new attributes, a clock that jumps; what was decided still holds."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.deciding.replay import recorded_decisions, replay
from limitlens.pipeline.journal import Journal
from limitlens.pipeline.watching.tick import tick
from limitlens.pipeline.workspace import Workspace
from tests.test_holds import FIRST
from tests.test_watch import DAY, HOUR, line_of, put, rows_of, takeover

NOON = FIRST + 12 * HOUR


def poison(inbox: Path) -> int:
    """Files that are none, beside the others of each source; how many."""
    junk = {
        "empty.parquet": b"",
        "half.parquet": b"PAR1 and no more",
        "text.csv": b"\xff\xfe\x00",
        "quote.csv": b'event_id,account_id\n"a,b\n',
        "packed.csv.gz": b"no gzip",
        "deep.csv": b"a" + b",a" * 2_000,
    }
    for source in ("accounts", "consumption", "payment", "device"):
        (inbox / source).mkdir(parents=True, exist_ok=True)
        for name, data in junk.items():
            (inbox / source / f"{name}").write_bytes(data)
    return 4 * len(junk)


def test_poison_files_and_rows_change_nothing_of_what_good_ones_bring_about(
    space: Workspace, books: Path, inbox: Path, tmp_path: Path
) -> None:
    shutil.copytree(space.root, tmp_path / "other")
    other, rows = Workspace(tmp_path / "other"), takeover(line_of(space), NOON)
    put(tmp_path / "clean", "m", rows)
    clean = tick(other, tmp_path / "clean", NOON + 2 * HOUR)
    odd = [
        {"event_id": "odd-1", "amount_cents": -1}, {"event_id": "odd-2", "kind": "gift"},
        {"event_id": "odd-3", "account_id": "NOBODY"}, {"event_id": "odd-4", "event_time": NOON + 30 * DAY},
        {"event_id": "odd-5", "known_time": NOON + 30 * DAY}, {"event_id": None},
    ]  # fmt: skip
    draws = rows["consumption"].to_pylist()
    put(inbox, "m", rows | {"consumption": rows_of("consumption", [*draws, *(draws[0] | one for one in odd)])})
    count = poison(inbox)
    ticked = tick(space, inbox, NOON + 2 * HOUR)
    assert (len(ticked.refused), ticked.quarantined) == (count, len(odd))
    assert len(list((inbox / "refused").rglob("*.txt"))) == count
    assert clean.decisions["action"].tolist() == ["pause"]
    assert space.ledger.head() == other.ledger.head()
    theirs, ours = (Journal(one.root).journaled() for one in (other, space))
    assert all(ours[source].clean.equals(theirs[source].clean) for source in rows)


@pytest.mark.parametrize("jumps", [[0, -3, 1, 30, -10], [5, -5, 5, -5, 0], [30, 29, 28, 27, 26]])
def test_a_clock_that_jumps_leaves_decisions_that_replay_and_a_chain_that_holds(
    jumps: list[int], space: Workspace, inbox: Path
) -> None:
    """Hours by which the clock is wrong at each tick; every event says it was known when the clock says so."""
    accounts = recorded_decisions(space).query("action == 'keep'")["account_id"].unique()[: len(jumps)]
    standing, moments = None, []
    for number, (account, jump) in enumerate(zip(accounts, jumps, strict=True)):
        now = NOON + timedelta(hours=3 * number + jump)
        put(inbox, f"{number}", takeover(account, now - 2 * HOUR))
        ticked = tick(space, inbox, now, standing)
        standing = ticked.standing
        moments.append(ticked.at)
    assert moments == sorted(set(moments))
    taken = sum(one.rows_in for one in Journal(space.root).journaled().values())
    assert taken == 9 * len(jumps)
    actions = {account for one in space.ledger.pending_ticks() for account in one.decisions["account_id"].to_pylist()}
    assert actions
    put(inbox, "last", {"device": takeover(line_of(space), FIRST + 4 * DAY)["device"]})
    assert tick(space, inbox, FIRST + 4 * DAY + HOUR, standing).rows == 1
    decide(space, until=FIRST + 4 * DAY)
    assert not space.ledger.pending_ticks()
    assert replay(space) == len(recorded_decisions(space))
    space.ledger.verify()
    mine = recorded_decisions(space, sorted(actions))
    assert set(mine.loc[mine["state.watched"], "account_id"]) == actions
    assert (mine.groupby("account_id")["as_of"].is_monotonic_increasing).all()
