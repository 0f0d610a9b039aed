"""The command line: parse, call, print, exit code. No other package prints. Only workers, `show` and `doctor` import torch."""

import atexit
import gc

from resexp import config, runs
from resexp.cli import configs, dissecting, exporting, listing, probing, reporting, reproduction, timing, training
from resexp.cli.output import prepare_streams
from resexp.cli.program import FAILED, USAGE, app, fail

GARBAGE = 100_000  # objects between two collections: imports create many objects, and hardly any garbage


def main() -> None:
    """Runs the program and prints every expected error as one line on stderr, with an exit code."""
    gc.set_threshold(GARBAGE)
    atexit.register(gc.freeze)  # at exit, Python would search all modules for garbage
    prepare_streams()
    try:
        app(prog_name="resexp")  # also for `python -m resexp`, so that completion works there
    except (config.ConfigError, runs.RunsError) as error:
        fail(str(error), USAGE)
    except OSError as error:
        file = f"{error.filename}: " if error.filename else ""
        fail("; ".join([f"{file}{error.strerror or error}", *getattr(error, "__notes__", ())]), FAILED)
