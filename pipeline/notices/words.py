"""The words of a letter: templates of the lender or ours, run in a sandbox; what is filled in is escaped or inert."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from limitlens.data.calendar import midnight, parse_time
from limitlens.data.errors import ConfigError
from limitlens.data.toml_reader import Reader, load_toml, read_small, read_toml
from limitlens.limits.recourse import Move, Recourse
from limitlens.pipeline.answers.customer import LANGUAGES, reason_texts, recourse_text
from limitlens.pipeline.pages.amounts import amount

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip

#: What changed conditions would bring about, by action.
_OUTCOMES = {
    "increase": ("your limit is raised to {limit}", "额度上调至{limit}"),
    "unfreeze": ("you can borrow again", "恢复新增借款"),
    "keep": ("your limit stays at {limit}", "额度维持{limit}"),
    "review": ("a member of our staff looks at your account", "由工作人员查看您的账户"),
    "hold": ("your limit stays at {limit}", "额度维持{limit}"),
    "pause": ("new borrowing is paused, and your account looked at again", "暂停新增借款，并再次查看您的账户"),
    "decrease": ("your limit is lowered to {limit}", "额度下调至{limit}"),
    "freeze": ("your limit stays at {limit}, and new borrowing is stopped", "额度维持{limit}，停止新增借款"),
    "close": ("your credit line is closed", "信用额度关闭"),
}

#: How far a move of a recourse went, in its sentence.
_FIGURES = re.compile(r" \([^()]*→[^()]*\)|（[^（）]*→[^（）]*）")


@dataclass(frozen=True)
class Sender:
    """The ``lender``, and how it is reached (``contact``), in one language."""

    lender: str
    contact: str


def read_senders(path: Path | None = None) -> dict[str, Sender]:
    """Who writes, by language.

    Parameters
    ----------
    path : Path, optional
        A TOML file; default: ``conf/notices.toml`` as it ships.

    Raises
    ------
    ConfigError
        It cannot be read, or has an unknown, missing or wrongly typed key; with file and line.
    """
    path = path or Path(str(files("limitlens.conf"))) / "notices.toml"
    text = read_toml(path)
    body, reader = load_toml(text, str(path)), Reader(text, str(path))
    reader.table(body, (), LANGUAGES, LANGUAGES)
    return {language: reader.section(body, (language,), Sender) for language in LANGUAGES}


@dataclass(frozen=True)
class Block:
    """A part of a letter: ``heading``, ``list`` or ``paragraph``, and its lines."""

    kind: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Letter:
    """A letter in one language: subject, plain text, and page."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True)
class Stationery:
    """Templates and sender.

    Parameters
    ----------
    senders : mapping of str to Sender
        By language.
    folder : Path, optional
        Templates that stand in place of ours: ``letter.en.txt.j2``, ``letter.zh.txt.j2``, ``letter.html.j2``.
    """

    senders: Mapping[str, Sender]
    folder: Path | None = None

    def letter(self, row: Mapping[str, Any], account: str, written_at: datetime, language: str) -> Letter:
        """Write a letter.

        Parameters
        ----------
        row : mapping
            As :func:`limitlens.limits.notices.letters_of` gives it.
        account : str
            How the letter calls the account.
        written_at : datetime
            Its date.
        language : {"en", "zh"}

        Raises
        ------
        ConfigError
            A template has an error, or asks for what there is not.
        """
        context = _context(row, account, written_at, language, self.senders[language])
        text = self._render(f"letter.{language}.txt.j2", context)
        subject, blocks = _parts(text)
        page = {"language": language, "subject": subject, "blocks": blocks, "reference": row["reference"]}
        return Letter(subject, _plain(subject, blocks), self._render("letter.html.j2", page))

    def _render(self, template: str, context: Mapping[str, Any]) -> str:
        try:
            return self._environments[template.endswith(".html.j2")].get_template(template).render(context)
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(f"{error.name}:{error.lineno}: {error.message}; mend the template.") from error
        except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise ConfigError(f"{template}: {error}; docs/notices.md lists what a template may use.") from error

    @cached_property
    def _environments(self) -> dict[bool, jinja2.Environment]:
        """By whether it is HTML: there all is escaped; in a text a value is one line, and no template."""
        return {
            html: ImmutableSandboxedEnvironment(
                loader=jinja2.FunctionLoader(self._source),
                autoescape=html,
                undefined=jinja2.StrictUndefined,
                trim_blocks=True,
                lstrip_blocks=True,
            )
            for html in (False, True)
        }

    def _source(self, name: str) -> str | None:
        if self.folder and (own := self.folder / Path(name).name).is_file():
            return read_small(own, "a template")
        ours = files("limitlens.pipeline.notices") / "templates" / Path(name).name
        return ours.read_text(encoding="utf-8") if ours.is_file() else None


