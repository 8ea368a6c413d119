"""Settings that every cluster kind has."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from asyncflow.options import Duration


class ClusterSettings(BaseModel):
    """Keys that every ``kind:`` understands."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    security: Literal["tls", "none"] = "tls"
    """``tls`` (certificates made for the run, or given) or, by name only, ``none``: open to every user of the host."""

    start_timeout: Duration = Field(default=60.0, gt=0)
    """How long to wait for the first worker, in seconds (or ``90s``, ``5m``)."""
