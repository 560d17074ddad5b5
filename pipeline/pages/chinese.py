"""Pages in 简体中文: the English page with each text of it said in Chinese, so that no number is computed twice.

``templates/chinese.toml`` is the catalogue, English on the left and Chinese on the right. In an English text ``{}``
stands for something that is kept as it is, ``{w}`` for such a word, ``{n}`` for a number, a date or a time, and ``{t}``
for a text of the catalogue, a name or a list of either; the Chinese one takes them in their order, or as ``{0}``,
``{1}``. A text is said whole, or sentence by sentence. What the catalogue does not know stays English; so does what an
element keeps to itself by ``lang`` or ``translate="no"``: names, ids, commands, what was told to a customer.
"""

import html
import re
import tomllib
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.resources import files

_NUMBER = r"[+−-]?\d(?:[\d,.:T/-]*\d)?(?:e[+-]?\d+)?%?|nan"
_HOLE = re.compile(r"\{([nwt]?)\}")
_HOLES = {"": "(.+?)", "n": f"({_NUMBER})", "w": r"(\S+)", "t": "(.+?)"}

_TOKEN = re.compile(r"(<!--.*?-->|<[^>]*>)", re.DOTALL)
_TAG = re.compile(r"<(/?)([A-Za-z][\w:-]*)")
_KEPT = re.compile(r'<(?:style|code|metadata)\b|\stranslate="no"|\slang="')
_EMPTY = frozenset({"br", "col", "hr", "img", "input", "link", "meta"})

#: What is longer, or has texts in texts in texts deeper than this, is words of a person: nothing is looked for in them.
_LONGEST, _DEEPEST = 1_000, 4

_SENTENCE = re.compile(r"(?<=[.?])(?<! al\.)\s+(?=[A-Z“\d])")
_NAME = re.compile(r"[\w.+−-]+|(?:" + _NUMBER + ")")
_LISTS = ((" · ", " · "), ("; ", "；"), (", ", "、"), (" and ", " 且 "))


@cache
def catalogue() -> dict[str, str]:
    """English to Chinese, of every section of the file."""
    text = (files("limitlens.pipeline.pages") / "templates" / "chinese.toml").read_text(encoding="utf-8")
    return {english: chinese for words in tomllib.loads(text).values() for english, chinese in words.items()}


def in_language(page: str, language: str) -> str:
    """A page of ours, in HTML, in English as it is (``en``) or in 简体中文 (``zh``).

    Examples
    --------
    >>> in_language('<html lang="en"><td>limits changed</td><td translate="no">all</td></html>', "zh")
    '<html lang="zh-CN"><td>额度变动</td><td translate="no">all</td></html>'
    """
    return "".join(_pieces_in_chinese(page)) if language == "zh" else page


def _pieces_in_chinese(page: str) -> Iterator[str]:
    """The pieces of a page, tags and texts; inside of an element that is kept to itself everything is as it was."""
    kept: list[str] = []
    for piece in _TOKEN.split(page):
        tag = _TAG.match(piece)
        if not tag:
            yield piece if kept or not piece.strip() or piece.startswith("<") else _in_place(piece)
            continue
        closes, name = tag[1] == "/", tag[2].lower()
        if name == "html":
            yield piece.replace('lang="en"', 'lang="zh-CN"')
            continue
        if name not in _EMPTY and not piece.endswith("/>"):
            if closes and kept:
                kept.pop()
            elif not closes and (kept or _KEPT.search(piece)):
                kept.append(name)
        yield piece


def _in_place(piece: str) -> str:
    """A text in Chinese between the white space it stood in."""
    text = piece.strip()
    before, after = piece[: piece.index(text)], piece[piece.index(text) + len(text) :]
    return before + html.escape(chinese(" ".join(html.unescape(text).split())), quote=False) + after


def chinese(text: str) -> str:
    """A text in Chinese, sentence by sentence; those the catalogue does not know as they are.

    Examples
    --------
    >>> chinese("But for the behaviour: kept, limit 30,000.00. Somebody called.")
    '若无行为这一原因：维持，额度 30,000.00。 Somebody called.'
    """
    if (whole := _known(text)) is not None:
        return whole
    translated = ""
    for sentence in _SENTENCE.split(text):
        known = _known(sentence)
        translated += known if known and (not translated or translated.endswith("。")) else f" {known or sentence}"
    return translated.strip()


@lru_cache(maxsize=10_000)
def _known(text: str, depth: int = 0) -> str | None:
    """A text of the catalogue, a name, a number, or a list of them, in Chinese; None: something else."""
    if text in catalogue():
        return catalogue()[text]
    if _SENTENCE.search(text) or len(text) > _LONGEST or depth > _DEEPEST:
        return None
    for pattern, kinds, chinese_ in _patterns():
        if (match := pattern.fullmatch(text)) and (filled := _filled(chinese_, kinds, match.groups(), depth + 1)):
            return filled
    for between, between_chinese in _LISTS:
        parts = [_known(part, depth + 1) for part in text.split(between)] if between in text else [None]
        if None not in parts:
            return between_chinese.join(part for part in parts if part)
    return text if _NAME.fullmatch(text) else None


def _filled(chinese_: str, kinds: tuple[str, ...], values: tuple[str, ...], depth: int) -> str | None:
    """The Chinese text with its values; None where one of them should be known and is not."""
    values_in_chinese = [
        _known(value, depth) if kind == "t" else value for kind, value in zip(kinds, values, strict=True)
    ]
    return None if None in values_in_chinese else chinese_.format(*values_in_chinese)


@cache
def _patterns() -> list[tuple[re.Pattern[str], tuple[str, ...], str]]:
    """Texts with holes, those with the most words of their own first."""
    with_holes = [english for english in catalogue() if _HOLE.search(english)]
    patterns = []
    for english in sorted(with_holes, key=lambda english: -len(_HOLE.sub("", english))):
        pieces = _HOLE.split(english)
        pattern = "".join(re.escape(one) if place % 2 == 0 else _HOLES[one] for place, one in enumerate(pieces))
        patterns.append((re.compile(pattern, re.DOTALL), tuple(pieces[1::2]), catalogue()[english]))
    return patterns
