"""The command line: finds commands by name, and turns every error into one sentence."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import click

from ..passes.errors import ConfpressError

#: Commands in the order of `--help`; each stands in `commands/<name>.py` under its own name.
COMMANDS = (
    "demo",
    "optimize",
    "inspect",
    "simplify",
    "prune",
    "sparsify",
    "quantize",
    "lower",
    "validate",
    "compare",
    "bench",
    "profile",
    "audit",
    "transcribe",
    "package",
    "unpack",
    "kernels",
    "export",
    "train",
    "finetune",
)

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
#: Set to see where an error comes from.
DEBUG_VARIABLE = "CONFPRESS_DEBUG"


class Commands(click.Group):
    """Imports a command's module when the command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of a first use, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".commands.{cmd_name}", __package__)
        command = module.command
        assert isinstance(command, click.Command)
        return command


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from .. import __version__

        click.echo(f"confpress {__version__}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and stop.",
)
def cli() -> None:
    """Makes a trained Conformer, exported to ONNX, smaller and faster, with the proof beside it.

    \b
    See it work (about two minutes):
      confpress demo
    Your own model, with speech to calibrate on and speech to judge by:
      confpress optimize model.onnx -o out --calibration calls/ --validation test.tsv
    Only what needs no data:
      confpress optimize model.onnx -o out --preset lossless
    What is in a file, and where its parameters sit:
      confpress inspect model.onnx

    Every command has --help with examples, and --json FILE for machines. A bad input is
    answered with one sentence and a non-zero exit status, and nothing is written.
    """  # noqa: D301 (\b tells click to keep lines)


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
        arguments: Without the program's name; those of this process by default.

    Returns:
        The exit status: 0 done, 1 error, 2 wrong usage, 3 and 4 as a command's help says,
        130 interrupted, 143 terminated.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with _terminable():
            # Commands that report how they were called find it as the context's object.
            status = cli.main(
                args=given,
                prog_name="confpress",
                standalone_mode=False,
                obj=("confpress", *given),
            )
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted.", EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output (`head`) has what it wanted.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        return _fail(sentence(error), EXIT_ERROR)


def sentence(error: Exception) -> str:
    """What went wrong, in one sentence."""
    if isinstance(error, ConfpressError):
        said = str(error)
        return said if said.endswith((".", "?", "!")) else f"{said}."
    if isinstance(error, OSError) and error.strerror:
        names = " and ".join(str(n) for n in (error.filename, error.filename2) if n is not None)
        return f"{names + ': ' if names else ''}{error.strerror}."
    if isinstance(error, MemoryError):
        return "there is not enough memory for this."
    text = " ".join(str(error).split())
    return (
        f"this is a fault of Confpress ({type(error).__name__}: {text}); please report it with "
        f"the output of the same command under {DEBUG_VARIABLE}=1."
    )


def _fail(message: str, status: int) -> int:
    click.echo(f"Error: {message}", err=True)
    return status


@contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM unwind the program, so that what it was writing is cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        # Signals belong to the main thread; elsewhere somebody else handles them.
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(EXIT_TERMINATED)


def main() -> NoReturn:
    """The entry point of the `confpress` script."""
    sys.exit(run())
