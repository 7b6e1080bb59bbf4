"""Entry point: finds the sub-command, turns errors into one sentence and an exit code.

Exit codes: 0 done; 1 the work failed or the data are damaged; 2 wrong usage; 130 and 143 stopped by
Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import dis
import os
import select
import shlex
import signal
import sys
import traceback
from types import FrameType
from typing import Any, NoReturn

import click

from speechtok.cli.group import LazyGroup
from speechtok.cli.options import VERBOSE
from speechtok.cli.printing import say
from speechtok.errors import SpeechtokError
from speechtok.redaction import redact
from speechtok.version import __version__

COMMANDS = (
    "tokenizers",
    "check",
    "tokenize",
    "run",
    "retry",
    "update",
    "status",
    "quarantine",
    "verify",
    "stats",
    "evaluate",
    "compare",
    "decode",
    "convert-voice",
    "encode",
    "preprocess",
    "train",
    "push",
    "pull",
    "export",
    "import",
    "annotate",
    "select",
    "filter",
    "merge",
    "join",
    "demo",
)
"""Sub-commands, each in the module of its name, where a hyphen is an underscore."""

RESUMED = (
    "tokenize",
    "run",
    "retry",
    "update",
    "compare",
    "train",
    "push",
    "pull",
    "annotate",
    "select",
    "filter",
    "merge",
    "join",
    "demo",
)
"""Commands that go on where they were stopped."""

MESSAGE = 300
"""Characters of a library's own message that are told."""


class Terminated(BaseException):
    """SIGTERM arrived; raised so that everything is left as tidily as after Ctrl-C."""


@click.group(
    cls=LazyGroup,
    package="speechtok.cli",
    names=COMMANDS,
    name="speechtok",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="speechtok %(version)s")
def cli() -> None:
    """Speech to tokens for speech language models, and tokens back to speech."""


def main() -> NoReturn:
    """Run the command line of this process."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; every error becomes one sentence on stderr."""
    state: dict[str, Any] = {}
    try:
        with cli.make_context("speechtok", list(arguments), obj=state) as context:
            result = cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as error:  # after --help or --version
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return _fail(f"Stopped by Ctrl-C{_advice(arguments)}", 130)
    except Terminated:
        return _fail(f"Stopped by SIGTERM{_advice(arguments)}", 143)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        hint = f" See '{error.ctx.command_path} --help'." if error.ctx else ""
        return _fail(f"{' '.join(error.format_message().split())}{hint}", 2)
    except BaseException as error:  # of any library below; some of those raise no `Exception`
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return 1
        if state.get(VERBOSE):
            for line in redact(traceback.format_exc()).splitlines():
                say(line, err=True)
        if _is_wrong_argument(error):
            return _fail(str(error), 2)
        if isinstance(error, SpeechtokError):
            return _fail(str(error), 1)
        return _fail(_unforeseen(error, arguments), 1)
    return result if isinstance(result, int) else 0


def _advice(arguments: list[str]) -> str:
    if arguments and arguments[0] in RESUMED:
        return "; finished work is kept, and the same command goes on from there."
    return "."


def _nobody_reads() -> bool:
    """Return whether what reads our output has ended, as `head` does, and write no more of it then."""
    try:
        output = sys.stdout.fileno()
    except OSError:  # it is kept in memory
        return False
    pipe = select.poll()
    pipe.register(output, 0)
    if not any(event & select.POLLERR for _, event in pipe.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True


def _is_wrong_argument(error: BaseException) -> bool:
    """Return whether speechtok itself refused an argument; libraries raise `ValueError` for anything."""
    if not isinstance(error, ValueError | TypeError):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or not str(trace.tb_frame.f_globals.get("__name__")).startswith("speechtok."):
        return False
    return dis.opname[trace.tb_frame.f_code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"  # not int("x")


def _unforeseen(error: BaseException, arguments: list[str]) -> str:
    """Return a sentence about an error that no module of speechtok has one for."""
    command = shlex.join(["speechtok", *arguments])
    if isinstance(error, OSError) and error.filename is not None:
        return f"'{command}' failed at {error.filename}: {error.strerror}; --verbose shows the trace."
    what = type(error).__name__
    said = " ".join(str(error).split())
    if said:
        what += f" ({said if len(said) <= MESSAGE else f'{said[:MESSAGE]} …'})"
    return f"'{command}' ended with an unforeseen {what}; --verbose shows the trace."


def _fail(sentence: str, code: int) -> int:
    """Print an error, whatever of the data it names, as one line."""
    say(f"speechtok: {sentence}", err=True)
    return code


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
