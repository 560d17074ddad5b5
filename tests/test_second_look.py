"""Second look: what is adverse on soft evidence pauses, is looked at again on its day, and a lift leaves no trace."""

import hashlib
import json
import shutil
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from limitlens.data.errors import ConfigError
from limitlens.data.world import default_world
from limitlens.limits.override import overridden
from limitlens.limits.policy import ADVERSE, Monitoring, Policy
from limitlens.limits.policy_file import at_once, parse_policy
from limitlens.limits.state import first_state, unpacked
from limitlens.pipeline import decide, override, reconcile, why
from limitlens.pipeline.answers.pauses import pauses
from limitlens.pipeline.answers.why_text import render
from limitlens.pipeline.deciding.decide_batch import Known, decide_lines
from limitlens.pipeline.deciding.replay import replay
from limitlens.pipeline.release.simulate_policy import past_lines, past_tables
from limitlens.pipeline.release.simulate_policy import simulate as simulated
from limitlens.pipeline.workspace import Workspace, default_policy
from tests.conftest import MadeOnce, make_daily_book

pytestmark = pytest.mark.slow

FIRST = datetime(2025, 10, 1, tzinfo=UTC)
LAST = FIRST + timedelta(days=12)
DAYS = 5
SECTION = f"[second_look]\nafter_days = {DAYS}\nsoft_rules = []\n\n[holds]"


def looks_twice(text: str = SECTION) -> Policy:
    """The shipped policy with low cut-offs, so that a small book has something to pause, and a second look."""
    policy = at_once(default_policy()).text.replace("[holds]", text, 1)
    for old, new in (
        ("review_above_pd = 0.120", "review_above_pd = 0.020"),
        ("review_above_pd = 0.100", "review_above_pd = 0.020"),
        ("decrease_above_pd = 0.180", "decrease_above_pd = 0.030"),
        ("freeze_above_pd = 0.300", "freeze_above_pd = 0.060"),
        ("close_above_pd = 0.450", "close_above_pd = 0.200"),
    ):
        assert old in policy
        policy = policy.replace(old, new, 1)
    return parse_policy(policy)


def make_book(folder: Path) -> None:
    """A small book, trained, and decided day by day for twelve days."""
    make_daily_book(folder, looks_twice(), FIRST, LAST, world=default_world())


@pytest.fixture(scope="module")
def books(made_once: MadeOnce) -> Path:
    """Read only."""
    return made_once("second_look", make_book)


@pytest.fixture(scope="module")
def decisions(books: Path) -> pd.DataFrame:
    rows = unpacked(Workspace(books / "decided").ledger.table("SELECT * FROM decisions"))
    return rows.sort_values(["account_id", "as_of"], ignore_index=True)


def hard(rows: pd.DataFrame) -> pd.Series:
    names = {rule.name for rule in looks_twice().evidence if rule.action in ADVERSE}
    return rows["fired_rules"].map(lambda fired: bool(names & set(fired)))


def test_a_paused_line_is_looked_at_daily_and_carried_out_on_its_day_and_not_before(decisions: pd.DataFrame) -> None:
    paused = decisions[(decisions["action"] == "pause") & (decisions["as_of"] == FIRST)]
    assert len(paused) > 5
    ends = []
    for account in paused["account_id"]:
        own = decisions[(decisions["account_id"] == account) & (decisions["as_of"] > FIRST)]
        ended = own[own["action"].isin([*ADVERSE, "unfreeze"])].iloc[0]
        waited = (ended["as_of"] - pd.Timestamp(FIRST)).days
        between = own[own["as_of"] < ended["as_of"]]
        assert len(between) == waited - 1
        assert (between["action"] == "keep").all()
        assert not between["can_draw"].any()
        assert ended["action"] == "unfreeze" or waited == DAYS or hard(own.loc[[ended.name]]).all()
        ends.append(str(ended["action"]))
    assert set(ends) & ADVERSE


