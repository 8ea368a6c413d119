"""What the environment of a batch job says of it: nodes, and the cores and memory of each."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: How Slurm counts memory.
_MEBIBYTE = 2**20

_CPUS = re.compile(r"(\d+)(?:\(x(\d+)\))?")


@dataclass(frozen=True)
class Allocation:
    """One batch job as its processes see it.

    Attributes
    ----------
    system : str
        ``SLURM``, ``PBS`` or ``LSF``.
    job : str
        Its id.
    nodes : int
        How many it has.
    cores : int
        Of each node; of the smallest, where they differ.
    memory : int or None
        Bytes of each node; None where the environment does not tell.
    most : int
        Cores of the largest node; 0 where nothing tells of each.
    slots : tuple of str
        PBS: the host of each place where ``pbsdsh`` can start something, in its order.
    """

    system: str
    job: str
    nodes: int
    cores: int
    memory: int | None = None
    most: int = 0
    slots: tuple[str, ...] = ()

    def __str__(self) -> str:
        """``SLURM job 12``."""
        return f"{self.system} job {self.job}"


def allocation_of(environ: Mapping[str, str], read: Callable[[str], str] | None = None) -> Allocation | None:
    """The job whose processes have the environment `environ`; None where it is of no job.

    Parameters
    ----------
    environ : mapping of str to str
        For instance `os.environ`.
    read : callable, optional
        From the path of PBS's list of hosts to its text; reads the file by default.
    """
    if environ.get("SLURM_JOB_ID"):
        return _slurm(environ)
    if environ.get("PBS_JOBID") and environ.get("PBS_NODEFILE"):
        return _pbs(environ, (read or _text)(environ["PBS_NODEFILE"]).split())
    if environ.get("LSB_JOBID") and (environ.get("LSB_MCPU_HOSTS") or environ.get("LSB_DJOB_NUMPROC")):
        return _lsf(environ)
    return None


def _slurm(environ: Mapping[str, str]) -> Allocation:
    """The job's own variables come first: those of a step, which the driver may be, tell of the step."""
    cpus = [int(count) for count, times in _CPUS.findall(environ.get("SLURM_JOB_CPUS_PER_NODE", ""))]
    cores = min(cpus) if cpus else _number(environ, "SLURM_CPUS_ON_NODE") or 1
    nodes = _number(environ, "SLURM_JOB_NUM_NODES") or _number(environ, "SLURM_NNODES") or 1
    per_gpu = (_number(environ, "SLURM_MEM_PER_GPU") or 0) * (_number(environ, "SLURM_GPUS_ON_NODE") or 0)
    per_cpu = (_number(environ, "SLURM_MEM_PER_CPU") or 0) * cores
    memory = _number(environ, "SLURM_MEM_PER_NODE") or per_cpu or per_gpu
    return Allocation("SLURM", environ["SLURM_JOB_ID"], nodes, cores, memory * _MEBIBYTE or None, max(cpus, default=0))


def _pbs(environ: Mapping[str, str], slots: Sequence[str]) -> Allocation:
    """A host stands in the list as often as it may have processes; memory is told nowhere.

    NCPUS is of one chunk, or of one of its processes: where a host is listed several times it may be too few, and
    never too many.
    """
    lines = min(Counter(slots).values(), default=1)
    cores = _number(environ, "PBS_NUM_PPN") or max(_number(environ, "NCPUS") or 1, lines)
    return Allocation("PBS", environ["PBS_JOBID"], max(1, len(set(slots))), cores, slots=tuple(slots))


def _lsf(environ: Mapping[str, str]) -> Allocation:
    """``hostA 8 hostB 4``; the unit of its limits of memory is the site's, and so they are left alone."""
    counts = [int(count) for count in environ.get("LSB_MCPU_HOSTS", "").split()[1::2]]
    counts = counts or [_number(environ, "LSB_DJOB_NUMPROC") or 1]
    return Allocation("LSF", environ["LSB_JOBID"], len(counts), min(counts), most=max(counts))


def _number(environ: Mapping[str, str], name: str) -> int | None:
    """The whole number that a variable begins with (``8(x2)`` has one, too); None where there is none."""
    found = re.match(r"\d+", environ.get(name, ""))
    return int(found[0]) if found else None


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:  # on another node than the job's first
        return ""
