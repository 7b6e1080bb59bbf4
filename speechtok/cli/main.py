"""Entry point: finds the sub-command, turns errors into one sentence and an exit code.

Exit codes: 0 done; 1 the work failed or the data are damaged; 2 wrong usage; 130 and 143 stopped by
Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import signal
import sys
import traceback
from types import FrameType
from typing import Any, NoReturn

import click

from speechtok.cli.group import LazyGroup
from speechtok.cli.options import VERBOSE
from speechtok.cli.printing import say
from speechtok.errors import CardError, SpeechtokError
from speechtok.version import __version__

COMMANDS = (
    "tokenizers",
    "check",
    "tokenize",
    "run",
    "retry",
    "status",
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
    "demo",
)
"""Sub-commands, each in the module of its name, where a hyphen is an underscore."""


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
    """Run one command and return its exit code; errors become one sentence on stderr."""
    state: dict[str, Any] = {}
    try:
        result = cli.main(arguments, prog_name="speechtok", standalone_mode=False, obj=state)
    except (KeyboardInterrupt, click.Abort):
        return _fail(
            "Stopped by Ctrl-C; finished work is kept, and the same command goes on from there.", 130
        )
    except Terminated:
        return _fail(
            "Stopped by SIGTERM; finished work is kept, and the same command goes on from there.", 143
        )
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        hint = f" See '{error.ctx.command_path} --help'." if error.ctx else ""
        return _fail(f"{' '.join(error.format_message().split())}{hint}", 2)
    except BrokenPipeError:
        return 1
    except (SpeechtokError, ValueError, TypeError, OSError) as error:
        if state.get(VERBOSE):
            for line in traceback.format_exc().splitlines():
                say(line, err=True)
        return _fail(str(error), 2 if isinstance(error, CardError | ValueError | TypeError) else 1)
    return result if isinstance(result, int) else 0


def _fail(sentence: str, code: int) -> int:
    """Print an error, whatever of the data it names, as one line."""
    say(f"speechtok: {sentence}", err=True)
    return code


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
