"""Pipelines written in YAML: read, checked, and run on an engine."""

from asyncflow.pipelines.pipeline import Pipeline, load_pipeline

__all__ = ["Pipeline", "load_pipeline"]
