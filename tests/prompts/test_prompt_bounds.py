"""The cost of a render grows with its input and no faster, whatever the templates are.

Two kinds of evidence: steps and the units that filters read are counted by tracing, so that they do not depend on the
machine; and worst cases of single filters, which run in C, are held to a generous CPU time.
"""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jinja2.runtime import Undefined

from headgate.prompts import filters
from headgate.prompts.faults import PromptFault, PromptTooLarge, VariablesFault
from headgate.prompts.inputs import LARGEST_INPUT, NotPlain, weight
from headgate.prompts.model import PromptContent, PromptMessage
from headgate.prompts.templates import MAX_WORK, CompiledPrompt, check_template, compile_prompt

INPUT: dict[str, Any] = {"s": {}, "t": {}, "xs": {}, "ys": {"default": []}, "m": {}}


def compiled(template: str) -> CompiledPrompt:
    return compile_prompt(
        PromptContent(model="m", input=INPUT, messages=(PromptMessage(role="user", content=template),))
    )


READING = {
    "upper",
    "lower",
    "capitalize",
    "trim",
    "escape",
    "replace",
    "indent",
    "truncate",
    "join",
    "map_",
    "items",
    "tojson",
}


def work(prompt: CompiledPrompt, variables: dict[str, Any]) -> tuple[int, int]:
    """Lines and calls of Python that a render takes, with the units that filters read; and the characters written."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        nonlocal count
        count += 1
        code = frame.f_code
        if event == "call" and code.co_name in READING and code.co_filename == filters.__file__:
            value = frame.f_locals["value"]
            count += 0 if isinstance(value, Undefined) else weight(value) // 8
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        (message,) = prompt.render(variables)
    finally:
        sys.settrace(before)
    return count, len(message.content)


def data(size: int) -> dict[str, Any]:
    """Values of about ``size`` units everywhere at once, each list as long as it can be."""
    texts = [f"word{index}" for index in range(size)]
    items = [{"k": "k", "n": index, "t": ["a", "b", "c"], "s": "some text"} for index in range(size)]
    return {
        "s": "ab " * size,
        "t": "ba " * size,
        "xs": items,
        "ys": texts,
        "m": {**{text: texts[:3] for text in texts}, "k": texts},
    }


LOOPS = [
    "{% for x in xs %}{% endfor %}",
    "{% for x in xs %}{% for y in x.t %}{{ y|upper }}{{ loop.revindex }}{% endfor %}{{ s }}{% endfor %}",
    "{% for x in xs if x.n > 3 %}{% if x.k in x.s and x.s|trim|length == 9 %}{{ x.n }}{% endif %}{% endfor %}",
    "{% for x in xs %}{{ loop.length }}{{ loop.revindex }}{{ loop.last }}{% endfor %}",
    "{% for k, v in m|items %}{% for y in v %}{{ k }}{{ y }}{% endfor %}{% endfor %}",
    "{{ xs|map(attribute='k')|join(', ') }}{{ xs|tojson(2) }}{{ s|indent(4) }}{{ s|replace('a', 'aaaa') }}",
    "{% for x in xs %}{% for y in x.t %}{{ xs|length }}{{ t|first }}{{ s|last if s else t }}{% endfor %}{% endfor %}"
    * 3,
]


def assert_linear(template: str, size: int) -> None:
    """Twice the input takes twice the work, but for what is written: that has its own limit."""
    prompt = compiled(template)
    (small, _), (large, written) = (work(prompt, data(one)) for one in (size, 2 * size))
    assert large <= 2.1 * small + 2 * written + 400, template


@pytest.mark.parametrize("template", LOOPS)
def test_twice_the_input_takes_at_most_about_twice_the_work(template: str) -> None:
    assert_linear(template, 150)


# Templates at random: whatever of it the checker lets pass is linear.

TEXTS = ["s", "t", "x.s", "x.k", "y", "k", "'lit'", "loop.index", "m[x.k]|join", "m[s]|default('')"]
LISTS = [
    "xs",
    "ys",
    "x.t",
    "x.t|default(ys)",
    "x.t or ys",
    "m[x.k]",
    "xs|map(attribute='t')",
    "m['k']",
    "x.t if s else ys",
]
KEEPING = ["upper", "escape", "tojson", "string", "default(t)"]
FILTERS = [*KEEPING, "trim", "replace('a', 'b')", "indent(2)", "truncate(5)", "length", "first", "last"]


def texts() -> st.SearchStrategy[str]:
    filtered = st.builds("{}|{}".format, st.sampled_from(TEXTS), st.sampled_from(FILTERS))
    twice = st.builds("{}|{}".format, filtered, st.sampled_from(FILTERS))
    joined = st.builds("({})|join('-')".format, st.sampled_from(LISTS))
    chosen = st.builds("({} {} {})".format, filtered, st.sampled_from(["and", "or"]), st.sampled_from(TEXTS))
    return st.one_of(st.sampled_from(TEXTS), filtered, twice, joined, chosen)


def conditions() -> st.SearchStrategy[str]:
    compared = st.builds("{} {} {}".format, texts(), st.sampled_from(["==", "!=", "in"]), texts())
    return st.one_of(texts(), compared, st.builds("{} in {}".format, texts(), st.sampled_from(LISTS)))


def bodies() -> st.SearchStrategy[str]:
    prints = st.builds("{{{{ {} }}}}".format, texts())
    branches = st.builds("{{% if {} %}}.{{% endif %}}".format, conditions())
    return st.one_of(prints, branches, st.just("-"))


def templates() -> st.SearchStrategy[str]:
    def loop(name: str, inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.builds(
            f"{{{{% for {name} in {{}} %}}}}{{}}{{}}{{{{% endfor %}}}}".format, st.sampled_from(LISTS), bodies(), inner
        )

    nested = loop("x", loop("y", st.just("")))
    return st.one_of(nested, nested, loop("x", bodies()), st.builds("{}{}".format, loop("x", bodies()), bodies()))


@settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(templates())
def test_any_template_that_passes_is_linear(template: str) -> None:
    assume(not check_template(template, list(INPUT)))
    try:
        assert_linear(template, 40)
    except VariablesFault:
        assume(False)


@settings(deadline=None)
@given(st.text(alphabet="{}%#ax|'\" .()[]_-~*+<>=!0123456789iforndes\n", max_size=80))
def test_any_text_is_either_a_template_or_refused_with_reasons(source: str) -> None:
    if faults := check_template(source, ["a", "x"]):
        assert all(fault.line >= 1 and fault.text for fault in faults)
    else:
        content = PromptContent(
            model="m", input={"a": {}, "x": {}}, messages=(PromptMessage(role="user", content=source),)
        )
        with suppress(VariablesFault, PromptTooLarge):
            assert len(compile_prompt(content).render({"a": "A", "x": [1]})[0].content) <= 1 << 20


# Single operations, which run in C: linear by their definition, held to a time no quadratic one would keep.


def _objects(units: int) -> dict[str, Any]:
    return {"s": "", "xs": [{"k": "a"}] * (units // 34)}


def _text(piece: str) -> Callable[[int], dict[str, Any]]:
    return lambda units: {"s": piece * (units // len(piece.encode())), "xs": []}


WORST: dict[str, tuple[str, Callable[[int], dict[str, Any]]]] = {
    "conditions in a loop": (
        "{% for x in xs %}" + "{% if x.k == 'b' %}{% endif %}" * 10 + "{% endfor %}",
        _objects,
    ),
    "many loops": ("{% for x in xs %}{% if x %}{% endif %}{% endfor %}" * 30, _objects),
    "case of long words": ("{% if s|upper == 'x' %}{% endif %}" * 20, _text("ΐ")),
    "many filters": ("{% if s|upper == 'x' %}{% endif %}" * 300, _text("ß")),
    "control characters as JSON": ("{% if s|tojson == '' %}{% endif %}" * 5, _text("\x01")),
    "indented JSON": ("{% if xs|tojson(8) == '' %}{% endif %}", _objects),
    "indented lines": ("{% if s|indent(1, true, true) == '' %}{% endif %}", _text("\n")),
    "escapes": ("{% if s|escape == '' %}{% endif %}" * 5, _text("'")),
    "long trims": ("{% if s|trim('abcdefghijklmnop') == '' %}{% endif %}" * 5, _text("p")),
    "slow searches": (
        "{% for x in xs %}{% if x.a in x.b %}{% endif %}{% endfor %}",
        lambda units: {"s": "", "xs": [{"a": "a" * 600 + "b" + "a" * 600, "b": "a" * 2400}] * (units // 3700)},
    ),
    "slow replacing": ("{{ s|replace('" + "a" * 31 + "b" + "a" * 31 + "', '') }}", _text("a" * 2000)),
    "joins": ("{% if xs|join('a', attribute='k') == '' %}{% endif %}" * 5, _objects),
    "big value in every round": ("{% for x in xs %}{{ s }}{{ s|upper }}{% endfor %}", lambda units: {
        "s": "a" * (units // 2), "xs": [0] * (units // 40)}),
}  # fmt: skip


@pytest.mark.parametrize("name", WORST)
def test_worst_single_operations_keep_within_the_work_budget(name: str) -> None:
    template, make = WORST[name]
    prompt = compiled(template)
    variables = {"t": "", "m": {}, **make(prompt.largest_input - 300)}
    started = time.process_time()
    with suppress(PromptTooLarge):
        prompt.render(variables)
    # About 0.1 s on a slow core; a product of two input sizes would take minutes.
    assert time.process_time() - started < 2


def test_heavier_templates_take_smaller_inputs() -> None:
    light, heavy = compiled("{{ s }}"), compiled("{% if s|upper == 'x' %}{% endif %}" * 100)
    assert light.largest_input == LARGEST_INPUT
    assert heavy.largest_input * 100 * 16 <= MAX_WORK < LARGEST_INPUT * 100 * 16
    text = "x" * (heavy.largest_input + 1)
    with pytest.raises(PromptTooLarge, match=f"the variables are above {heavy.largest_input:,} bytes"):
        heavy.render({"s": text, "t": "", "xs": [], "m": {}})


def test_case_mappings_never_lengthen_a_text_more_than_threefold_however_often_they_are_applied() -> None:
    changing = [
        chr(code)
        for code in range(sys.maxunicode + 1)
        if chr(code).upper() != chr(code) or chr(code).lower() != chr(code)
    ]
    for character in changing:
        images, new = set[str](), {character}
        while new:
            images |= new
            new = {image for text in new for image in (text.upper(), text.lower(), text.capitalize())} - images
        assert min(map(len, images)) >= 1 and max(map(len, images)) <= 3, character


def test_weight_is_bounded_work_on_any_value() -> None:
    shared: Any = "x"
    for _ in range(30):
        shared = [shared] * 10
    with pytest.raises(NotPlain, match="nested more than 32 deep"):
        weight(_nested(40))
    assert weight(shared) > LARGEST_INPUT  # 10^30 values, stopped early
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(NotPlain, match="nested"):
        weight(loop)


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_prompt_of_too_many_blocks_over_its_messages_is_refused() -> None:
    messages = tuple(PromptMessage(role="user", content="{{ s }}" * 1500) for _ in range(2))
    with pytest.raises(PromptFault, match="at most 2,000"):
        compile_prompt(PromptContent(model="m", input=INPUT, messages=messages))
