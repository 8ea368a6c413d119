"""Results that outlive their run: one file each, written whole or not at all, and known to be what was written."""

import json
import pickle
import re
import time
from collections.abc import Iterable, Mapping
from functools import cached_property
from hashlib import blake2b
from os import PathLike, fspath
from typing import Any, NamedTuple

from asyncflow.errors import CorruptResultError, FencedError, SerializationError
from asyncflow.pickles import dumps
from asyncflow.places import Place, place_of, show

# magic | digest of what follows, up to the pickle | length of the header | header (with the pickle's digest) | pickle
_MAGIC = b"asyncflow result 1\n"
_DIGEST = 32
_LENGTH = 4
_START = len(_MAGIC) + _DIGEST + _LENGTH
_FIRST_READ = 16_384  # most headers are shorter
_LONGEST = 2**26  # and none is longer

_OWNER = "OWNER"
_LONGEST_TOKEN = 4096
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")


class Kept(NamedTuple):
    """A result and what was written down with it."""

    value: Any
    facts: dict[str, Any]


class ResultStore:
    """Results by key, in a directory or behind an fsspec URL (``s3://bucket/run``).

    Small to pickle: a store travels as its URL. Threads and processes may share one: a key that two write at once has
    one of the two results.

    Parameters
    ----------
    url : str or os.PathLike
        A directory, made with the first result, or a URL. A relative path is taken from here, wherever it travels.
    """

    def __init__(self, url: str | PathLike[str]) -> None:
        self.url = show(fspath(url))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the URL."""
        return type(self), (self.url,)

    def __eq__(self, other: object) -> bool:
        """Equal where the results lie in one place."""
        return isinstance(other, ResultStore) and other.url == self.url

    def __hash__(self) -> int:
        """By place."""
        return hash(self.url)

    def __repr__(self) -> str:
        """The place."""
        return f"ResultStore({self.url!r})"

    @cached_property
    def _place(self) -> Place:
        return place_of(self.url)

    def path(self, key: str) -> str:
        """Where the result of `key` lies, for people."""
        return f"{self.url}/{key}"

    def write(self, key: str, value: Any, facts: Mapping[str, Any]) -> int:
        """Keep `value` under `key`, whole or not at all; how many bytes that took.

        Parameters
        ----------
        key : str
            Letters, digits and ``_ . + -``, at most 200.
        value : object
            Whatever can be pickled.
        facts : mapping
            What is to be known without opening the value; goes into JSON. ``name`` is the task's, for errors.

        Raises
        ------
        SerializationError
            When the value cannot be pickled.
        OSError
            When there is no room, or no right to write.
        """
        try:
            data = dumps(value)
        except Exception as error:
            raise SerializationError(
                f"the result of task {facts.get('name', key)!r}, a {type(value).__name__}, cannot be pickled and so "
                f"not be kept ({type(error).__name__}: {error}); return something that can be pickled, or set "
                "checkpoint=False"
            ) from error
        start = _header(_checked(key), data, facts)
        self._place.put(key, (start, data))
        return len(start) + len(data)

    def read(self, key: str) -> Kept | None:
        """The result of `key`; None where none is kept.

        Raises
        ------
        CorruptResultError
            When the file is not, byte by byte, what was written under this key, or what it holds cannot be opened here.
        """
        whole = self._whole(key)
        if whole is None:
            return None
        facts, payload = whole
        try:
            return Kept(pickle.loads(payload), facts)
        except Exception as error:
            raise self._corrupt(key, f"cannot be opened here ({type(error).__name__}: {error})") from error

    def header(self, key: str) -> dict[str, Any] | None:
        """What was written down with the result, without reading the result; None where none is kept.

        Besides the facts given: ``key``, ``made`` (seconds since 1970), ``size`` (bytes of the pickle), ``digest``.

        Raises
        ------
        CorruptResultError
            When the header is not what was written under this key. The result itself is not looked at.
        """
        data = self._place.get(_checked(key), _FIRST_READ)
        if data is None:
            return None
        if len(data) == _FIRST_READ and len(data) < (end := _START + _length(data)):
            data = self._place.get(key, end) or b""
        return self._open(key, data)[0]

    def verify(self, key: str) -> dict[str, Any] | None:
        """The header, once the result has been read to its end; it is not opened, which may need the user's modules.

        Raises
        ------
        CorruptResultError
            When the file is not, byte by byte, what was written under this key.
        """
        whole = self._whole(key)
        return None if whole is None else whole[0]

    def keys(self) -> dict[str, int]:
        """Every key that has a file, and its bytes, from one listing; the files are not looked into."""
        return {name: size for name, size in self._place.sizes().items() if name != _OWNER and _KEY.fullmatch(name)}

    def delete(self, keys: Iterable[str]) -> None:
        """Forget these; those that have gone already do not matter."""
        self._place.remove(map(_checked, keys))

    def sweep(self) -> int:
        """Remove what writings that were broken off left; how many files."""
        return self._place.sweep()

    def claim(self, token: str) -> None:
        """From now on only who has `token` may begin and keep anything here."""
        self._place.put(_OWNER, (token.encode(),))

    def check(self, token: str) -> None:
        """Go on only while the results are this owner's, or nobody's.

        Raises
        ------
        FencedError
            When another has claimed them.
        """
        found = self._place.get(_OWNER, _LONGEST_TOKEN)
        if found is not None and found != token.encode():
            raise FencedError(
                f"the results in {self.url} are another driver's by now; what this one still runs is not kept: use "
                "the run that was resumed, or resume it again"
            )

    def _whole(self, key: str) -> tuple[dict[str, Any], memoryview] | None:
        """The header and the pickle, compared with what was written."""
        data = self._place.get(_checked(key))
        if data is None:
            return None
        facts, start = self._open(key, data)
        payload = memoryview(data)[start:]
        if len(payload) != facts["size"] or _digest(payload).hex() != facts["digest"]:
            raise self._corrupt(key, f"holds {len(payload):,} bytes that are not the {facts['size']:,} written")
        return facts, payload

    def _open(self, key: str, data: bytes) -> tuple[dict[str, Any], int]:
        """The header, and where the pickle begins."""
        if not data.startswith(_MAGIC):
            raise self._corrupt(key, "is no result of asyncflow" if data else "is empty")
        end = _START + _length(data)
        body = memoryview(data)[len(_MAGIC) + _DIGEST : end]
        if len(data) < end or _digest(body) != data[len(_MAGIC) : len(_MAGIC) + _DIGEST]:
            raise self._corrupt(key, "is damaged at its beginning, or cut off")
        facts: dict[str, Any] = json.loads(bytes(body[_LENGTH:]))
        if facts["key"] != key:
            raise self._corrupt(key, f"holds the result of {facts['key']!r}")
        return facts, end

    def _corrupt(self, key: str, fact: str) -> CorruptResultError:
        path = self.path(key)
        return CorruptResultError(f"{path} {fact}; remove it, and its task runs again", path)


def _checked(key: str) -> str:
    if key == _OWNER or not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} cannot be the key of a result; use at most 200 letters, digits, and any of _.+-")
    return key


def _header(key: str, data: bytes, facts: Mapping[str, Any]) -> bytes:
    told = {**facts, "key": key, "made": time.time(), "size": len(data), "digest": _digest(data).hex()}
    text = json.dumps(told, default=str, separators=(",", ":")).encode()
    body = len(text).to_bytes(_LENGTH, "big") + text
    return _MAGIC + _digest(body) + body


def _length(data: bytes) -> int:
    # A damaged length must not make a reader ask for gigabytes.
    return min(int.from_bytes(data[_START - _LENGTH : _START], "big"), _LONGEST)


def _digest(data: bytes | memoryview) -> bytes:
    return blake2b(data, digest_size=_DIGEST).digest()
