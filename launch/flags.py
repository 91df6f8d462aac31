"""Flags of the launch scripts, defined by frozen dataclasses and read into them.

A script is a dataclass or two, a main, and one line to run it:

    flags.define(PrepareConfig)                  # at module level: one flag per field
    flags.define(RecurrentModelConfig, "simulator_")  # --simulator_hidden and so on

    def main(argv):
        config = flags.read(PrepareConfig)
        ...

    if __name__ == "__main__":
        flags.run(main)

A configuration is a subclass of `Options` whose fields are declared with
`option(default, help, at_least=...)` and `required(help)` of tfrec/options.py: a
value out of its range is a mistake of the user. Annotations
may be int, float, str, bool, `tuple[int, ...]` (also of float and str; `--units=64,32`),
`Literal["a", "b"]`, or the first four `| None`. Paths of a script are fields of such a
dataclass, too.

Exit codes: 0 done (also `--help`), 2 a mistake of the user or a full disk (a message, never
a traceback), 130 Ctrl-C, and the exit codes of a training loop.

Scripts share absl's single set of flags, so no script imports another. `call` runs a script
inside this process, as `python -m` would, and then removes its flags. Tests use it to run a
script's main without another import of TensorFlow, and scripts to run other scripts.
"""

import csv
import dataclasses
import io
import itertools
import re
import runpy
import sys
import types
import typing
import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from absl import app, logging
from absl import flags as absl_flags

from launch import startup
from tfrec import errors, options, outputs

Config = TypeVar("Config")

absl_flags.disclaim_key_flags()  # a flag belongs to the script that calls define()

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def define(
    config_class: type,
    prefix: str = "",
    flag_values: absl_flags.FlagValues = absl_flags.FLAGS,
) -> None:
    """Defines one flag for each field of a dataclass.

    Args:
      config_class: a frozen dataclass.
      prefix: prefix of every field's name, for two configs in one script.
      flag_values: set of flags; absl's set except in tests.

    Raises:
      TypeError: if a field's annotation is not listed above.
    """
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        if field.default_factory is not dataclasses.MISSING:
            raise TypeError(f"{config_class.__name__}.{field.name}: use a plain default")
        is_required = field.default is dataclasses.MISSING
        parser = _parser(hints[field.name])
        if parser is None:
            raise TypeError(
                f"{config_class.__name__}.{field.name}: no flag for {hints[field.name]}"
            )
        text = options.help_of(field)
        if is_required:
            text = f"{text} (required)"
        elif field.default is None:
            text = f"{text} (default: none)"
        name = prefix + field.name
        default: Any = None if is_required else field.default
        if isinstance(parser, absl_flags.BooleanParser):  # --flag and --noflag
            absl_flags.DEFINE_boolean(
                name, default, text, flag_values=flag_values, required=is_required
            )
        else:
            absl_flags.DEFINE(
                parser, name, default, text, flag_values, _Serializer(), required=is_required
            )


def early_value(name: str, choices: Collection[str], default: str = "") -> str:
    """Returns the value of a flag before flags are parsed; call it at module level.

    Other flags may then depend on it. The flag itself is defined like any other, and parsing
    rejects a bad value.

    Args:
      name: name of the flag.
      choices: values of the flag.
      default: value if the command line has none of the choices.
    """
    words = sys.argv[1:]
    last = default
    for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
        flag, equals, value = word.partition("=")
        if flag in (f"--{name}", f"-{name}"):
            value = value if equals else following
            last = value if value in choices else last
    return last


def define_dependent(
    name: str, choices: Collection[str], config_of: Callable[[str], type], default: str = ""
) -> None:
    """Defines the flags of a class that depends on another flag; call it at module level.

    Args:
      name: name of the other flag.
      choices: values of the other flag.
      config_of: returns the class of a value.
      default: value if the command line has none of the choices; "" for no class.
    """
    if value := early_value(name, choices, default):
        define(config_of(value))


