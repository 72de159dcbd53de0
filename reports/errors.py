"""Errors of reading and writing records."""

from __future__ import annotations


class RecordError(Exception):
    """A file or a dict that is not the record it should be: one line with the place, what was found there and what was wanted."""
