"""The answer about one account: its text, its page, its timeline, its but-for sentences."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from limitlens.features.reasons import REASONS_VERSION, reasons_digest
from limitlens.limits.attribution import PLAYERS
from limitlens.limits.policy import ADVERSE
from limitlens.pipeline.answers.answer import Answer
from limitlens.pipeline.answers.report import read_decisions, telling_account
from limitlens.pipeline.answers.timeline import timeline
from limitlens.pipeline.answers.why import why
from limitlens.pipeline.answers.why_card import card
from limitlens.pipeline.answers.why_pd import Contribution, PdAnswer
from limitlens.pipeline.answers.why_text import render
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding.replay import recorded_decisions
from limitlens.pipeline.workspace import Workspace

EVIL = "<script>alert(1)</script>"

runner = CliRunner()


@pytest.fixture(scope="module")
def answer(small_workspace: Workspace) -> Answer:
    """The two-day case."""
    case = telling_account(read_decisions(small_workspace))
    assert case is not None
    return why(small_workspace, *case)


@pytest.fixture(scope="module")
def page(answer: Answer) -> str:
    return card(answer)


def changes(workspace: Workspace, adverse: bool) -> pd.DataFrame:
    """Split decisions that did something, adverse or not."""
    current = workspace.ledger.current()
    split = current[current["phi_behaviour"].notna() & (current["action"] != "keep")]
    return split[split["action"].isin(ADVERSE) == adverse]


def test_the_page_needs_no_network_and_runs_nothing(page: str) -> None:
    assert "<script" not in page
    assert "default-src 'none'" in page
    links = re.findall(r"""(?:src|href)=["']([^"'#]+)["']|url\(([^)#]+)\)|(@import)""", page)
    assert all(link.startswith("data:") for found in links for link in found if link)


def test_markup_in_an_account_id_a_rule_or_a_policy_is_escaped(answer: Answer) -> None:
    evil = replace(
        answer,
        line=replace(answer.line, account_id=EVIL),
        decision=replace(answer.decision, fired_rules=(EVIL,), policy=EVIL),
        notice=replace(answer.notice, reason_texts=(EVIL,)),
    )
    rendered = card(evil)
    assert "<script" not in rendered
    assert rendered.count("&lt;script&gt;") >= 5


def test_ids_of_its_plots_are_unique(page: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 0
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)) <= set(ids)


def test_the_page_says_what_the_text_says(answer: Answer, page: str) -> None:
    notice = answer.notice
    words = [*notice.reason_texts, *notice.reason_texts_zh, notice.recourse_texts["zh"]]
    words += answer.decision.digests.values()
    words += [fact.feature for group in answer.split.groups if group.share_cents for fact in group.facts]
    assert not [word for word in words if word not in page]
    text = render(answer)
    assert not [
        word for word in (*answer.notice.reason_texts, *answer.notice.recourse_texts.values()) if word not in text
    ]


def test_a_first_decision_has_a_page_without_a_split(small_workspace: Workspace) -> None:
    first = recorded_decisions(small_workspace).drop_duplicates("account_id")
    row = first[first["action"].isin(ADVERSE)].iloc[0]
    found = why(small_workspace, row["account_id"], row["as_of"].to_pydatetime())
    assert found.split.share_cents is None
    assert found.notice.recourse_texts.keys() == {"en", "zh"}
    assert "This is the first decision" in card(found)


def test_the_answer_carries_the_version_and_digest_of_the_reasons(answer: Answer) -> None:
    plain = json.loads(json.dumps(answer.to_dict()))
    assert plain["reasons_version"] == REASONS_VERSION
    assert plain["digests"]["reasons"] == reasons_digest()
    assert plain["recourse"]["moves"]
    assert plain["timeline"][0]["action"] == "opened"


def test_json_keeps_its_keys(answer: Answer) -> None:
    facts = [fact for group in answer.to_dict()["groups"] for fact in group["facts"]]
    assert facts
    assert {tuple(fact) for fact in facts} == {("feature", "before", "after", "unit", "why", "push", "rules")}
    scored = PdAnswer("A1", "2026-01-01", 0.1, "1", (Contribution("income", "1", 0.2, "why"),))
    assert scored.to_dict().keys() == {"account_id", "as_of", "pd", "model_version", "pushes"}


def test_each_needed_cause_but_data_has_its_own_outcome_and_it_is_another(small_workspace: Workspace) -> None:
    adverse = changes(small_workspace, adverse=True)
    needed = {player: adverse[adverse[f"necessary_{player}"].astype(bool)] for player in PLAYERS}
    last = pd.concat([rows.tail(1) for rows in needed.values()]).drop_duplicates(["account_id", "as_of"])
    assert {player for player, rows in needed.items() if len(rows)} >= {*PLAYERS} - {"data"}
    for row in last.to_dict("records"):
        found = why(small_workspace, row["account_id"], row["as_of"].to_pydatetime())
        assert set(found.split.necessary) == {player for player in PLAYERS if row[f"necessary_{player}"]}
        outcomes = [
            one.player for one in found.split.but_for if one.player != "data"
        ]  # with all records in time it may stay
        assert outcomes == [p for p in found.split.necessary if p != "data"]
        assert all(
            (one.action, one.limit_cents) != (found.decision.action, found.decision.limit_cents)
            for one in found.split.but_for
        )


def test_a_fact_moved_the_score_or_is_read_by_a_rule_that_fired(small_workspace: Workspace) -> None:
    row = changes(small_workspace, adverse=True).iloc[-1]
    found = why(small_workspace, row["account_id"], row["as_of"].to_pydatetime())
    facts = [fact for group in found.split.groups for fact in group.facts]
    assert any(fact.contribution for fact in facts)
    assert all(fact.rules or fact.contribution for fact in facts)
    assert {rule for fact in facts for rule in fact.rules} <= set(found.decision.fired_rules)


def test_only_adverse_answers_say_what_could_have_been_different(small_workspace: Workspace) -> None:
    row = changes(small_workspace, adverse=False).iloc[0]
    found = why(small_workspace, row["account_id"], row["as_of"].to_pydatetime())
    assert found.notice.recourse is None
    assert not found.notice.recourse_texts
    assert "What could have been different" not in render(found) + card(found)


def test_the_timeline_goes_from_the_opening_through_every_decision(small_workspace: Workspace) -> None:
    current, nobody = small_workspace.ledger.current(), small_workspace.ledger.overrides()
    for _, rows in list(current.groupby("account_id"))[:200]:
        opened, *later = timeline(rows, nobody)
        assert opened.action == "opened"
        assert opened.limit_cents == rows["limit_before_cents"].iloc[0]
        assert [moment.limit_cents for moment in later] == rows["limit_cents"].tolist()
        assert all(b.limit_before_cents == a.limit_cents for a, b in zip([opened, *later], later, strict=False))


def test_the_main_cause_has_the_largest_share(small_workspace: Workspace) -> None:
    current, nobody = small_workspace.ledger.current(), small_workspace.ledger.overrides()
    moved = current[current["phi_behaviour"].notna() & (current["limit_cents"] != current["limit_before_cents"])]
    for account in moved["account_id"].unique()[:50]:
        for moment in timeline(current[current["account_id"] == account], nobody)[1:]:
            if moment.share_cents and moment.limit_cents != moment.limit_before_cents:
                assert abs(moment.cause_cents or 0) == max(map(abs, moment.share_cents.values()))
                assert moment.share_cents[str(moment.cause)] == moment.cause_cents


def test_what_a_person_ordered_stands_between_the_decisions(small_workspace: Workspace, answer: Answer) -> None:
    rows = small_workspace.ledger.current()
    account = rows.loc[rows["account_id"].duplicated(), "account_id"].iloc[0]
    rows = rows[rows["account_id"] == account]
    first, second = rows["as_of"].iloc[:2]
    orders = {"id": [1, 2], "at": [first, second - pd.Timedelta(hours=1)], "action": ["freeze", "limit"]}
    cents = {"limit_before_cents": [500_00, 500_00], "limit_cents": [500_00, 700_00]}
    told = pd.DataFrame({**orders, **cents, "account_id": account, "actor": "Li Na", "reason": "a call"})
    found = timeline(rows, told)
    assert [m.action == "override" for m in found[:5]] == [False, False, True, True, False]
    frozen, raised = found[2:4]
    assert (frozen.can_draw, frozen.limit_cents, frozen.cause) == (False, 500_00, "Li Na, freeze: a call")
    assert (raised.can_draw, raised.limit_before_cents, raised.limit_cents) == (False, 500_00, 700_00)
    opened, *_, last = answer.line.timeline
    line = replace(answer.line, timeline=(opened, raised, last), overrides=("Li Na ordered a call",))
    shown = replace(answer, line=line)
    assert "Before it, outside these causes: Li Na ordered a call." in render(shown)
    assert "Before it, outside these causes: Li Na ordered a call." in card(shown)
    assert "Li Na, limit: a call" in render(shown)
    assert "Li Na, limit: a call" in card(shown)


def test_a_review_says_its_place_in_the_queue(answer: Answer) -> None:
    waiting = replace(answer, decision=replace(answer.decision, queue_place=2, queue_length=1_300))
    assert all("In the review queue: place 2 of 1,300." in said for said in (render(waiting), card(waiting)))


def test_a_long_timeline_is_cut_to_its_latest_changes_unless_all_is_asked_for(answer: Answer) -> None:
    opened, *_, last = answer.line.timeline
    many = tuple(replace(last, as_of=f"2026-{month:02}-01") for month in range(1, 13))
    long = replace(answer, line=replace(answer.line, timeline=(opened, replace(last, action="keep"), *many)))
    shown, whole = render(long), render(long, whole_timeline=True)
    assert "… 5 earlier changes; --timeline shows them" in shown
    assert shown.count("\n    2026-") == 8
    assert whole.count("\n    2026-") == 14


def test_the_command_writes_the_page_and_speaks_one_language_if_asked(
    small_workspace: Workspace, answer: Answer, tmp_path: Path
) -> None:
    out = tmp_path / "card.html"
    words = ["why", answer.line.account_id, "--as-of", answer.decision.as_of, "--workspace", str(small_workspace.root)]
    shown = runner.invoke(app, [*words, "--html", str(out), "--lang", "zh", "--timeline"])
    assert shown.exit_code == 0
    assert out.read_text(encoding="utf-8") == card(answer, "zh")
    assert "告知客户" in shown.output
    assert "Told to the customer" not in shown.output
    assert answer.line.account_id in json.loads(runner.invoke(app, [*words, "--json"]).output)["account_id"]
