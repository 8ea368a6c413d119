"""Running a pipeline file: its options, its parameters, what became of it."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from asyncflow.cli._configs import refuse

if TYPE_CHECKING:
    from asyncflow.config import Settings
    from asyncflow.pipelines import Pipeline
    from asyncflow.pipelines.session import Finished

#: Failures that are told one by one.
_TOLD = 20


def value_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that give parameters their values."""
    for option in (
        click.option(
            "--params",
            "files",
            multiple=True,
            type=click.Path(exists=True, dir_okay=False),
            metavar="FILE",
            help="Values of parameters, as a YAML mapping; the last file wins.",
        ),
        click.option("--set", "words", multiple=True, metavar="NAME=VALUE", help="The value of a parameter."),
    ):
        command = option(command)
    return command


def run(path: str, args: Sequence[str]) -> None:
    """Run the pipeline at `path` as the words `args` say.

    Raises
    ------
    SystemExit
        With 1 where an output was not made, or anything failed; 2 for words that make no sense.
    ConfigError
        When something is wrong with the pipeline, or with its parameters.
    """
    program = f"asyncflow run {path}"
    try:
        status = _command.main(list(args), prog_name=program, standalone_mode=False, obj=path)
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except click.Abort:  # what click makes of SIGINT, which ends a pipeline as it ends a script
        raise KeyboardInterrupt from None
    raise SystemExit(status or 0)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@value_options
@click.option("--only", multiple=True, metavar="TASK", help="This task and what it needs, and no other.")
@click.option("--until", multiple=True, metavar="TASK", help="Nothing that needs this task.")
@click.option("--keep-going", is_flag=True, help="When a task fails, go on with those that do not need it.")
@click.option("--dry-run", is_flag=True, help="Go through everything, and run nothing.")
@click.pass_obj
def _command(path: str, /, **given: Any) -> int:
    """Run the pipeline.

    Its outputs are printed, and written into the run directory (outputs.yaml, outputs.json, outputs/). The exit status
    is 0 only if every output was made.
    """
    from asyncflow.pipelines.planning import check

    asked = read_asked(path, given)
    check(asked.pipeline, asked.params, asked.settings)
    return asyncio.run(_play(asked, keep_going=given["keep_going"], dry_run=given["dry_run"]))


class Asked(NamedTuple):
    """What somebody wants of a pipeline; of its tasks `names`, or all where that is None."""

    pipeline: "Pipeline"
    params: dict[str, Any]
    names: list[str] | None
    settings: "Settings"


def read_asked(path: str, given: Mapping[str, Any], config: str | None = None) -> Asked:
    """The pipeline at `path` with the options `given`; exit status 2 for what makes no sense.

    Raises
    ------
    ConfigError
        When something is wrong with the pipeline, or with the configuration that it is for.
    """
    from asyncflow.config import load_settings
    from asyncflow.pipelines import load_pipeline

    pipeline = load_pipeline(path)
    params = _params_of(pipeline, given["files"], given["words"])
    try:
        names = _chosen(pipeline, given["only"], given["until"])
    except KeyError as error:
        refuse(str(error.args[0]))
    settings = load_settings(config or os.environ.get("ASYNCFLOW_CONFIG") or pipeline.config)
    return Asked(pipeline, params, names, settings)


def _params_of(pipeline: "Pipeline", files: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
    """Values by name; exit status 2 for what is no value."""
    import yaml

    from asyncflow.pipelines.params import read_word

    values: dict[str, Any] = {}
    for file in files:
        try:
            found = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            refuse(f"{file} cannot be read as YAML: {error}")
        if not isinstance(found, dict):
            refuse(f"{file} must be a mapping of parameters to values, not a {type(found).__name__}")
        values.update({str(name): value for name, value in found.items()})
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            refuse(f"--set takes NAME=VALUE, not {word!r}")
        values[name] = read_word(text, pipeline.params.get(name))
    return values


def _chosen(pipeline: "Pipeline", only: Sequence[str], until: Sequence[str]) -> list[str] | None:
    """The tasks that are to be done; None for all.

    Raises
    ------
    KeyError
        For a task that there is not.
    """
    if not only and not until:
        return None
    needed = pipeline.needed_by(only) if only else pipeline.tasks
    before = pipeline.up_to(until) if until else pipeline.tasks
    return [name for name in needed if name in before]


async def _play(asked: Asked, *, keep_going: bool, dry_run: bool) -> int:
    from asyncflow.engine import WorkflowEngine
    from asyncflow.pipelines.outputs import as_text, write_outputs

    pipeline, names = asked.pipeline, asked.names
    config = None if os.environ.get("ASYNCFLOW_CONFIG") else pipeline.config
    async with WorkflowEngine.create(config, dry_run=dry_run) as flow:
        finished = await pipeline.session(flow, asked.params, names, keep_going=keep_going).run()
        directory = flow.run_dir
        if directory is not None and not dry_run:
            await asyncio.to_thread(write_outputs, directory, finished.outputs)
    if dry_run:
        click.echo(f"asyncflow: nothing was run; {len(names or pipeline.tasks)} tasks could be", err=True)
        return 1 if finished.failed else 0
    _tell(finished)
    if finished.outputs:
        click.echo(as_text(finished.outputs), nl=False)
    return 1 if finished.missing or finished.failed else 0


def _tell(finished: "Finished") -> None:
    """What failed, and which outputs are missing for that."""
    for failure in finished.failures[:_TOLD]:
        call = f" ({failure.id})" if failure.id else ""
        told = f"{type(failure.error).__name__}: {failure.error}"
        click.echo(f"asyncflow: task {failure.name!r}{call} failed: {told}", err=True)
    if finished.failed > _TOLD:
        click.echo(f"asyncflow: and {finished.failed - _TOLD} more failed", err=True)
    if finished.missing:
        click.echo(f"asyncflow: not made: {', '.join(finished.missing)}", err=True)
