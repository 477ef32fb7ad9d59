"""The OpenAPI description, written from the route table: what is not in the table is not served."""

import re
from collections.abc import Sequence
from typing import Any

from headgate.control.access import OPEN
from headgate.control.routes import ControlRoute
from headgate.store.columns import REQUEST_COLUMNS

_ERROR_WORDS = {
    400: "A parameter or the body cannot be used",
    401: "The key is missing, wrong, revoked or expired",
    403: "The key's role is not enough, or the request comes from a foreign page",
    404: "There is no such object",
    409: "Something else is in the way",
    413: "The body is too large",
    503: "A part of Headgate is not ready",
}
_JSON_TYPES: dict[str, dict[str, Any]] = {
    "VARCHAR": {"type": ["string", "null"]},
    "UUID": {"type": ["string", "null"]},
    "TIMESTAMP": {"type": ["string", "null"], "format": "date-time"},
    "BOOLEAN": {"type": ["boolean", "null"]},
    "INTEGER": {"type": ["integer", "null"]},
    "BIGINT": {"type": ["integer", "null"]},
    "DOUBLE": {"type": ["number", "null"]},
    "VARCHAR[]": {"type": ["array", "null"], "items": {"type": "string"}},
}
_EMBEDDED = frozenset({"tags", "usage_raw", "prompt_vars"})


def document(routes: Sequence[ControlRoute], version: str) -> dict[str, Any]:
    """The whole description of `/api` and `/metrics`."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if not route.is_page:
            paths.setdefault(route.address, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Headgate control API", "version": version},
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer hg_…"},
                "key": {"type": "apiKey", "in": "header", "name": "x-headgate-key"},
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-headgate"},
            },
            "schemas": {"Error": _error_schema(), "Request": _request_schema()},
        },
    }


def _operation(route: ControlRoute) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"type": "object"}} if route.answers == "application/json" else {}
    statuses = sorted({401, 403, 503, *route.errors, *((413,) if route.body else ())})
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "x-headgate-role": route.role,
        "security": [] if route.role == OPEN else [{"bearer": []}, {"key": []}, {"session": []}],
        "parameters": [
            _parameter(parameter.name, parameter.where, parameter.kind, parameter.help)
            for parameter in route.parameters
        ],
        "responses": {
            str(route.status): {"description": route.summary, "content": {route.answers: content}},
            **{str(status): _failure(status) for status in statuses},
        },
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": dict(route.body)}}}
    return operation


def _parameter(name: str, where: str, kind: str, words: str) -> dict[str, Any]:
    if name == "tag.NAME":
        words += " NAME stands for the tag's own name."
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "description": words,
        "schema": {"type": kind},
    }


def _failure(status: int) -> dict[str, Any]:
    return {
        "description": _ERROR_WORDS[status],
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }


def _operation_id(route: ControlRoute) -> str:
    return re.sub(r"_+", "_", re.sub(r"[^a-z0-9]+", "_", f"{route.method} {route.address}".lower())).strip("_")


def _error_schema() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "code", "hint"],
                "properties": {"message": text, "code": text, "hint": text},
            }
        },
    }


def _request_schema() -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for column in REQUEST_COLUMNS:
        if column.name in _EMBEDDED:
            shape: dict[str, Any] = {}
        elif column.sql_type.startswith("DECIMAL"):
            shape = {"type": ["string", "null"]}
        else:
            shape = dict(_JSON_TYPES[column.sql_type])
        properties[column.name] = {**shape, "description": column.help}
    return {"type": "object", "properties": properties}
