"""Flags from dataclasses, and how a script ends when the user errs."""

import dataclasses
import sys
import textwrap
from typing import Literal

import pytest
from absl import flags as absl_flags

from launch import flags
from tfrec import errors
from tfrec.options import option, required


@dataclasses.dataclass(frozen=True)
class Tower:
    output: str = required("folder to write")
    steps: int = option(10, "gradient steps")
    rate: float = option(0.5, "learning rate")
    name: str = option("gru", "tower")
    fast: bool = option(False, "skip the plots")
    units: tuple[int, ...] = option((64, 32), "layer widths")
    goals: tuple[str, ...] = option((), "names of goals")
    weights: tuple[float, ...] = option((1.0,), "weights")
    limit: int | None = option(None, "rows to read")
    head: Literal["mlp", "bilinear"] = option("mlp", "advantage head")

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}")


def parsed(*arguments, prefix=""):
    values = absl_flags.FlagValues()
    flags.define(Tower, prefix, values)
    values(["script", *arguments])
    return values


def test_defaults_come_back_unchanged():
    values = parsed("--output=there")
    assert flags.read(Tower, flag_values=values) == Tower(output="there")


def test_every_kind_of_value_is_parsed():
    values = parsed(
        "--output=o", "--steps=3", "--rate=1e-3", "--name=dien", "--fast", "--units=8",
        "--goals=clicks, watch", "--weights=1,2.5", "--limit=7", "--head=bilinear",
    )  # fmt: skip
    assert flags.read(Tower, flag_values=values) == Tower(
        output="o", steps=3, rate=1e-3, name="dien", fast=True, units=(8,),
        goals=("clicks", "watch"), weights=(1.0, 2.5), limit=7, head="bilinear",
    )  # fmt: skip


def test_an_empty_list_is_empty():
    assert flags.read(Tower, flag_values=parsed("--output=o", "--units=")).units == ()


def test_prefix_names_the_flags():
    values = parsed("--world_output=o", "--world_steps=2", prefix="world_")
    assert flags.read(Tower, "world_", values).steps == 2
    assert "steps" not in values


@pytest.mark.parametrize(
    "bad, expected",
    [
        ("--steps=many", "steps"),
        ("--units=8,x", "units"),
        ("--head=other", "mlp|bilinear"),
        ("--stepz=3", "stepz"),
    ],
)
def test_a_bad_value_names_its_flag(bad, expected):
    with pytest.raises(absl_flags.Error) as error:
        parsed("--output=o", bad)
    assert expected in str(error.value)


def test_a_field_without_default_is_required():
    with pytest.raises(absl_flags.Error, match="output"):
        parsed()


def test_a_value_that_the_dataclass_rejects_names_the_flag():
    values = parsed("--world_output=o", "--world_steps=0", prefix="world_")
    with pytest.raises(errors.UserError, match="--world_steps=0: steps must be at least 1"):
        flags.read(Tower, "world_", values)


def test_a_field_that_no_flag_can_hold_is_rejected():
    @dataclasses.dataclass(frozen=True)
    class Odd:
        table: dict[str, int] = required("no flag holds a table")

    with pytest.raises(TypeError, match="Odd.table"):
        flags.define(Odd, flag_values=absl_flags.FlagValues())


@pytest.mark.parametrize(
    ("arguments", "defined"),
    [
        (["--kind=tower"], {"steps", "output"}),
        (["-kind", "tower"], {"steps", "output"}),
        (["--kind=other"], {"size"}),
        (["--kind=tower", "--kind=other"], {"size"}),  # the last one counts, as in parsing
        (["--kind=neither"], set()),
        (["--steps=3"], set()),
        (["--kind"], set()),
    ],
)
def test_one_flag_selects_the_others(monkeypatch, arguments, defined):
    @dataclasses.dataclass(frozen=True)
    class Other:
        size: int = option(1, "size")

    configs = []
    monkeypatch.setattr(sys, "argv", ["script", *arguments])
    monkeypatch.setattr(flags, "define", configs.append)
    classes = {"tower": Tower, "other": Other}
    flags.define_dependent("kind", classes, classes.__getitem__)
    names = {field.name for config in configs for field in dataclasses.fields(config)}
    assert names >= defined and bool(names) == bool(defined)


