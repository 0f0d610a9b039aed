"""Options for the format of tables, shared by the commands that print them."""

from typing import TYPE_CHECKING, Annotated

import typer

from resexp.cli.program import check_choice, print_result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resexp.tables import Part

FormatOption = Annotated[str, typer.Option("--format", help="Output format: table, csv, json, md or tex.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Same as --format json.")]
OnlyJsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; `resexp schema` describes it.")]


def check_format(form: str, *, as_json: bool) -> str:
    """The requested format, checked before anything is measured."""
    from resexp import tables  # noqa: PLC0415 - `--help` starts without them

    check_choice("--format", form, tables.FORMS)
    return "json" if as_json else form


def print_parts(parts: "Sequence[Part]", form: str, command: str, **values: object) -> None:
    """Prints the lines and tables of a result; JSON also has the values."""
    from resexp import tables  # noqa: PLC0415 - as above

    print_result(tables.as_json_parts(parts, command, values) if form == "json" else tables.OUTPUTS[form](parts))


def print_document(command: str, **content: object) -> None:
    """Prints the result of a command as JSON."""
    from resexp import tables  # noqa: PLC0415 - as above

    print_result(tables.document(command, content))
