"""Headgate: an LLMOps observability gateway."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "register_model"]


def register_model(name: str, estimator: Any, sample: Any, **more: Any) -> dict[str, Any]:
    """Convert a fitted estimator to ONNX here and register it; see `headgate.runtimes.convert.register_model`."""
    from headgate.runtimes.convert import register_model as register

    return register(name, estimator, sample, **more)
