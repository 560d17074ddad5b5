"""Reviews: which lines wait for a person, what a verdict does, and that nothing is said twice."""

import json
import math
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from limitlens.data.errors import WorkspaceError
from limitlens.limits.agreement import agreement
from limitlens.limits.cases import QUEUED, open_cases
from limitlens.limits.ledger_tables import VERDICTS
from limitlens.limits.policy import Desk, Policy
from limitlens.limits.verdict import IN_FAVOUR
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding.replay import replay
from limitlens.pipeline.reviewing.cases import cases, sent, settled_like
from limitlens.pipeline.reviewing.judge import judge
from limitlens.pipeline.reviewing.stats import review_stats
from limitlens.pipeline.workspace import Workspace, default_policy
from tests.ledgers import python, quiet

DAY = timedelta(days=1)
MIDNIGHT = datetime(2026, 6, 1, tzinfo=UTC)
NOW = datetime(2026, 7, 3, 9, tzinfo=UTC)


def frame(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    table = pd.DataFrame(list(rows), columns=list(columns))
    times = [name for name in ("since", "as_of", "at", "paused_at") if name in columns]
    return table.astype(dict.fromkeys(times, "datetime64[us, UTC]") | {"account_id": str})


def goes_on(action: str, paused: bool) -> bool:
    """Whether drawing is paused after a decision."""
    return action == "pause" or (paused and action not in {"unfreeze", "close"})


def case_by_hand(
    decisions: Sequence[tuple[datetime, str, list[str]]],
    verdicts: Sequence[dict[str, Any]],
    policy: Policy,
    at: datetime,
) -> tuple[datetime, str] | None:
    """Since when one account has a case and its state, day by day."""
    since: datetime | None = None
    paused = False
    fired_at = {as_of: fired for as_of, _, fired in decisions}
    for as_of, action, _ in decisions:
        if since and any(v["settles"] and since <= v["at"] and v["at"] < as_of for v in verdicts):
            since = None
        paused = goes_on(action, paused)
        since = (since or as_of) if action in QUEUED or (paused and policy.dealing.pauses) else None
    last = decisions[-1][0]
    if since is None or any(v["settles"] and v["at"] >= last for v in verdicts):
        return None
    hard = {rule.name for rule in policy.evidence}
    favour = [v for v in verdicts if v["since"] != since and v["settles"] and v["verdict"] in IN_FAVOUR]
    if favour and not paused and since < favour[-1]["at"] + DAY * policy.dealing.again_after_days:
        anew = set(fired_at[last]) - set(fired_at.get(favour[-1]["as_of"], []))
        if not anew & hard:
            return since, ""
    own = [v for v in verdicts if v["since"] == since]
    if not own:
        return since, "open"
    if own[-1]["verdict"] == "ask":
        return since, "" if at < own[-1]["at"] + DAY * policy.dealing.ask_days else "open"
    return since, "second"


@st.composite
def lives(draw: st.DrawFn) -> tuple[list[tuple[datetime, str, list[str]]], list[dict[str, Any]]]:
    """Daily decisions of one line, and verdicts on the cases it had, each said before the next decision."""
    every = ["keep", "review", "hold", "pause", "unfreeze", "close"]
    actions = draw(st.lists(st.sampled_from(every), min_size=1, max_size=8))
    rules = st.lists(st.sampled_from(["burst_borrowing", "past_due_1", "pd_review"]), unique=True, max_size=3)
    decisions = [(MIDNIGHT + DAY * day, action, draw(rules)) for day, action in enumerate(actions)]
    verdicts: list[dict[str, Any]] = []
    since: datetime | None = None
    paused = False
    for as_of, action, _ in decisions:
        paused = goes_on(action, paused)
        since = (since or as_of) if action in QUEUED or paused else None
        if since and draw(st.booleans()):
            verdict = draw(st.sampled_from(["uphold", "overturn", "ask", "wrong_data"]))
            settles = verdict != "ask" and draw(st.booleans())
            at = as_of + timedelta(hours=9)
            said = {"account_id": "A1", "since": since, "as_of": as_of, "at": at, "verdict": verdict, "actor": "Li Na"}
            verdicts.append(said | {"code": "explained", "settles": settles, "blind": False})
            since = None if settles else since
    return decisions, verdicts


@given(life=lives(), again=st.integers(0, 5), ask=st.integers(0, 3), later=st.integers(0, 4), pauses=st.booleans())
def test_a_case_is_open_since_the_day_on_which_a_loop_over_the_days_opens_it(
    life: tuple[list[tuple[datetime, str, list[str]]], list[dict[str, Any]]],
    again: int,
    ask: int,
    later: int,
    pauses: bool,
) -> None:
    decisions, verdicts = life
    policy = replace(default_policy(), desk=Desk(again_after_days=again, ask_days=ask, pauses=pauses))
    at = decisions[-1][0] + timedelta(hours=10) + DAY * later
    table = frame(rows_of(decisions), ["account_id", "as_of", "action", "paused_at", "fired_rules"])
    found = open_cases(table, frame(verdicts, VERDICTS.names).astype({"settles": bool, "blind": bool}), policy, at)
    expected = case_by_hand(decisions, verdicts, policy, at)
    assert [(row["since"], row["state"]) for row in found.to_dict("records")] == ([expected] if expected else [])


def rows_of(decisions: Sequence[tuple[datetime, str, list[str]]]) -> list[dict[str, Any]]:
    """Decisions with the time since which drawing was paused before each."""
    rows: list[dict[str, Any]] = []
    paused_at: datetime | None = None
    for as_of, action, fired in decisions:
        row = {"account_id": "A1", "as_of": as_of, "action": action, "paused_at": paused_at, "fired_rules": fired}
        rows.append(row)
        paused_at = (paused_at or as_of) if goes_on(action, paused_at is not None) else None
    return rows


def first_case(space: Workspace, *, large: bool = False, reviewer: str = "") -> Any:
    lines = cases(space, NOW, reviewer).lines
    return lines[(lines["limit_cents"] > 1_000_000) == large].iloc[0]


def overturn(space: Workspace, account: str, actor: str, at: datetime = NOW) -> Any:
    return judge(space, account, "overturn", "explained", "moved house", actor=actor, at=at)


def test_a_case_that_was_overturned_is_gone_and_the_chain_holds_both_links(desk: Workspace) -> None:
    case, before = first_case(desk), desk.ledger.verify()
    said = overturn(desk, case["account_id"], "Chen Wei")
    assert said.settles
    assert case["account_id"] not in set(cases(desk, NOW).lines["account_id"])
    assert desk.ledger.verify() == before + 3  # what was said, what it orders, and who stands behind it
    assert desk.ledger.overrides().iloc[-1]["account_id"] == case["account_id"]
    assert replay(desk, quiet)


def test_an_upheld_case_is_carried_out_by_an_override_that_names_the_verdict(desk: Workspace) -> None:
    account = first_case(desk)["account_id"]
    judge(desk, account, "uphold", "fraud_suspected", "two names", actor="Li Na", at=NOW, action="freeze")
    ordered = desk.ledger.overrides().iloc[-1]
    assert (ordered["account_id"], ordered["action"], ordered["actor"]) == (account, "freeze", "Li Na")
    assert ordered["reason"] == "uphold (fraud_suspected): two names"
    assert desk.ledger.verdicts().iloc[-1]["override"] == ordered["id"]


def test_two_reviewers_must_agree_on_a_large_line_before_anything_is_ordered(desk: Workspace) -> None:
    account, orders = first_case(desk, large=True)["account_id"], len(desk.ledger.overrides())
    assert not overturn(desk, account, "Chen Wei").settles
    assert len(desk.ledger.overrides()) == orders
    assert account not in set(cases(desk, NOW, "Chen Wei").lines["account_id"])
    with pytest.raises(WorkspaceError, match="another reviewer has to agree"):
        overturn(desk, account, "Chen Wei", NOW + DAY)
    waiting = cases(desk, NOW, "Li Na").lines.set_index("account_id")
    assert waiting.loc[account, "state"] == "second"
    assert overturn(desk, account, "Li Na", NOW + DAY).settles
    assert len(desk.ledger.overrides()) == orders + 1


def test_settled_cases_are_shown_by_shared_rules_then_by_nearness_of_the_pd(desk: Workspace) -> None:
    lines = cases(desk, NOW).lines
    *judged, waits = lines["account_id"].tolist()[:4]
    for account in judged:
        if not overturn(desk, account, "Chen Wei").settles:
            overturn(desk, account, "Li Na")
    waiting = sent(desk)
    alike = settled_like(waiting, desk.ledger.verdicts(), waits)
    last = waiting.decisions.drop_duplicates("account_id", keep="last").set_index("account_id")

    def unlike(account: str) -> tuple[float, float]:
        one, other = last.loc[account], last.loc[waits]
        fired, own = set(one["fired_rules"]), set(other["fired_rules"])
        odds = [math.log(row["pd"] / (1 - row["pd"])) for row in (one, other)]
        return -len(fired & own) / len(fired | own), abs(odds[0] - odds[1])

    assert alike["account_id"].tolist() == sorted(judged, key=unlike)
    assert set(alike["verdict"]) == {"overturn"}
    assert set(alike["outcome"]) == {"censored"}  # the last date: nobody knows yet


def test_reviewers_who_disagree_on_a_large_line_wait_for_a_third(desk: Workspace) -> None:
    account = first_case(desk, large=True)["account_id"]
    overturn(desk, account, "Chen Wei")
    against = judge(desk, account, "uphold", "no_answer", "called", actor="Li Na", at=NOW, action="freeze")
    assert not against.settles
    third = judge(desk, account, "uphold", "fraud_suspected", "called", actor="Wang Fang", at=NOW, action="freeze")
    assert third.settles


def test_who_comes_second_on_one_line_is_told_who_settled_it(desk: Workspace) -> None:
    account = first_case(desk)["account_id"]
    overturn(desk, account, "Chen Wei")
    with pytest.raises(WorkspaceError, match="Chen Wei settled it on 2026-07-03T09:00:00: overturn"):
        judge(desk, account, "uphold", "no_answer", "called", actor="Chen Wei", at=NOW + DAY, action="freeze")


def test_a_verdict_on_a_decision_that_is_not_the_last_is_refused(desk: Workspace) -> None:
    case, said = first_case(desk), len(desk.ledger.verdicts())
    earlier = case["as_of"].to_pydatetime() - DAY
    with pytest.raises(WorkspaceError, match="decided anew"):
        judge(desk, case["account_id"], "overturn", "explained", "x", actor="Li Na", at=NOW, seen=earlier)
    assert len(desk.ledger.verdicts()) == said


def test_a_question_to_the_customer_sets_a_case_aside_until_the_answer_is_due(desk: Workspace) -> None:
    account = first_case(desk)["account_id"]
    judge(desk, account, "ask", "confirm_draws", "what was it for", actor="Li Na", at=NOW)
    assert account in set(cases(desk, NOW + DAY * 6).set_aside["account_id"])
    assert account in set(cases(desk, NOW + DAY * 7).lines["account_id"])


def test_a_paused_line_is_a_case_until_a_reviewer_lifts_the_pause(demo_workspace: Workspace, tmp_path: Path) -> None:
    shutil.copytree(demo_workspace.root, tmp_path / "paused")
    space = Workspace(tmp_path / "paused")
    last = space.ledger.current().drop_duplicates("account_id", keep="last")
    paused = {
        row["account_id"]
        for row in last.to_dict("records")
        if row["action"] == "pause" or (row["action"] == "keep" and row["state"]["paused_at"] is not None)
    }
    waiting = cases(space, NOW).lines.set_index("account_id")
    assert paused
    assert set(waiting.index[waiting["paused"]]) == paused
    account = min(paused)
    said = overturn(space, account, "Chen Wei", last["as_of"].max().to_pydatetime() + timedelta(hours=9))
    assert said.action == "unfreeze"
    assert account not in set(cases(space, NOW).lines["account_id"])


def test_a_second_look_is_blind_orders_nothing_and_counts_as_agreement(desk: Workspace) -> None:
    account = first_case(desk)["account_id"]
    overturn(desk, account, "Chen Wei")
    assert account not in set(cases(desk, NOW, "Chen Wei").lines["account_id"])
    waiting = cases(desk, NOW, "Li Na").lines
    assert waiting.iloc[-1][["account_id", "state"]].tolist() == [account, "blind"]
    orders = len(desk.ledger.overrides())
    again = judge(desk, account, "uphold", "no_answer", "called", actor="Li Na", at=NOW, action="freeze")
    assert again.blind
    assert len(desk.ledger.overrides()) == orders
    double = review_stats(desk).double
    assert (double.pairs, double.alike) == (1, 0)


@pytest.mark.parametrize(
    ("verdict", "code", "words", "action", "told"),
    [
        ("agree", "explained", "x", "", "unknown verdict 'agree'"),
        ("overturn", "no_answer", "x", "", "'no_answer' is no code of 'overturn'"),
        ("overturn", "explained", " ", "", "words: what was seen"),
        ("uphold", "no_answer", "x", "", "uphold takes the order limit or freeze or close; got none"),
        ("ask", "confirm_draws", "x", "freeze", "ask takes the order none; got freeze"),
        ("overturn", "explained", "x", "close", "overturn takes the order none or limit; got close"),
    ],
)
def test_a_verdict_that_makes_no_sense_is_refused(
    verdict: str, code: str, words: str, action: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(WorkspaceError, match=told):
        judge(Workspace(tmp_path), "A1", verdict, code, words, actor="Li Na", at=NOW, action=action)


def test_a_verdict_against_a_customer_raises_no_limit(desk: Workspace) -> None:
    case = first_case(desk)
    more = int(case["limit_cents"]) + 100_00
    with pytest.raises(WorkspaceError, match="uphold raises no limit"):
        judge(desk, case["account_id"], "uphold", "no_answer", "x", actor="Li Na", at=NOW, action="limit",
              limit_cents=more)  # fmt: skip
    assert len(desk.ledger.verdicts()) == 0


def test_one_reviewer_is_not_two_by_a_space_after_the_name(desk: Workspace) -> None:
    account = first_case(desk, large=True)["account_id"]
    overturn(desk, account, "Chen Wei")
    with pytest.raises(WorkspaceError, match="another reviewer has to agree"):
        overturn(desk, account, "Chen Wei ", NOW + DAY)


def test_a_line_that_asks_for_nobody_has_no_case(desk: Workspace) -> None:
    decided = desk.ledger.last_decisions().to_pandas()
    account = decided.loc[decided["action"] == "keep", "account_id"].iloc[0]
    with pytest.raises(WorkspaceError, match="no decision asks for a person"):
        overturn(desk, account, "Li Na")


def test_stats_count_what_was_said_and_by_which_rule_it_was_sent(desk: Workspace) -> None:
    lines = cases(desk, NOW).lines
    small = lines[lines["limit_cents"] <= 1_000_000].head(2)
    overturn(desk, small["account_id"].iloc[0], "Chen Wei")
    judge(desk, small["account_id"].iloc[1], "uphold", "no_answer", "x", actor="Li Na", at=NOW, action="freeze")
    found = review_stats(desk)
    assert found.verdicts == {"uphold": 1, "overturn": 1, "ask": 0, "wrong_data": 0}
    assert (found.in_favour["all"].count, found.in_favour["all"].of) == (1, 2)
    assert (found.by_reviewer["Chen Wei"].count, found.by_reviewer["Li Na"].count) == (1, 0)
    fired = [rule for rules in small["fired_rules"] for rule in rules]
    assert {name: rate.of for name, rate in found.in_favour.items() if name != "all"} == pd.Series(
        fired
    ).value_counts().to_dict()


#: Records a verdict in a process that kills itself where a name is called with something.
KILLED = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from unittest.mock import patch
from limitlens.pipeline.reviewing.judge import judge
from limitlens.pipeline.workspace import Workspace
root, account, at, name, word = sys.argv[1:]
module, _, attribute = name.rpartition(".")
__import__(module)
real = getattr(sys.modules[module], attribute)
def killing(*given, **named):
    if word in repr(given):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*given, **named)
with patch(name, killing):
    judge(Workspace(Path(root)), account, "uphold", "no_answer", "called", actor="Li Na",
          at=datetime.fromisoformat(at), action="freeze")
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [("limitlens.limits.ledger.next_head", 0), ("limitlens.pipeline.tracking.recorded_run", 1)],
)
def test_a_verdict_whose_process_is_killed_is_recorded_once_or_not_at_all(
    name: str, said: int, desk: Workspace
) -> None:
    """Killed within the transaction, after the order and before the verdict, or as soon as it has ended."""
    account = first_case(desk)["account_id"]
    orders, links = len(desk.ledger.overrides()), desk.ledger.verify()
    killed = python("-c", KILLED, str(desk.root), account, NOW.isoformat(), name, "verdict")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (len(desk.ledger.verdicts()), len(desk.ledger.overrides()) - orders) == (said, said)
    assert desk.ledger.verify() == links + 3 * said
    if said:
        with pytest.raises(WorkspaceError, match="Li Na settled it"):
            overturn(desk, account, "Li Na")
    else:
        assert overturn(desk, account, "Li Na").settles


