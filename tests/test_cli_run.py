"""``asyncflow run`` with a real engine: it finds the configuration, and signals shut it down in order."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


@pytest.fixture
def workflow(tmp_path):
    """Start ``asyncflow run`` on a script, with a small local cluster, and hand over the process."""
    (tmp_path / "c.yaml").write_text(
        "cluster: {kind: local, n_workers: 1, threads_per_worker: 1, resources: {lamp: 1}}"
    )
    processes = []

    def _workflow(text):
        (tmp_path / "script.py").write_text(INTERRUPTIBLE + dedent(text))
        process = subprocess.Popen(
            [sys.executable, "-m", "asyncflow", "run", "script.py", "--config", "c.yaml"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"PYTHONUNBUFFERED": "1", "ASYNCFLOW_GRACE": "1", "PYTHONWARNINGS": "default::ResourceWarning"},
        )
        processes.append(process)
        return process

    yield _workflow
    for process in processes:
        process.kill()
        process.communicate()


def alive(pid):
    """Whether there is a process `pid` that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_engine_of_a_script_finds_the_configuration(workflow):
    """``create()`` without arguments uses the file given to ``asyncflow run``: its resource is there."""
    process = workflow("""
        import asyncio
        from asyncflow import WorkflowEngine

        async def main():
            async with WorkflowEngine.create() as flow:
                @flow.function_task(resources={"lamp": 1})
                def double(x):
                    return 2 * x
                print(await double(double(10)))

        asyncio.run(main())
    """)
    out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == ("40\n", 0), err
    assert "Shutdown is triggered, terminating the resources gracefully" in err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_shut_the_engine_down_in_order(workflow, number, status):
    """A running command and its worker are gone when ``asyncflow run`` exits."""
    process = workflow("""
        import asyncio, os
        from asyncflow import WorkflowEngine

        async def main():
            async with WorkflowEngine.create() as flow:
                @flow.function_task
                def worker():
                    return os.getpid()
                @flow.executable_task
                def endless(ready):
                    return ["sh", "-c", f"echo $$ > {ready}; exec sleep 600"]
                print(await worker())
                os.mkfifo("ready")
                running = endless("%s/ready" % os.getcwd())
                running.add_done_callback(lambda _: None)
                with await asyncio.to_thread(open, "ready") as pipe:
                    print(pipe.read().strip())
                await running

        asyncio.run(main())
    """)
    pids = [int(process.stdout.readline()) for _ in range(2)]
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert "Shutdown is triggered, terminating the resources gracefully" in err
    assert not any(map(alive, pids))


def test_an_engine_left_open_is_closed_at_exit(workflow):
    """A script that never shuts its engine down leaves no worker behind, and is told so."""
    process = workflow("""
        import asyncio, os
        from asyncflow import WorkflowEngine

        async def main():
            global flow
            flow = await WorkflowEngine.create()
            @flow.function_task
            def worker():
                return os.getpid()
            print(await worker())
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()

        asyncio.run(main())
    """)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "ResourceWarning" in err
    assert not alive(int(out))
