"""Real Jupyter kernels, notebooks executed in them, and what cells show."""

from contextlib import asynccontextmanager
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient
from nbconvert import HTMLExporter

#: Seconds that a cell may take.
PATIENCE = 90


class Answer:
    """What a cell came to: how it ended, what it printed, and what it shows, the latest of each display."""

    def __init__(self):
        self.status = ""
        self.error = ""
        self.text = ""
        self.shown = []
        self.updates = []  # of displays, in order, whichever cell they belong to

    def take(self, message):
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            self.text += content["text"]
        elif kind in {"display_data", "execute_result"}:
            self.shown.append(content["data"])
        elif kind == "update_display_data":
            self.updates.append(content["data"])


class Kernel:
    """A kernel and its one client."""

    def __init__(self, manager, client):
        self.manager = manager
        self._client = client

    async def run(self, code):
        """Run a cell, to its end."""
        answer, request = Answer(), self._client.execute(code)
        is_over = False
        while not is_over:
            message = await self._client.get_iopub_msg(timeout=PATIENCE)
            is_ours = message["parent_header"].get("msg_id") == request
            if is_ours or message["msg_type"] == "update_display_data":  # those are sent between cells as well
                answer.take(message)
            is_over = is_ours and message["content"].get("execution_state") == "idle"
        reply = await self._client.get_shell_msg(timeout=PATIENCE)
        answer.status, answer.error = reply["content"]["status"], reply["content"].get("ename", "")
        return answer

    async def interrupt(self):
        """What the stop button does."""
        await self.manager.interrupt_kernel()


@asynccontextmanager
async def open_kernel(cwd):
    """A kernel of this Python, which ends with the block."""
    manager = AsyncKernelManager(kernel_name="python3", transport="ipc", connection_file=str(Path(cwd, "kernel.json")))
    await manager.start_kernel(cwd=str(cwd))
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=PATIENCE)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=False)


async def execute(path, cwd):
    """The notebook at `path` with the outputs of its cells, executed from top to bottom in `cwd`."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=PATIENCE, kernel_name="python3", resources={"metadata": {"path": cwd}})
    await client.async_execute()
    return notebook


def as_html(notebook, path):
    """Write `notebook` as a page that needs nothing from elsewhere."""
    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url="", widget_renderer_url="")
    body, _ = exporter.from_notebook_node(notebook)
    path.write_text(body, encoding="utf-8")
    return path
