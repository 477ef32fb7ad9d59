"""Rows of the registry's model tables as values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from headgate.core.served_models import CHAMPION
from headgate.core.signature import Signature
from headgate.registry.versioned import Version, Versioned

COLUMNS = """model, number, sha256, manifest, bytes, joins, metadata, metrics, lineage, message, author, git_commit,
             who, created_at_us, archived_at_us"""


@dataclass(frozen=True, kw_only=True)
class ModelVersion(Version):
    """One version: what it serves, where it comes from, who registered it."""

    files: Mapping[str, str]
    signature: Signature
    size_bytes: int
    joins: Literal["exact", "close", "no"]
    metadata: Mapping[str, Any]
    metrics: Mapping[str, Any]
    lineage: Sequence[Mapping[str, Any]]


class Model(Versioned[ModelVersion]):
    """A model with its versions, newest first, and its aliases: now, or as of a time."""

    BARE = CHAMPION


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the server found of a version."""

    kind: str
    passed: bool
    report: Mapping[str, Any]
    who: str
    at_us: int


class _Manifest(msgspec.Struct):
    files: dict[str, str]
    signature: Signature


_manifest = msgspec.json.Decoder(_Manifest).decode


def version_of(row: Sequence[Any]) -> ModelVersion:
    """A row of ``COLUMNS``."""
    manifest = _manifest(row[3])
    return ModelVersion(
        name=row[0],
        number=row[1],
        sha256=row[2],
        files=manifest.files,
        signature=manifest.signature,
        size_bytes=row[4],
        joins=row[5],
        metadata=json.loads(row[6]),
        metrics=json.loads(row[7]),
        lineage=json.loads(row[8]),
        message=row[9],
        author=row[10],
        git_commit=row[11],
        who=row[12],
        created_at_us=row[13],
        archived_at_us=row[14],
    )


def evidence_of(row: Sequence[Any]) -> Evidence:
    """A row of ``kind, passed, report, who, at_us``."""
    return Evidence(kind=row[0], passed=bool(row[1]), report=json.loads(row[2]), who=row[3], at_us=row[4])
