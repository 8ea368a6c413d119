"""What ``asyncflow run`` tells on standard error: how much of the log, in which form, and progress."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import click

#: What is shown of the log where nobody says how much.
_LEVEL = "info"


def telling_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what is told."""
    from asyncflow.logs import FORMATS, LEVELS

    for option in (
        click.option("--no-progress", is_flag=True, help="Show no progress, not even where the script asks for it."),
        click.option("--quiet", "-q", is_flag=True, help="Warnings and errors only, and no progress."),
        click.option("--verbose", "-v", is_flag=True, help="As --log-level debug; on workers too."),
        click.option(
            "--log-format",
            type=click.Choice(FORMATS, case_sensitive=False),
            help="What log lines look like; ASYNCFLOW_LOG_FORMAT, else text.",
        ),
        click.option(
            "--log-level",
            type=click.Choice(LEVELS, case_sensitive=False),
            help="How much asyncflow tells on standard error; ASYNCFLOW_LOG_LEVEL, else info.",
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class Telling:
    """What is told.

    Attributes
    ----------
    level : str or None
        From which level on the log is shown; None where nobody says.
    form : str or None
        ``text`` or ``json``; None where nobody says.
    progress : bool
        Whether progress is shown.
    is_quiet : bool
        Whether nothing is told that is not a warning.
    """

    level: str | None
    form: str | None
    progress: bool
    is_quiet: bool

    @classmethod
    def taken_from(cls, options: dict[str, Any], environ: Mapping[str, str] = os.environ) -> "Telling":
        """Take the options of `telling_options` out of `options`; what none of them says, `environ` may say."""
        from asyncflow import logs

        level, form = options.pop("log_level"), options.pop("log_format")
        verbose, quiet = options.pop("verbose"), options.pop("quiet")
        if quiet and verbose:
            raise click.UsageError("--quiet and --verbose contradict each other; give one of them.")
        level = level or ("debug" if verbose else "warning" if quiet else None)
        try:
            level = level or _checked(environ, logs.LEVEL, logs.LEVELS)
            form = form or _checked(environ, logs.FORMAT, logs.FORMATS)
        except ValueError as error:
            raise click.UsageError(f"{error}.") from None
        return cls(level, form, progress=not (options.pop("no_progress") or quiet), is_quiet=quiet)

    def configure(self, run: str) -> None:
        """Show the log on standard error; `run` is the name of the run."""
        from asyncflow import logs

        logs.configure(self.level or _LEVEL, self.form or "text", run, shows_run=False)

    def environ(self) -> dict[str, str]:
        """What tells workers of it."""
        from asyncflow import logs

        said = {logs.LEVEL: self.level, logs.FORMAT: self.form}
        return {name: value for name, value in said.items() if value}

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the progress of all engines that code inside creates."""
        import sys

        from asyncflow.audience import heard_by
        from asyncflow.views.display import display_on
        from asyncflow.views.progress import Progress

        progress = Progress(display_on(sys.stderr, takes_programs=True) if self.progress else None)
        with ExitStack() as stack:
            stack.enter_context(heard_by(progress.watch))
            stack.enter_context(progress)
            yield


def _checked(environ: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str | None:
    from asyncflow import logs

    value = environ.get(name, "").lower()
    return logs.checked(value, name, choices) if value else None
