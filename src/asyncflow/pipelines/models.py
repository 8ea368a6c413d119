"""What a pipeline file says, typed. Texts may hold references, which `expressions` reads and `checks` looks at."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$")]

#: What a parameter may be.
ParamType = Literal["int", "float", "str", "bool", "list", "dict"]


def _declaration(value: Any) -> Any:
    """A parameter written short, as nothing but its default."""
    return value if isinstance(value, dict) else {"default": value}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Param(_Model):
    """A parameter: ``samples: 100`` for short, or what it may be."""

    type: ParamType | None = None
    """``int``, ``float``, ``str``, ``bool``, ``list`` or ``dict``; that of the default, where one is given."""

    default: Any = None
    """Its value, unless another is given; without one it has to be given."""

    help: str = ""
    """What it means, for ``asyncflow plan``."""

    choices: list[Any] | None = None
    """The only values that it may have."""

    min: float | None = None
    """The least that a number may be."""

    max: float | None = None
    """The most that a number may be."""


class Repeat(_Model):
    """A task that is done again until something holds, each round with what the one before gave."""

    until: Any
    """A reference to the result of the round, as ``${result.converged}``: true ends it."""

    at_most: Annotated[int, Field(ge=1)]
    """Rounds at the most."""

    start: Any = None
    """What ``${previous}`` is in the first round."""

    at_limit: Literal["fail", "accept"] = "fail"
    """Whether the last round's result will do where `until` never held, or the task has failed then."""


class TaskModel(_Model):
    """One task: a function (``call``), a command (``run``), or another pipeline (``pipeline``)."""

    call: str | None = None
    """A Python function, ``package.module:function``; modules beside the pipeline file are found."""

    run: list[Any] | str | None = None
    """A command: a list, each item one argument; or with ``shell`` a script."""

    pipeline: str | None = None
    """Another pipeline file; a relative path is meant from the directory of this one."""

    args: dict[str, Any] | list[Any] = Field(default_factory=dict)
    """With ``call``: arguments by name, or in order."""

    params: dict[str, Any] = Field(default_factory=dict)
    """With ``pipeline``: its parameters."""

    shell: bool | Literal["sh", "bash"] = False
    """With ``run``: the text is a script for that shell, ``sh`` for true; it ends at the first command that fails."""

    needs: list[str] = Field(default_factory=list)
    """With ``run``: files that it reads, checked before it begins; relative ones from the directory of this file."""

    makes: list[str] = Field(default_factory=list)
    """With ``run``: files that it makes, checked when it has ended; relative ones from its working directory."""

    result: Literal["text", "lines", "json", "int", "float"] = "text"
    """With ``run``: what the standard output is read as."""

    foreach: Any = None
    """Do it for each of these: a list, a reference to one, ``{range: 10}``, ``{glob: "*.txt"}``,
    ``{product: {a: [1, 2], b: [x, y]}}`` or ``{zip: {a: [1, 2], b: [x, y]}}``; each is ``${item}``."""

    repeat: Repeat | None = None
    """Do it again until something holds."""

    when: Any = None
    """Only do it if this is true: a reference, ``{not: …}``, ``{equals: [a, b]}``, ``{all: […]}`` or ``{any: […]}``."""

    after: Annotated[list[Name], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)] = Field(
        default_factory=list
    )
    """Tasks that must have ended well before it begins, though it gets nothing from them."""

    options: dict[str, Any] = Field(default_factory=dict)
    """What it asks for: ``cores``, ``memory``, ``retries``, ``timeout``, ``checkpoint`` and so on."""

    help: str = ""
    """What it does, for ``asyncflow plan``."""


class PipelineModel(_Model):
    """A pipeline file."""

    name: Name | None = None
    """What it is called; the name of the file by default."""

    help: str = ""
    """What it is for."""

    params: dict[Name, Annotated[Param, BeforeValidator(_declaration)]] = Field(default_factory=dict)
    """Parameters by name."""

    defaults: dict[str, Any] = Field(default_factory=dict)
    """Options of all tasks that do not say otherwise."""

    config: str | None = None
    """A configuration that says where it runs, unless ``--config`` does; relative to this file."""

    tasks: dict[Name, TaskModel]
    """Tasks by name, in any order."""

    outputs: dict[Name, Any] = Field(default_factory=dict)
    """What it makes, by name: references, or texts and mappings with references."""
