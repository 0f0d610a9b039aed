"""Environment variables and the home folder in paths that users write."""

import os
import re
from pathlib import Path

from resexp.config.parsing import ConfigError


def expanded(text: str | Path, key: str) -> Path:
    """The path with `$VAR`, `${VAR}` and a leading `~` replaced; `key` is the option or config key for error messages.

    A path that exists is returned unchanged.

    Raises:
        ConfigError: an environment variable is not set.
    """
    if Path(text).exists():
        return Path(text)
    path = os.path.expandvars(Path(text).expanduser())
    if unset := re.search(r"\$(\w+|\{\w+\})", path):
        raise ConfigError(f"{text}: the environment variable {unset[0]} is not set; set it, or write the full path", key=key)
    return Path(path)
