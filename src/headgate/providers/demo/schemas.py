"""JSON that fits a JSON Schema, built from the schema alone and from hints about what its fields should say."""

import math
from collections.abc import Callable
from typing import Any

from headgate.providers.demo import patterns
from headgate.providers.demo.ask import Json

# A hint gives the wanted value of a named field, or MISSING; a value the field does not allow is not used.
MISSING: Any = object()
Hint = Callable[[str, Json], Any]

_MAX_DEPTH = 12
_MAX_NODES = 4000
_MAX_RESOLVED = 4 * _MAX_NODES
_FULL_DEPTH = 4
_MOST_DEPTH = 40
_FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "demo@example.com",
    "hostname": "example.com",
    "uri": "https://example.com/demo",
    "url": "https://example.com/demo",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}


def no_hint(_name: str, _schema: Json) -> Any:
    """Knows nothing about any field."""
    return MISSING


def build(schema: Any, hint: Hint = no_hint) -> Any:
    """A value that fits ``schema``; unknown keywords are not looked at."""
    return _Builder(schema, hint).value(schema, "", 0)


def fields(schema: Any) -> dict[str, Json]:
    """The named properties of an object schema, references followed."""
    resolved = _Builder(schema, no_hint).resolve(schema)
    named = resolved.get("properties")
    return {name: _as_schema(value) for name, value in named.items()} if isinstance(named, dict) else {}


def kinds(schema: Json) -> list[str]:
    """The JSON types that ``schema`` allows, empty when it does not say."""
    stated = schema.get("type")
    if isinstance(stated, str):
        return [stated]
    if isinstance(stated, list):
        return [kind for kind in stated if isinstance(kind, str)]
    if "properties" in schema:
        return ["object"]
    return ["array"] if "items" in schema or "prefixItems" in schema else []


def _as_schema(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


class _Builder:
    def __init__(self, root: Any, hint: Hint) -> None:
        self.root = _as_schema(root)
        self.hint = hint
        self.nodes = 0
        self.resolved = 0
        self.level = 0

    def resolve(self, schema: Any, depth: int = 0) -> Json:
        """``schema`` with its reference followed, its allOf merged, and its first usable alternative taken."""
        found = _as_schema(schema)
        self.resolved += 1
        for _ in range(_MAX_DEPTH if self.resolved < _MAX_RESOLVED and depth < _MAX_DEPTH else 0):
            if "$ref" in found:
                rest = {key: value for key, value in found.items() if key != "$ref"}
                found = {**self._referenced(found["$ref"]), **rest}
            elif isinstance(found.get("allOf"), list):
                found = self._merged(found, depth)
            elif alternatives := found.get("anyOf") or found.get("oneOf"):
                rest = {key: value for key, value in found.items() if key not in ("anyOf", "oneOf")}
                found = {**rest, **self._alternative(alternatives)}
            else:
                break
        return found

    def _referenced(self, reference: Any) -> Json:
        at: Any = self.root
        if not isinstance(reference, str) or not reference.startswith("#"):
            return {}
        for part in reference[1:].strip("/").split("/"):
            if part:
                at = _as_schema(at).get(part.replace("~1", "/").replace("~0", "~"))
        return _as_schema(at)

    def _merged(self, schema: Json, depth: int) -> Json:
        merged: Json = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"][:50]:
            for key, value in self.resolve(part, depth + 1).items():
                if key == "properties":
                    merged[key] = {**merged.get(key, {}), **_as_schema(value)}
                elif key == "required" and isinstance(value, list):
                    merged[key] = [*merged.get(key, []), *value]
                else:
                    merged[key] = value
        return merged

    def _alternative(self, alternatives: Any) -> Json:
        options = [_as_schema(option) for option in alternatives] if isinstance(alternatives, list) else []
        if self.level > _FULL_DEPTH:
            # A schema that contains itself ends here, at the alternative that does not go on.
            options.sort(key=lambda option: ("$ref" in option, option.get("type") in ("object", "array")))
            return options[0] if options else {}
        return next((option for option in options if option.get("type") != "null"), options[0] if options else {})

    def value(self, schema: Any, name: str, depth: int) -> Any:
        self.nodes += 1
        self.level = depth
        found = self.resolve(schema)
        if "const" in found:
            return found["const"]
        wanted = self.hint(name, found) if name else MISSING
        if wanted is not MISSING and _fits(wanted, found):
            return wanted
        if isinstance(found.get("enum"), list) and found["enum"]:
            return found["enum"][0]
        allowed = kinds(found)
        if depth > _FULL_DEPTH and "null" in allowed:
            return None
        return self._plain(
            next((kind for kind in allowed if kind != "null"), "null" if allowed else "string"), found, name, depth
        )

    def _plain(self, kind: str, schema: Json, name: str, depth: int) -> Any:
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, name, depth)
        if kind in ("integer", "number"):
            return _number(schema, whole=kind == "integer")
        if kind == "boolean":
            return True
        return None if kind == "null" else _string(schema, name)

    def _object(self, schema: Json, depth: int) -> Json:
        named = _as_schema(schema.get("properties"))
        required = _as_list(schema.get("required"))
        out: Json = {}
        for name, inner in named.items():
            if name in required or (depth <= _FULL_DEPTH and self.nodes < _MAX_NODES):
                if depth > _MOST_DEPTH or self.nodes > 2 * _MAX_NODES:
                    break
                out[name] = self.value(inner, name, depth + 1)
        for name in required:
            if isinstance(name, str) and name not in out and name not in named:
                out[name] = self.value(schema.get("additionalProperties"), name, depth + 1)
        return out

    def _array(self, schema: Json, name: str, depth: int) -> list[Any]:
        least = _whole(schema.get("minItems"), 0)
        most = _whole(schema.get("maxItems"), 1000)
        out = [self.value(item, name, depth + 1) for item in _as_list(schema.get("prefixItems"))[:100]]
        wanted = max(least, 1 if depth <= _FULL_DEPTH and not out and self.nodes < _MAX_NODES else 0)
        while depth < _MOST_DEPTH and len(out) < min(wanted, most, 1000) and self.nodes < 2 * _MAX_NODES:
            item = self.value(schema.get("items"), name.removesuffix("s"), depth + 1)
            if schema.get("uniqueItems") and item in out:
                item = self._another(_as_schema(schema.get("items")), item, len(out))
            out.append(item)
        return out

    def _another(self, schema: Json, item: Any, index: int) -> Any:
        options = self.resolve(schema).get("enum")
        if isinstance(options, list) and index < len(options):
            return options[index]
        if isinstance(item, str):
            return f"{item} {index + 1}"
        return item + index if isinstance(item, int | float) and not isinstance(item, bool) else item


