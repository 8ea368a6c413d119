"""Conditions of ``when``: a reference, or ``not``, ``equals``, ``all`` and ``any`` of some."""

from collections.abc import Mapping
from typing import Any

from asyncflow.suggest import hint

#: Keys of a condition, and how many things each is about; None for any number.
FORMS: Mapping[str, int | None] = {"not": 1, "equals": 2, "all": None, "any": None}


def problem_of(condition: Any) -> str | None:
    """What is wrong with the form of a parsed `condition`; None where nothing is."""
    if not isinstance(condition, dict):
        return "a condition is no list" if isinstance(condition, list) else None
    if len(condition) != 1:
        return f"a condition has one of {', '.join(FORMS)}, not {len(condition)} keys"
    ((key, inner),) = condition.items()
    if key not in FORMS:
        return f"there is no condition {key!r}; {hint(str(key), list(FORMS))}"
    if key == "not":
        return problem_of(inner)
    if not isinstance(inner, list) or (FORMS[key] is not None and len(inner) != FORMS[key]):
        return f"{key!r} takes a list{' of two' if key == 'equals' else ''}"
    return None if key == "equals" else next(filter(None, map(problem_of, inner)), None)


def holds(condition: Any) -> bool:
    """Whether a condition holds whose references are values by now."""
    if not isinstance(condition, dict) or condition.keys() - FORMS.keys() or len(condition) != 1:
        return bool(condition)
    ((key, inner),) = condition.items()
    if key == "not":
        return not holds(inner)
    if key == "equals":
        return bool(inner[0] == inner[1])
    return all(map(holds, inner)) if key == "all" else any(map(holds, inner))
