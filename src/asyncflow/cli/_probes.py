"""Probing the pools of a configuration, and a table for each."""

import asyncio
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from asyncflow.cli import _configs

if TYPE_CHECKING:
    from asyncflow.queues.diagnosis import Here, Probe


def probe(file: str, settings: Any, timeout: float) -> bool:
    """Probe each pool, print what was found and how to mend what fails; whether all is well."""
    from asyncflow.errors import StartError
    from asyncflow.queues import probing

    found = _configs.queued(settings)
    if found is None:
        click.echo(f"{file}: kind {settings.kind} submits no jobs, so there is nothing to probe")
        return True
    pools = ", ".join(plan.pool.name for plan in found.plans)
    click.echo(f"{file}: waiting for one job in each pool ({pools}); Ctrl-C cancels them", err=True)
    umask = os.umask(0o077)  # job scripts lie in a file while they are submitted, and these hold a key
    try:
        here, probes = asyncio.run(probing.probe(found.kind, found.system, found.config, found.plans, timeout))
    except StartError as error:
        click.echo(f"{file}: {error}")
        return False
    finally:
        os.umask(umask)
    for each in probes:
        click.echo(f"\npool {each.pool}: {'fails' if each.problems else 'ok'}")
        for what, text in _rows(each, here):
            click.echo(f"  {what:<18}{text}")
        for problem in each.problems:
            click.echo(f"  problem: {problem.text}")
            if problem.mend:
                click.echo(f"  mend it with\n    {problem.mend}")
    return not any(each.problems for each in probes)


def _rows(each: "Probe", here: "Here") -> Iterator[tuple[str, str]]:
    from asyncflow.queues.diagnosis import different

    if each.job_id:
        yield "job", each.job_id
    report = each.report
    if report is None:
        return
    yield "queue wait", f"{each.wait:.1f} s"
    yield "node", f"{report['node']} ({', '.join(f'{name} {at}' for name, at in report['interfaces'].items())})"
    yield "Python", f"{report['python']}, {report['executable']} (here {here.python})"
    others = [f"{name} {there} (here {own})" for name, (there, own) in different(report, here).items()]
    same = " ".join(f"{name} {version}" for name, version in sorted(report["packages"].items()))
    yield "packages", ", ".join(others) or f"as here: {same}"
    yield "shared directory", "visible" if report["sees"] else f"not visible: {report['why']}"
    for host, why in report["back"].items():
        what = f"{host} ({here.interface(host)})"
        role = ", which the scheduler uses" if host == here.announced else ""
        yield "connection back", f"{what}: {why or 'works'}{role}"
