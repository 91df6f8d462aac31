"""The report: whole in one file, with the right numbers, and nothing taken as HTML."""

import base64
import html.parser
import re

import pytest
from matplotlib.figure import Figure

from tfrec import errors
from tfrec.report import page, plots, results


class _Page(html.parser.HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def run(tmp_path):
    policies = {
        name: {m: {"mean": v, "low": v - 1, "high": v + 1} for m in ("reward", "ctr", "depth")}
        for name, v in (("random", 5.0), ("goalrec", 14.0))
    }
    results.write(tmp_path / "results.json", policies, seeds=[0, 1], users=1200)
    figure = Figure()
    figure.subplots().plot([1, 2])
    plots.save(figure, tmp_path / "plots" / "a b & c.png")
    return tmp_path


def _report(run, **arguments):
    picture = page.Picture(run / "plots" / "a b & c.png", "Policies", "Look at this.")
    arguments = {"figures": [picture], **arguments}
    return page.write_report(run, results.read(run / "results.json"), **arguments)


def test_both_files_hold_the_table_the_facts_and_the_picture(run):
    path = _report(run, title="My run")
    text = (run / "report.md").read_text()
    assert path == run / "report.html"
    assert text.startswith("# My run\n\n1,200 users; seeds 0, 1; written 20")
    assert "| GoalRec | 14.00 [13.00, 15.00] | 14.00 [13.00, 15.00] |" in text
    assert "![Policies](<plots/a b & c.png>)\n\n*Look at this.*" in text
    parsed = _Page(path.read_text())
    assert parsed.tags.count("table") == 1
    assert parsed.tags.count("tr") == 3
    assert "14.00 [13.00, 15.00]" in parsed.text and "Look at this." in parsed.text
    assert sorted(p.name for p in run.iterdir()) == [
        "plots", "report.html", "report.md", "results.json"
    ]  # fmt: skip


def test_html_needs_no_other_file_and_no_network(run):
    text = _report(run).read_text()
    parsed = _Page(text)
    assert len(parsed.links) == 1
    kind, data = parsed.links[0].split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == (run / "plots" / "a b & c.png").read_bytes()
    assert not {"script", "link", "iframe", "object"} & set(parsed.tags)
    assert not re.search(r"https?:|url\(|@import", text)


def test_sections_are_markdown_and_their_html_is_shown_not_obeyed(run):
    picture = page.Picture(run / "plots" / "a b & c.png", "Again", "And here.")
    section = page.Section(
        "Two goals",
        "Ask **either**:\n\n- <script>alert(1)</script>\n- `k`\n\n<b>x</b>\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |",
        [picture],
    )
    parsed = _Page(_report(run, figures=[], sections=[section]).read_text())
    assert parsed.tags.count("h2") == 2
    assert parsed.tags.count("li") == 2
    assert parsed.tags.count("table") == 2
    assert parsed.tags.count("img") == 1
    assert "script" not in parsed.tags and "b" not in parsed.tags
    assert "<script>alert(1)</script>" in parsed.text


def test_a_missing_picture_is_named_and_nothing_is_written(run):
    lost = page.Picture(run / "lost.png", "Lost", "Nowhere.")
    with pytest.raises(errors.UserError, match="lost.png: no such picture"):
        _report(run, figures=[lost])
    assert not (run / "report.md").exists() and not (run / "report.html").exists()
