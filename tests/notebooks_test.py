"""The notebooks run as written, from a user's shell, and are stored without outputs."""

import os
import pathlib
import re

import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_notebooks_are_there():
    assert [path.stem for path in NOTEBOOKS] == [
        "evaluating_a_policy", "goals", "own_log_to_list", "recsim_in_ten_lines",
    ]  # fmt: skip


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_valid_and_without_outputs(path):
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in code_cells(notebook):
        assert cell.outputs == [] and cell.execution_count is None, cell.source
        assert cell.metadata == {}, cell.source
    text = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    links = [link for link in LINK.findall(text) if not (path.parent / link).exists()]
    assert links == [], "links to what does not exist"
    assert set(notebook.metadata.language_info) == {"name"}, "the version of one machine"


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_draws(path, tmp_path):
    notebook = read(path)
    current, temporary = tmp_path / "current", tmp_path / "temporary"
    current.mkdir()
    temporary.mkdir()
    client = nbclient.NotebookClient(
        notebook, timeout=900, resources={"metadata": {"path": str(current)}}
    )
    # Nothing that selects Keras, a backend of Matplotlib or a device, and none of the settings
    # of the test process.
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    client.execute(env=environment | {"PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)})
    assert list(current.iterdir()) == [], "a notebook writes only to a new temporary folder"
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert 1 <= len(pictures) <= 3
    shown = [o.get("data", {}).get("text/plain", "") for o in outputs if o not in pictures]
    assert not any(text.startswith("<Figure") for text in shown), "a figure is not drawn"
    printed = "".join(o.text for o in outputs if o.output_type == "stream")
    assert "ipywidgets" not in "".join([printed, *shown])
    assert "\x1b" not in printed, "a progress bar of a terminal"
