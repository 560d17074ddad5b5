"""The documentation site: every page stands in a list of its language, and the lists are its table of contents."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: Where each list of pages stands: English, 简体中文.
LISTS = {
    "en": [
        f"docs/{name}.md" for name in ("index", "tutorial", "how-to/index", "reference/index", "explanation", "project")
    ],
    "zh": [f"docs/zh/{name}.md" for name in ("index", "tutorial", "how-to", "reference", "explanation", "project")],
}

#: Pages of which the Chinese site has another in their place.
ENGLISH = {*LISTS["en"], "README.md", "docs/commands.md"}


def pages(language: str) -> set[str]:
    """Markdown files of one language's site, from the root of the checkout."""
    every = {str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))}
    chinese = {page for page in every if page.startswith("docs/zh/") or page.endswith(".zh-CN.md")}
    return every - chinese if language == "en" else every - ENGLISH


def listed(page: str) -> list[str]:
    """Pages of the bullets of one list."""
    links = re.findall(r"^- \[[^\]]+\]\(([^)#:]+\.md)\)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    return [str((ROOT / page).parent.joinpath(link).resolve().relative_to(ROOT)) for link in links]


@pytest.mark.parametrize("language", LISTS)
def test_every_page_stands_in_one_list_of_its_language(language: str) -> None:
    lists = LISTS[language]
    assert sorted([lists[0], *(page for one in lists for page in listed(one))]) == sorted(pages(language))


def test_every_chinese_page_is_known_by_its_english_one() -> None:
    """A link from one build to a page that only the other has is else a warning, and a warning ends ``make docs``."""
    known = re.findall(r'"docs/[^"]+": "(docs/zh/[^"]+)"', (ROOT / "docs/site/languages.py").read_text("utf-8"))
    assert sorted(f"{page}.md" for page in known) == sorted(page for page in pages("zh") if page.startswith("docs/zh/"))
