"""A small prompt, pushed to an application under test."""

from typing import Any

GREET = """\
name: {name}
description: Greets someone.
model: gpt-5-mini
parameters: {{max_output_tokens: 100}}
input:
  person: {{type: string}}
messages:
  - {{role: system, content: "{system}"}}
  - {{role: user, content: "Say hello to {{{{ person }}}}."}}
"""


def push_prompt(served: Any, text: str, key: str | None = None) -> Any:
    """Push one file; what became of it."""
    body = {"files": [{"file": "prompts/one.yaml", "text": text}]}
    answer = served.ask("POST", "/api/prompts/push", key=key, body=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["pushed"][0]
