"""The server behind the commands: starts what fits, ends what must end, writes down how it went.

It lives as long as its standard input is open, which is the test's: nothing stays when the test is killed.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

from . import lsf_jobs, machine, pbs_jobs, processes
from .state import QUEUED, STARTED, WAITING, Job, State, change, file_of

#: Seconds between looks at limits; commands and ends of jobs are noticed at once.
_TICK = 0.1

_SYSTEMS: dict[str, ModuleType] = {"pbs": pbs_jobs, "lsf": lsf_jobs}


class Server:
    """The server of one stand-in.

    Attributes
    ----------
    directory : Path
        Where the state is.
    ways : module
        What is particular to the system: environments, signals, outputs, verdicts.
    running : dict
        The top process of each job.
    sent : dict
        How many signals each ending job had.
    """

    def __init__(self, directory: Path, system: str) -> None:
        self.directory = directory
        self.ways = _SYSTEMS[system]
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.sent: dict[str, int] = {}

    def serve(self) -> None:
        """Work until standard input ends, then end every job."""
        wake = os.open(self.directory / "wake", os.O_RDWR | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # so that its number goes down the pipe
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        while True:
            with change(self.directory) as state:
                self.look(state)
            ready, _, _ = select.select([0, wake], [], [], _TICK)
            if wake in ready:
                os.read(wake, 65536)
            if 0 in ready and not os.read(0, 1):
                break
        with change(self.directory) as state:
            self.close(state)

    def look(self, state: State) -> None:
        """One round: ends first, as they make room."""
        for job in state["jobs"].values():
            if job["id"] in self.running:
                self._watch(state, job)
            elif job["lost"] is not None:
                self._give_up(state, job)
        for job in state["jobs"].values():
            if job["state"] in WAITING:
                self._try(state, job)

    def close(self, state: State) -> None:
        """End every job with all that it started."""
        processes.sweep(self.directory)
        for job in state["jobs"].values():
            if job["id"] in self.running:
                job["kill"] = {"why": "deleted", "since": time.time()}
                self.running[job["id"]].kill()
                self._finish(state, job, self.running.pop(job["id"]).wait())
            elif job["state"] in WAITING or job["lost"] is not None:
                self.ways.delete_waiting(job)

    def _try(self, state: State, job: Job) -> None:
        """Start `job`, or say why not."""
        if (lacking := machine.lack(state, job)) is not None:
            job["comment"] = self.ways.comment(lacking)
            return
        job["nodes"] = machine.place(job, machine.room(state))
        job.update(state=STARTED[state["system"]], started=time.time(), runs=job["runs"] + 1, kill=None)
        self.sent.pop(job["id"], None)
        (self.directory / "tmp" / job["id"]).mkdir(exist_ok=True)
        script = file_of(self.directory, job, "SC")
        submitted = json.loads(file_of(self.directory, job, "env").read_text(encoding="utf-8"))
        env = {
            **self.ways.environment(self.directory, job, submitted),
            processes.MARK: str(self.directory),
            processes.JOB_MARK: job["id"],
        }
        try:
            output, error = self.ways.open_outputs(self.directory, job)
            with output, error:
                started = subprocess.Popen(
                    [*_interpreter(script), str(script)],
                    env=env,
                    cwd=self.ways.working_directory(job, env),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=error,
                    start_new_session=True,
                )
        except OSError as problem:
            self.ways.judge(job, 127, None)
            job.update(comment=f"{problem}", ended=time.time())
            return
        self.running[job["id"]] = started
        job["pid"] = started.pid
        self.ways.tell_start(job)

    def _watch(self, state: State, job: Job) -> None:
        """See whether `job` is over, and end it when it must end."""
        code = self.running[job["id"]].poll()
        if code is None:
            job["kill"] = job["kill"] or self._verdict(state, job)
            if job["kill"] is not None:
                self._press(state, job)
            return
        del self.running[job["id"]]
        self._finish(state, job, code)

    @staticmethod
    def _verdict(state: State, job: Job) -> dict[str, object] | None:
        """Why `job` must end now; None where it may go on."""
        ran, dies = time.time() - job["started"], state["faults"].get("end")
        if dies is not None and ran >= dies["seconds"]:
            return {"why": "died", "since": time.time(), "status": dies["status"]}
        if job["walltime"] is not None and ran > job["walltime"]:
            return {"why": "walltime", "since": time.time(), "ran": int(ran)}
        return None

    def _press(self, state: State, job: Job) -> None:
        """Send the signals that are due to all of `job`."""
        since = time.time() - job["kill"]["since"]
        plan = self.ways.SIGNALS.get(job["kill"]["why"], ((0.0, signal.SIGKILL),))
        due = [number for share, number in plan if since >= share * state["kill_delay"]]
        for number in due[self.sent.get(job["id"], 0) :]:
            processes.send(processes.members(self.directory, job["id"], job["pid"]), number)
        self.sent[job["id"]] = len(due)

    def _finish(self, state: State, job: Job, code: int) -> None:
        """Write down how `job` ended, when nothing of it runs any more."""
        processes.sweep(self.directory, job["id"], job["pid"])
        self.sent.pop(job["id"], None)
        if job["kill"] is not None and job["kill"]["why"] == "lost":
            job.update(lost=job["kill"]["since"] + job["kill"]["after"], kill=None, state=self.ways.LOST)
            return
        self.ways.judge(job, code, job["kill"])
        self.ways.deliver(self.directory, job)
        job["ended"] = time.time()

    def _give_up(self, state: State, job: Job) -> None:
        """Do with a job of a lost node what the system does when it notices, or when the node is back."""
        is_back = not set(job["nodes"]) & set(state["lost"])
        if job["kill"] is not None:
            self.ways.delete_waiting(job)
        elif self.ways.gives_up(job, is_back=is_back):
            if job["rerunnable"]:
                job.update(state=QUEUED[state["system"]], nodes=[], pid=None, started=None)
            else:
                self.ways.judge_lost(job)
                job["ended"] = time.time()
        else:
            return
        job["lost"] = None


def _interpreter(script: Path) -> list[str]:
    """What runs `script`: the words of its first line, or the plain shell."""
    first = script.read_text(encoding="utf-8").partition("\n")[0]
    return first[2:].split(maxsplit=1) if first.startswith("#!") else ["/bin/sh"]


def main(system: str, directory: str) -> None:
    """Serve the stand-in at `directory`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)  # jobs would go on ignoring what whoever started us ignores
    Server(Path(directory), system).serve()
    sys.exit(0)
