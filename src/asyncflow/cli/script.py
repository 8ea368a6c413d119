"""``asyncflow script``: the job scripts that a configuration would submit."""

import click

from asyncflow.cli import _configs


@click.command("script", short_help="Show the job scripts of a configuration.")
@click.argument("file", metavar="FILE")
@click.option("--pool", metavar="NAME", help="Of this pool only.")
def command(file: str, pool: str | None) -> None:
    """Print the job script of each pool of the configuration FILE, as it would be submitted. Nothing is submitted.

    Standard output is the script and nothing else. What is only known when a run begins, its name and the address of
    its scheduler, is shown as aflow-XXXXXXXX and DRIVER:PORT.

    \b
        asyncflow script configs/slurm-pools.yaml --pool gpu > job.sh

    The exit status is 2 for a faulty configuration, and for kinds that submit no jobs.
    """
    settings = _configs.read(file)
    found = _configs.queued(settings)
    if found is None:
        _configs.refuse(f"{file}: kind {settings.kind} submits no jobs, so there is no job script to show")
    from asyncflow.queues.showing import RUN, SCHEDULER, job_script

    plans = {plan.pool.name: plan for plan in found.plans}
    if pool is not None and pool not in plans:
        from asyncflow.suggest import hint

        _configs.refuse(f"{file}: there is no pool {pool!r}; {hint(pool, plans)}")
    chosen = list(plans.values()) if pool is None else [plans[pool]]
    click.echo(f"# {RUN} stands for the name of the run, {SCHEDULER} for the address of its scheduler", err=True)
    for number, plan in enumerate(chosen):
        if len(chosen) > 1:
            click.echo(f"# pool {plan.pool.name}; --pool {plan.pool.name} shows it alone", err=True)
        click.echo(("\n" if number else "") + job_script(found.system, found.config, plan), nl=False)
