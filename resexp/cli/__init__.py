"""The command line: parse, call, print, exit code. No other package prints. Only workers, `show` and `doctor` import torch."""

from resexp import config, runs
from resexp.cli import configs, dissecting, exporting, listing, probing, reporting, reproduction, timing, training
from resexp.cli.output import prepare_streams
from resexp.cli.program import FAILED, USAGE, app, fail


def main() -> None:
    """Runs the program and prints every expected error as one line on stderr, with an exit code."""
    prepare_streams()
    try:
        app(prog_name="resexp")  # also for `python -m resexp`, so that completion works there
    except (config.ConfigError, runs.RunsError) as error:
        fail(str(error), USAGE)
    except OSError as error:
        file = f"{error.filename}: " if error.filename else ""
        fail("; ".join([f"{file}{error.strerror or error}", *getattr(error, "__notes__", ())]), FAILED)
