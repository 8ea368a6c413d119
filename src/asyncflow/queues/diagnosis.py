"""What a probe found, and the line of the configuration that mends it."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from asyncflow.errors import SubmitError
from asyncflow.queues._probe import PACKAGES
from asyncflow.queues.poolkeys import PoolKeys, SchedulerOptions

#: Those whose versions must be the same, or what one end sends the other cannot read.
SAME = ("asyncflow", "cloudpickle", "dask", "distributed")

_QUEUE = "queue: NAME"
_SHARED = "/a/directory/that/all/nodes/see"

#: What the words of a refusal are about, and the key to change; the first that fits.
_REFUSALS = (
    (r"partition|queue", _QUEUE),
    (r"account|project|charge", "account: NAME"),
    (r"time ?limit|walltime|run ?limit", 'walltime: "00:30:00"'),
    (r"memory|\bmem\b", "memory: 4GB"),
    (r"gres|gpu|constraint|feature|qos|option", 'job_extra_directives: ["--..."]'),
    (r"node configuration|cpu|core|slot", "cores: 1"),
)


class Problem(NamedTuple):
    """One thing that fails, and the line of YAML that mends it; empty where none would."""

    text: str
    mend: str


@dataclass
class Here:
    """The machine that the scheduler will run on.

    Attributes
    ----------
    python : str
        The version of the Python that runs this.
    packages : mapping of str to str
        Versions of the packages here.
    interfaces : mapping of str to str
        The address of each interface.
    announced : str or None
        The address that workers will be given; None where there is no such interface.
    """

    python: str
    packages: Mapping[str, str]
    interfaces: Mapping[str, str]
    announced: str | None

    def interface(self, host: str) -> str:
        """The interface that has address `host`; `host` itself where it is a name."""
        return next((name for name, address in self.interfaces.items() if address == host), host)


@dataclass
class Probe:
    """One pool's probe.

    Attributes
    ----------
    pool : str
        Its name.
    keys : PoolKeys
        Its keys.
    job_id : str
        Empty where none was submitted.
    wait : float or None
        Seconds in the queue, once it has told.
    report : mapping or None
        What the program told.
    problems : list of Problem
        What fails.
    """

    pool: str
    keys: PoolKeys
    job_id: str = ""
    wait: float | None = None
    report: Mapping[str, Any] | None = None
    problems: list[Problem] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be waited for."""
        return self.report is not None or bool(self.problems)


def of_refusal(error: SubmitError, queues: Sequence[str]) -> Problem:
    """A job that the queueing system would not have; `queues` are those it has, where that is known."""
    said = " ".join(error.stderr.split()) or str(error)
    if error.returncode is None:
        return Problem(f"nothing can be submitted here: {said}", "kind: local")
    mend = next((line for words, line in _REFUSALS if re.search(words, said, re.IGNORECASE)), "")
    return Problem(f"the job was refused: {said}", _queue(queues) if mend == _QUEUE else mend)


def of_silence(said: str, timeout: float, queues: Sequence[str]) -> Problem:
    """A job that has not told anything in time; `said` is the last word of the queueing system about it."""
    text = f"nothing came within {timeout:g} s, and job {said}; wait longer with --timeout, or try another queue"
    return Problem(text, _queue(queues))


def of_death(said: str, log: str, shared: str, keys: PoolKeys) -> Problem:
    """A job that ended without a word."""
    if not log:
        place, key = keys.log_directory or shared, "log_directory" if keys.log_directory else "shared_temp_directory"
        text = f"job {said} ended without a log: the node cannot write below {place}, or ends jobs at once"
        return Problem(text, f"{key}: {_SHARED}")
    python = keys.python or sys.executable
    last = log.strip().splitlines()[-1]
    if re.search(r"not found|no such file|permission denied|cannot execute|exec format", last, re.IGNORECASE):
        return Problem(f"job {said} could not run {python} there: {last}", f"python: {_other(python)}")
    return Problem(f"job {said} ended before the probe was done; its log ends: {last}", f"python: {_other(python)}")


def of_report(probe: Probe, here: Here, shared: str, options: SchedulerOptions) -> list[Problem]:
    """What fails according to the node's own report."""
    report = probe.report
    assert report is not None
    problems = [*_python(report, here), *_back(report, here, probe.keys.interface, options)]
    if not report["sees"]:
        text = f"the node {report['node']} does not see {shared} ({report['why']})"
        problems.append(Problem(text, f"shared_temp_directory: {(report['shared'] or [_SHARED])[0]}"))
    return problems


def different(report: Mapping[str, Any], here: Here) -> dict[str, tuple[str, str]]:
    """Packages whose versions differ, with the one there and the one here."""
    pairs = {name: (report["packages"].get(name, "none"), here.packages.get(name, "none")) for name in PACKAGES}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _python(report: Mapping[str, Any], here: Here) -> list[Problem]:
    there = different(report, here)
    wrong = [f"{name} {there[name][0]} (here {there[name][1]})" for name in SAME if name in there]
    if report["python"].split(".")[:2] != here.python.split(".")[:2]:
        wrong.insert(0, f"Python {report['python']} (here {here.python})")
    if not wrong:
        return []
    mend = f"python: {sys.executable}"
    if not report["has_python"]:
        mend += "  # once that environment is there; the node does not see it now"
    return [Problem(f"{report['executable']} on {report['node']} has {', '.join(wrong)}", mend)]


def _back(report: Mapping[str, Any], here: Here, interface: str | None, options: SchedulerOptions) -> list[Problem]:
    """Whether a worker there will reach the scheduler here."""
    works = [here.interface(host) for host, why in report["back"].items() if not why]
    if here.announced is not None and report["back"].get(here.announced) == "":
        if interface is None or interface in report["interfaces"]:
            return []
        common = next((name for name in works if name in report["interfaces"]), None)
        text = f"the node {report['node']} has no interface {interface}; it has {', '.join(report['interfaces'])}"
        known = common or next(iter(report["interfaces"]), "NAME")
        return [Problem(text, f"interface: {known}")]
    asked = options.interface or interface
    if here.announced is None:
        text = f"this machine has no interface {asked}; it has {', '.join(here.interfaces)}"
    else:
        why = report["back"].get(here.announced, "not tried")
        text = f"the node {report['node']} cannot connect to {here.announced} ({here.interface(here.announced)}): {why}"
    if not works:
        return [Problem(f"{text}; no address of this machine answers it", "scheduler_options: {port: 8786}  # opened")]
    best = next((name for name in works if name in report["interfaces"]), None)
    if best and not options.interface and not options.host:
        return [Problem(text, f"interface: {best}")]
    return [Problem(text, f"scheduler_options: {{interface: {best or works[0]}}}")]


def _queue(queues: Sequence[str]) -> str:
    """The key that names another queue; one of `queues` where they are known."""
    others = f"  # or {', '.join(queues[1:])}" if queues[1:] else ""
    return f"queue: {queues[0]}{others}" if queues else _QUEUE


def _other(python: str) -> str:
    return sys.executable if python != sys.executable else "/a/python/that/all/nodes/see"