def _whole(value: Any, otherwise: int) -> int:
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else otherwise


def _string(schema: Json, name: str) -> str:
    form = schema.get("format")
    if isinstance(form, str) and form in _FORMATS:
        return _FORMATS[form]
    if isinstance(schema.get("pattern"), str):
        try:
            return _sized(patterns.example(schema["pattern"]), schema)
        except patterns.UnsupportedPattern:
            pass
    return _sized(f"demo {name.replace('_', ' ')}".strip(), schema)


def _sized(text: str, schema: Json) -> str:
    least = min(_whole(schema.get("minLength"), 0), 100_000)
    return text.ljust(least, "." if not text else text[-1])[: _whole(schema.get("maxLength"), 1_000_000)]


def _bounds(schema: Json, step: float) -> tuple[float, float]:
    def bound(key: str) -> float | None:
        value = schema.get(key)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    lows = [value for value in (bound("minimum"), _shifted(bound("exclusiveMinimum"), step)) if value is not None]
    highs = [value for value in (bound("maximum"), _shifted(bound("exclusiveMaximum"), -step)) if value is not None]
    return max(lows, default=-math.inf), min(highs, default=math.inf)


def _shifted(value: float | None, by: float) -> float | None:
    return None if value is None else value + by


def _number(schema: Json, *, whole: bool) -> int | float:
    low, high = _bounds(schema, 1 if whole else 1e-6)
    multiple = schema.get("multipleOf")
    if isinstance(multiple, int | float) and multiple > 0:
        start = 0 if low <= 0 <= high else low if low > -math.inf else high
        value: float = math.ceil(start / multiple) * multiple
    else:
        value = min(max(1, low), high)
    return math.ceil(value) if whole or float(value).is_integer() else value


def _fits(value: Any, schema: Json) -> bool:
    options = schema.get("enum")
    if isinstance(options, list):
        return any(value == option and type(value) is type(option) for option in options)
    allowed = kinds(schema)
    if allowed and not any(_is(value, kind) for kind in allowed):
        return False
    if isinstance(value, str):
        length_ok = _whole(schema.get("minLength"), 0) <= len(value) <= _whole(schema.get("maxLength"), 1 << 30)
        return length_ok and "pattern" not in schema and str(schema.get("format")) not in _FORMATS
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = _bounds(schema, 0)
        return low <= value <= high and "multipleOf" not in schema
    if isinstance(value, list):
        return _whole(schema.get("minItems"), 0) <= len(value) <= _whole(schema.get("maxItems"), 1 << 30)
    return True


def _is(value: Any, kind: str) -> bool:
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    known = {"string": str, "boolean": bool, "object": dict, "array": list, "null": type(None)}
    return kind in known and isinstance(value, known[kind])
