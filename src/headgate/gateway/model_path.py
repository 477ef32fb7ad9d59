"""What a path of the inference protocols asks for."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

from headgate.core.errors import MalformedRequest, NotFound, RequestError

What = Literal["server", "live", "ready", "index", "metadata", "model_ready", "infer", "score"]
_METHODS: dict[What, tuple[str, ...]] = {
    "server": ("GET", "HEAD"),
    "live": ("GET", "HEAD"),
    "ready": ("GET", "HEAD"),
    "index": ("POST",),
    "metadata": ("GET", "HEAD"),
    "model_ready": ("GET", "HEAD"),
    "infer": ("POST",),
    "score": ("POST",),
}


class MethodNotAllowed(RequestError):
    """The path is there, the method is not."""

    code, status = "method_not_allowed", 405


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPath:
    """A path, understood."""

    what: What
    name: str = ""
    number: int | None = None
    alias: str | None = None

    @property
    def is_probe(self) -> bool:
        """Asked by whoever watches the server; needs no key."""
        return self.what in ("live", "ready")

    def allowed(self) -> str:
        """The methods, as the header Allow lists them."""
        return ", ".join(_METHODS[self.what])


_FIXED: dict[tuple[str, ...], What] = {
    (): "server",
    ("health", "live"): "live",
    ("health", "ready"): "ready",
    ("repository", "index"): "index",
}


def read_path(path: bytes, method: bytes) -> ModelPath:
    """What ``path`` (raw, without query) asks for. Raises NotFound, MethodNotAllowed, MalformedRequest."""
    parts = [_plain(part) for part in path.strip(b"/").split(b"/")]
    found = _score(parts) if parts[0] == "models" else _v2(tuple(parts[1:]))
    if found is None:
        raise NotFound(
            f'no such path: "{_shown(path)}".',
            hint="Models answer at /v2/models/NAME[/versions/N][/ready|/infer] and /models/NAME/invocations.",
        )
    if method.decode("latin-1") not in _METHODS[found.what]:
        raise MethodNotAllowed(
            f"{_shown(path)} takes {found.allowed()}.", hint=f"Send {found.allowed().partition(',')[0]}."
        )
    return found


def allowed_methods(path: bytes) -> str | None:
    """The methods of a path; None when there is no such path."""
    parts = [unquote_to_bytes(part).decode("utf-8", "replace") for part in path.strip(b"/").split(b"/")]
    found = _score(parts) if parts[0] == "models" else _v2(tuple(parts[1:]))
    return None if found is None else found.allowed()


def _plain(part: bytes) -> str:
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise MalformedRequest("the path is not UTF-8.", code="bad_target") from None


def _shown(path: bytes) -> str:
    return path[:200].decode("latin-1")


def _v2(parts: tuple[str, ...]) -> ModelPath | None:
    if (fixed := _FIXED.get(parts)) is not None:
        return ModelPath(what=fixed)
    if len(parts) < 2 or parts[0] != "models" or not parts[1]:
        return None
    name, number, alias = _reference(parts[1])
    rest = parts[2:]
    if len(rest) >= 2 and rest[0] == "versions":
        number, alias = _version(rest[1])
        rest = rest[2:]
    what: What | None = {(): "metadata", ("ready",): "model_ready", ("infer",): "infer"}.get(rest)  # type: ignore[assignment]
    return None if what is None else ModelPath(what=what, name=name, number=number, alias=alias)


def _score(parts: list[str]) -> ModelPath | None:
    if len(parts) == 3:
        name, number, alias = _reference(parts[1])
    elif len(parts) == 5 and parts[2] == "versions":
        name = parts[1]
        number, alias = _version(parts[3])
    else:
        return None
    return ModelPath(what="score", name=name, number=number, alias=alias) if parts[-1] == "invocations" else None


def _reference(text: str) -> tuple[str, int | None, str | None]:
    name, _, ref = text.partition("@")
    return (name, None, None) if not ref else (name, *_version(ref))


def _version(text: str) -> tuple[int | None, str | None]:
    return (int(text), None) if text.isascii() and text.isdigit() and len(text) < 10 else (None, text)
