"""Did you mean: the nearest known word to a misspelt one."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence naming the nearest of `known`, or an empty string where none is near."""
    names = list(known)
    lowered = {name.lower(): name for name in names}
    match = get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    return f"did you mean {lowered[match[0]]!r}?" if match else ""


def hint(word: str, known: Iterable[str]) -> str:
    """What to write instead of `word`: the nearest of `known` where one is near, and all of them."""
    names = list(known)
    return " ".join(filter(None, [did_you_mean(word, names), one_of(names)]))


def one_of(known: Iterable[str]) -> str:
    """``valid are a, b and c``, sorted."""
    names = sorted(known)
    return "valid are " + (", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names))
