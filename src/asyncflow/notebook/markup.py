"""Text inside HTML and SVG: escaped, shortened, and the colours of states."""

import html
import re
import unicodedata

from asyncflow.states import TaskState

#: In the order in which they are told.
COLOURS = {
    TaskState.DONE: "#59a14f",
    TaskState.RUNNING: "#4e79a7",
    TaskState.FAILED: "#e15759",
    TaskState.CANCELLED: "#9c755f",
    TaskState.PENDING: "#d3d3d3",
}

#: What XML cannot hold, however it is written.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escaped(text: object) -> str:
    """`text` as it may stand in HTML or SVG, between tags and in quoted attributes."""
    return html.escape(_FORBIDDEN.sub("\ufffd", str(text)))


def shortened(text: str, most: int) -> str:
    """At most `most` characters of `text`, the last an ellipsis where it has more."""
    return text if len(text) <= most else text[: most - 1] + "…"


def width_of(text: str) -> int:
    """How many columns `text` takes in a font whose characters are equally wide."""
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)
