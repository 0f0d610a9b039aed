"""Tables that follow the standard ones of a comparison, in `resexp compare` and in the report.

TABLES["medians"] = medians   # medians(comparison) -> Table
"""

from collections.abc import Callable
from typing import Any

from resexp.comparison import Comparison
from resexp.tables.guess_table import guess_table
from resexp.tables.learning_rate_transfer import learning_rate_transfer
from resexp.tables.model import Table

TABLES: dict[str, Callable[[Comparison], Table[Any]]] = {
    "learning_rate_transfer": learning_rate_transfer,
    "guesses": guess_table,
}


def added_tables(comparison: Comparison) -> dict[str, Table[Any]]:
    """The tables that have rows or notes, by name; none for results from a file."""
    tables = {} if comparison.results.table else {name: make(comparison) for name, make in TABLES.items()}
    return {name: table for name, table in tables.items() if table.rows or table.notes}
