"""Results that took long, kept in the user's cache folder by what they depend on.

The cache may be deleted at any time, and never fails a run: what cannot be read is computed, what
cannot be written is forgotten, and both are told in a sentence.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What all files together may take; the oldest go first.
LIMIT_BYTES = 2**30


def user_cache_folder() -> Path:
    """`$XDG_CACHE_HOME/confpress`, or `~/.cache/confpress`."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path is invalid and to be ignored (XDG Base Directory Specification).
    home = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    return home / "confpress"


def _say_nothing(_: str) -> None:
    pass


@dataclass
class Cache:
    """Files by name; a name stands for all that the file's content depends on.

    Attributes:
        folder: Where they lie; None keeps nothing.
        tell: Is told, in a sentence, what was wrong, and what was known already.
    """

    folder: Path | None = None
    tell: Callable[[str], object] = _say_nothing

    def read(self, name: str) -> bytes | None:
        """A file; None where it is not there or cannot be read."""
        if self.folder is None:
            return None
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._give_up("read", error)
            return None

    def write(self, name: str, data: bytes) -> None:
        """Writes a file, whole or not at all."""
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as file:
                try:
                    file.write(data)
                    file.close()
                    Path(file.name).replace(self.folder / name)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
            self._make_room(name)
        except OSError as error:
            self._give_up("write", error)

    def entries(self, name: str) -> Iterator[dict[str, Any]]:
        """The entries of a file that grows by `append`."""
        for line in (self.read(name) or b"").splitlines():
            try:
                entry = json.loads(line) if line else None
            except ValueError:
                self.ignored(name)
                continue
            if isinstance(entry, dict):
                yield entry

    def append(self, name: str, entry: dict[str, Any]) -> None:
        """Adds an entry to a file."""
        if self.folder is None:
            return
        # Where a killed process left half a line, the next one begins behind it.
        data = f"\n{json.dumps(entry)}\n".encode()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / name).open("ab", buffering=0) as file:
                file.write(data)
        except OSError as error:
            self._give_up("write", error)

    def ignored(self, name: str) -> None:
        """Tells that what a file holds is of no use."""
        self.tell(f"{self.folder}/{name} is damaged in part, which is ignored.")

    def _make_room(self, newest: str) -> None:
        assert self.folder is not None
        files = [(path, path.stat()) for path in self.folder.iterdir() if path.is_file()]
        total = sum(state.st_size for _, state in files)
        for path, state in sorted(files, key=lambda pair: pair[1].st_mtime):
            if total <= LIMIT_BYTES:
                break
            if path.name != newest:
                path.unlink(missing_ok=True)
                total -= state.st_size

    def _give_up(self, verb: str, error: OSError) -> None:
        self.tell(f"cannot {verb} the cache {self.folder}: {error.strerror}; going on without it.")
        self.folder = None
