"""The tour of a run on the real Slurm: watched while it runs, explained the day after; pictures of each for the pages.

``PYTHONPATH=src:tests python tests/tour.py docs/images`` makes the pictures.
"""

import asyncio
import io
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import yaml
from rich.console import Console
from rich.text import Text

import slurm
import slurm_engine
from browser import open_browser
from pseudo import PseudoTerminal

SCRIPT = Path(__file__).parent / "drivers" / "two_thousand.py"

RUN = "tour"

_COLUMNS = 112

#: Several small jobs of four slots each, as a cluster has.
_POOL = {"queue": "debug", "cores": 4, "processes": 2, "memory": "2GB", "jobs": {"min": 1, "max": 3}}


class Tour:
    """One run in a directory of its own, and what each command says of it."""

    def __init__(self, directory):
        self.directory = Path(directory)
        file = self.directory / "slurm.yaml"
        file.write_text(yaml.safe_dump(slurm_engine.config(self.directory, pools={"cpu": _POOL})))
        (self.directory / SCRIPT.name).write_text(SCRIPT.read_text())

    def watched(self, share=0.4):
        """Run it; the terminal in the middle, at the end, and the exit status."""
        words = ("run", "--config", "slurm.yaml", "--run-id", RUN, "--work-dir", "runs", SCRIPT.name)
        with PseudoTerminal(*words, cwd=self.directory, columns=_COLUMNS, lines=24) as terminal:
            terminal.until(lambda: _is_past(terminal.lines, share))
            middle = terminal.colours
            status = terminal.ended()
            return middle, terminal.text, status

    def said(self, *words):
        """What a command says of the run."""
        command = [sys.executable, "-m", "asyncflow", *words, "--work-dir", "runs"]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    @property
    def journal(self):
        """Of the run."""
        return self.directory / "runs" / RUN / "journal.jsonl"


def _is_past(lines, share):
    """Whether more than `share` is done, on a picture that is not being drawn just now: errors are its last lines."""
    return _ended(lines, "simulate") > share and any("does not converge" in line for line in lines)


def _ended(lines, name):
    """The share of the calls of task `name` that has ended, by its bar."""
    for line in lines:
        words = line.split()
        if words[:1] == [name] and (count := next((word for word in words if "/" in word), "")):
            ended, _, known = count.partition("/")
            return int(ended) / max(1, int(known))
    return 0.0


def picture(path, title, text):
    """Write `text` as a terminal shows it."""
    console = Console(file=io.StringIO(), record=True, width=_COLUMNS, force_terminal=True, highlight=True)
    console.print(Text(text) if isinstance(text, str) else text)
    path.write_text(console.export_svg(title=title, unique_id=path.stem))


async def screenshot(page, path):
    """Write a picture of the page at `page`."""
    async with open_browser() as browser:
        opened = await browser.open_page(page)
        await opened.screenshot(path)


@contextmanager
def a_slurm():
    """A Slurm meanwhile."""
    box = slurm.Slurm()
    try:
        box.start()
        os.environ.update(box.env)
        yield box
    finally:
        box.wipe()


def main(images):
    with a_slurm(), tempfile.TemporaryDirectory() as directory:
        tour = Tour(directory)
        middle, end, _ = tour.watched()
        picture(images / "slurm-run.svg", f"asyncflow run --config slurm.yaml {SCRIPT.name}", middle)
        picture(images / "slurm-table.svg", "at the end", "\n".join(end.splitlines()[-14:]))
        for words in (("status", RUN), ("why", RUN, "compare"), ("logs", RUN, "simulate", "-n", "8")):
            picture(images / f"slurm-{words[0]}.svg", " ".join(("asyncflow", *words)), tour.said(*words))
        tour.said("report", RUN, "-o", "report.html")
        asyncio.run(screenshot(Path(directory, "report.html"), images / "slurm-report.png"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
