"""The error that people see."""

from __future__ import annotations


class ConfpressError(Exception):
    """An error the user can mend; its text is one sentence that says what is wrong and where."""
