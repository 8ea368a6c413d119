"""A disk of some megabytes, which is soon full: a file system in memory, mounted on a directory."""

import contextlib
import os
import subprocess
from pathlib import Path

_SIZE = 8 << 20  # bytes
_PAGE = 4096


def prefix():
    """What a command begins with that mounts disks: users who are not root get a namespace of their own."""
    return [] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]


class Disk:
    """One such disk; whoever mounts it unmounts it."""

    def __init__(self, path):
        self.path = Path(path)
        self._filler = self.path / "filler"

    def mount(self):
        self.path.mkdir(parents=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "asyncflow-chaos", str(self.path))
        self.path.chmod(0o1777)

    def unmount(self):
        if self.path.is_mount():
            _run("umount", "--lazy", str(self.path))

    def fill(self):
        """Leave no byte of it."""
        handle = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with contextlib.suppress(OSError):
            while True:
                os.write(handle, bytes(_PAGE))
        os.close(handle)

    def free(self):
        """Give back what `fill` took."""
        self._filler.unlink(missing_ok=True)


def unmount_below(directory):
    """Unmount the disks that somebody left in a directory."""
    for path in Path(directory).iterdir():
        Disk(path).unmount()


def _run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)} failed: {done.stderr.strip()}; a disk that fills is mounted by root only")