def test_nothing_is_done_on_pd_to_a_line_in_use_without_a_pause_before(decisions: pd.DataFrame) -> None:
    acted = decisions[decisions["action"].isin(ADVERSE) & ~hard(decisions) & decisions["state.can_draw"]]
    assert acted.empty
    later = decisions[decisions["action"].isin(ADVERSE) & ~hard(decisions) & decisions["state.paused_at"].notna()]
    assert len(later) > 3
    assert (later["state.days_since_pause"] >= DAYS).all()


def test_a_pause_keeps_the_limit_and_moves_no_timer(decisions: pd.DataFrame) -> None:
    after = decisions[decisions["state.paused_at"].notna()]
    before = decisions[decisions["action"] == "pause"].set_index("account_id")
    assert (before["limit_cents"] == before["limit_before_cents"]).all()
    first = after.drop_duplicates("account_id").set_index("account_id")
    for name in ("changed_at", "adverse_at", "pd_ref"):
        assert first[f"state.{name}"].equals(before.loc[first.index, f"state.{name}"]), name


def test_decisions_with_pauses_replay_and_their_splits_sum(books: Path) -> None:
    space = Workspace(books / "decided")
    assert replay(space) == len(space.ledger.query("SELECT * FROM decisions"))
    shares = "share_cents_behaviour + share_cents_data + share_cents_model + share_cents_policy + share_cents_state"
    wrong = space.ledger.query(
        f"SELECT current.* FROM current JOIN decisions AS before ON before.account_id = current.account_id "
        f"AND before.as_of = current.previous_as_of WHERE {shares} <> current.limit_cents - before.limit_cents"
    )
    assert wrong.empty


@pytest.fixture(scope="module")
def stood_before(books: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Workspace]:
    """The book decided a month before by the shipped cut-offs; then paused and carried out, and on that day at once."""
    spaces = []
    for section in (SECTION, "[holds]"):
        folder = tmp_path_factory.mktemp("stood_before") / "work"
        shutil.copytree(books / "base", folder)
        space = Workspace(folder)
        decide(space, as_of=FIRST - timedelta(days=30), policy=at_once(default_policy()))
        if section == SECTION:
            decide(space, as_of=FIRST)
            decide(space, until=FIRST + timedelta(days=DAYS))
        else:
            decide(space, as_of=FIRST + timedelta(days=DAYS), policy=looks_twice(section))
        spaces.append(space)
    return spaces[0], spaces[1]


def test_a_pause_carried_out_is_split_as_if_nobody_had_waited(stood_before: tuple[Workspace, Workspace]) -> None:
    same_splits(*stood_before)


def test_so_it_is_with_what_became_known_later(stood_before: tuple[Workspace, Workspace], tmp_path: Path) -> None:
    spaces = []
    for name, space in zip(("paused", "at_once"), stood_before, strict=True):
        shutil.copytree(space.root, tmp_path / name)
        later = Workspace(tmp_path / name)
        decide(later, as_of=FIRST + timedelta(days=DAYS + 31), policy=at_once(default_policy()))
        assert reconcile(later).late_rows > 0
        spaces.append(later)
    assert (same_splits(*spaces)["status"] == "final").all()


def same_splits(waiting: Workspace, acting: Workspace) -> pd.DataFrame:
    """The splits of the pauses that one book carried out, after a look that the other's are the same that day."""
    both = (space.ledger.query("SELECT * FROM current").set_index("account_id") for space in (waiting, acting))
    waited, acted = (rows[rows["as_of"] == pd.Timestamp(FIRST + timedelta(days=DAYS))] for rows in both)
    ended = waited[waited["state"].map(lambda state: state["paused_at"] is not None) & waited["action"].isin(ADVERSE)]
    expected = acted.loc[ended.index]
    assert len(ended) > 5
    assert (ended["previous_as_of"] == pd.Timestamp(FIRST - timedelta(days=30))).all()
    assert (expected["share_cents_policy"] != 0).any()
    split = [name for name in ended if name.startswith(("phi", "share", "severity", "necessary", "sufficient"))]
    same = ["action", "limit_cents", "can_draw", "order_matters", "status", "known_by", *split]
    pd.testing.assert_frame_equal(ended[same], expected[same])
    return ended


