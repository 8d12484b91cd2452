"""What people and machines read: tables on standard output, steps on standard error, JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, TypeAdapter
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from ..passes.errors import ConfpressError
from ..runtime.cache import Cache, user_cache_folder

#: Where the output is no terminal (a file, a pipe), lines are not folded at 80 columns.
_PLAIN_WIDTH = 200


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        number: Whether it holds numbers, which stand to the right.
    """

    title: str
    number: bool = False


def print_table(title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table on standard output; cells are plain text."""
    if title:
        output().print(title, markup=False, highlight=False, soft_wrap=True, style="bold")
    table = Table(box=None)
    for index, column in enumerate(columns):
        table.add_column(
            escape(column.title),
            justify="right" if column.number else "left",
            no_wrap=column.number,
            min_width=_widest(column, [row[index] for row in rows]) if column.number else None,
            overflow="fold",
            header_style="dim",
        )
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console = output()
    # What is wider than the terminal is folded by it: a number that is cut tells another one.
    unlimited = console.options.update_width(sys.maxsize)
    least = Measurement.get(console, unlimited, table).minimum
    console.size = ConsoleDimensions(max(console.width, least), console.height)
    console.print(table)


def _widest(column: Column, cells: Sequence[str]) -> int:
    return max(cell_len(text) for text in (column.title, *cells))


def print_line(text: str) -> None:
    """Prints a line on standard output."""
    output().print(text, markup=False, highlight=False, soft_wrap=True)


def print_step(text: str) -> None:
    """Tells on standard error what has just been done."""
    console = Console(file=sys.stderr)
    console.print(text, markup=False, highlight=False, soft_wrap=True, style="dim")


def user_cache(*, quiet: bool = False) -> Cache:
    """What is known from earlier runs of this user; what it says goes to standard error."""
    return Cache(user_cache_folder(), (lambda _: None) if quiet else print_step)


def output() -> Console:
    """Standard output as it is now."""
    if sys.stdout.isatty():
        return Console(file=sys.stdout)
    return Console(file=sys.stdout, width=_PLAIN_WIDTH)


def check_output_file(
    path: Path, inputs: Sequence[Path | None] = (), outside: Path | None = None
) -> None:
    """Refuses an output file that would replace an input, or cannot be a file.

    Args:
        path: The file.
        inputs: What the command reads; None was not given.
        outside: A folder that the command writes as a whole, in which nothing else may lie.

    Raises:
        ConfpressError: one of these is the case.
    """
    real = Path(os.path.realpath(path))
    if real.is_dir():
        raise ConfpressError(f"{path} is a folder, but a file is to be written there.")
    if path.exists() and not path.is_file():
        raise ConfpressError(f"{path} is a device or a pipe, which a file would replace.")
    for given in inputs:
        if given is not None and Path(os.path.realpath(given)) == real:
            raise ConfpressError(f"{path} would replace the input {given}; choose another name.")
    if outside is not None and Path(os.path.realpath(outside)) in (real, *real.parents):
        raise ConfpressError(f"{path} lies in the result {outside}; choose a place outside it.")
    if not real.parent.is_dir():
        raise ConfpressError(f"there is no folder {real.parent} to write {real.name} in.")
    if not os.access(real.parent, os.W_OK):
        raise ConfpressError(f"cannot write in {real.parent}: no permission.")


def write_json(path: Path | None, value: object) -> None:
    """Writes a result for machines, whole or not at all.

    Args:
        path: The file; None writes nothing.
        value: A pydantic model, a dataclass or plain data.
    """
    if path is None:
        return
    if isinstance(value, BaseModel):
        text = value.model_dump_json(indent=2)
    else:
        text = TypeAdapter(object).dump_json(value, indent=2).decode()
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a file, whole or not at all; behind a link, the file that it leads to.

    Raises:
        ConfpressError: the file cannot be written.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise ConfpressError(f"cannot write {path}: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)
