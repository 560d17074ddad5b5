"""Pages in Chinese: every text of a page has its Chinese, every number stays, and the catalogue says nothing else."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from limitlens.data.contracts import SOURCES
from limitlens.data.figures import figures
from limitlens.data.rules import source_rules
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.line import LINE_MEANING
from limitlens.limits.policy import ADVERSE
from limitlens.pipeline.answers.report import read_decisions, report_context, telling_account
from limitlens.pipeline.answers.why import why
from limitlens.pipeline.answers.why_card import card
from limitlens.pipeline.pages.chinese import _HOLE, _SENTENCE, catalogue, chinese, in_language
from limitlens.pipeline.pages.page import render
from limitlens.pipeline.release.model_card_page import model_card_of, rendered
from limitlens.pipeline.training.label_report import write_label_report
from limitlens.pipeline.workspace import Workspace, default_settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parent.parent
TEMPLATES = ROOT / "pipeline" / "pages" / "templates"

#: Where sentences of the pages are made, and the functions of a module whose others speak to a terminal or a customer.
SPOKEN = [
    *sorted((ROOT / "pipeline" / "training").glob("*_report.py")),
    *(ROOT / "pipeline" / "pages").glob("flag_words.py"),
    ROOT / "pipeline" / "release" / "model_card_page.py",
    *(ROOT / "pipeline" / "answers" / name for name in ("pauses.py", "report_tables.py", "why_text.py")),
]
ONLY = {
    "why_text.py": "first_sentence joint_sentences hold_sentences _severity _order _known _late _records _since_opening"
    " _but_for",
    "pauses.py": "sentence",
}

#: Terms that Chinese writes as they are, and names of methods and people.
TERMS = {"PD", "AUC", "KS", "Gini", "Brier", "SHAP", "Owen", "PSI", "CSI", "ROC", "Jeffreys", "limitlens", "p"}
TERMS |= {"platt", "beta", "isotonic", "level", "Kaufman", "Barocas", "Selbst", "et", "al"}

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
WORD = re.compile(r"[A-Za-z0-9_]+")


class Texts(HTMLParser):
    """The texts of a page, and those of them that no element keeps to itself: an oracle with a stack and no regex."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[bool] = []
        self.all: list[str] = []
        self.said: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "br"):
            named = dict(attrs)
            kept = tag in ("style", "code", "metadata") or named.get("translate") == "no"
            self.stack.append(kept or (tag != "html" and "lang" in named))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Nothing stands inside of it."""

    def handle_endtag(self, tag: str) -> None:
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.all.append(data.strip())
            self.said += [] if any(self.stack) else [" ".join(data.split())]


@pytest.fixture(scope="module")
def pages(small_workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every static page of a small book, in English."""
    decisions = read_decisions(small_workspace)
    case = telling_account(decisions)
    assert case is not None
    first = decisions[decisions["action"].isin(ADVERSE) & decisions["phi_behaviour"].isna()].iloc[0]
    labels = tmp_path_factory.mktemp("labels") / "labels.html"
    write_label_report(small_workspace, default_settings(), labels, lambda _: None)
    folder = small_workspace.root / small_workspace.registry.model("2").folder
    return {
        "report": render("report.html.j2", report_context(small_workspace, decisions)),
        "why": card(why(small_workspace, *case)),
        "first": card(why(small_workspace, first["account_id"], first["as_of"].to_pydatetime())),
        "labels": labels.read_text(encoding="utf-8"),
        "card": rendered(model_card_of(small_workspace, "2", datetime(2026, 7, 3, tzinfo=UTC)), "html"),
        "validation": (folder / "validation.html").read_text(encoding="utf-8"),
    }


@pytest.fixture(scope="module")
def names(small_workspace: Workspace) -> set[str]:
    """What the lender or the contract calls something by one word."""
    columns = small_workspace.iteration("2").model.columns
    policies = [small_workspace.policy(run.policy_digest).name for run in small_workspace.ledger.runs()]
    protected = small_workspace.events.protected_at(read_decisions(small_workspace)[["account_id", "as_of"]])
    values = {str(value) for name in protected for value in protected[name].dropna().unique()}
    people = [small_workspace.registry.model("2").developer, small_workspace.registry.promotions()[-1].reviewer]
    return {
        *" ".join(people).split(),
        *policies,
        *small_workspace.events.segments().values(),
        *protected.columns,
        *values,
        *columns,
    }


