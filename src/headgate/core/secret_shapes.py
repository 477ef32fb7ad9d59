"""What secrets look like, so that no error text repeats one and no file holds one."""

import re

_SHAPES: tuple[tuple[str, str], ...] = (
    # Longer prefixes first: "sk-ant-" also begins with OpenAI's "sk-".
    (r"hg_", "Headgate"),
    (r"sk-ant-", "Anthropic"),
    (r"sk-or-", "OpenRouter"),
    (r"gsk_", "Groq"),
    (r"xai-", "xAI"),
    (r"AIza", "Google"),
    (r"pplx-", "Perplexity"),
    (r"csk-", "Cerebras"),
    (r"fw_", "Fireworks"),
    (r"tgp_", "Together"),
    (r"hf_", "Hugging Face"),
    (r"sk-", "OpenAI"),
    (r"(?:gh[pousr]_|github_pat_)", "GitHub"),
    (r"AKIA", "AWS"),
    (r"xox[abeprs]-", "Slack"),
    (r"eyJ", "a token service"),
)
_SCHEME = re.compile(r"(?:bearer|basic)\s+", re.IGNORECASE)
_KNOWN = tuple((re.compile(prefix + r"[A-Za-z0-9_\-.]{8,}"), owner) for prefix, owner in _SHAPES)
# No separators, letters and digits mixed: what random keys without a prefix look like, and model names do not.
_RANDOM = re.compile(r"(?=[A-Za-z0-9]*[0-9])(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9+]{24,}={0,2}")


def owner_of_secret(text: str) -> str | None:
    """Whose key ``text`` looks like ("OpenAI", "Headgate", …), None when it has no known shape."""
    bare = _SCHEME.sub("", text.strip(), count=1)
    return next((owner for shape, owner in _KNOWN if shape.match(bare)), None)


def looks_like_secret(text: str) -> bool:
    """Whether ``text`` looks like a key or token rather than a name."""
    bare = _SCHEME.sub("", text.strip(), count=1)
    return owner_of_secret(text) is not None or bare != text.strip() or _RANDOM.fullmatch(bare) is not None


def masked(text: str) -> str:
    """The few first characters that tell which secret it is: ``sk-p…``."""
    return f"{text.strip()[:4]}…"


def shown(value: object, limit: int = 60) -> str:
    """``value`` for an error text: quoted, bounded, with control characters escaped and secrets masked."""
    if not isinstance(value, str):
        return _printable(_plain(value), limit)
    if looks_like_secret(value) or _holds_secret(value):
        return f'"{masked(value)}"'
    return f'"{_printable(value, limit)}"'


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 200:
        return "a huge number"  # str() refuses integers beyond 4,300 digits
    return str(value)


def _holds_secret(text: str) -> bool:
    return any(looks_like_secret(part) for part in re.split(r"[\s/:@?&=,;\"']+", text[:2000]))


def _printable(text: str, limit: int) -> str:
    cut = text if len(text) <= limit else text[:limit] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)
