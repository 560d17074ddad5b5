"""Two builds, one a language: which page stands for which, links from one to the other, search in Chinese."""

import re
from itertools import pairwise
from typing import Any

from docutils import nodes
from sphinx import addnodes, search
from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish
from sphinx.transforms import SphinxTransform

#: Page → the page that takes its place in the Chinese build; all others stand in both.
TRANSLATED = {
    "README": "README.zh-CN",
    "docs/commands": "docs/commands.zh-CN",
    "docs/index": "docs/zh/index",
    "docs/tutorial": "docs/zh/tutorial",
    "docs/how-to/index": "docs/zh/how-to",
    "docs/reference/index": "docs/zh/reference",
    "docs/explanation": "docs/zh/explanation",
    "docs/project": "docs/zh/project",
}

#: Page that the Chinese build has, too → what is said of it in Chinese, in fewer words.
RETOLD = {
    "docs/why": "docs/zh/why",
    "docs/reviews": "docs/zh/reviews",
    "docs/how-to/work-through-a-data-incident": "docs/zh/data-incident",
    "docs/notices": "docs/zh/notices",
    "docs/scaling": "docs/zh/scaling",
    "docs/stress": "docs/zh/stress",
    "docs/sharing": "docs/zh/sharing",
    "docs/mapping": "docs/zh/your-data",
    "docs/reference/words": "docs/zh/words",
}

ENGLISH_ONLY = [f"{page}.md" for page in TRANSLATED]

_FROM_CHINESE = {chinese: page for page, chinese in (TRANSLATED | RETOLD).items()}


def other_page(page: str, *, chinese: bool) -> str:
    """Address of the same page in the other language, as seen from it.

    Examples
    --------
    >>> other_page("docs/why", chinese=False), other_page("docs/zh/why", chinese=True)
    ('../zh/docs/zh/why.html', '../../../docs/why.html')
    """
    up = "../" * page.count("/")
    if chinese:
        return f"{up}../{_FROM_CHINESE.get(page, page)}.html"
    return f"{up}zh/{(TRANSLATED | RETOLD).get(page, page)}.html"


class LinksToTheOtherBuild(SphinxTransform):
    """A link to a page that only the other build has leads there; of all others that are missing MyST warns."""

    default_priority = 999

    def apply(self, **_: Any) -> None:
        """Turn such references into links."""
        up = "../" * self.env.docname.count("/") + ("../" if self.app.tags.has("zh") else "zh/")
        of_other = set(TRANSLATED if self.app.tags.has("zh") else _FROM_CHINESE) - self.env.found_docs
        for link in list(self.document.findall(addnodes.pending_xref)):
            if link["refdomain"] == "doc" and link["reftarget"] in of_other:
                anchor = f"#{link['reftargetid']}" if link["reftargetid"] else ""
                text = [child.deepcopy() for child in link.children]
                address = f"{up}{link['reftarget']}.html{anchor}"
                link.replace_self(nodes.reference("", "", *text, refuri=address, internal=True))


class Chinese(SearchEnglish):
    """Chinese is found by each two letters beside each other, so that no dictionary has to know the words.

    Its name stays English: it is that of the stemmer, which the browser asks for by name.
    """

    lang = "zh"
    js_splitter_code = """
function splitQuery(query) {
  return (query.match(/[\\u4e00-\\u9fff]+|\\w+/g) || []).flatMap((run) =>
    /^[\\u4e00-\\u9fff]{2}/.test(run) ? [...run.slice(1)].map((letter, k) => run[k] + letter) : [run]);
}
"""

    def split(self, input: str) -> list[str]:
        """Words of Latin letters, and pairs of Chinese ones.

        Examples
        --------
        >>> Chinese({}).split("违约概率 (PD)")
        ['违约', '约概', '概率', 'PD']
        """
        runs = re.findall(r"[\u4e00-\u9fff]+|[a-zA-Z0-9_]+", input)
        return [part for run in runs for part in (_pairs(run) if len(run) > 1 and run[0] >= "\u4e00" else [run])]


def _pairs(run: str) -> list[str]:
    return [first + second for first, second in pairwise(run)]


def _say_which(_: Sphinx, page: str, __: str, context: dict[str, Any], ___: nodes.document | None) -> None:
    """What the template of the language's link needs; an English page in the Chinese build says that it is one."""
    chinese = context["language"] == "zh-CN"
    context["other_page"] = other_page(page, chinese=chinese)
    if chinese and page not in _FROM_CHINESE and "body" in context:
        context["body"] = f'<div lang="en">{context["body"]}</div>'


def setup(app: Sphinx) -> dict[str, bool]:
    """Join in."""
    search.languages["zh"] = Chinese
    app.add_transform(LinksToTheOtherBuild)
    app.connect("html-page-context", _say_which)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
