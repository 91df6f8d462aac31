"""The report of a run: report.md, and report.html as a single self-contained file."""

import base64
import datetime
import html
import os
import pathlib
import string
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import markdown

from tfrec import errors, outputs
from tfrec.report import tables

_INTERVALS = (
    "Each cell is a mean and its 95% interval over users and seeds. Reward is the "
    "number of clicks in a user's session, depth its number of steps, and CTR the clicks over "
    "the steps of all sessions together."
)


class Picture(NamedTuple):
    """A plot of the report.

    Attributes:
      path: the PNG, inside the report's folder.
      title: a few words, shown in place of the picture if it cannot be displayed.
      caption: content and interpretation of the picture; plain text.
    """

    path: str | os.PathLike[str]
    title: str
    caption: str


class Section(NamedTuple):
    """A part of the report after the results.

    Attributes:
      title: its heading.
      text: Markdown, with tables; HTML in it is shown as text.
      pictures: shown after the text.
    """

    title: str
    text: str
    pictures: Sequence[Picture] = ()


def write_report(
    directory: str | os.PathLike[str],
    results: Mapping[str, Any],
    figures: Sequence[Picture] = (),
    sections: Sequence[Section] = (),
    title: str = "Evaluation",
    metrics: Sequence[str] = tables.DEFAULT_METRICS,
) -> pathlib.Path:
    """Writes report.md and report.html.

    Args:
      directory: the run's folder; pictures lie in it or below it.
      results: the document of results.json; `policies` becomes the table, and `seeds`
        and `users`, where present, are stated.
      figures: pictures after the table.
      sections: further parts, in order.
      title: title of the page.
      metrics: columns of the table.

    Returns:
      The path of report.html, which needs no other file and no network.

    Raises:
      errors.UserError: if a picture is missing. Nothing is written.
    """
    text = "\n".join([tables.markdown(results["policies"], metrics), _INTERVALS])
    first = Section("Results", text, figures)
    return write(directory, title, _facts(results), [first, *sections])


def write(
    directory: str | os.PathLike[str],
    title: str,
    introduction: str,
    sections: Sequence[Section],
) -> pathlib.Path:
    """Writes report.md and report.html of any content.

    Args:
      directory: the folder; pictures lie in it or below it.
      title: title of the page.
      introduction: Markdown, before the first section.
      sections: the parts, in order.

    Returns:
      The path of report.html, which needs no other file and no network.

    Raises:
      errors.UserError: if a picture is missing. Nothing is written.
    """
    directory = pathlib.Path(directory)
    lines = [f"# {title}", "", introduction, ""]
    pictures: list[Picture] = []
    for section in sections:
        lines += [f"## {section.title}", "", section.text.strip(), ""]
        lines += _pictures(directory, section.pictures)
        pictures += section.pictures
    text = "\n".join(lines).rstrip() + "\n"
    page = _to_html(text, title, {_link(directory, p.path): p.path for p in pictures})
    for name, content in (("report.md", text), ("report.html", page)):
        with outputs.replacing_file(directory / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return directory / "report.html"


def _facts(results: Mapping[str, Any]) -> str:
    """Users, seeds and date of the run, as far as the results have them."""
    facts = []
    if "users" in results:
        users = results["users"]
        facts.append(f"{users:,} users" if isinstance(users, int) else f"users: {users}")
    if "seeds" in results:
        seeds = results["seeds"]
        facts.append(f"seeds {', '.join(map(str, seeds))}" if isinstance(seeds, list | tuple)
                     else f"{seeds} seeds")  # fmt: skip
    facts.append(f"written {datetime.date.today().isoformat()}")
    return "; ".join(facts).capitalize() + "."


def _pictures(directory: pathlib.Path, pictures: Sequence[Picture]) -> list[str]:
    lines = []
    for picture in pictures:
        if not pathlib.Path(picture.path).is_file():
            raise errors.UserError(f"{picture.path}: no such picture for the report")
        link = _link(directory, picture.path)
        lines += [f"![{picture.title}](<{link}>)", "", f"*{picture.caption}*", ""]
    return lines


def _link(directory: pathlib.Path, path: str | os.PathLike[str]) -> str:
    return pathlib.Path(os.path.relpath(path, directory)).as_posix()


def _to_html(text: str, title: str, pictures: Mapping[str, str | os.PathLike[str]]) -> str:
    """Converts the page to HTML with embedded pictures."""
    converter = markdown.Markdown(extensions=["tables", "sane_lists", "fenced_code"])
    # Text that looks like HTML is data (an item's name, a flag) and is shown as text.
    converter.preprocessors.deregister("html_block")
    converter.inlinePatterns.deregister("html")
    body = converter.convert(text)
    for link, path in pictures.items():
        data = base64.b64encode(pathlib.Path(path).read_bytes()).decode("ascii")
        body = body.replace(f'src="{html.escape(link)}"', f'src="data:image/png;base64,{data}"')
    return _PAGE.substitute(title=html.escape(title), body=body)


_PAGE = string.Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 16px/1.55 system-ui, "DejaVu Sans", sans-serif; color: #222; background: #fff;
       max-width: 76rem; margin: 2.5rem auto; padding: 0 1.25rem; }
p, li { max-width: 52rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; }
h2 { font-size: 1.25rem; margin-top: 2.4rem; border-bottom: 1px solid #ddd;
     padding-bottom: .25rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums;
        display: block; overflow-x: auto; }
th, td { padding: .35rem .5rem; border-bottom: 1px solid #e3e3e3; font-size: .92rem; }
td:first-child, td[style*="right"] { white-space: nowrap; }
th { border-bottom: 2px solid #999; text-align: left; vertical-align: bottom; }
tbody tr:hover { background: #f6f8fa; }
img { max-width: 100%; height: auto; display: block; margin: 1.2rem 0 .3rem; }
p > em:only-child { color: #555; font-size: .92rem; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .9em;
            background: #f4f4f4; border-radius: 3px; }
code { padding: .1em .3em; }
pre { padding: .8rem; overflow-x: auto; }
pre code { padding: 0; }
@media print { body { margin: 0; max-width: none; } h2, img { break-inside: avoid; } }
</style>
</head>
<body>
$body
</body>
</html>
""")