def account_line(account: str) -> str:
    """An id as one line of printable text.

    Examples
    --------
    >>> account_line("A 1" + chr(10) + "# x")
    'A 1 # x'
    """
    return " ".join("".join(letter if letter.isprintable() else " " for letter in account).split())


def day(time: datetime, language: str) -> str:
    """A date as a letter writes it.

    Examples
    --------
    >>> day(datetime(2026, 6, 1), "en"), day(datetime(2026, 6, 1), "zh")
    ('1 June 2026', '2026年6月1日')
    """
    if language == "zh":
        return f"{time.year}年{time.month}月{time.day}日"
    return f"{time.day} {_MONTHS[time.month - 1]} {time.year}"


def _context(
    row: Mapping[str, Any], account: str, written_at: datetime, language: str, sender: Sender
) -> dict[str, Any]:
    """Everything a template may use."""
    facts = row["facts"]
    currency = facts.get("currency", "")
    second_look = facts.get("second_look")

    def limit(side: str) -> str:
        return amount(facts.get(f"limit_{side}cents", 0), currency, language)

    def date(name: str) -> str:
        return day(parse_time(facts[name]), language) if facts.get(name) else ""

    def outcome(side: str) -> str:
        action = facts.get(f"action_{side}")
        return _OUTCOMES[action][LANGUAGES.index(language)].format(limit=limit(f"{side}_")) if action else ""

    return {
        "reference": row["reference"],
        "account": account_line(account),
        "kind": row["kind"],
        "written_on": day(written_at, language),
        "date": day(row["at"], language),
        "action": facts.get("action", ""),
        "limit_before": limit("before_"),
        "limit": limit(""),
        "own": facts.get("own", False),
        "records": facts.get("records", False),
        "reasons": reason_texts(tuple(facts.get("reasons", ())), language),
        "since": date("since"),
        "second_look": date("second_look"),
        "second_look_passed": bool(second_look) and parse_time(second_look) < midnight(written_at),
        "decided_on": date("decided_at"),
        "later": [
            {"action": one["action"], "date": day(parse_time(one["decided_at"]), language)}
            for one in facts.get("later", ())
        ],
        "can_draw": facts.get("can_draw", False),
        "help": (help_ := _help(facts.get("recourse"), language, currency)),
        "help_plain": _FIGURES.sub("", help_),
        "help_sought": facts.get("help_sought", False),
        "outcome_before": outcome("before"),
        "outcome_after": outcome("after"),
        "lender": sender.lender,
        "contact": sender.contact,
    }


def _help(recourse: Mapping[str, Any] | None, language: str, currency: str) -> str:
    if recourse is None:
        return ""
    moves = tuple(Move(**move) for move in recourse["moves"])
    sentence = recourse_text(Recourse(**{**recourse, "moves": moves}), language, currency)
    return f"{sentence[0].upper()}{sentence[1:]}"


def _parts(text: str) -> tuple[str, list[Block]]:
    """Subject and blocks of a filled-in template.

    Its first line is the subject. A line that begins with ``# `` is a heading, with ``- `` an item; the other lines up
    to an empty one are a paragraph.
    """
    subject, *lines = [line.strip() for line in text.strip().splitlines()] or [""]
    blocks = list[Block]()
    open_ = ""
    for line in lines:
        kind = "heading" if line.startswith("# ") else "list" if line.startswith("- ") else "paragraph" if line else ""
        words = line.removeprefix("# " if kind == "heading" else "- ") if kind in ("heading", "list") else line
        if kind == open_ and kind in ("list", "paragraph"):
            blocks[-1] = Block(kind, (*blocks[-1].lines, words))
        elif kind:
            blocks.append(Block(kind, (words,)))
        open_ = kind or (open_ if open_ == "list" else "")
    return subject, blocks


def _plain(subject: str, blocks: list[Block]) -> str:
    """The letter as text."""
    parts = ["\n".join(f"- {line}" if block.kind == "list" else line for line in block.lines) for block in blocks]
    return "\n\n".join([subject, *parts]) + "\n"
