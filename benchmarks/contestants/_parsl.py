"""What the Parsl contestants share."""

import tempfile
from contextlib import contextmanager

import bodies
import parsl

from contestants._futures import Futures


@contextmanager
def opened(executor):
    # Its strategy thread scales blocks up and down; here there is one, and it stays.
    with tempfile.TemporaryDirectory() as folder:
        config = parsl.Config([executor], run_dir=folder, strategy="none", initialize_logging=False)
        with parsl.load(config):
            apps = {body: parsl.python_app(body) for body in vars(bodies).values() if callable(body)}
            yield Futures(lambda body, *args: apps[body](*args), lambda futures: [each.result() for each in futures])