@pytest.mark.parametrize("name", ["report", "why", "first", "labels", "card", "validation"])
def test_every_text_of_a_page_has_its_chinese_and_every_number_stays(
    name: str, pages: dict[str, str], names: set[str]
) -> None:
    english, translated = Texts(pages[name]), Texts(in_language(pages[name], "zh"))
    left = {
        text: words
        for text in translated.said
        if (words := {word for word in WORD.findall(text) if word.isalpha()} - names - TERMS)
    }
    assert not left, "no Chinese in pipeline/pages/templates/chinese.toml"
    assert len(translated.said) == len(english.said) > 20
    count = [Counter(n for text in page.all for n in NUMBER.findall(text)) for page in (english, translated)]
    assert count[0] == count[1]
    assert '<html lang="zh-CN">' in in_language(pages[name], "zh")


#: In pixels: how far the page is too wide, texts of plots that are cut off or lie on each other, the lowest text.
_MEASURED = """() => {
    const cut = [], laid = [], heights = [];
    for (const plot of document.querySelectorAll("svg")) {
        const frame = plot.getBoundingClientRect(), texts = [...plot.querySelectorAll("text")];
        const boxes = texts.map(text => text.getBoundingClientRect());
        texts.forEach((text, k) => {
            const box = boxes[k];
            heights.push(Math.max(box.width, box.height));
            if (box.left < frame.left - 2 || box.right > frame.right + 2 || box.top < frame.top - 2
                || box.bottom > frame.bottom + 2) cut.push(text.textContent);
            boxes.slice(k + 1).forEach((other, j) => {
                if (Math.min(box.right, other.right) - Math.max(box.left, other.left) > 2
                    && Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top) > 4)
                    laid.push([text.textContent, texts[k + 1 + j].textContent]);
            });
        });
    }
    const root = document.documentElement;
    return {wide: root.scrollWidth - innerWidth, cut, laid, lowest: Math.min(...heights, 99)};
}"""


@pytest.mark.parametrize("width", [400, 1400])
def test_every_page_fits_and_its_plots_can_be_read(
    chromium: "Browser", width: int, pages: dict[str, str], tmp_path: Path
) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 900})
    for name, english in pages.items():
        for language in ("en", "zh"):
            file = tmp_path / f"{name}.{language}.html"
            file.write_text(in_language(english, language), encoding="utf-8")
            page.goto(file.as_uri())
            measured = page.evaluate(_MEASURED)
            assert measured.pop("lowest") >= 8, (name, language)
            assert measured == {"wide": 0, "cut": [], "laid": []}, (name, language)
    page.close()


def test_names_and_what_the_customer_was_told_stay_as_they_are() -> None:
    kept = '<td translate="no">all</td><code>keep</code><p lang="en">keep</p><svg><g lang="zh-CN"><a/>keep</g></svg>'
    assert in_language(f"{kept}<b>keep</b>", "zh") == f"{kept}<b>维持</b>"
    assert in_language("<b>Li Na &amp; keep &lt;b&gt;</b>", "zh") == "<b>Li Na &amp; keep &lt;b&gt;</b>"


def test_a_sentence_nobody_knows_stays_between_those_that_are_known() -> None:
    said = chinese("So the line stays as it was. Li Na called. The hold changed nothing.")
    assert said == "因此该账户维持原状。 Li Na called. 搁置没有改变结果。"


@pytest.mark.parametrize("times", [100, 20_000])
@pytest.mark.parametrize("piece", [", ", ": ", "x: ", " of ", "; ", ". A", " · ", "1 → ", ", x: "])
def test_words_of_a_person_however_long_and_odd_are_kept(piece: str, times: int) -> None:
    words = f"Chen Wei, {piece * times}x y"
    assert [one for one in chinese(words) if one.isalnum()] == [one for one in words if one.isalnum()]


