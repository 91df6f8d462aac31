"""Rules for the names that a user chooses: feedback columns, units, goals and agents.

Names occur in the grammar of the measurements (`click@1..3`, `mean(click)`), in flags with
comma-separated lists, Markdown tables, terminal markup, plots and requests. A name that one of
these would misread is rejected on input.
"""

import re
from collections.abc import Iterable

from tfrec.errors import UserError

MAX_LENGTH = 64  # characters

_FEEDBACK = re.compile(r"[^\W\d_]\w*")
_LABEL = re.compile(r"[^\W\d_]([\w .-]*[\w.-])?")
_MARKUP = re.compile(r"[\[\]|`<>*\\$\"]")

# Feedback column names that already mean something, in lower case.
RESERVED = {
    **dict.fromkeys(("step", "exit", "mean", "embedding"), "a word of the measurements"),
    **dict.fromkeys(
        ("user", "item", "time_ms", "category", "propensity"),
        "a column of the interaction table",
    ),
    **dict.fromkeys(("reward", "ctr", "depth", "share"), "a metric of the reports"),
}


def check_feedback(name: str, kind: str, unit: str) -> None:
    """Checks the name, the kind and the unit of a feedback column.

    Args:
      name: the column's name in measurements, goals and requests.
      kind: `binary` or `amount`.
      unit: unit of the values, e.g. `seconds`.

    Raises:
      UserError: naming the column, the reason and how to rename it.
    """
    if kind not in ("binary", "amount"):
        raise UserError(
            f"feedback column {name!r}: kind is {kind!r}; expected binary or amount"
        )
    if name.lower() in RESERVED:
        reason = f"{name!r} is {RESERVED[name.lower()]}"
    elif not _FEEDBACK.fullmatch(name) or len(name) > MAX_LENGTH:
        reason = (
            "expected a letter, then letters, digits and underscores, "
            f"at most {MAX_LENGTH} characters"
        )
    else:
        reason = ""
    if reason:
        new = f"feedback_{re.sub(r'[^0-9A-Za-z]+', '_', name)[:32].strip('_')}".rstrip("_")
        raise UserError(
            f"feedback column {name!r}: {reason}. Give it another name, with new=column:kind:"
            f"unit, for example --feedback='{new}={name}:{kind}:{unit}'"
        )
    if not unit or len(unit) > MAX_LENGTH or not unit.isprintable() or _MARKUP.search(unit):
        raise UserError(
            f"feedback column {name!r}: the unit is {unit!r}; expected 1 to {MAX_LENGTH} "
            'printable characters without any of [ ] | ` < > * \\ $ "'
        )


def check_label(what: str, name: str) -> None:
    """Checks the name of a goal or an agent, which occurs in requests, tables and plots.

    Args:
      what: kind of the named thing, for the message.
      name: the name.

    Raises:
      UserError: with the name and what was expected.
    """
    if not _LABEL.fullmatch(name) or len(name) > MAX_LENGTH:
        raise UserError(
            f"{what} name {name!r}: expected a letter, then letters, digits, underscores, "
            f"hyphens, dots and spaces, at most {MAX_LENGTH} characters"
        )


def check_distinct(what: str, names: Iterable[str]) -> None:
    """Checks that names differ by more than upper and lower case.

    Args:
      what: kind of the named things, for the message, e.g. `feedback column`.
      names: the names.

    Raises:
      UserError: with the first name that repeats another one.
    """
    seen: dict[str, str] = {}
    for name in names:
        earlier = seen.get(name.casefold())
        if earlier == name:
            raise UserError(f"{what} {name!r} is given twice")
        if earlier is not None:
            raise UserError(f"{what} {name!r} differs from {earlier!r} by case alone")
        seen[name.casefold()] = name
