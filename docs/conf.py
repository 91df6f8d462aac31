"""The documentation site: the pages of this folder, and a reference from the docstrings.

    make docs       # builds site/; a warning is an error

Sources are read and not imported, so that nothing but requirements-docs.txt is needed.
"""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[1]

project = "tfrec"
author = "the tfrec developers"
copyright = author  # noqa: A001  Sphinx's name
release = ast.literal_eval(
    next(
        line.partition("=")[2].strip()
        for line in (ROOT / "tfrec/__init__.py").read_text().splitlines()
        if line.startswith("__version__")
    )
)

extensions = [
    "myst_parser",
    "autoapi.extension",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.xref_missing",  # links to sources and folders, which a checkout has
    "autoapi.python_import_resolution",  # a name that a module imports lazily
    "ref.python",  # a name of several classes, in an annotation
]
exclude_patterns = ["site"]

html_theme = "furo"
html_title = f"tfrec {release}"
html_theme_options = {"navigation_with_keys": True}
templates_path: list[str] = []
html_static_path = ["static"]
html_css_files = ["site.css"]

autoapi_dirs = [str(ROOT / package) for package in ("tfrec", "tfgoalrec", "tfimrl")]
autoapi_root = "reference"
autoapi_options = ["members", "undoc-members", "show-module-summary"]
autoapi_member_order = "bysource"
autoapi_add_toctree_entry = False
autoapi_keep_files = False
autoapi_python_class_content = "class"

napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def as_restructured_text(app, what, name, obj, options, lines):
    """Docstrings are plain text with `code` and lists: marks them up for Sphinx, in place.

    What is indented outside of a section and of a list is shown as it stands.
    """
    marked: list[str] = []
    in_list = in_section = in_literal = False
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if re.fullmatch(r"[A-Z]\w+( \w+)?:", line):
            in_section = True
        starts_item = re.match(r"\s*(- |\d+\. )", line) is not None
        if line.strip() and indent == 0 and not starts_item and in_literal:
            in_literal = False
            marked.append("")
        if in_list and line.strip() and indent == 0 and not starts_item:
            marked.append("")  # the list ends
        in_list = starts_item or (in_list and indent > 0)
        if indent >= 2 and not (in_section or in_list or in_literal):
            in_literal = True
            marked += ["", "::", ""]
        if starts_item and marked and marked[-1].strip() and not _is_item(marked):
            marked.append("")
        marked.append(line if in_literal else _escaped(line))
    lines[:] = marked


def _is_item(lines):
    """Whether the last paragraph of the lines is an item of a list."""
    paragraph = []
    for line in reversed(lines):
        if not line.strip():
            break
        paragraph.append(line)
    return any(re.match(r"\s*(- |\d+\. )", line) for line in paragraph)


def _escaped(line):
    """`code` as ``code``, and characters that would mean something as themselves."""
    parts = re.split(r"(`[^`]+`)", line)
    return "".join(
        f"`{part}`" if part.startswith("`") else re.sub(r"([|*\\]|_(?!\w))", r"\\\1", part)
        for part in parts
    )


def setup(app):
    """Runs before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", as_restructured_text, priority=400)
