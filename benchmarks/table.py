"""Results as a table: the median of each cell, its range, and its ratio to one column."""

from dataclasses import dataclass, field
from statistics import median


@dataclass
class Cell:
    values: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    unit: str = "seconds"

    @property
    def median(self):
        return median(self.values) if self.values and not self.errors else None


@dataclass
class Table:
    title: str
    columns: list[str]
    base: str  # the column that the others are compared with; without it there are no ratios
    rows: dict[str, dict[str, Cell]]  # what a row is called: the cells by column

    def lines(self):
        """Yield each row as texts: its title, then the cells, lines parted by newlines."""
        for title, cells in self.rows.items():
            base = cells.get(self.base, Cell())
            yield [title, *(_text(cells.get(column, Cell()), base) for column in self.columns)]


def rich_table(table):
    from rich.table import Table as RichTable

    shown = RichTable(title=table.title, show_lines=True)
    shown.add_column("workload")
    for column in table.columns:
        shown.add_column(column, justify="right", no_wrap=True)
    for line in table.lines():
        shown.add_row(*line)
    return shown


def markdown(table):
    header = f"| workload | {' | '.join(table.columns)} |\n|---|{'---:|' * len(table.columns)}\n"
    rows = ("| " + " | ".join(line).replace("\n", "<br>") + " |\n" for line in table.lines())
    return f"**{table.title}**\n\n{header}{''.join(rows)}"


def _text(cell, base):
    if cell.errors:
        return f"{cell.errors[0]}\nin {len(cell.errors)} of {len(cell.errors) + len(cell.values)} turns"
    if not cell.values:
        return "-"
    show = _megabytes if cell.unit == "bytes" else seconds
    text = f"{show(cell.median)}\n{show(min(cell.values))} to {show(max(cell.values))}"
    # A ratio of memory grown would divide by next to nothing.
    if cell is base or not base.median or cell.unit == "bytes":
        return text
    return f"{text}\n{_ratio(cell.median / base.median)}"


def _ratio(ratio):
    return f"1/{1 / ratio:.1f}" if ratio < 0.5 else f"x {ratio:.2f}"


def seconds(value):
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms" if value >= 0.01 else f"{value * 1000:.1f} ms"


def _megabytes(value):
    return f"{value / 1e6:.0f} MB"
