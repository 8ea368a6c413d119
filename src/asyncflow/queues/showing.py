"""Job scripts for people to read: what would be submitted, with names for what is only known then."""

from tempfile import TemporaryDirectory

from asyncflow.queues.paths import expanded
from asyncflow.queues.poolkeys import QueueSettings
from asyncflow.queues.run import CERTIFICATES, PREFIX
from asyncflow.queues.system import QueueSystem
from asyncflow.queues.template import PoolPlan, Site, job_from

#: What stands for the name of the run, and for the address of the scheduler.
RUN = f"{PREFIX}XXXXXXXX"
SCHEDULER = "DRIVER:PORT"


def job_script(system: QueueSystem, config: QueueSettings, plan: PoolPlan) -> str:
    """The script of the first job of a pool, word by word, but for `RUN` and `SCHEDULER`."""
    directory = expanded(config.shared_temp_directory).absolute() / RUN
    tls = {field: str(directory / "tls" / name) for field, name in CERTIFICATES.items()}
    is_tls = config.security == "tls"
    address = f"{'tls' if is_tls else 'tcp'}://{SCHEDULER}"
    # A job of dask-jobqueue makes its log directory when it is made; a script that is only looked at makes none.
    with TemporaryDirectory(prefix="asyncflow-") as elsewhere:
        keys = plan.keys.model_copy(update={"log_directory": None})
        site = Site(RUN, address, elsewhere, tls if is_tls else {})
        job = job_from(system, PoolPlan(plan.pool, keys), f"{plan.pool.name}-0", site)
        script: str = job.job_script()
    return script.replace(elsewhere, plan.keys.log_directory or str(directory / "logs"))
