"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes


def give_back_freed() -> None:
    """Returns what the C library keeps of freed memory, where it can (glibc).

    A closed session leaves its weights behind as free heap, which the next arrays, mapped one by
    one, do not use: without this, a process holds them beside what comes after.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