def read(
    config_class: type[Config],
    prefix: str = "",
    flag_values: absl_flags.FlagValues = absl_flags.FLAGS,
) -> Config:
    """Returns the dataclass with the values of its flags; call it inside main.

    Args:
      config_class: a class given to `define` with the same prefix.
      prefix: as given to `define`.
      flag_values: as given to `define`.

    Raises:
      UserError: if the class rejects a value (ValueError in `__post_init__`); it names the
        flags of the fields in the message.
    """
    fields = [field.name for field in dataclasses.fields(config_class)]  # type: ignore[arg-type]
    try:
        return config_class(**{name: flag_values[prefix + name].value for name in fields})
    except ValueError as error:
        named = [name for name in fields if re.search(rf"\b{name}\b", str(error))]
        flags = ", ".join(
            f"--{prefix}{name}={flag_values[prefix + name].serialize().partition('=')[2]}"
            for name in named
        )
        raise errors.UserError(f"{flags or config_class.__name__}: {error}") from error


def assigned(name: str, config_classes: Sequence[type[Any]], texts: Sequence[str]) -> list[Any]:
    """Reads `field=value` texts of a flag as fields of several classes.

    Args:
      name: name of the flag.
      config_classes: the classes; a field that several of them have is given to each.
      texts: the texts; a value is written as on the command line of the field's flag.

    Returns:
      The fields of each class, field -> value, in the order of the classes.

    Raises:
      UserError: if no class has such a field, or a value is not of its type or range.
    """
    fields: list[dict[str, Any]] = [{} for _ in config_classes]
    known = [(x, typing.get_type_hints(x)) for x in config_classes]
    for text in texts:
        field, equals, written = text.partition("=")
        owners = [n for n, (_, hints) in enumerate(known) if field in hints]
        if not equals or not owners:
            names = sorted({field for _, hints in known for field in hints})
            raise errors.UserError(
                f"--{name}={text}: expected field=value with a field of {', '.join(names)}"
            )
        for owner in owners:
            config_class, hints = known[owner]
            parser = _parser(hints[field])
            try:
                assert parser is not None, f"no flag for {hints[field]}"
                fields[owner][field] = parser.parse(written)
                config_class(**fields[owner])
            except ValueError as error:
                raise errors.UserError(f"--{name}={text}: {error}") from error
    return fields


def run(main: Callable[[list[str]], int | None]) -> typing.NoReturn:
    """Parses the command line, runs main and exits; the last line of a script.

    Every script has the flag `--verbose`, which `launch.startup` reads before flags are parsed.

    Args:
      main: takes the argument of absl, a list with the program's name alone, since
        positional arguments are rejected; returns an exit code or None.
    """
    absl_flags.DEFINE_boolean(
        "verbose",
        False,
        "show the messages of TensorFlow and other libraries",
        module_name=sys.argv[0],  # a key flag of the script, which --help lists
    )

    def guarded(argv: list[str]) -> int | None:
        if not startup.is_verbose():
            logging.set_verbosity(logging.WARNING)  # absl shows all once flags are parsed
        try:
            startup.load_deferred()
            return main(argv)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return EXIT_INTERRUPTED
        except Exception as error:
            message = message_of(error)
            if message is None:
                raise
            print(f"error: {message}", file=sys.stderr)
            return EXIT_USER_ERROR

    app.run(guarded, flags_parser=_parse)


def message_of(error: Exception) -> str | None:
    """Returns the message of a user's error; None for an error with a traceback."""
    return str(error) if isinstance(error, errors.UserError) else outputs.reason(error)


def warn(message: str) -> None:
    """Prints a warning on standard error; nothing for an empty message."""
    if message:
        print(f"warning: {message}", file=sys.stderr)