def test_why_rebuilds_a_pause_carried_out(stood_before: tuple[Workspace, Workspace]) -> None:
    space, _ = stood_before
    rows = unpacked(space.ledger.table("SELECT * FROM decisions"))
    ended = rows[rows["state.paused_at"].notna() & rows["action"].isin(ADVERSE)].iloc[0]
    answer = why(space, ended["account_id"], FIRST + timedelta(days=DAYS))
    assert answer.decision.previous_as_of == "2025-09-01"
    assert answer.split.share_cents is not None
    assert sum(answer.split.share_cents.values()) == ended["limit_cents"] - ended["limit_before_cents"]


def test_one_call_for_many_days_decides_as_a_call_a_day(books: Path, tmp_path: Path, decisions: pd.DataFrame) -> None:
    shutil.copytree(books / "base", tmp_path / "work")
    space = Workspace(tmp_path / "work")
    decide(space, as_of=FIRST)
    for day in range(1, 7):
        decide(space, until=FIRST + timedelta(days=day))
    found = unpacked(space.ledger.table("SELECT * FROM decisions")).sort_values(["account_id", "as_of"])
    same = ["account_id", "as_of", "action", "limit_cents", "can_draw", "pd"]
    expected = decisions[decisions["as_of"] <= pd.Timestamp(FIRST + timedelta(days=6))]
    pd.testing.assert_frame_equal(found[same].reset_index(drop=True), expected[same].reset_index(drop=True))


def test_a_paused_line_is_decided_at_the_next_date_however_late_and_whether_or_not_the_plan_names_it(
    books: Path, decisions: pd.DataFrame
) -> None:
    space = Workspace(books / "decided")
    iteration = space.iteration("1", space.ledger.runs()[0].policy_digest)
    paused = decisions[(decisions["action"] == "pause") & (decisions["as_of"] == FIRST)].head(3)
    late = FIRST + timedelta(days=40)

    def known_of(lines: pd.DataFrame, _: pd.DataFrame) -> Known:
        return Known(past_tables(space, iteration, lines))

    nothing = past_lines(space, iteration, FIRST, FIRST).head(0)
    made, _ = decide_lines(nothing, paused, space.ledger.overrides(), iteration, known_of, dates=[late])
    assert set(made["account_id"]) == set(paused["account_id"])
    assert (made["as_of"] == pd.Timestamp(late)).all()


def test_the_past_simulated_with_a_second_look_is_the_ledger(books: Path, decisions: pd.DataFrame) -> None:
    space = Workspace(books / "decided")
    run = space.ledger.runs()[0]
    iteration = space.iteration(run.model_version, run.policy_digest)
    planned = past_lines(space, iteration, FIRST, LAST)
    found = simulated(iteration, planned, past_tables(space, iteration, planned), space)
    same = ["account_id", "as_of", "action", "limit_cents", "can_draw", "pd"]
    found = found.sort_values(["account_id", "as_of"], ignore_index=True)
    pd.testing.assert_frame_equal(found[same], decisions[same], check_dtype=False)


def test_pauses_are_counted_by_what_they_ended_in(books: Path, decisions: pd.DataFrame) -> None:
    found = pauses(Workspace(books / "decided").ledger)
    ends, days = list[str](), list[int]()
    for pause in decisions[decisions["action"] == "pause"].to_dict("records"):
        own = decisions[(decisions["account_id"] == pause["account_id"]) & (decisions["as_of"] > pause["as_of"])]
        ended = own[own["action"].isin([*ADVERSE, "unfreeze"])].head(1)
        ends += list(ended["action"]) or ["waits"]
        days += [(when - pause["as_of"]).days for when in ended.loc[ended["action"] == "unfreeze", "as_of"]]
    expected = [ends.count("unfreeze"), sum(end in ADVERSE for end in ends), ends.count("waits")]
    assert [found.lifted, found.carried_out, found.waiting] == expected
    assert min(found.lifted, found.carried_out) > 0
    assert found.judged == 0
    assert found.days == np.median(days)
    assert found.sentence().startswith(f"{len(ends)} pauses for a second look: {found.lifted} let go")


