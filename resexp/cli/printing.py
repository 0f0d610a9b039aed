"""Options for the format of tables, shared by the commands that print them."""

from typing import TYPE_CHECKING, Annotated

import typer

from resexp.cli.program import check_choice, print_result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resexp.tables import Part

FormatOption = Annotated[str, typer.Option("--format", help="Output format: table, csv, json, md or tex.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Same as --format json.")]


def check_format(form: str, *, as_json: bool) -> str:
    """The requested format, checked before anything is measured."""
    from resexp import tables  # noqa: PLC0415 - `--help` starts without them

    check_choice("--format", form, tables.OUTPUTS)
    return "json" if as_json else form


def print_parts(parts: "Sequence[Part]", form: str) -> None:
    """Prints the lines and tables of a result."""
    from resexp import tables  # noqa: PLC0415 - as above

    print_result(tables.OUTPUTS[form](parts))