def call(module: str, arguments: Sequence[str] = ()) -> int:
    """Runs a launch script inside this process, as `python -m module` would.

    Args:
      module: e.g. `launch.prepare_data`.
      arguments: the command line after the script's name.

    Returns:
      The exit code. An exception that is not a user's error is raised.
    """
    app.define_help_flags()  # absl defines them once only, so they must not be removed below
    # The calling script has flags, too, perhaps of the same names.
    caller_flags = {
        name: absl_flags.FLAGS[name]
        for name in list(absl_flags.FLAGS)
        if not str(absl_flags.FLAGS.find_module_defining_flag(name, "")).startswith("absl")
    }
    for name in caller_flags:
        delattr(absl_flags.FLAGS, name)
    before, argv, parsed = set(absl_flags.FLAGS), sys.argv, absl_flags.FLAGS.is_parsed()
    sys.argv = [module, *arguments]
    try:
        with warnings.catch_warnings():
            # runpy warns about a script that was imported before, and runs it again.
            warnings.filterwarnings("ignore", message=".*found in sys.modules", module="runpy")
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        return 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = argv
        for name in set(absl_flags.FLAGS) - before:
            delattr(absl_flags.FLAGS, name)
        absl_flags.FLAGS.unparse_flags()
        for name, flag in caller_flags.items():
            absl_flags.FLAGS[name] = flag
        if parsed:  # the caller's flags keep their values
            absl_flags.FLAGS.mark_as_parsed()


def _parse(argv: list[str]) -> list[str]:
    """Parses as absl does, but exits with 2 for a mistake and 0 after printing help."""
    try:
        rest = absl_flags.FLAGS(argv)
    except absl_flags.Error as error:
        print(f"error: {error}\nPass --help to see every flag.", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except SystemExit:  # only the help flags exit here, with 1 in absl
        sys.exit(0)
    if len(rest) > 1:
        print(
            f"error: unexpected argument {rest[1]!r}; every option is a flag, --name=value",
            file=sys.stderr,
        )
        sys.exit(EXIT_USER_ERROR)
    return rest


class _TupleParser(absl_flags.ArgumentParser):
    """`64,32` -> (64, 32); the empty string is the empty tuple.

    An element with a comma needs double quotes, as in CSV: `"a,b",c`.
    """

    def __init__(self, element: absl_flags.ArgumentParser):
        self.element = element
        self.syntactic_help = (
            f"a comma-separated list; each {element.syntactic_help or 'a word'}"
        )

    def parse(self, argument: Any) -> tuple:
        if isinstance(argument, tuple):
            return argument
        try:
            rows = csv.reader([argument], skipinitialspace=True, strict=True)
            parts = [part.strip() for row in rows for part in row]
        except csv.Error as error:
            raise ValueError(
                f"{error}; an element that has a comma or begins with a quotation mark needs "
                'double quotes, and its quotation marks are doubled: "a,b",c'
            ) from error
        return tuple(self.element.parse(part) for part in parts)

    def flag_type(self) -> str:
        return f"list of {self.element.flag_type()}"


class _Serializer(absl_flags.ArgumentSerializer):
    """Writes a value in --help and error messages as on the command line."""

    def serialize(self, value: Any) -> str:
        if not isinstance(value, tuple):
            return str(value)
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(value)
        return text.getvalue()


_PARSERS: dict[type, Callable[[], absl_flags.ArgumentParser]] = {
    bool: absl_flags.BooleanParser,
    int: absl_flags.IntegerParser,
    float: absl_flags.FloatParser,
    str: absl_flags.ArgumentParser,
}


def _parser(hint: Any) -> absl_flags.ArgumentParser | None:
    """Returns the parser of an annotation, or None if it has no flag."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        choice = absl_flags.EnumParser(list(arguments))
        choice.syntactic_help = f"one of {', '.join(arguments)}"
        return choice
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        element = _parser(arguments[0])
        return _TupleParser(element) if element else None
    if origin in (typing.Union, types.UnionType) and types.NoneType in arguments:
        rest = [argument for argument in arguments if argument is not types.NoneType]
        return _parser(rest[0]) if len(rest) == 1 else None
    return _PARSERS[hint]() if hint in _PARSERS else None
