"""The command line: ``internimage COMMAND``.  Argument parsing only; each command calls one room."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from types import FrameType
from typing import Annotated, Any

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

from internimage.cli.ask import Ask
from internimage.cli.batch import Batch
from internimage.cli.benchmark import Benchmark
from internimage.cli.caption import Caption
from internimage.cli.common import max_pixels, pixel_limit
from internimage.cli.convert import Convert
from internimage.cli.data import Data
from internimage.cli.demo import Demo
from internimage.cli.doctor import Doctor
from internimage.cli.evaluate import Evaluate
from internimage.cli.export import Export
from internimage.cli.features import Features
from internimage.cli.models import Models
from internimage.cli.predict import Predict
from internimage.cli.search import Search
from internimage.cli.serve import Serve
from internimage.cli.train import Train, train_command
from internimage.errors import ConfigError, InternImageError


def _commands(arguments: list[str]) -> Any:
    """All commands.  What ``train`` takes, and its defaults, depend on the model and the data that it is given."""
    command = Train()
    if arguments[:1] == ["train"]:
        command = train_command(partial(_value_of, arguments))
    train = subcommand("train", default=command)
    return (
        Annotated[Demo, subcommand("demo")]
        | Annotated[Models, subcommand("models")]
        | Annotated[Predict, subcommand("predict")]
        | Annotated[Features, subcommand("features")]
        | Annotated[Caption, subcommand("caption")]
        | Annotated[Ask, subcommand("ask")]
        | Annotated[type(command), train]
        | Annotated[Evaluate, subcommand("evaluate")]
        | Annotated[Search, subcommand("search")]
        | Annotated[Data, subcommand("data")]
        | Annotated[Convert, subcommand("convert")]
        | Annotated[Export, subcommand("export")]
        | Annotated[Serve, subcommand("serve")]
        | Annotated[Batch, subcommand("batch")]
        | Annotated[Benchmark, subcommand("benchmark")]
        | Annotated[Doctor, subcommand("doctor")]
    )


def _value_of(arguments: list[str], option: str) -> str | None:
    for argument, following in zip(arguments, [*arguments[1:], None], strict=True):
        if argument == option:
            return following
        if argument.startswith(f"{option}="):
            return argument.removeprefix(f"{option}=")
    return None


def _refuse_empty(arguments: list[str]) -> None:
    """Raise :class:`ConfigError` for a value that is empty, as a variable without one leaves it: no path is meant."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        option, equals, value = argument.partition("=")
        if not argument:
            option = before if before.startswith("--") and "=" not in before else "an argument"
        elif value or not equals or not option.startswith("--"):
            continue
        raise ConfigError(f"{option} is empty; expected a value, or leave it out (internimage {arguments[0]} --help)")


def _present_spelling(arguments: list[str]) -> list[str]:
    """Options under the names that they had before, with a warning; for one release."""
    if arguments[:1] == ["predict"]:
        renamed = {"--score": "--score-threshold"}
    elif arguments[:1] == ["train"]:
        renamed = {"--cpu": "--device=cpu"}
    else:
        return arguments
    spelled = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if option in renamed:
            print(f"internimage: {option} is now called {renamed[option].replace('=', ' ')}", file=sys.stderr)
            argument = f"{renamed[option]}{equals}{value}"
        spelled.append(argument)
    return spelled


def parse(arguments: list[str]) -> Any:
    """The command that the arguments describe; wrong usage exits with status 2.

    Raises:
        InternImageError: settings that do not work, as they say it themselves.
    """
    _refuse_empty(arguments)
    arguments = _present_spelling(arguments)
    said = _Held()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                _commands(arguments),
                prog="internimage",
                description="InternImage vision models on any machine. Start with: internimage demo",
                args=arguments,
                config=(OmitArgPrefixes, OmitSubcommandPrefixes),
            )
    except SystemExit as end:
        cause: BaseException | None = end
        while cause is not None:  # Tyro shows the errors of our settings with the names that it has inside
            if isinstance(cause, InternImageError):
                raise cause from None
            cause = cause.__context__
        print(said.getvalue(), end="", file=sys.stderr)
        raise


class _Held(io.StringIO):
    """What is meant for stderr, with its colours if it has such."""

    def isatty(self) -> bool:
        return sys.__stderr__ is not None and sys.__stderr__.isatty()


def main(arguments: list[str] | None = None) -> None:
    """Entry point.  Exit status: 0 done, 1 something failed, 2 wrong usage, 130 and 143 stopped by a signal."""
    given = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files and classes have characters that not all pipes take
            stream.reconfigure(errors="replace")
    try:
        with warnings.catch_warnings(), _termination():
            warnings.showwarning = _show_warning
            if given[:1] == ["--version"]:
                print(f"internimage {version('internimage')}")
                status = 0
            else:
                command = parse(given)
                with pixel_limit(max_pixels(command)):
                    status = command.run()
            sys.stdout.flush()
    except InternImageError as error:
        print(f"internimage: {error}", file=sys.stderr)
        status = 1
    except ModuleNotFoundError as error:  # installed without PyTorch, to run exported files
        print(f"internimage: this needs {error.name}, which is not installed: pip install internimage", file=sys.stderr)
        status = 1
    except BrokenPipeError:  # `internimage ... | head`
        sys.stderr.close()
        status = 0
    except OSError as error:  # a full disk, a file where a folder was to be, no permission
        where = f"{error.filename}: " if error.filename else ""
        print(f"internimage: {where}{error.strerror or error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print("internimage: interrupted", file=sys.stderr)
        status = 130
    sys.exit(status)


@contextlib.contextmanager
def _termination() -> Iterator[None]:
    """Within it SIGTERM ends the command with status 143, after files that are half-written were taken away."""

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    try:
        previous = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not in the main thread, where signals cannot be handled
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    """One line, without the place in the code."""
    print(f"internimage: warning: {message}", file=sys.stderr)
