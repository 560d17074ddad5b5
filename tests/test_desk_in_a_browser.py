"""The desk in Chromium: by keyboard alone, in both languages, narrow and dark, read by a screen reader."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from limitlens.limits.hold import Hold
from limitlens.pipeline.holds import open_hold
from limitlens.pipeline.workspace import Workspace
from tests.test_serve import PEOPLE, Served, listening, small_case

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HELD = Hold("payment", datetime(2026, 6, 30, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC), "check", "no rows came")


@pytest.fixture
def served(desk: Workspace) -> Iterator[Served]:
    open_hold(desk, HELD)
    with listening(desk, PEOPLE) as one:
        yield one


def signed_in(chromium: "Browser", served: Served, key: str, **context: Any) -> tuple["Page", list[str]]:
    """A page of somebody who signed in, and what the console says from then on."""
    page = chromium.new_context(base_url=served.address, **context).new_page()
    page.set_default_timeout(120_000)  # machines are crowded
    console: list[str] = []
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(str(error)))
    page.goto("/")
    page.wait_for_function("document.activeElement.id === 'key'")
    page.keyboard.type(key)
    page.keyboard.press("Enter")
    page.wait_for_url("/")
    return page, console


def go_to(page: "Page", selector: str) -> None:
    """Press Tab until something is in focus."""
    for _ in range(400):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"Tab never comes to {selector}")


def test_a_case_is_found_and_settled_by_keyboard_alone(chromium: "Browser", served: Served) -> None:
    account = small_case(served)
    page, console = signed_in(chromium, served, "wei")
    go_to(page, 'a[href="/cases"]')
    page.keyboard.press("Enter")
    page.wait_for_url("/cases")
    go_to(page, f'a[href="/line?account={account}"]')
    page.keyboard.press("Enter")
    page.wait_for_url(f"/line?account={account}")
    go_to(page, "#code")
    page.keyboard.type("the customer explained")
    go_to(page, "#words")
    page.keyboard.type("moved house")
    go_to(page, ".verdict button")
    page.keyboard.press("Enter")
    page.wait_for_url("/cases")
    assert page.locator("[role=status]").inner_text() == f"Recorded: {account}, overturn."
    assert served.workspace.ledger.overrides().iloc[-1]["account_id"] == account
    assert not console
    page.context.close()


def test_an_approver_promotes_a_version_from_the_gate(chromium: "Browser", served: Served) -> None:
    page, console = signed_in(chromium, served, "fang")
    page.get_by_role("link", name="Iterations").click()
    page.get_by_role("link", name="1", exact=True).click()
    page.get_by_text("It moves no more than the budget").or_(page.get_by_text("Over the budget")).first.wait_for()
    page.get_by_label("Reason").fill("it closes fewer students")
    page.get_by_role("button", name="Promote").click()
    page.get_by_text("Version 1 is the champion (reviewed).").wait_for()
    last = served.workspace.registry.promotions()[-1]
    assert (last.model_version, last.reviewer, last.reason) == ("1", "Wang Fang", "it closes fewer students")
    assert not console
    page.context.close()


def test_an_explanation_appears_below_its_steps(chromium: "Browser", served: Served) -> None:
    page, console = signed_in(chromium, served, "min")
    page.goto(f"/line?account={small_case(served)}")
    page.get_by_role("link", name="Replay and explain").click()
    page.get_by_role("heading", name="From opening to now").wait_for()
    assert page.locator("ol.steps li").count() >= 2
    assert not console
    page.context.close()


def test_an_approver_releases_a_hold(chromium: "Browser", served: Served) -> None:
    page, console = signed_in(chromium, served, "fang")
    page.goto("/holds")
    page.get_by_label("Your verdict").select_option("true")
    page.get_by_label("Reason").fill("a holiday")
    page.get_by_role("button", name="Release").click()
    page.get_by_text("No hold is in force.").wait_for()
    assert served.workspace.ledger.holds().iloc[0]["released_by"] == "Wang Fang"
    assert not console
    page.context.close()


@pytest.mark.parametrize(("locale", "scheme", "width"), [("en-GB", "light", 1200), ("zh-CN", "dark", 400)])
def test_every_page_can_be_read_aloud_and_fits(
    chromium: "Browser", served: Served, locale: str, scheme: Any, width: int
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    viewport: Any = {"width": width, "height": 800}
    page, console = signed_in(chromium, served, "fang", locale=locale, color_scheme=scheme, viewport=viewport)
    account = small_case(served)
    pages = ["/", "/cases", f"/line?account={account}", f"/why?account={account}", "/search?account=A", "/holds"]
    for path in (*pages, "/false-positives", "/iterations", "/gate?version=1", "/sign-in", "/nothing"):
        page.goto(path)
        found = Axe().run(page).response["violations"]
        assert not [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.documentElement.lang") == ("zh-CN" if locale == "zh-CN" else "en")
    assert all("404" in line for line in console)  # the page that is not there
    page.context.close()
