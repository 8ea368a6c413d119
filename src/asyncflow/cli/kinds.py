"""``asyncflow kinds``: where work can run, and the keys of each kind."""

import click


@click.command("kinds", short_help="List where work can run, and the keys of each.")
def command() -> None:
    """List the cluster kinds that a configuration may name, with their keys."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from asyncflow import clusters

    table = Table("kind", "what it is", "keys", box=box.SIMPLE_HEAD, show_lines=True)
    for kind in clusters.kinds():
        module = clusters.load(kind)
        about = " ".join((module.__doc__ or "").split("\n\n")[0].split())
        table.add_row(kind, about, ", ".join(sorted(module.Config.model_fields)))
    Console(highlight=False).print(table)