def test_what_a_group_of_flagged_lines_has_in_common_is_said_in_chinese() -> None:
    assert (
        chinese("draws_2d ≥ 3 and < 7 or not known and segment is not X")
        == "draws_2d ≥ 3 且 < 7 或未知 且 segment 不是 X"
    )


def test_the_chinese_of_a_text_has_its_holes_once_and_its_figures() -> None:
    for english, said in catalogue().items():
        holes = re.findall(r"\{(\d*)\}", said)
        numbered = [hole for hole in holes if hole]
        assert len(holes) == len(_HOLE.findall(english)), english
        assert sorted(numbered) == ([str(place) for place in range(len(holes))] if numbered else []), english
        figures = [Counter(NUMBER.findall(re.sub(r"\{\w*\}", "", text))) for text in (english, said)]
        assert figures[0] == figures[1], english


def test_every_feature_rule_of_a_row_and_figure_of_a_slice_has_its_chinese() -> None:
    meant = {declared.why for declared in CATALOGUE.declaration_of.values()} | set(LINE_MEANING.values())
    meant |= {rule.text for source in SOURCES.values() for rule in source_rules(source)} | {
        one.name for one in figures()
    }
    assert not {text for text in meant if chinese(text) == text}


def test_every_sentence_that_is_made_for_a_page_has_its_chinese() -> None:
    known = [_plain(piece) for english in catalogue() for piece in _pieces(english)]
    made = [piece for path in SPOKEN for text in constants(path) for piece in _pieces(text)]
    made += [piece for name in ("report", "why_body", "sections") for piece in template_texts(name)]
    missing = {
        piece
        for piece in made
        if re.search("[a-z]{2} ?.*[ ]", piece)
        and not piece.startswith("limitlens ")  # a command
        and chinese(piece) == piece
        and not any(_plain(piece) in whole for whole in known)
    }
    assert not missing, "no Chinese in pipeline/pages/templates/chinese.toml"


def test_every_text_of_the_catalogue_is_said_somewhere() -> None:
    folders = ("data", "features", "limits", "models", "pipeline")
    modules = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    corpus = [text for path in modules for text in constants(path, every=True)]
    corpus += [path.read_text(encoding="utf-8") for path in TEMPLATES.glob("*.html.j2")]
    said = "\n".join(" ".join(text.split()) for text in corpus)
    clauses = {text: re.split(r"[,:;()“”.?]|" + _HOLE.pattern, text) for text in catalogue()}
    never = {
        text
        for text, pieces in clauses.items()
        if any(_plain(piece) not in said for piece in pieces if piece and piece.count(" ") > 1)
    }
    assert not never, "delete it from pipeline/pages/templates/chinese.toml"


def _plain(piece: str) -> str:
    return piece.strip(".,:;(· ")


def _pieces(text: str) -> list[str]:
    """Literal parts of sentences, without what is filled in."""
    return [
        piece for part in re.split(r"\{[^{}]*\}", text) for piece in _SENTENCE.split(" ".join(part.split())) if piece
    ]


def template_texts(name: str) -> Iterator[str]:
    """Texts between the tags of a template, without what an element keeps to itself."""
    text = (TEMPLATES / f"{name}.html.j2").read_text(encoding="utf-8")
    text = re.sub(r"<(style|code)>.*?</\1>|<div class=\"words\".*?</div>", "<br>", text, flags=re.DOTALL)
    text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "{}", text)
    for piece in re.split(r"<[^>]*>", text):
        yield from _pieces(piece)


def constants(path: Path, *, every: bool = False) -> Iterator[str]:
    """Texts in a module, without docstrings and what is raised; an f-string is cut where something is filled in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not every and path.name in ONLY:
        wanted = ONLY[path.name].split()
        tree = ast.Module([n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name in wanted], [])
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        aside = isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and "progress" in ast.dump(node.func))
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if docstring or (aside and not every):
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        waiting += ast.iter_child_nodes(node)
