"""The command line: parse, call, print, exit code. Nothing else prints; torch is imported by workers and `show` only."""

import os
import sys

from resexp import config, runs
from resexp.cli import configs, dissecting, exporting, probing, reproduction, results, timing, training
from resexp.cli.program import FAILED, USAGE, app, stop

__all__ = ["app", "configs", "dissecting", "exporting", "main", "probing", "reproduction", "results", "timing", "training"]


def main() -> None:
    """Runs the program; every expected error is one line on stderr and an exit code."""
    try:
        app()
    except (config.ConfigError, runs.RunsError) as error:
        stop(str(error), USAGE)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        stop("; ".join([f"{where}{error.strerror or error}", *getattr(error, "__notes__", ())]), FAILED)
