"""Arguments of the benchmarks have bounds, and an error names argument, value and bound."""

import pytest

from benchmarks import command_line


@pytest.fixture
def parser():
    benchmark_parser = command_line.parser("A benchmark.\n\nMore.")
    benchmark_parser.add_argument("--repeats", type=command_line.at_least(1), default=5)
    benchmark_parser.add_argument(
        "--seconds", type=command_line.at_least(0, float), default=1.0
    )
    benchmark_parser.add_argument(
        "--sizes", type=command_line.separated(command_line.at_least(2))
    )
    benchmark_parser.add_argument("--pair", type=command_line.separated(int, exactly=2))
    benchmark_parser.add_argument("--way", type=command_line.one_of("ours", "plain"))
    benchmark_parser.add_argument("--data", type=command_line.folder)
    benchmark_parser.add_argument("--log", type=command_line.file)
    return benchmark_parser


def test_values_are_read(parser, tmp_path):
    log = tmp_path / "log.csv"
    log.touch()
    texts = ["--repeats=1", "--seconds=0.5", "--sizes=2,30", "--pair=4,5", "--way=ours"]
    flags = parser.parse_args([*texts, f"--data={tmp_path}", f"--log={log}"])
    assert (flags.repeats, flags.seconds, flags.sizes, flags.pair) == (1, 0.5, (2, 30), (4, 5))
    assert (flags.way, flags.data, flags.log) == ("ours", str(tmp_path), str(log))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--repeats=0", "argument --repeats: 0 is out of range; expected at least 1"),
        ("--repeats=many", "argument --repeats: invalid int value: 'many'"),
        ("--seconds=-1", "argument --seconds: -1 is out of range; expected at least 0"),
        ("--seconds=inf", "argument --seconds: inf is out of range"),
        ("--seconds=nan", "argument --seconds: nan is out of range"),
        ("--sizes=5,1", "argument --sizes: 1 is out of range; expected at least 2"),
        ("--pair=5", "argument --pair: 5 has 1 values; expected 2"),
        ("--way=other", "argument --way: other; expected one of ours, plain"),
        ("--data=nowhere", "argument --data: nowhere is no folder"),
        ("--log=nowhere", "argument --log: nowhere is no file"),
        ("--repeat=1", "unrecognized arguments: --repeat=1"),
    ],
)
def test_an_error_names_argument_value_and_bound(parser, capsys, given, message):
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args([given])
    assert message in capsys.readouterr().err
