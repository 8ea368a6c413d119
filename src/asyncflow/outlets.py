"""Where programs that we start write to, when this process shows something at the bottom of its terminal.

Who stands in for ``sys.stdout`` or ``sys.stderr`` may have an attribute ``outlet``: a file descriptor from which it
takes what they write, line by line, so that nothing is drawn over.
"""

from typing import Any


def outlet_of(stream: Any) -> int | None:
    """A file descriptor for ``subprocess``; None where programs write where this process does."""
    outlet = getattr(stream, "outlet", None)
    return outlet if isinstance(outlet, int) else None
