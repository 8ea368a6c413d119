"""What happens in an engine, told to OpenTelemetry; the only door to its SDK."""

try:
    import opentelemetry.sdk.trace  # noqa: F401 - asked for first, to say what is missing
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"telemetry needs OpenTelemetry's SDK, which is not installed here (there is no {error.name!r}); "
        "pip install 'asyncflow[otel]'",
        name=error.name,
    ) from error

from asyncflow.telemetry.session import Telemetry

__all__ = ["Telemetry"]
