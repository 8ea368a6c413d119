"""The command line: ``asyncflow run``, ``check``, ``submit`` and others; one module a command, found by its name."""

from importlib import import_module
from pkgutil import iter_modules

import click


class _Commands(click.Group):
    """Commands are modules of this package, imported when they are asked for: a new one is a new file.

    Their modules import what is heavy inside functions, so that ``--help`` stays quick.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(f"{__name__}.{name}").command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="asyncflow")
def main() -> None:
    """Decorated functions and commands become Dask futures, on this machine or on a cluster."""
