"""Whatever happens to the files of a run, resuming it computes what is missing or names the file."""

import asyncio
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from asyncflow import OutputFile, RunDirectoryError
from conftest import open_engine
from gates import Notes

#: Seconds after which a session counts as one that hangs.
PATIENCE = 30

ANSWER = {"sum": 12, "all": [0, 2, 4, 6], "text": "12\n"}


class Finished(NamedTuple):
    """A run that has ended in order, and how to put it back as it was."""

    work_dir: Path
    files: dict[str, bytes]
    notes: Notes

    @property
    def path(self):
        """The run directory."""
        return self.work_dir / "campaign"

    def make(self):
        """Let it run to its end; within a test, as the checks of the suite are part of what bodies refer to."""
        assert asyncio.run(self.session()) == ANSWER
        assert self.begun() == {"seed": 4, "double": 4, "total": 1, "show": 1, "answer": 1}
        for file in sorted(self.path.rglob("*")):
            if file.is_file():
                self.files[str(file.relative_to(self.path))] = file.read_bytes()

    def restore(self):
        """Make it what it was: every file, and nothing else."""
        if not self.files:
            self.make()
        shutil.rmtree(self.work_dir)
        for name, data in self.files.items():
            file = self.path / name
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.write_bytes(data)
        Path(self.notes.path).unlink(missing_ok=True)

    def begun(self):
        """How often a body of each task began."""
        return Counter(self.notes.lines)

    async def session(self):
        """Begin the run, or go on with it; the answer."""
        notes = self.notes
        async with asyncio.timeout(PATIENCE), open_engine("dask", resume="campaign", work_dir=self.work_dir) as flow:

            @flow.function_task(checkpoint=True)
            def seed(number):
                notes.add("seed")
                return number

            @flow.function_task(checkpoint=True)
            def double(number):
                notes.add("double")
                return 2 * number

            @flow.function_task
            def between(number):
                return number

            @flow.function_task(checkpoint=True)
            def total(numbers):
                notes.add("total")
                return sum(numbers)

            @flow.executable_task(checkpoint=True, workdir=True)
            def show(number, out=OutputFile("out.txt")):
                notes.add("show")
                return ["sh", "-c", "echo $0 > out.txt", number]

            @flow.function_task(checkpoint=True)
            def answer(number, numbers, shown):
                notes.add("answer")
                return {"sum": number, "all": numbers, "text": Path(shown.files["out"]).read_text()}

            doubled = [double(between(seed(number))) for number in range(4)]
            summed = total(doubled)
            return await answer(summed, doubled, show(summed))


class Damage(NamedTuple):
    """What is done to one file."""

    name: str
    how: str
    place: float
    bit: int

    def strike(self, run):
        """Do it, at a place that is told as a part of the file."""
        file = run / self.name
        if self.how == "delete":
            file.unlink(missing_ok=True)
        elif file.exists():
            data = bytearray(file.read_bytes())
            place = min(int(self.place * len(data)), max(len(data) - 1, 0))
            if self.how == "truncate":
                file.write_bytes(data[:place])
            elif data:
                data[place] ^= 1 << self.bit
                file.write_bytes(data)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of fourteen calls; one test at a time looks at it."""
    base = tmp_path_factory.mktemp("torn")
    return Finished(base / "runs", {}, Notes(base / "notes"))


def damages(run):
    """Some damage to some files."""
    place = st.floats(0, 1, allow_nan=False)
    how = st.sampled_from(["truncate", "flip", "delete"])
    one = st.builds(Damage, st.sampled_from(sorted(run.files)), how, place, st.integers(0, 7))
    return st.lists(one, min_size=1, max_size=4)


def may_run(done):
    """The tasks whose results were damaged, or what these results say is in a file."""
    files = {each.name for each in done}
    named = [name.removeprefix("results/").rpartition("-")[0] for name in files if name.startswith("results/")]
    return Counter(name for name in named if name) + Counter("show" for name in files if name.startswith("tasks/"))


def check_resumes(run, done, *, again=False):
    """The right answer comes, of bodies whose results were damaged alone; or the run is refused for a file of those.

    With `again` what was computed is looked at as well, by another session.
    """
    try:
        answer = asyncio.run(run.session())
    except RunDirectoryError as error:
        assert Path(error.path).name in {Path(each.name).name for each in done}
        assert error.path in str(error)
        assert run.begun() == {}
        return
    assert answer == ANSWER
    allowed = may_run(done)
    assert all(count <= allowed[name] for name, count in run.begun().items()), (run.begun(), allowed)
    if again:
        Path(run.notes.path).unlink(missing_ok=True)
        assert asyncio.run(run.session()) == ANSWER
        assert run.begun() == {}


def test_a_whole_run_is_found(finished):
    """Nothing damaged: nothing begins."""
    finished.restore()
    assert {Path(name).name for name in finished.files} >= {"run.yaml", "owner.json", "owner.lock", "journal.jsonl"}
    assert {"results/OWNER"} < set(finished.files)
    assert asyncio.run(finished.session()) == ANSWER
    assert finished.begun() == {}


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_damage_leads_to_a_wrong_answer(finished, data):
    """Truncate, flip a bit in or delete any files of a run: resuming computes again, or refuses with the file's name."""
    finished.restore()
    done = data.draw(damages(finished))
    for each in done:
        each.strike(finished.path)
    note(f"{done}")
    check_resumes(finished, done)


@pytest.mark.parametrize("how", ["truncate", "flip", "delete"])
def test_each_kind_of_file_may_be_damaged_alone(finished, how):
    """One file of each kind after the other, in its middle: as above."""
    finished.restore()
    kinds = {}
    for name in finished.files:
        kinds.setdefault(name.rpartition("-")[0] or name, name)
    for name in kinds.values():
        finished.restore()
        damage = Damage(name, how, 0.5, 3)
        damage.strike(finished.path)
        check_resumes(finished, [damage])


@pytest.mark.parametrize("how", ["truncate", "flip", "delete"])
def test_all_results_may_be_damaged_at_once(finished, how):
    """Each body runs once more, and the answer is the same."""
    finished.restore()
    done = [Damage(name, how, 0.9, 0) for name in finished.files if name.startswith("results/")]
    for each in done:
        each.strike(finished.path)
    check_resumes(finished, done, again=True)


def test_what_a_killed_writer_left_is_not_taken_for_a_result(finished):
    """Half-written files are neither read nor listed."""
    finished.restore()
    for name in [name for name in finished.files if name.startswith("results/")]:
        whole = finished.path / name
        (whole.parent / f".{whole.name}.0123456789abcdef").write_bytes(whole.read_bytes()[:20])
    assert asyncio.run(finished.session()) == ANSWER
    assert finished.begun() == {}
