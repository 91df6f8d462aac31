"""The command `tfrec`: every launch script is a subcommand.

    tfrec --help
    tfrec prepare-data --out=runs/data    # python -m launch.prepare_data --out=runs/data

Subcommands and their descriptions are read from the sources of the scripts, without importing
them.
"""

import ast
import difflib
import pathlib
import re
import sys

import tfrec
from launch import flags, startup

_FOLDER = pathlib.Path(__file__).parent
_IS_SCRIPT = re.compile(r'^if __name__ == "__main__":', re.MULTILINE)


def scripts() -> dict[str, str]:
    """Returns the launch scripts: subcommand -> first line of the module's docstring."""
    descriptions = {}
    for path in sorted(_FOLDER.glob("*.py")):
        source = path.read_text("utf-8")
        if _IS_SCRIPT.search(source):
            text = ast.get_docstring(ast.parse(source)) or ""
            descriptions[path.stem.replace("_", "-")] = text.partition("\n")[0]
    return descriptions


def usage() -> str:
    """Returns the text of `tfrec --help`."""
    descriptions = scripts()
    width = max(map(len, descriptions))
    lines = "\n".join(f"  {name:{width}}  {text}" for name, text in descriptions.items())
    return (
        "Trains, evaluates and serves recommenders that optimise a session.\n\n"
        "usage: tfrec COMMAND [--flag=value ...]\n"
        "       tfrec COMMAND --help     the flags of a command\n"
        "       tfrec --help | --version\n\n"
        f"commands:\n{lines}"
    )


def main() -> int:
    """Runs the subcommand that the command line names, as `python -m launch.NAME` would.

    Returns:
      The exit code.
    """
    name, *arguments = sys.argv[1:] or [""]
    if name in ("--help", "-h"):
        print(usage())
        return 0
    if name == "--version":
        print(f"tfrec {tfrec.__version__}")
        return 0
    descriptions = scripts()
    if name not in descriptions:
        print(f"error: {_unknown(name, list(descriptions))}", file=sys.stderr)
        return flags.EXIT_USER_ERROR
    startup.defer_imports()
    return flags.call(f"launch.{name.replace('-', '_')}", arguments)


def _unknown(name: str, commands: list[str]) -> str:
    """Returns the message for a first argument that is not a subcommand."""
    if not name or name.startswith("-"):
        given = f"tfrec {name}".rstrip()
        return f"{given}: expected a command first; tfrec --help lists all"
    near = difflib.get_close_matches(name.replace("_", "-"), commands, n=1)
    suggestion = f"; did you mean {near[0]}?" if near else ";"
    return f"tfrec {name}: no such command{suggestion} tfrec --help lists all"
