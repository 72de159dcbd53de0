"""Errors that a user can mend: one line each, saying what, where, what was got and what was wanted."""

from __future__ import annotations


class BpttError(Exception):
    """Base of every error of ours."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came: a command ends as after Ctrl-C, with another exit code."""


class UsageError(BpttError):
    """The request is wrong (unknown name, unreadable JSON, a target that cannot be loaded).  The command ends with exit code 2."""


class NotInstalled(UsageError):
    """A target wants a framework or a GPU that is not here: beside others it is left out, and said; alone it is a UsageError like any."""


class ContractError(BpttError):
    """A subject broke the plug-in contract (wrong shape, missing key, not an array) while it was being run."""


class SubjectError(BpttError):
    """A subject's own code raised while it was being run; the text says what and on which line."""
