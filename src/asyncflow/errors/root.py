"""The root of the tree, and how its errors are made without being raised."""

from typing import Any, TypeVar

E = TypeVar("E", bound=BaseException)


def rebuild(cls: type[BaseException], args: tuple[Any, ...], facts: dict[str, Any]) -> BaseException:
    """An exception of `cls` without calling its constructor, which may want other arguments."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class AsyncflowError(Exception):
    """The root of the tree: catch it to catch everything that is asyncflow's own."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive pickling whatever the constructor takes: facts are attributes."""
        return rebuild, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        """The message (KeyError, a base of one class, would show its repr)."""
        return str(self.args[0]) if self.args else ""


def with_cause(error: E, cause: BaseException | None) -> E:
    """`error` with ``__cause__`` set, for errors that are not raised but handed to a future."""
    error.__cause__ = cause
    return error
