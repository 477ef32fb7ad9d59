"""Measures what a stored prompt costs a gateway worker: CPU per render, per request body, and once per version.

    python benchmarks/prompt_rendering.py [--repeats 5]

The bar: at most 60 µs of CPU for a two-message prompt, variables checked and messages rendered.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from headgate.prompts.faults import PromptTooLarge
from headgate.prompts.model import Knowledge, PromptContent, PromptMessage
from headgate.prompts.request import body_for
from headgate.prompts.templates import CompiledPrompt, compile_prompt

BAR_US = 60.0
TWO_MESSAGES = PromptContent(
    model="gpt-5-mini",
    parameters={"max_output_tokens": 600},
    input={"question": {"type": "string"}, "tone": {"type": "string", "default": "friendly"}},
    messages=(
        PromptMessage(
            role="system", content="You answer customers of a shop in a {{ tone }} tone. Be brief and exact."
        ),
        PromptMessage(role="user", content="{{ question }}"),
    ),
)
FROM_NOTES = PromptContent(
    model="gpt-5-mini",
    parameters={"max_output_tokens": 600},
    input=TWO_MESSAGES.input,
    knowledge=Knowledge(kb="handbook@3", query="{{ question }}"),
    messages=(
        PromptMessage(
            role="system",
            content="Answer in a {{ tone }} tone from these notes:"
            "{% for c in knowledge %}\n[{{ c.id }}] {{ c.text|trim }}{% endfor %}"
            "{% if tone == 'formal' %}\nDo not use first names.{% endif %}",
        ),
        PromptMessage(role="user", content="{{ question }}"),
    ),
)
NOTES = [{"id": f"note-{number}", "text": "Parcels are taken back within thirty days. " * 10} for number in range(4)]
QUESTION = {"question": "How long may I send a parcel back, and who pays for it?"}
BODY = b'{"model":"","stream":true,"prompt":{"id":"a","variables":{"question":"How long may I wait?"}}}'
HOSTILE: dict[str, tuple[str, Callable[[int], dict[str, Any]]]] = {
    "empty loop over 65,000 values": (
        "{% for x in xs %}{% endfor %}",
        lambda units: {"s": "", "xs": [0] * (units // 16)},
    ),
    "ten comparisons per item": (
        "{% for x in xs %}" + "{% if x.k == 'b' %}{% endif %}" * 10 + "{% endfor %}",
        lambda units: {"s": "", "xs": [{"k": "a"}] * (units // 34)},
    ),
    "300 case mappings of one text": (
        "{% if s|upper == 'x' %}{% endif %}" * 300,
        lambda units: {"s": "ß" * (units // 2), "xs": []},
    ),
    "indented JSON of a big list": (
        "{% if xs|tojson(8) == '' %}{% endif %}",
        lambda units: {"s": "", "xs": [{"k": "a"}] * (units // 34)},
    ),
    "slowest text searches": (
        "{% for x in xs %}{% if x.a in x.b %}{% endif %}{% endfor %}",
        lambda units: {"s": "", "xs": [{"a": "a" * 600 + "b" + "a" * 600, "b": "a" * 2400}] * (units // 3700)},
    ),
}


def cpu_us(call: Callable[[], object], repeats: int, times: int) -> float:
    """The least CPU time of one call, in microseconds, over several series."""
    best = float("inf")
    for _ in range(repeats):
        started = time.process_time()
        for _ in range(times):
            call()
        best = min(best, (time.process_time() - started) / times)
    return best * 1e6


def hostile_ms(name: str) -> tuple[float, int]:
    """CPU of one render at the largest input that the version takes, in milliseconds; and that size."""
    template, make = HOSTILE[name]
    message = PromptMessage(role="user", content=template)
    compiled = compile_prompt(PromptContent(model="m", input={"s": {}, "xs": {}}, messages=(message,)))
    variables = make(compiled.largest_input - 300)

    def render() -> None:
        with suppress(PromptTooLarge):
            compiled.render(variables)

    return cpu_us(render, 3, 1) / 1000, compiled.largest_input


def report(repeats: int) -> bool:
    """Prints the table; whether the bar is held."""
    two: CompiledPrompt = compile_prompt(TWO_MESSAGES)
    notes = compile_prompt(FROM_NOTES)
    rendered = two.render(QUESTION)
    rows = {
        "render, two messages": cpu_us(lambda: two.render(QUESTION), repeats, 5000),
        "render, two messages and four notes": cpu_us(lambda: notes.render(QUESTION, NOTES), repeats, 5000),
    }
    for endpoint in ("openai.chat", "openai.responses", "anthropic.messages"):
        rows[f"request body, {endpoint}"] = cpu_us(
            partial(body_for, TWO_MESSAGES, rendered, endpoint, BODY, from_model_name=False), repeats, 5000
        )
    rows["compile, once per version"] = cpu_us(lambda: compile_prompt(FROM_NOTES), repeats, 50)
    print("| step | CPU µs |\n| --- | --- |")
    for name, cost in rows.items():
        print(f"| {name} | {cost:,.1f} |")
    print("\n| hostile, allowed | largest input | CPU ms |\n| --- | --- | --- |")
    for name in HOSTILE:
        cost, size = hostile_ms(name)
        print(f"| {name} | {size:,} | {cost:,.0f} |")
    held = rows["render, two messages"] <= BAR_US
    print(
        f"\nTwo messages: {rows['render, two messages']:.1f} µs, bar {BAR_US:.0f} µs: {'held' if held else 'NOT HELD'}"
    )
    return held


def main() -> None:
    """Runs the benchmark; exit code 1 when the bar is not held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    raise SystemExit(0 if report(parser.parse_args().repeats) else 1)


if __name__ == "__main__":
    main()