SCRIPT = '''
"""Greets politely."""

import dataclasses

from launch import flags
from tfrec import errors
from tfrec.options import option


@dataclasses.dataclass(frozen=True)
class Greeting:
    name: str = option("you", "whom to greet")
    times: int = option({times}, "greetings")


flags.define(Greeting)


def main(argv):
    greeting = flags.read(Greeting)
    if greeting.name == "nobody":
        raise errors.UserError("names.csv, row 3: name is 'nobody'; expected a person")
    if greeting.name == "interrupt":
        raise KeyboardInterrupt
    if greeting.name == "disk":
        open("/dev/full", "wb", buffering=0).write(b"text")
    if greeting.name == "folder":
        open("/dev/null/report.md", "w")
    if greeting.name == "bug":
        raise RuntimeError("ours")
    print("hello", *[greeting.name] * greeting.times)


if __name__ == "__main__":
    flags.run(main)
'''


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """Two scripts with the same flag names and different defaults."""
    for name, times in (("greet_once_script", 1), ("greet_twice_script", 2)):
        (tmp_path / f"{name}.py").write_text(
            textwrap.dedent(SCRIPT).replace("{times}", str(times))
        )
    monkeypatch.syspath_prepend(str(tmp_path))


def test_two_scripts_with_the_same_flags_run_in_one_process(scripts, capsys):
    argv = list(sys.argv)
    assert flags.call("greet_once_script", ["--name=ann"]) == 0
    assert flags.call("greet_twice_script", ["--name=bob"]) == 0
    assert flags.call("greet_twice_script") == 0
    assert capsys.readouterr().out == "hello ann\nhello bob bob\nhello you you\n"
    assert sys.argv == argv and "times" not in absl_flags.FLAGS


def test_help_lists_the_script_s_flags_with_default_and_exits_0(scripts, capsys):
    assert flags.call("greet_twice_script", ["--help"]) == 0
    out = capsys.readouterr().out
    assert "Greets politely." in out
    assert "--times: greetings" in out and "(default: '2')" in out
    assert "whom to greet" in out


@pytest.mark.parametrize(
    "argument, code, message",
    [
        ("--name=nobody", 2, "error: names.csv, row 3: name is 'nobody'; expected a person\n"),
        ("--times=x", 2, "error: flag --times=x"),
        ("--nmae=x", 2, "error: Unknown command line flag 'nmae'. Did you mean: name ?"),
        ("stray", 2, "error: unexpected argument 'stray'"),
        ("--name=interrupt", 130, "interrupted\n"),
        ("--name=disk", 2, "error: No space left on device\n"),
        ("--name=folder", 2, "error: /dev/null/report.md: Not a directory\n"),
    ],
)
def test_a_mistake_ends_in_a_message_and_a_code(scripts, capsys, argument, code, message):
    assert flags.call("greet_once_script", [argument]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith(message)
    assert "Traceback" not in captured.err and captured.out == ""


def test_a_bug_of_ours_keeps_its_traceback(scripts):
    with pytest.raises(RuntimeError, match="ours"):
        flags.call("greet_once_script", ["--name=bug"])


def test_a_script_that_runs_another_keeps_its_own_flags(scripts, tmp_path, capsys):
    (tmp_path / "greet_both_script.py").write_text(
        textwrap.dedent(SCRIPT)
        .replace("{times}", "3")
        .replace(
            "print(", 'assert flags.call("greet_once_script", ["--name=ann"]) == 0; print('
        )
    )
    assert flags.call("greet_both_script", ["--name=bob"]) == 0
    assert capsys.readouterr().out == "hello ann\nhello bob bob bob\n"
    (tmp_path / "greet_then_fail_script.py").write_text(
        textwrap.dedent(SCRIPT)
        .replace("{times}", "3")
        .replace("    greeting = ", '    flags.call("greet_once_script")\n    greeting = ')
    )
    assert flags.call("greet_then_fail_script", ["--name=nobody"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: names.csv") and "Traceback" not in captured.err


def test_an_element_with_a_comma_stands_in_double_quotes():
    words = parsed("--output=o", '--goals="a,b", c ,"say ""hi""",5" screen')
    read = flags.read(Tower, flag_values=words)
    assert read.goals == ("a,b", "c", 'say "hi"', '5" screen')
    # Written as one would type it: the same comes back.
    again = parsed("--output=o", words["goals"].serialize())
    assert flags.read(Tower, flag_values=again).goals == read.goals


def test_a_quotation_mark_that_is_not_closed_is_named():
    with pytest.raises(absl_flags.Error, match="goals.*double quotes"):
        parsed("--output=o", '--goals="a,b')


def test_a_warning_goes_beside_errors(capsys):
    flags.warn("odd")
    flags.warn("")
    assert capsys.readouterr() == ("", "warning: odd\n")
