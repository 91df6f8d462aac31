"""Errors that a person can act on."""


class UserError(Exception):
    """A mistake in what the user gave us: a log, a flag, a path, a request.

    The message names the file, row, field and value concerned, what was
    expected, and what to do about it. Launch scripts print only the message,
    without a traceback, and exit with code 2.
    """
