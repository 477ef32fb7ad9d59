"""Classic models as the API tells them."""

from collections.abc import Mapping
from typing import Any

from headgate.control.prompt_json import time_json
from headgate.core.protection import rule_for
from headgate.core.runner_states import RunnerState
from headgate.core.served_models import CHAMPION
from headgate.core.settings import Settings
from headgate.core.signature import TensorSpec
from headgate.registry.model_rows import Evidence, Model, ModelVersion


def summary_json(model: Model, settings: Settings) -> dict[str, Any]:
    """A model in a list."""
    is_protected = rule_for(settings, "model", model.name, CHAMPION) is not None
    current = model.current(is_protected=is_protected)
    newest = model.versions[0] if model.versions else None
    return {
        "name": model.name,
        "description": model.description,
        "aliases": dict(model.aliases),
        "latest": model.latest,
        "current": None if current is None else {"number": current[0], "alias": current[1]},
        "protected": is_protected,
        "task": None if newest is None else newest.signature.task,
        "version_count": len(model.versions),
        "updated_at": None if newest is None else time_json(newest.created_at_us),
    }


def model_json(model: Model, settings: Settings, states: Mapping[str, RunnerState]) -> dict[str, Any]:
    """A model with its versions."""
    versions = [version_json(version, model, states.get(version.sha256)) for version in model.versions]
    return {**summary_json(model, settings), "versions": versions}


def version_json(version: ModelVersion, model: Model, state: RunnerState | None) -> dict[str, Any]:
    """A version in a model."""
    return {
        "number": version.number,
        "ref": f"{version.name}@{version.number}",
        "sha256": version.sha256,
        "aliases": [alias for alias, number in model.aliases.items() if number == version.number],
        "task": version.signature.task,
        "bytes": version.size_bytes,
        "metrics": dict(version.metrics),
        "message": version.message,
        "author": version.author,
        "git_commit": version.git_commit,
        "registered_by": version.who,
        "created_at": time_json(version.created_at_us),
        "archived": version.is_archived(),
        "runner": None if state is None else runner_json(state),
    }


def details_json(version: ModelVersion, model: Model, state: RunnerState | None) -> dict[str, Any]:
    """One version with everything about it, its evidence excepted."""
    signature = version.signature
    return {
        **version_json(version, model, state),
        "name": version.name,
        "format": "onnx",
        "files": dict(version.files),
        "signature": {
            "inputs": [spec_json(spec) for spec in signature.inputs],
            "outputs": [spec_json(spec) for spec in signature.outputs],
            "task": signature.task,
            "features": list(signature.features),
            "classes": list(signature.classes),
            "predicted": signature.predicted,
            "scores": signature.scores,
            "positive": signature.positive,
            "entity": signature.entity,
        },
        "joins": version.joins,
        "metadata": dict(version.metadata),
        "lineage": list(version.lineage),
    }


def spec_json(spec: TensorSpec) -> dict[str, Any]:
    """One input or output."""
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def runner_json(state: RunnerState) -> dict[str, Any]:
    """The process of a version."""
    return {"state": state.state, "pid": state.pid, "reason": state.reason, "restarts": state.restarts}


def evidence_json(found: Evidence) -> dict[str, Any]:
    """What the server found."""
    return {
        "kind": found.kind,
        "passed": found.passed,
        "report": dict(found.report),
        "who": found.who,
        "at": time_json(found.at_us),
    }
