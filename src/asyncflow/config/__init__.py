"""YAML to typed settings: read with line numbers, checked as a whole, every problem told at once."""

from asyncflow.config.schema import json_schema
from asyncflow.config.settings import Settings, environment_config, load_settings

__all__ = ["Settings", "environment_config", "json_schema", "load_settings"]
