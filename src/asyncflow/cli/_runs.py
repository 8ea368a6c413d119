"""What several commands do with runs: choose one by name, pass it on to a script, and show tables of things."""

import os
import re
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from asyncflow.cli._configs import refuse

#: Where runs lie, unless told otherwise.
_WORK_DIR = "asyncflow-runs"


class Naming(NamedTuple):
    """What `run_options` were given."""

    work_dir: str | None
    run_id: str | None
    resume: str | None

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> "Naming":
        """Those of `options`, which lose them; exit status 2 where they name no run."""
        naming = cls(*(options.pop(name) for name in cls._fields))
        if naming.run_id is not None and naming.resume is not None:
            refuse("--run-id names a new run and --resume an old one; give one of them")
        check_name(naming.run_id)
        check_name(naming.resume)
        return naming

    def words(self) -> list[str]:
        """The same options, for an ``asyncflow run`` elsewhere."""
        place = None if self.work_dir is None else str(work_directory(self.work_dir))
        options = {"--work-dir": place, "--run-id": self.run_id, "--resume": self.resume}
        return [f"{option}={value}" for option, value in options.items() if value is not None]


class Chosen(NamedTuple):
    """The run that a script is to have."""

    work_dir: Path
    name: str
    is_resumed: bool

    @property
    def path(self) -> Path:
        """Of its directory."""
        return self.work_dir / self.name

    def environ(self) -> dict[str, str | None]:
        """What tells an engine of it."""
        return {
            "ASYNCFLOW_WORK_DIR": str(self.work_dir),  # absolute: the script may change its directory
            "ASYNCFLOW_RUN_ID": None if self.is_resumed else self.name,
            "ASYNCFLOW_RESUME": self.name if self.is_resumed else None,
        }

    def tell(self, script: str, args: Sequence[str] = (), config: str | None = None) -> None:
        """Say which run it was and how to go on with it, if the script had it: it need not make an engine."""
        from asyncflow.runs import driven_here

        if driven_here(self.path):
            words = ["asyncflow", "run", "--resume", self.name, "--work-dir", str(self.work_dir)]
            words += ["--config", config] if config is not None else []
            words += [script, "--", *args] if args else [script]
            click.echo(f"asyncflow: this was run {self.name}; to go on with it: {shlex.join(words)}", err=True)


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose a run."""
    for option in (
        click.option("--resume", metavar="NAME", help="Go on with that run; begin it if it does not exist."),
        click.option("--run-id", metavar="NAME", help="What a new run is called; made up by default."),
        work_dir_option,
    ):
        command = option(command)
    return command


def ending_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how SIGTERM ends a run."""
    for option in (
        click.option(
            "--requeue", is_flag=True, help="Submit the batch job again, if it ends before the run; with --resume."
        ),
        click.option(
            "--grace",
            metavar="DURATION",
            help="How long what runs may go on after SIGTERM, 0 for not at all; ASYNCFLOW_GRACE, else 30s.",
        ),
    ):
        command = option(command)
    return command


def work_dir_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where runs lie."""
    return click.option(
        "--work-dir",
        type=click.Path(file_okay=False),
        metavar="DIR",
        help=f"Where runs have their directories; ASYNCFLOW_WORK_DIR, else {_WORK_DIR}.",
    )(command)


def work_directory(given: str | None, environ: Mapping[str, str] = os.environ) -> Path:
    """Where runs lie."""
    return Path(given or environ.get("ASYNCFLOW_WORK_DIR") or _WORK_DIR).expanduser().absolute()


def choose(script: str, naming: Naming, environ: Mapping[str, str] = os.environ) -> Chosen:
    """The run that the options name, else the environment; else a new one with a name of its own."""
    resume, run_id = naming.resume, naming.run_id
    if run_id is None and resume is None:
        resume, run_id = environ.get("ASYNCFLOW_RESUME") or None, environ.get("ASYNCFLOW_RUN_ID") or None
        check_name(resume or run_id)
    return Chosen(work_directory(naming.work_dir), resume or run_id or _made_up(script), resume is not None)


def check_name(name: str | None) -> None:
    """Refuse what no run can be called."""
    from asyncflow.errors import RunDirectoryError
    from asyncflow.runs.directory import checked_name

    try:
        if name is not None:
            checked_name(name)
    except RunDirectoryError as error:
        refuse(str(error))


def directory_of(run: str, work_dir: str | None) -> Path:
    """The directory of `run`, a name or a path; exit status 2 where there is none."""
    from asyncflow.runs import list_runs
    from asyncflow.suggest import did_you_mean

    root = work_directory(work_dir)
    path = Path(run).expanduser().absolute() if "/" in run else root / run
    if not path.is_dir():
        known = [each.name for each in list_runs(root)]
        nearest = did_you_mean(run, known) or "asyncflow runs lists those there are"
        refuse(f"there is no run {run!r} in {root}; {nearest}")
    return path


def show(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table: drawn on a terminal, plain and uncut anywhere else."""
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*head, box=box.SIMPLE_HEAD)
        for row in rows:
            table.add_row(*map(Text, row))
        Console(highlight=False).print(table)
        return
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def age(since: float) -> str:
    """How long ago that was, for people."""
    seconds = max(0, int(time.time() - since))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _made_up(script: str) -> str:
    """From the script and the time; two that begin in one second differ all the same."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(script).stem)[:60].strip("_") or "run"
    return f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
