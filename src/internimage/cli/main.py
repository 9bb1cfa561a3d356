"""The command line: ``internimage COMMAND``.  Argument parsing only; each command calls one room."""

from __future__ import annotations

import sys
from typing import Annotated

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

from internimage.cli.benchmark import Benchmark
from internimage.cli.convert import Convert
from internimage.cli.data import Data
from internimage.cli.demo import Demo
from internimage.cli.doctor import Doctor
from internimage.cli.evaluate import Evaluate
from internimage.cli.features import Features
from internimage.cli.models import Models
from internimage.cli.predict import Predict
from internimage.cli.train import Train
from internimage.errors import InternImageError

Command = (
    Annotated[Demo, subcommand("demo")]
    | Annotated[Models, subcommand("models")]
    | Annotated[Predict, subcommand("predict")]
    | Annotated[Features, subcommand("features")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Data, subcommand("data")]
    | Annotated[Convert, subcommand("convert")]
    | Annotated[Benchmark, subcommand("benchmark")]
    | Annotated[Doctor, subcommand("doctor")]
)


def main(arguments: list[str] | None = None) -> None:
    """Entry point.  Exit status: 0 done, 1 something failed, 2 wrong usage."""
    command = tyro.cli(
        Command,
        prog="internimage",
        description="InternImage vision models on any machine. Start with: internimage demo",
        args=arguments,
        config=(OmitArgPrefixes, OmitSubcommandPrefixes),
    )
    try:
        status = command.run()
    except InternImageError as error:
        print(f"internimage: {error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print("internimage: interrupted", file=sys.stderr)
        status = 130
    except BrokenPipeError:  # `internimage ... | head`
        sys.stderr.close()
        status = 0
    sys.exit(status)
