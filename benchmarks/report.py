"""How long `asyncflow report` takes for a run of many calls, and how large its file is.

    python benchmarks/report.py [CALLS]

The journal is made up (`tests/synthetic.py`): half of the calls depend on others, some fail.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import synthetic


def main(calls):
    with tempfile.TemporaryDirectory() as place:
        run = Path(place, "run")
        journal = synthetic.write_run(run, calls)
        began = time.perf_counter()
        subprocess.run(["asyncflow", "report", str(run)], check=True, stdout=subprocess.DEVNULL)
        took = time.perf_counter() - began
        sizes = [path.stat().st_size / 1e6 for path in (journal, run / "report.html")]
    print(f"{calls:,} calls: {took:.1f} s; journal {sizes[0]:.1f} MB, report {sizes[1]:.1f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
