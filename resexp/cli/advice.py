"""Suggestions for unknown commands and options."""

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from resexp import config
from resexp.cli.output import Commands

# The panels of the help and their commands, in the order of use.
PANELS = {
    "Train and compare": ("train", "watch", "compare", "report"),
    "Diagnose": ("probe", "show", "time", "dissect"),
    "Check and keep": ("reproduce", "doctor", "ls", "pack", "rm"),
    "Configs and other programs": ("configs", "schema", "export"),
}
# Command names of other tools.
COMMANDS = {
    "benchmark": "time",
    "check": "doctor",
    "delete": "rm",
    "diff": "compare",
    "fit": "train",
    "help": "--help",
    "init": "configs cp",
    "list": "ls",
    "monitor": "watch",
    "plot": "report",
    "results": "compare",
    "resume": "train",
    "remove": "rm",
    "run": "train",
    "start": "train",
    "status": "watch",
    "summary": "show",
    "version": "--version",
    "zip": "pack",
}
# Options of other tools, without inner dashes. Options that are config keys, such as --epochs, need no entry.
OPTIONS = {
    name: advice
    for advice, names in {
        "omit it: progress is shown unless --quiet is given": "verbose",
        "omit it: the same command resumes": "continue resume",
        "write --dry-run": "dry",
        "write --fresh: it renames the existing experiment and starts over": "force overwrite",
        "write --jobs N": "numworkers workers",
        "write --runs DIR": "logdir out output outputdir savedir",
        "write device=cpu": "cpu",
        "write device=cuda": "cuda gpu",
        "write the config first, without an option": "config",
    }.items()
    for name in names.split()
}


class Program(Commands):
    """The commands. An error about an unknown command or option suggests a valid command line."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands in the order of their panels."""
        panels = {name: panel for panel, names in PANELS.items() for name in names}
        commands: Mapping[str, Any] = self.commands
        names = sorted(super().list_commands(ctx), key=list(panels).index)
        for name in names:
            commands[name].rich_help_panel = panels[name]
        return names

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command named by the arguments. The error for an unknown command or option says what to write instead."""
        if ctx.resilient_parsing:  # the shell completes a word
            return super().resolve_command(ctx, args)
        name, rest = args[0], args[1:]
        if name not in self.commands and not name.startswith("-"):
            raise config.ConfigError(f"no such command; {_command_hint(name, rest, self.commands)}", where=name)
        if name in self.commands:
            _check_options(self.commands[name], rest)
        return super().resolve_command(ctx, args)


def _command_hint(name: str, rest: Sequence[str], commands: Mapping[str, Any]) -> str:
    """The advice for a command that does not exist."""
    suggestion = COMMANDS.get(name.lower()) or (name.lower() if name.lower() in commands else None)
    if suggestion == "--help":
        return f"write resexp {shlex.join([*rest[:1], suggestion])}"
    if suggestion:
        return f"write resexp {suggestion} {shlex.join(rest)}".rstrip()
    if _is_config(name):
        return f"write resexp train {shlex.join([name, *rest])}"
    return f"choose one of {', '.join(commands)}{config.did_you_mean(name, commands)}"


def _is_config(word: str) -> bool:
    return word in config.shipped() or ("=" not in word and word.endswith((".yaml", ".yml")))


def _check_options(command: Any, words: Sequence[str]) -> None:
    """Refuses an option that is a config key, belongs to another tool, or is part of a value."""
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    overrides = any(parameter.name == "overrides" for parameter in command.params)
    configs = [
        word for before, word in zip(["", *words], words, strict=False) if not before.startswith("-") and _is_config(word)
    ]
    if overrides and len(configs) > 1:
        raise config.ConfigError(f"is a second config after {configs[0]}; use a separate command for each", where=configs[1])
    for index, word in enumerate(words):
        option, equals, value = re.sub("^[\u2013\u2014]", "--", word).partition("=")
        if word == "--":
            return
        if overrides and re.match(r"-\.?[0-9]", word) and (start := _open_override(words[:index])) is not None:
            text = " ".join(words[start : index + 1])
            raise config.ConfigError(f"was split at its spaces; write '{text}' in quotes", where=f"override {text}")
        if not re.match(r"-+[a-zA-Z]{2}|--", option) or word.partition("=")[0] in known:
            continue
        following = "".join(words[index + 1 : index + 2])
        value = value if equals else following if not following.startswith("--") and "=" not in following else ""
        if hint := _option_hint(option, value or "VALUE", known, overrides=overrides):
            raise config.ConfigError(f"no such option; {hint}", where=option)


def _open_override(words: Sequence[str]) -> int | None:
    """The index of the last override if it contains an open bracket."""
    starts = [index for index, word in enumerate(words) if re.match(r"[\w.]+=", word)]
    text = " ".join(words[starts[-1] :]) if starts else ""
    return starts[-1] if sum(map(text.count, "[{")) > sum(map(text.count, "]}")) else None


def _option_hint(option: str, value: str, known: Collection[str], *, overrides: bool) -> str | None:
    """The advice for an option that does not exist; None if the suggestion of the parser is as good."""
    name = re.sub(r"[-_]", "", option).lower()
    near = {re.sub(r"[-_]", "", known_option).lower(): known_option for known_option in known}.get(name)
    if near:
        return f"write {near}"
    if not overrides:
        return None
    if name in OPTIONS:
        return OPTIONS[name]
    key = config.suggested_key(option.lstrip("-"))
    return f"write {key}={value}, without dashes" if key else None
