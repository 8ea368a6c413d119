"""Everything that can be wrong with a pipeline file is told before anything runs, with its place and a remedy."""

import os
import sys
from pathlib import Path

import pytest

from asyncflow import ConfigError, load_pipeline

FILES = Path(__file__).parent / "broken_pipelines"

#: With ASYNCFLOW_ACCEPT=1 the messages are written down anew; look at the difference then.
ACCEPT = os.environ.get("ASYNCFLOW_ACCEPT") == "1"


@pytest.fixture
def beside(monkeypatch):
    """Run beside the files, so that messages have no directory in them; leave the module path alone."""
    monkeypatch.chdir(FILES)
    monkeypatch.setattr(sys, "path", [*sys.path, str(FILES)])


@pytest.mark.parametrize("name", sorted(path.stem for path in FILES.glob("*.yaml")))
def test_a_broken_file_is_refused_with_its_message(name, beside):
    """The message is the one beside the file."""
    with pytest.raises(ConfigError) as caught:
        load_pipeline(f"{name}.yaml")
    told = f"{caught.value}\n".replace(str(FILES), "HERE")
    stored = FILES / f"{name}.txt"
    if ACCEPT:
        stored.write_text(told)
    assert told == stored.read_text()


def test_every_message_has_a_place_and_a_remedy(beside):
    """File, line and column in front, and behind a semicolon what to do, where the fact alone does not say it."""
    for path in sorted(FILES.glob("*.txt")):
        for line in path.read_text().splitlines():
            place, _, message = line.partition(": ")
            assert place.count(":") == 2, line
            assert place.split(":")[0].endswith(".yaml"), line
            assert [number.isdigit() for number in place.split(":")[1:]] == [True, True], line
            assert any(sign in message for sign in (";", "must be", "should be", "takes a", "is missing")), line


def test_there_are_many():
    """At least forty, each with its message."""
    assert len(list(FILES.glob("*.yaml"))) == len(list(FILES.glob("*.txt"))) >= 40
