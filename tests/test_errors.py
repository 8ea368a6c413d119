"""Errors of asyncflow's own, and exceptions made ready to travel: nothing of them is lost on the way."""

import pickle

import cloudpickle
import pytest

from asyncflow import errors
from asyncflow.failures import pack, unpack

CLASSES = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.AsyncflowError)]


def _make(cls):
    facts = {
        errors.ConfigError: ([errors.Problem("wrong", "cluster.kind", "file.yaml", 3)],),
        errors.CommandError: ("text", ["ls", "-l"], 2, "stderr", "/tmp/err"),
        errors.CommandNotFoundError: ("text", "ls", None, "", None),
        errors.DependencyFailureError: ("text", ["a", "b"], ValueError("root")),
        errors.MissingModuleError: ("text", "numpy", "host"),
        errors.RemoteError: ("text", "builtins.ValueError", "Traceback"),
        errors.SerializationError: ("text", "argument"),
        errors.BackendNameError: ("text", ("dask",)),
        errors.RefusedError: ("text", "reason"),
        errors.SchedulerLostError: ("text", "tls://host"),
        errors.WorkerLostError: ("text", "tcp://host"),
        errors.TaskTimeoutError: ("text", 2.5),
    }
    return cls(*facts.get(cls, ("text",)))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_survives_pickling(cls):
    """Text and facts of every class are the same after the way to another process."""
    error = _make(cls)
    error.note = "added later"
    for how in (pickle, cloudpickle):
        copy = pickle.loads(how.dumps(error))
        assert type(copy) is cls
        assert str(copy) == str(error) != ""
        assert copy.args == error.args or cls is errors.ConfigError
        for name, value in vars(error).items():
            assert repr(getattr(copy, name)) == repr(value) or name == "problems"


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_survives_the_way_from_a_worker(cls):
    """Facts and causes of asyncflow's own errors come through the packing that bodies' exceptions get."""
    error = _make(cls)
    (copy,) = [unpack(pickle.loads(pickle.dumps(pack(error))))]
    assert type(copy) is cls
    assert str(copy) == str(error)


def test_a_dependency_error_keeps_its_cause_through_pickling():
    """`root_cause` and `__cause__` survive."""
    copy = pickle.loads(pickle.dumps(_make(errors.DependencyFailureError)))
    assert isinstance(copy.root_cause, ValueError)
    assert copy.failed_dependencies == ["a", "b"]
    assert isinstance(copy.__cause__, ValueError)


def test_a_cause_that_is_its_own_context_is_packed_all_the_same():
    """A loop of contexts ends, and a chain of hundreds is cut."""
    error: BaseException = ValueError(0)
    for number in range(200):
        outer = ValueError(number)
        outer.__cause__ = error
        error = outer
    assert 1 < len(pack(error)) < 50
    loop_a, loop_b = ValueError("a"), ValueError("b")
    loop_a.__context__, loop_b.__context__ = loop_b, loop_a
    assert str(unpack(pack(loop_a))) == "a"
