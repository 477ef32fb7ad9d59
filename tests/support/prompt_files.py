"""Prompt versions as a push brings them to the registry."""

import json
from hashlib import sha256
from typing import Any

from headgate.registry.prompts import PushedPrompt


def pushed(name: str = "greet", text: str = "Say hello", *, suites: tuple[str, ...] = (), **more: Any) -> PushedPrompt:
    """A checked prompt file whose one message is ``text``."""
    content = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": text}], **more}
    content_json = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return PushedPrompt(
        name=name,
        description=f"About {name}.",
        suites=suites,
        content_json=content_json,
        sha256=sha256(content_json.encode()).hexdigest(),
    )
