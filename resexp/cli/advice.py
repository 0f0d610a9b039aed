"""Suggestions for unknown commands and options."""

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from resexp import config
from resexp.cli.output import Commands

# Command names of other tools.
COMMANDS = {
    "benchmark": "time",
    "check": "doctor",
    "diff": "compare",
    "fit": "train",
    "help": "--help",
    "init": "configs cp",
    "list": "configs ls",
    "ls": "configs ls",
    "monitor": "watch",
    "plot": "report",
    "results": "compare",
    "resume": "train",
    "run": "train",
    "start": "train",
    "status": "watch",
    "summary": "show",
    "version": "--version",
}
# Options of other tools, without the dashes inside. Those that are keys of a config, such as --epochs, need no row.
OPTIONS = {
    "config": "write the config first, without an option",
    "continue": "leave it out: the same command continues",
    "cpu": "write device=cpu",
    "cuda": "write device=cuda",
    "dry": "write --dry-run",
    "force": "--fresh sets an older experiment aside first",
    "gpu": "write device=cuda",
    "logdir": "write --runs DIR",
    "numworkers": "write --jobs N",
    "out": "write --runs DIR",
    "output": "write --runs DIR",
    "outputdir": "write --runs DIR",
    "overwrite": "--fresh sets an older experiment aside first",
    "resume": "leave it out: the same command continues",
    "savedir": "write --runs DIR",
    "verbose": "leave it out: progress is shown unless --quiet is given",
    "workers": "write --jobs N",
}


class Program(Commands):
    """The commands; errors about unknown ones suggest a valid command line."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that a line names.

        Raises:
            ConfigError: an unknown command or option, with what to write.
        """
        name, rest = args[0], args[1:]
        if name not in self.commands and not name.startswith("-"):
            raise config.ConfigError(f"no such command; {_command_meant(name, rest, self.commands)}", where=name)
        if name in self.commands:
            _check_options(self.commands[name], rest)
        return super().resolve_command(ctx, args)


def _command_meant(name: str, rest: Sequence[str], commands: Mapping[str, Any]) -> str:
    """What to write instead of a command that does not exist."""
    meant = COMMANDS.get(name.lower()) or (name.lower() if name.lower() in commands else None)
    if meant == "--help":
        return f"write resexp {shlex.join([*rest[:1], meant])}"
    if meant:
        return f"write resexp {meant} {shlex.join(rest)}".rstrip()
    if _is_config(name):
        return f"write resexp train {shlex.join([name, *rest])}"
    return f"there are {', '.join(commands)}{config.did_you_mean(name, commands)}"


def _is_config(word: str) -> bool:
    return word in config.shipped() or ("=" not in word and word.endswith((".yaml", ".yml")))


def _check_options(command: Any, words: Sequence[str]) -> None:
    """Refuses an option that is a key of a config, belongs to another tool, or is a piece of a value."""
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    overrides = any(parameter.name == "overrides" for parameter in command.params)
    named = [word for before, word in zip(["", *words], words, strict=False) if not before.startswith("-") and _is_config(word)]
    if overrides and len(named) > 1:
        raise config.ConfigError(f"is a second config after {named[0]}; use a separate command for each", where=named[1])
    for index, word in enumerate(words):
        option, equals, value = re.sub("^[\u2013\u2014]", "--", word).partition("=")
        if word == "--":
            return
        if overrides and re.match(r"-\.?[0-9]", word) and (begun := _open_override(words[:index])) is not None:
            text = " ".join(words[begun : index + 1])
            raise config.ConfigError(f"is split at its spaces; write '{text}' in quotes", where=f"override {text}")
        if not re.match(r"-+[a-zA-Z]{2}|--", option) or word.partition("=")[0] in known:
            continue
        following = "".join(words[index + 1 : index + 2])
        value = value if equals else following if not following.startswith("--") and "=" not in following else ""
        if cure := _option_meant(option, value or "VALUE", known, overrides=overrides):
            raise config.ConfigError(f"no such option; {cure}", where=option)


def _open_override(words: Sequence[str]) -> int | None:
    """The index of the last override, where a bracket in it has not been closed."""
    starts = [index for index, word in enumerate(words) if re.match(r"[\w.]+=", word)]
    text = " ".join(words[starts[-1] :]) if starts else ""
    return starts[-1] if sum(map(text.count, "[{")) > sum(map(text.count, "]}")) else None


def _option_meant(option: str, value: str, known: Collection[str], *, overrides: bool) -> str | None:
    """What to write instead of an option that does not exist; None where the parser's own suggestion is as good."""
    name = re.sub(r"[-_]", "", option).lower()
    near = {re.sub(r"[-_]", "", one).lower(): one for one in known}.get(name)
    if near:
        return f"write {near}"
    if not overrides:
        return None
    if name in OPTIONS:
        return OPTIONS[name]
    key = config.key_meant(option.lstrip("-"))
    return f"write {key}={value}, without dashes" if key else None