def test_a_reviewer_is_dealt_a_case_and_settles_it_on_the_command_line(desk: Workspace) -> None:
    def run(*words: str) -> Any:
        return CliRunner().invoke(app, ["review", *words, "--workspace", str(desk.root)])

    dealt = run("next", "--by", "Li Na", "--json", "--at", "2026-07-03")
    small = [case for case in json.loads(dealt.output)["cases"] if case["limit_cents"] <= 1_000_000]
    account = small[0]["account_id"]
    assert account in run("next", "--at", "2026-07-03", "--head", "1000").output
    said = ("overturn", "--code", "explained", "--words", "moved house", "--by", "Li Na", "--at", "2026-07-03")
    assert f"{account}: overturn by Li Na, " in run("decide", account, *said).output
    shown = run("show", account, "--at", "2026-07-04").output
    assert "Li Na: overturn (explained), orders " in shown
    assert "Replayed from the events" in shown
    assert "in favour of the customer, all: 1 of 1" in run("stats").output
    assert json.loads(run("stats", "--json").output)["settled"] == 1


def test_kappa_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import cohen_kappa_score

    first = ["uphold", "overturn", "ask", "overturn", "overturn", "uphold"]
    second = ["uphold", "overturn", "overturn", "overturn", "ask", "overturn"]
    found = agreement(first, second)
    assert found.kappa == pytest.approx(cohen_kappa_score(first, second))
    assert found.interval[0] < found.kappa < found.interval[1]
