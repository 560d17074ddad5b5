"""Settings of the documentation site: ``make docs`` builds it in English, and in 简体中文 with ``-t zh``.

The root of the checkout is the source, so that a link between two Markdown files is right here and on GitHub.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))

from languages import ENGLISH_ONLY, TRANSLATED
from pygments.lexers.special import TextLexer

import limitlens

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_CHINESE = tags.has("zh")  # noqa: F821 - Sphinx gives it

project = "limitlens"
author = "limitlens contributors"
project_copyright = f"{author}, Apache-2.0"
version = release = limitlens.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated", "languages", "lists"]

language = "zh_CN" if _CHINESE else "en"
root_doc = "docs/zh/index" if _CHINESE else "docs/index"
include_patterns = ["*.md", "docs/**.md"]
exclude_patterns = ENGLISH_ONLY if _CHINESE else ["docs/zh/**", *(f"{page}.md" for page in TRANSLATED.values())]

highlight_language = "none"
myst_heading_anchors = 4
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_param = False  # else words such as "columns" of a type become links to attributes called so
autodoc_typehints = "none"  # types stand with the parameters
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
toc_object_entries_show_parents = "hide"

html_theme = "pydata_sphinx_theme"
html_title = "limitlens"
html_copy_source = False
html_extra_path = [] if _CHINESE else ["top"]
templates_path = ["templates"]
html_sidebars = {"**": ["sidebar-nav-bs.html"], root_doc: []}
html_context = {"default_mode": "auto"}
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "navbar_end": ["theme-switcher.html"],
    "navbar_persistent": ["language.html", "search-button.html"],
    "secondary_sidebar_items": ["page-toc.html"],
    "footer_start": ["copyright.html"],
    "footer_end": [],
    "show_toc_level": 2,
}


def _not_ours(_: "Sphinx", __: str, name: str, *___: object) -> bool | None:
    """Methods that scikit-learn makes for its own routing of metadata."""
    return True if name.startswith("set_") and name.endswith("_request") else None


def setup(app: "Sphinx") -> None:
    """Know blocks of CSV, and leave out what is not ours."""
    app.add_lexer("csv", TextLexer)
    app.connect("autodoc-skip-member", _not_ours)
