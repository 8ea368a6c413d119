"""Several tables with titles: plain and uncut, or drawn on a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.console import RenderableType


class Section(NamedTuple):
    """A table, or, without a head, lines of text."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def plain(sections: Sequence[Section]) -> str:
    """All of them as text."""
    return "\n\n".join(_plain(each) for each in sections if each.rows)


def _plain(section: Section) -> str:
    lines = [section.head, *section.rows] if section.head else list(section.rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([f"{section.title}:", *(f"  {row}" for row in rows)] if section.title else rows)


def drawn(sections: Sequence[Section]) -> "RenderableType":
    """All of them for rich."""
    from rich.console import Group

    return Group(*(_drawn(each) for each in sections if each.rows))


def _drawn(section: Section) -> "RenderableType":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        *section.head,
        title=section.title or None,
        title_justify="left",
        box=box.SIMPLE_HEAD if section.head else None,
        show_header=bool(section.head),
    )
    for row in section.rows:
        table.add_row(*map(Text, row))
    return table
