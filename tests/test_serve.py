"""The desk as a server: who sees and does what, and that nothing else gets in."""

import html
import json
import re
import shutil
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn
from typer.testing import CliRunner

from limitlens.data.errors import LimitlensError
from limitlens.data.lock import exclusive
from limitlens.data.progress import Progress
from limitlens.data.pseudonyms import IdKey
from limitlens.limits.attribution import PLAYERS
from limitlens.limits.complaints import complaints
from limitlens.limits.finding import recorded_findings
from limitlens.limits.policy_file import parse_policy
from limitlens.limits.registry import SignOff
from limitlens.limits.signed import signable
from limitlens.pipeline.answers.false_positives import false_positives, rate_words
from limitlens.pipeline.answers.why import why
from limitlens.pipeline.answers.why_card import card_body
from limitlens.pipeline.cli import app as cli
from limitlens.pipeline.pages.amounts import money
from limitlens.pipeline.pages.chinese import chinese
from limitlens.pipeline.reviewing.cases import cases
from limitlens.pipeline.serving import steps
from limitlens.pipeline.serving.app import desk_app
from limitlens.pipeline.serving.day import day
from limitlens.pipeline.serving.desk import Desk
from limitlens.pipeline.serving.line import line
from limitlens.pipeline.serving.people import digest_of, parse_people
from limitlens.pipeline.serving.steps import AT_ONCE, IN_ALL, Work
from limitlens.pipeline.workspace import Workspace
from tests.ledgers import with_state

PEOPLE = "".join(
    f'["{name}"]\nrole = "{role}"\nkey_sha256 = "{digest_of(key)}"\n'
    for name, role, key in (
        ("Chen Wei", "reviewer", "wei"),
        ("Li Na", "reviewer", "na"),
        ("Wang Fang", "approver", "fang"),
        ("Zhao Min", "reader", "min"),
    )
)


@dataclass
class Clock:
    """A clock that a test sets."""

    at: datetime = datetime(2026, 7, 3, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


@dataclass
class Browser:
    """Somebody at the desk."""

    address: str
    session: requests.Session = field(default_factory=requests.Session)

    def get(self, path: str, **query: str) -> requests.Response:
        return self.session.get(self.address + path, params=query, timeout=60)

    def post(self, path: str, **fields: str) -> requests.Response:
        return self.session.post(self.address + path, data=fields, timeout=60, allow_redirects=False)

    def token(self, path: str = "/") -> str:
        return re.findall(r'name="csrf" value="([^"]+)"', self.get(path).text)[0]

    def sign_in(self, key: str) -> requests.Response:
        return self.post("/sign-in", csrf=self.token("/sign-in"), key=key)


@dataclass
class Served:
    """A desk that listens on this machine."""

    workspace: Workspace
    clock: Clock
    address: str

    def browser(self, key: str = "") -> Browser:
        browser = Browser(self.address)
        assert not key or browser.sign_in(key).status_code == 303
        return browser

    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.workspace.root / "audit.jsonl").read_text("utf-8").splitlines()]