def test_a_pause_that_a_person_ended_is_counted_as_judged(books: Path, tmp_path: Path, decisions: pd.DataFrame) -> None:
    shutil.copytree(books / "base", tmp_path / "work")
    space = Workspace(tmp_path / "work")
    decide(space, as_of=FIRST)
    before = pauses(space.ledger)
    accounts = decisions.loc[decisions["action"] == "pause", "account_id"]
    for account, action in zip(accounts, ("unfreeze", "close", "keep"), strict=False):
        override(space, account, at=FIRST + timedelta(hours=3), action=action, actor="Chen Wei", reason="spoke to her")
    after = pauses(space.ledger)
    assert (before.judged, before.waiting) == (0, before.all)
    assert (after.judged, after.waiting) == (2, before.all - 2)


def test_why_tells_the_customer_until_when(books: Path, decisions: pd.DataFrame) -> None:
    row = decisions[(decisions["action"] == "pause") & (decisions["as_of"] == FIRST)].iloc[0]
    told = render(why(Workspace(books / "decided"), row["account_id"], FIRST))
    assert "paused 2025-10-01" in told
    assert "drawing is paused, and we look again by 2025-10-06" in told
    assert "我们将于 2025-10-06 前再次评估" in told


@pytest.mark.parametrize(
    ("action", "limit", "draws", "waits"),
    [
        ("limit", 200_00, True, False),
        ("unfreeze", 500_00, True, False),
        ("freeze", 500_00, False, False),
        ("close", 0, False, False),
        ("restore", 700_00, True, False),
        ("keep", 500_00, False, True),
    ],
)
def test_what_a_person_orders_ends_a_pause_but_a_keep(action: str, limit: int, draws: bool, waits: bool) -> None:
    now = pd.Series([pd.Timestamp(FIRST).as_unit("us")])
    line = pd.DataFrame({"limit_cents": [500_00], "opened_at": now, "as_of": now})
    state = first_state(line, np.zeros(1, bool)).assign(can_draw=False, paused_at=now)
    order = pd.DataFrame({"action": [action], "at": now + pd.Timedelta(days=2), "limit_cents": [limit]})
    nothing = now.mask(now.notna())
    back = order.assign(can_draw=True, pd_ref=0.02, changed_at=nothing, adverse_at=nothing)
    after = overridden(state, back, pd.Series([0.5])).iloc[0]
    assert (after["limit_cents"], after["can_draw"], pd.notna(after["paused_at"])) == (limit, draws, waits)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("after_days = 0\nsoft_rules = []", "after_days is 0; expected 1 to 31"),
        ('after_days = 5\nsoft_rules = ["unknown"]', "soft_rules names 'unknown'"),
        ("after_days = 5", "soft_rules"),
    ],
)
def test_a_second_look_that_says_nonsense_is_refused(section: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        looks_twice(f"[second_look]\n{section}\n\n[holds]")


def test_a_policy_without_the_section_has_the_digest_it_had() -> None:
    shipped = default_policy()
    plain = replace(at_once(shipped), watch=None)
    # And no limit of the holdout: the values there were before these sections.
    later = ("text", "second_look", "daily", "watch", "desk", "stress", "monitoring")
    values = {name: value for name, value in asdict(plain).items() if name not in later}
    del values["currency"], values["holdout"]["max_limit_cents"]
    for name in ("approver_key", "other_os_user", "reasons_share", "review_months", "sign_off", "owner", "tier"):
        del values["release"][name]
    assert plain.digest == hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest() != shipped.digest
    monitored = replace(plain, monitoring=Monitoring())
    values["monitoring"] = {name: value for name, value in asdict(Monitoring()).items() if name != "amount_ratio"}
    assert monitored.digest == hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def test_a_second_look_that_is_no_section_of_its_own_is_not_taken_out_in_silence() -> None:
    plain = at_once(default_policy()).text
    inline = parse_policy(f"second_look = {{ after_days = 5, soft_rules = [] }}\n{plain}")
    with pytest.raises(ConfigError, match="in lines of its own"):
        at_once(inline)
