"""A Markdown file that keeps a result between two marker comments."""

import sys


class Document:
    """Keeps the result called `name` in the file at `path`; looked at before anything is measured."""

    def __init__(self, path, name):
        self.path = path
        self._begin, self._end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        text = path.read_text() if path.exists() else ""
        begin, end = text.find(self._begin), text.find(self._end)
        if text.count(self._begin) != 1 or text.count(self._end) != 1 or begin > end:
            sys.exit(
                f"{path} needs the lines {self._begin} and {self._end}, once each and in this order: the result goes "
                "between."
            )

    def replace(self, result):
        text = self.path.read_text()
        before, after = text.partition(self._begin)[0], text.partition(self._end)[2]
        self.path.write_text(f"{before}{self._begin}\n{result}{self._end}{after}")