@contextmanager
def listening(workspace: Workspace, people: str, id_key: IdKey | None = None) -> Iterator[Served]:
    """A server in a thread of its own, on a port that the system chooses."""
    clock = Clock()
    served = desk_app(workspace, parse_people(people) if people else {}, clock, ["127.0.0.1"], id_key=id_key)
    server = uvicorn.Server(uvicorn.Config(served, log_level="warning", lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as on a socket that uvicorn opens itself
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Served(workspace, clock, f"http://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def served(desk: Workspace) -> Iterator[Served]:
    with listening(desk, PEOPLE) as one:
        yield one


def small_case(served: Served) -> str:
    lines = cases(served.workspace, served.clock()).lines
    return str(lines.loc[lines["limit_cents"] <= 1_000_000, "account_id"].iloc[0])


def verdict(browser: Browser, account: str, **fields: str) -> requests.Response:
    page = browser.get("/line", account=account).text
    seen = re.findall(r'name="seen" value="([^"]+)"', page)
    said = {"code": "overturn:explained", "words": "moved house", "order": "", "limit": ""}
    form = said | {"csrf": browser.token(), "account": account, "seen": seen[0] if seen else ""} | fields
    return browser.post("/line", **form)


def test_a_reviewer_goes_from_the_queue_to_a_line_and_settles_its_case(served: Served) -> None:
    browser, account = served.browser("wei"), small_case(served)
    assert f"/line?account={account}" in browser.get("/cases").text
    assert verdict(browser, account).status_code == 303
    page = browser.get("/cases").text
    assert f"Recorded: {account}, overturn." in page
    assert f"/line?account={account}" not in page
    said = served.workspace.ledger.verdicts().iloc[-1]
    assert (said["account_id"], said["actor"], said["settles"]) == (account, "Chen Wei", True)
    assert served.workspace.ledger.verify()


def test_a_line_shows_the_split_on_record_and_its_timeline_and_explains_on_demand(served: Served) -> None:
    browser, account = served.browser("min"), small_case(served)
    page = browser.get("/line", account=account).text
    assert "What moved the limit, as recorded" in page
    assert page.count("<tr") > 5
    explained = browser.get("/why", account=account)
    assert explained.status_code == 200
    assert card_body(why(served.workspace, account)) in explained.text


def test_a_line_whose_limit_did_not_move_shows_the_steps_of_its_action(served: Served) -> None:
    for account in cases(served.workspace, served.clock()).lines["account_id"]:
        row = served.workspace.ledger.current(account).iloc[-1]
        shares, steps = ([row[f"{kind}_{one}"] for one in PLAYERS] for kind in ("share_cents", "severity_phi"))
        body = line(served.workspace, account)
        expected = [phi / 120 for phi in steps] if any(steps) and not any(shares) else None
        assert body
        assert (list(body["last"]["steps"].values()) if body["last"]["steps"] else None) == expected


def test_an_explanation_says_what_is_being_done_before_it_is_done(served: Served) -> None:
    browser, account = served.browser("min"), small_case(served)
    with browser.session.get(f"{served.address}/why?account={account}", stream=True, timeout=60) as answer:
        pieces = [piece.decode() for piece in answer.iter_content(None)]
    begun = next(place for place, piece in enumerate(pieces) if f"deciding {account} again" in piece)
    ended = next(place for place, piece in enumerate(pieces) if "card-page" in piece and "<article" in piece)
    assert begun < ended


def test_an_explanation_that_fails_says_why(served: Served) -> None:
    answer = served.browser("min").get("/why", account="nobody")
    assert "account &#39;nobody&#39; was never delivered" in answer.text


def test_the_home_page_has_the_figures_of_the_last_run(served: Served) -> None:
    space = served.workspace
    (run,) = [one for one in space.ledger.runs() if one.as_of == max(other.as_of for other in space.ledger.runs())]
    rows = [row for row in space.ledger.current().to_dict("records") if row["run_id"] == run.run_id]
    counted = day(space, run)
    assert counted.actions == dict(Counter(row["action"] for row in rows))
    moved = [row["limit_cents"] - row["limit_before_cents"] for row in rows]
    assert counted.changed == sum(change != 0 for change in moved)
    assert (counted.raised_cents, counted.cut_cents) == (sum(c for c in moved if c > 0), sum(c for c in moved if c < 0))
    for player, (raised, cut) in counted.causes.items():
        shares = [
            row[f"share_cents_{player}"] for row in rows if row[f"share_cents_{player}"] == row[f"share_cents_{player}"]
        ]
        assert (raised, cut) == (sum(s for s in shares if s > 0), sum(s for s in shares if s < 0))
    page = served.browser("min").get("/").text
    assert f"<dd>{len(rows):,}</dd>" in page
    assert f"<dd>{money(counted.cut_cents)}</dd>" in page


def test_complaints_on_the_home_page_are_those_of_the_last_ninety_days(desk: Workspace) -> None:
    run = max(desk.ledger.runs(), key=lambda one: one.as_of)
    decisions = with_state(desk.ledger.current())
    lately = decisions[decisions["as_of"] > run.as_of - timedelta(days=90)]
    assert day(desk, run).complaints == complaints(lately)


def test_false_positives_on_the_desk_are_those_of_the_command(served: Served) -> None:
    measured = false_positives(served.workspace)
    page = served.browser("min").get("/false-positives").text
    assert f"<dd>{len(measured.flags):,}</dd>" in page
    assert rate_words(measured.acted_on) in page
    hit = measured.cases()
    hit = hit[(hit["outcome"] == "good") & ~hit["held_out"]]
    assert page.count("/line?account=") == len(hit.head(50))


def test_false_positives_are_measured_anew_once_a_verdict_is_recorded(served: Served) -> None:
    desk = Desk(served.workspace, {}, served.clock)
    before = desk.false_positives()
    assert desk.false_positives() is before
    assert verdict(served.browser("wei"), small_case(served)).status_code == 303
    assert desk.false_positives() is not before


def test_a_verdict_that_is_to_be_judged_blind_is_not_shown_among_similar_cases(served: Served) -> None:
    one, other = served.browser("wei"), served.browser("na")
    settled = small_case(served)
    assert verdict(one, settled).status_code == 303
    waits = cases(served.workspace, served.clock(), "Li Na").lines
    account = waits.loc[waits["state"] == "open", "account_id"].iloc[0]
    link = f'href="/line?account={settled}"'
    assert link in one.get("/line", account=account).text
    assert link not in other.get("/line", account=account).text


def test_an_approver_promotes_a_version_with_a_reason_and_a_reviewer_cannot(served: Served) -> None:
    approver, before = served.browser("fang"), served.workspace.registry.promotions()
    champion = served.workspace.registry.champion()
    version = next(m.model_version for m in served.workspace.registry.models() if m.model_version != champion)
    page = approver.get("/gate", version=version).text
    assert "Limits that would move" in page
    form = {"csrf": approver.token(), "version": version}
    refused = approver.post("/gate", **form, reason=" ")
    assert refused.status_code == 409
    assert "a promotion needs a reason" in refused.text
    assert served.workspace.registry.promotions() == before
    answer = approver.post("/gate", **form, reason="ranks better")
    assert answer.status_code == 303
    last = served.workspace.registry.promotions()[-1]
    assert (last.model_version, last.reviewer, last.reason) == (version, "Wang Fang", "ranks better")
    page = approver.get("/iterations").text
    assert f"Version {version} is the champion (reviewed)." in page
    assert "ranks better" in page


def test_above_the_budget_the_policys_approver_promotes_only_by_saying_so(served: Served) -> None:
    space = served.workspace
    champion = space.registry.champion()
    version = next(m.model_version for m in space.registry.models() if m.model_version != champion)
    path = space.root / space.registry.model(version).folder / "validation.json"
    body = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(body | {"doubts": ["ranks worse than a coin"]}), "utf-8")
    people = PEOPLE.replace("Wang Fang", "head of credit risk")
    with listening(space, people) as desk:
        approver = desk.browser("fang")
        form = {"csrf": approver.token(), "version": version, "reason": "no better one"}
        assert "is not fit to decide" in approver.post("/gate", **form).text
        assert space.registry.champion() == champion
        assert approver.post("/gate", **form, anyway="yes").status_code == 303
    last = space.registry.promotions()[-1]
    assert (last.model_version, last.kind, last.approver) == (version, "override", "head of credit risk")


def test_the_gate_shows_who_signed_what_and_what_is_missing(served: Served) -> None:
    space, approver = served.workspace, served.browser("fang")
    champion = space.registry.model(space.registry.champion() or "")
    version = next(m.model_version for m in space.registry.models() if m.model_version != champion.model_version)
    page = approver.get("/gate", version=version).text
    assert "Nobody has signed." in page
    assert "The policy asks for no sign-off." in page
    text = space.registry.policy_text(champion.policy_digest).replace("[release]", "[release]\nsign_off = true", 1)
    policy = parse_policy(text)
    space.registry.record_policy(policy.digest, policy.text)
    shutil.copytree(space.root / champion.folder, space.root / "asking")
    asking = replace(champion, model_version="9", policy_digest=policy.digest, folder="asking")
    space.registry.record_model(asking)
    space.registry.record_promotion("9", "Li Na", "review", served.clock())
    assert f"nobody signed version {version} off" in approver.get("/gate", version=version).text
    rows = (("approve", signable(space.root, space.registry.model(version))), ("approve", "cd" * 32))
    for verdict_, sha256 in rows:
        space.registry.record_sign_off(
            SignOff(version, sha256, verdict_, "Wang Fang", "read", served.clock().isoformat())
        )
        page = approver.get("/gate", version=version).text
        assert f"<code>{sha256[:16]}</code>" in page
        assert ("What the policy asks for is signed." in page) == (sha256 == rows[0][1])
        assert ("(not what is there)" in page) == (sha256 == rows[1][1])
    assert f"what Wang Fang signed of version {version} is not what is there" in html.unescape(page)


def test_the_gate_shows_what_its_validation_found_in_the_readers_language(served: Served) -> None:
    space, approver = served.workspace, served.browser("fang")
    decided = [one.text for _, one in recorded_findings(space.validation("1")) if not one.blocks]
    page = html.unescape(approver.get("/gate", version="1").text)
    assert decided
    assert all(f"{text}." in page for text in decided)
    assert approver.post("/language", csrf=approver.token()).status_code == 303
    page = html.unescape(approver.get("/gate", version="1").text)
    assert all(chinese(f"{text}.") in page for text in decided)
    assert not any(f"{text}." in page for text in decided)


def test_a_long_answer_that_breaks_is_none_and_says_why() -> None:
    def broken(_: Progress) -> None:
        raise LimitlensError("no such thing")

    work = Work(broken)
    assert list(work.steps()) == []
    assert (work.done, work.problem) == (False, "no such thing")


def test_a_few_long_answers_are_made_at_a_time_and_one_too_many_is_asked_to_come_again() -> None:
    go_on = threading.Event()

    def slow(progress: Progress) -> bool:
        progress("begun")
        return go_on.wait(60)

    works = [Work(slow) for _ in range(IN_ALL)]
    pages = [work.steps() for work in works]
    assert [next(page) for page in pages[:AT_ONCE]] == ["begun"] * AT_ONCE
    waiting = [threading.Thread(target=list, args=(page,)) for page in pages[AT_ONCE:]]
    for thread in waiting:
        thread.start()
    while steps._ASKED.acquire(blocking=False):  # until all that wait have come
        steps._ASKED.release()
    late = Work(slow)
    assert (list(late.steps()), late.done, late.why) == ([], False, "busy")
    go_on.set()
    for thread in waiting:
        thread.join()
    assert [list(page) for page in pages[:AT_ONCE]] == [[]] * AT_ONCE
    assert all(work.done for work in works)


def test_without_people_everybody_reads_and_nobody_writes(desk: Workspace) -> None:
    with listening(desk, "") as served:
        browser, account = served.browser(), small_case(served)
        page = browser.get("/line", account=account).text
        assert account in page
        assert "Your verdict" not in page
        assert verdict(browser, account).status_code == 403
        assert len(desk.ledger.verdicts()) == 0


def test_nobody_reads_who_has_not_signed_in(served: Served) -> None:
    account = small_case(served)
    for path in ("/", "/cases", "/line", "/why", "/search", "/holds", "/false-positives", "/iterations", "/gate"):
        answer = served.browser().get(path, account=account)
        assert answer.url.endswith("/sign-in")
        assert account not in answer.text


def test_a_reader_cannot_write_and_a_reviewer_releases_no_hold(served: Served) -> None:
    reader, reviewer, account = served.browser("min"), served.browser("wei"), small_case(served)
    assert verdict(reader, account).status_code == 403
    assert reviewer.post("/gate", csrf=reviewer.token(), version="1", reason="x").status_code == 403
    released = reviewer.post("/holds", csrf=reviewer.token(), hold="1", verdict="true", reason="x")
    assert released.status_code == 403
    assert len(served.workspace.ledger.verdicts()) == 0
    assert [entry["what"] for entry in served.audit() if entry["what"] == "refused"] == ["refused"] * 3


def test_a_form_of_another_session_or_without_a_token_does_nothing(served: Served) -> None:
    one, other, account = served.browser("wei"), served.browser("na"), small_case(served)
    for token in ("", "x", other.token(), "漢"):
        assert verdict(one, account, csrf=token).status_code == 403
    assert len(served.workspace.ledger.verdicts()) == 0
    assert sum(entry["what"] == "form refused" for entry in served.audit()) == 4


def test_a_form_sent_twice_counts_once(served: Served) -> None:
    browser, account = served.browser("wei"), small_case(served)
    page = browser.get("/line", account=account).text
    (seen,) = re.findall(r'name="seen" value="([^"]+)"', page)
    assert verdict(browser, account, seen=seen).status_code == 303
    again = verdict(browser, account, seen=seen)
    assert again.status_code == 409
    assert "Chen Wei settled it on" in again.text
    assert len(served.workspace.ledger.verdicts()) == 1


def test_of_two_reviewers_at_once_one_wins_and_the_other_is_told(served: Served) -> None:
    account, answers = small_case(served), dict[str, requests.Response]()
    browsers = {key: served.browser(key) for key in ("wei", "na")}
    ready = threading.Barrier(2)

    def speak(key: str) -> None:
        ready.wait()
        answers[key] = verdict(browsers[key], account, code="uphold:no_answer", order="freeze")

    threads = [threading.Thread(target=speak, args=(key,)) for key in browsers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spoken = served.workspace.ledger.verdicts()
    assert spoken["settles"].sum() == 1
    assert served.workspace.ledger.overrides()["account_id"].eq(account).sum() == 1
    assert sorted(answer.status_code for answer in answers.values()) in ([303, 303], [303, 409])
    assert len(spoken) == 1 or spoken["blind"].iloc[-1]


def test_what_the_customer_calls_himself_is_inert_on_every_page(served: Served) -> None:
    browser = served.browser("wei")
    evil = '"><script>alert(1)</script>'
    for path in ("/line", "/search", "/why"):
        answer = browser.get(path, account=evil)
        assert "<script>alert" not in answer.text
        assert answer.status_code in (200, 404, 409)
    account = small_case(served)
    refused = verdict(browser, account, words=evil, code="uphold:no_answer", order="")
    assert refused.status_code == 409
    assert "<script>alert" not in refused.text
    assert "&lt;script&gt;" in refused.text


def test_a_path_that_climbs_finds_nothing(served: Served) -> None:
    browser = served.browser("min")
    for path in ("/../ledger.sqlite", "/..%2fledger.sqlite", "/desk.css/../../ledger.sqlite", "/templates/"):
        request = browser.session.prepare_request(requests.Request("GET", served.address))
        request.url = served.address + path
        assert browser.session.send(request, timeout=60).status_code == 404
    assert browser.get("/line", account="../ledger.sqlite").status_code == 404


def test_a_thousand_wrong_keys_are_slowed_and_logged(served: Served) -> None:
    browser = served.browser()
    token = browser.token("/sign-in")
    codes = [browser.post("/sign-in", csrf=token, key=f"wrong {number}").status_code for number in range(1_000)]
    assert codes[:4] == [403, 403, 403, 403]
    assert set(codes[4:]) == {429}
    assert browser.post("/sign-in", csrf=token, key="wei").status_code == 429  # the right one has to wait, too
    served.clock.at += timedelta(seconds=2)
    assert browser.post("/sign-in", csrf=token, key="wei").status_code == 303
    assert [entry["what"] for entry in served.audit()].count("sign-in put off") == 997


def test_no_page_asks_for_anything_elsewhere_or_runs_anything(served: Served) -> None:
    browser, account = served.browser("fang"), small_case(served)
    pages = ["/", "/cases", f"/line?account={account}", "/search", "/holds", "/false-positives", "/iterations"]
    for path in (*pages, "/gate?version=1", "/sign-in", "/nothing"):
        answer = browser.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert not re.search(r"<script|style=|\son\w+=|https?://", answer.text.replace(served.address, ""))
    assert "Set-Cookie" not in browser.get("/desk.css").headers


def test_a_name_that_is_not_the_desks_own_is_refused(served: Served) -> None:
    assert requests.get(served.address, headers={"Host": "elsewhere.example"}, timeout=60).status_code == 400


def test_the_desk_speaks_chinese_to_who_asks_for_it(served: Served) -> None:
    browser, account = served.browser("wei"), small_case(served)
    assert browser.post("/language", csrf=browser.token()).status_code == 303
    page = browser.get("/line", account=account).text
    assert 'lang="zh-CN"' in page
    assert "您的结论" in page
    assert "转人工复核" in page
    asked = requests.get(f"{served.address}/sign-in", headers={"Accept-Language": "zh-CN"}, timeout=60)
    assert "您的密钥" in asked.text


def test_a_verdict_waits_for_a_run_in_progress(served: Served) -> None:
    browser, account = served.browser("wei"), small_case(served)
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(verdict(browser, account).status_code))
    with exclusive(served.workspace.root, "decide"):
        thread.start()
        thread.join(timeout=0.5)
        assert not answers
    thread.join()
    assert answers == [303]


def test_a_workspace_that_decided_nothing_is_not_served(tmp_path: Path) -> None:
    answer = CliRunner().invoke(cli, ["serve", "--workspace", str(tmp_path)])
    assert "nothing has been decided yet" in str(answer.exception)


def test_a_key_that_is_made_signs_in_the_person_it_is_given_to() -> None:
    made = CliRunner().invoke(cli, ["serve", "--new-key"]).output
    key, digest = re.findall(r"alone: (\S+)\nkey_sha256 = \"(\w{64})\"", made)[0]
    assert digest_of(key) == digest


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no person is named"),
        ('["A"]\nrole = "boss"\nkey_sha256 = "x"', "role .* expected one of"),
        (f'["A"]\nrole = "reader"\nkey_sha256 = "{"g" * 64}"', "no sha256"),
        (PEOPLE + PEOPLE.replace("Chen Wei", "B").split('["Li Na"]')[0], "two people have the same key"),
    ],
)
def test_a_file_of_people_that_is_wrong_is_refused_with_its_line(text: str, told: str) -> None:
    with pytest.raises(Exception, match=told):
        parse_people(text)
