"""Ray on two worker processes; no Dask, but what many compare Dask with."""

import os
from contextlib import contextmanager

import bodies

from contestants._cluster import WORKERS
from contestants._futures import Futures

# Ray makes an environment for its workers out of `uv run` or `pip` where it finds them; these are here already.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


class Reference:
    """An object reference with the `result()` that other futures have."""

    def __init__(self, ray, reference):
        self._ray = ray
        self.reference = reference

    def result(self):
        return self._ray.get(self.reference)


@contextmanager
def opened():
    import ray

    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        remote = {body: ray.remote(body) for body in vars(bodies).values() if callable(body)}

        def call(body, *args):
            plain = [each.reference if isinstance(each, Reference) else each for each in args]
            return Reference(ray, remote[body].remote(*plain))

        yield Futures(call, lambda futures: ray.get([each.reference for each in futures]))
    finally:
        ray.shutdown()
