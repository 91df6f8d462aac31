"""The script of README.md's section on Python runs as it is written."""

import pathlib
import re
import subprocess
import sys

import pytest

README = pathlib.Path(__file__).parents[1] / "README.md"


def script():
    section = README.read_text().split("\n## In Python\n")[1].split("\n## ")[0]
    [block] = re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    return block


@pytest.mark.slow
def test_the_script_runs_as_written(tmp_path):
    items = ("lamp", "desk", "rug", "mug")
    rows = [
        f"u{user},{items[(user + step) % 4]},2024-05-0{day}T09:00:{10 * step:02},{step % 2},2.5"
        for user in range(12)
        for day in range(1, 5)
        for step in range(5)
    ]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,time,click,watch", *rows]) + "\n")
    ran = subprocess.run(
        [sys.executable, "-c", script()], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert "| GoalRec |" in ran.stdout
    assert "click@0 (clicks)" in ran.stdout
    shop = tmp_path / "runs" / "shop"
    assert (shop / "agent" / "agent.json").exists()
    assert (shop / "export" / "1" / "saved_model.pb").exists()
