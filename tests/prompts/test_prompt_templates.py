"""What a template may say, what is refused, and how values are written."""

import subprocess
import sys
from typing import Any

import pytest

from headgate.prompts.faults import PromptFault, PromptTooLarge, VariablesFault
from headgate.prompts.model import Knowledge, PromptContent, PromptMessage
from headgate.prompts.templates import MAX_OUTPUT_BYTES, check_template, compile_prompt

NAMES = ["a", "b", "xs", "ys", "m"]
ANY: dict[str, Any] = {"a": {}, "b": {}, "xs": {}, "ys": {}, "m": {}}
BASE: dict[str, Any] = {"a": "A", "b": "B", "xs": [1, 2], "ys": ["p", "q"], "m": {"k": "v", "n": {"z": 1}}}


def render(template: str, /, **variables: Any) -> str:
    content = PromptContent(model="m", input=ANY, messages=(PromptMessage(role="user", content=template),))
    return compile_prompt(content).render({**BASE, **variables})[0].content


def complaint(template: str, /, **variables: Any) -> str:
    with pytest.raises(VariablesFault) as caught:
        render(template, **variables)
    assert (caught.value.status, caught.value.code) == (400, "prompt_variables")
    return str(caught.value)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain text, {literally} {{ '{{' }}", "plain text, {literally} {{"),
        ("{% raw %}{{ a }}{% endraw %}{# a note #}", "{{ a }}"),
        ("{{ a }}-{{ b }}\n", "A-B\n"),
        ("{{ m.k }} {{ m['k'] }} {{ m.n.z }} {{ xs[0] }} {{ xs[-1] }} {{ ys.0 }}", "v v 1 1 2 p"),
        (
            "{{ true }} {{ none }} {{ 1.0 }} {{ -3 }} {{ xs }} {{ m }}",
            'true null 1.0 -3 [1, 2] {"k": "v", "n": {"z": 1}}',
        ),
        (
            "{% for x in xs %}{{ loop.index }}/{{ loop.length }}{% if not loop.last %}, {% endif %}{% endfor %}",
            "1/2, 2/2",
        ),
        ("{% for x in xs if x > 1 %}{{ x }}{% else %}none{% endfor %}", "2"),
        ("{% for x in xs if x > 9 %}{{ x }}{% else %}none of {{ a }}{% endfor %}", "none of A"),
        ("{% for k in m %}{{ k }} {% endfor %}", "k n "),
        ("{% for k, v in m|items %}{{ k }}={{ v }};{% endfor %}", 'k=v;n={"z": 1};'),
        ("{% if a == 'A' and b != 'A' %}yes{% elif a %}maybe{% else %}no{% endif %}", "yes"),
        ("{{ 'x' if a in ['A', 'C'] else 'y' }}{{ 'x' if a not in ('A',) else 'y' }}", "xy"),
        (
            "{{ 'in' if 'p' in ys else 'out' }} {{ 'in' if 'k' in m else 'out' }} {{ 'in' if 'A' is in a else 'out' }}",
            "in in in",
        ),
        ("{{ a|lower|upper|capitalize }} {{ ' a '|trim }} {{ 'xay'|trim('xy') }}", "A a a"),
        ("{{ ys|join(', ') }} {{ xs|join }} {{ [] is defined and '' }}", None),
        ("{{ ys|join(', ') }} {{ xs|join }} {{ xs|length }} {{ ys|first }} {{ ys|last }}", "p, q 12 2 p q"),
        ("{{ m.x|default('dflt') }} {{ ''|default('dflt', true) }} {{ m.x|d(a) }}", "dflt dflt A"),
        ("{% for x in m.x|default([]) %}{{ x }}{% else %}empty{% endfor %}", "empty"),
        ("{{ 'a.b.c'|replace('.', ' and ') }} {{ 'one two three four'|truncate(9) }}", "a and b and c one..."),
        ("{{ 'a\nb\n\nc'|indent(2) }}|{{ 'a\nb'|indent(width=1, first=true) }}", "a\n  b\n\n  c| a\n b"),
        ("{{ '<b> & \"q\"'|escape }} {{ '<'|e }}", "&lt;b&gt; &amp; &#34;q&#34; &lt;"),
        ("{{ m|tojson }} {{ 'é<'|tojson }}", '{"k": "v", "n": {"z": 1}} "é<"'),
        ("{{ xs|tojson(indent=1) }}", "[\n 1,\n 2\n]"),
        (
            "{{ '4'|int }} {{ 'x'|int }} {{ '1.5'|float }} {{ 2.34|round(1) }} {{ 2.1|round(0, 'ceil') }} {{ -3|abs }}",
            "4 0 1.5 2.3 3.0 3",
        ),
        (
            "{{ m.k is string }} {{ xs is sequence }} {{ m is mapping }} {{ 1 is number }} {{ m.q is defined }}",
            "true true true true false",
        ),
        (
            "{{ 3 is odd }} {{ 3 is even }} {{ none is none }} {{ a is eq('A') }} {{ m.q is undefined }}",
            "true false true true true",
        ),
        ("{% for c in xs %}{{ a }}{{ a|upper }}{% if c == a or xs|length > 1 %}!{% endif %}{% endfor %}", "AA!AA!"),
    ],
)
def test_listed_part_of_jinja_renders(template: str, text: str | None) -> None:
    if text is None:
        assert check_template(template, NAMES)
        return
    assert check_template(template, NAMES) == []
    assert render(template) == text


def test_map_and_nested_loops_walk_the_items_own_values() -> None:
    chunks = [{"id": 1, "tags": ["x", "y"]}, {"id": 2, "tags": []}]
    inner = "{% for t in c.tags %}{{ t|upper }}{{ loop.index }}{% else %}-{% endfor %}"
    template = "{% for c in xs %}{{ c.id }}:" + inner + " {% endfor %}"
    assert render(template, xs=chunks) == "1:X1Y2 2:- "
    assert render("{{ xs|map(attribute='id')|join('+') }} {{ xs|join(',', attribute='id') }}", xs=chunks) == "1+2 1,2"


OWN_LIST = "walks a list of the outer loop's own item"
REFUSED = {
    # growth and computing
    "{% set x = a %}{% for i in xs %}{% set x = x ~ x %}{% endfor %}": "set is not available",
    "{{ a ~ a }}": "~ is not available",
    "{{ a + b }}": "+ is not available",
    "{{ a * 1000000000 }}": "* is not available",
    "{{ '%1000000000d' % 1 }}": "% is not available",
    "{{ 9 ** 9 ** 9 }}": "** is not available",
    "{{ 1 // 2 }}": "// is not available",
    "{{ -a }}": "- is not available",
    "{{ a|center(1000000000) }}": 'filter "center"',
    "{{ '%1000000000d'|format(1) }}": 'filter "format"',
    "{{ '{:1000000000}'.format(1) }}": "calls are not available",
    "{{ a|indent(1000000000) }}": "width is a whole number from 0 to 16",
    "{{ a|replace('a', b) }}": "new is a text of at most 64 characters, written out",
    "{{ a|replace('a', 'aaaaaaaaaaaaaaaaa') }}": "at most 16 times as long",
    "{{ a|replace('', 'a') }}": "old is at least one character",
    "{{ a|replace('a') }}": "replace needs its argument new",
    "{{ a|replace('a','aa')|replace('a','aa') }}": "lengthens text",
    "{{ a|tojson|tojson }}": "lengthens text",
    "{{ xs|join(a) }}": "d is a text of at most 64 characters",
    "{{ xs|join('" + "-" * 65 + "') }}": "d is a text of at most 64 characters",
    "{{ a|truncate(99999999) }}": "length is a whole number",
    "{{ a|round(99) }}": "precision is a whole number from 0 to 12",
    "{{ xs|sum }}": 'filter "sum"',
    "{{ xs|batch(2)|list }}": 'filter "list"',
    "{{ a|wordcount }}": 'filter "wordcount"',
    "{{ a|lengt }}": "did you mean length",
    "{{ a|upper(1) }}": "takes at most 0 arguments without a name",
    "{{ a|indent(wide=3) }}": 'no argument "wide"',
    "{{ a|indent(*xs) }}": "arguments are written out",
    "{{ a is divisibleby(3) }}": 'test "divisibleby"',
    "{{ a is eq }}": "takes one value",
    # loops
    "{% for i in range(1000000000) %}{% endfor %}": "calls are not available",
    "{% for x in xs %}{% for y in xs %}{% endfor %}{% endfor %}": OWN_LIST,
    "{% for x in xs %}{% for y in ys %}{% endfor %}{% endfor %}": OWN_LIST,
    "{% for x in xs %}{% for y in m[x] %}{% endfor %}{% endfor %}": OWN_LIST,
    "{% for x in xs %}{% for y in x.t|default(ys) %}{% endfor %}{% endfor %}": OWN_LIST,
    "{% for x in xs %}{% for y in x.t or ys %}{% endfor %}{% endfor %}": OWN_LIST,
    "{% for x in xs %}{% for y in (x.t if x else ys) %}{% endfor %}{% endfor %}": OWN_LIST,
    "{% for x in xs %}{% for y in x %}{% for z in y %}{% endfor %}{% endfor %}{% endfor %}": "nest at most 2",
    "{% for x in xs %}{% for y in x.t %}{{ x.s|trim|length }}{% endfor %}{% endfor %}": "reads all of `x.s`",
    "{% for x in xs recursive %}{{ loop(x) }}{% endfor %}": "recursive loops",
    "{% for x in 'abc' %}{% endfor %}": "not a literal",
    "{% for x in [1, 2] %}{% endfor %}": "a list may stand behind in only",
    "{% for x in xs %}{% if a|trim %}{% endif %}{% endfor %}": "reads all of `a`",
    "{% for x in xs %}{{ a|upper|length }}{% endfor %}": "reads all of `a`",
    "{% for x in xs %}{{ a|upper and '' }}{% endfor %}": "reads all of `a`",
    "{% for x in xs %}{{ x|default(a|upper) }}{% endfor %}": "reads all of `a`",
    "{% for x in xs %}{{ a|truncate(3) }}{% endfor %}": "reads all of `a`",
    "{% for x in xs %}{{ ys|join }}{% endfor %}": "reads all of `ys`",
    "{% for x in xs %}{% if x in a %}{% endif %}{% endfor %}": "in reads all of `a`",
    "{% for x in xs %}{% if x is in ys %}{% endif %}{% endfor %}": "in reads all of `ys`",
    "{% for x in xs %}{% if a == b %}{% endif %}{% endfor %}": "one side of a comparison",
    "{% for x in xs if a < b %}{% endfor %}": "one side of a comparison",
    "{% for x in xs %}{{ m[a] }}{% endfor %}": "a key is a literal or the loop's own item",
    "{% for a in xs %}{% endfor %}": "hides another variable",
    "{% for loop in xs %}{% endfor %}": '"loop" cannot be a loop variable',
    "{% for x.y in xs %}{% endfor %}": "",
    "{% for _ in xs %}{% endfor %}": "cannot be a loop variable",
    "{% for x in xs %}{{ loop.cycle('a', 'b') }}{% endfor %}": "calls are not available",
    "{% for x in xs %}{{ loop.changed(x) }}{% endfor %}": "calls are not available",
    "{% for x in xs %}{{ loop.cycle }}{% endfor %}": "loop.cycle is not available",
    "{% for x in xs %}{{ loop['cycle'] }}{{ loop }}{% endfor %}": "loop is read inside a loop, as loop.index",
    "{% for x in xs %}{% endfor %}{{ x }}": '"x" is not a variable',
    "{{ loop.index }}": "loop is read inside a loop",
    "{% for x in xs %}{% break %}{% endfor %}": "Encountered unknown tag 'break'",
    # reaching out
    "{{ a.__class__.__mro__ }}": '"__mro__" cannot be read',
    "{{ a['__class__'] }}": '"__class__" cannot be read',
    "{{ ''.__class__ }}": '"__class__" cannot be read',
    "{{ a|attr('__class__') }}": 'filter "attr"',
    "{{ xs|map('upper')|join }}": "map takes at most 0 arguments without a name",
    "{{ xs.append(3) }}": "calls are not available",
    "{{ namespace(x=1).x }}": "calls are not available",
    "{{ cycler }}{{ joiner }}{{ lipsum }}{{ dict }}{{ range }}{{ namespace }}": "is not a variable",
    "{{ lipsum() }}": "calls are not available",
    "{{ self }}": "is not a variable",
    "{{ caller() }}{{ super() }}": "calls are not available",
    "{% macro f() %}{% endmacro %}": "macro is not available",
    "{% call f() %}{% endcall %}": "call is not available",
    "{% include 'x' %}": "include is not available",
    "{% import 'x' as y %}": "import is not available",
    "{% from 'x' import y %}": "import is not available",
    "{% extends 'x' %}": "extends is not available",
    "{% block b %}{% endblock %}": "block is not available",
    "{% filter upper %}{% endfilter %}": "filter blocks are not available",
    "{% with x = 1 %}{% endwith %}": "with is not available",
    "{% autoescape true %}{% endautoescape %}": "autoescape is not available",
    "{% do xs %}": "Encountered unknown tag 'do'",
    "{% set x %}{% endset %}": "set is not available",
    "{{ a[1:2] }}": "slices are not available",
    "{{ {'a': 1} }}": "a mapping cannot be written here",
    "{{ 'x' if a }}": "an inline if needs its else",
    "{{ knowledge }}": "the prompt has no knowledge",
    "{{ aa }}": '"aa" is not a variable of this prompt',
    # size and depth
    "{{ " + "(" * 3000 + "a" + ")" * 3000 + " }}": "nested too deep",
    "{{ " + "not " * 30 + "a }}": "nests at most 24 deep",
    "{{ " + " or ".join(["a"] * 40) + " }}": "nests at most 24 deep",
    "{{ a" + ".b" * 40 + " }}": "nests at most 24 deep",
    "{% if a %}" * 14 + "x" + "{% endif %}" * 14: "blocks nest at most 12 deep",
    "{{ a }}" * 1001 * 2: "at most 2,000 values",
    "{{ a }}" * 100_000: "at most 30,000 words and signs",
    "{% if a in [" + "1," * 5000 + "1] %}{% endif %}": "at most 2,000 values",
    "x" * ((1 << 20) + 1): "at most 1,048,576 characters",
    "{{ " + "9" * 5000 + " }}": "beyond 64 bits",
    "{{ 99999999999999999999 }}": "beyond 64 bits",
    "{{ '\\ud800' }}": "surrogate",
    "{{ a": "unexpected end of template",
    "{% for x in xs %}": "Unexpected end of template",
}


@pytest.mark.parametrize(("template", "words"), REFUSED.items(), ids=range(len(REFUSED)))
def test_anything_else_is_refused_at_push(template: str, words: str) -> None:
    faults = check_template(template, NAMES)
    assert any(words in fault.text for fault in faults), faults
    content = PromptContent(model="m", input=ANY, messages=(PromptMessage(role="user", content=template),))
    with pytest.raises(PromptFault):
        compile_prompt(content)


def test_template_of_121_characters_that_doubled_a_string_is_refused() -> None:
    loops = "{% for a in range(9) %}{% for b in range(3) %}{% set n.s = n.s ~ n.s %}{% endfor %}{% endfor %}"
    assert len(check_template("{% set n = namespace(s='x') %}" + loops, NAMES)) >= 3


def test_faults_carry_their_line_and_the_nearest_name() -> None:
    faults = check_template("one\n{{ questoin }}\n{% set x = 1 %}", ["question"])
    assert [(fault.line, fault.text) for fault in faults] == [
        (2, '"questoin" is not a variable of this prompt; did you mean question?'),
        (3, "set is not available: a template assigns nothing"),
    ]


def test_values_are_data_and_never_template_text() -> None:
    hostile = "{{ 7 * 7 }}{% for x in range(9) %}{{ a.__class__ }}{# #}<b>"
    assert render("{{ a }}|{{ xs[0] }}", a=hostile, xs=[hostile]) == f"{hostile}|{hostile}"


def test_fields_are_entries_of_mappings_and_never_attributes_of_objects() -> None:
    assert render("{{ m.items }} {{ m.keys }}", m={"items": "mine", "keys": 2}) == "mine 2"
    assert '"m.items" is missing' in complaint("{{ m.items }}")
    assert '"a.upper" is missing' in complaint("{{ a.upper }}")
    assert '"xs.append" is missing' in complaint("{{ xs.append }}")
    assert '"m[…]" is missing' in complaint("{{ m[a] }}", a="__class__")


def test_missing_values_are_named_with_their_place() -> None:
    assert '"m.x" is missing (message 1 line 2)' in complaint("\n{{ m.x }}")
    assert '"m.x" is missing' in complaint("{{ m.x.y.z }}")
    assert '"c.lang" is missing (message 1 line 1)' in complaint("{% for c in xs %}{{ c.lang }}{% endfor %}", xs=[{}])
    assert '"xs[5]" is missing' in complaint("{{ xs[5] }}")
    assert '"m.x" is missing' in complaint("{% if m.x %}{% endif %}")
    assert '"m.x" is missing' in complaint("{% for x in m.x %}{% endfor %}")
    assert '"m.x" is missing' in complaint("{% if m.x == 1 %}{% endif %}")
    assert '"m.x" is missing' in complaint("{{ m.x|upper }}{{ m.x|tojson }}")
    assert '"m.x" is missing' in complaint("{{ m.x|tojson }}")
    assert '"m.x" is missing' in complaint("{{ 'x' if 'a' in m.x else 'y' }}")


def test_values_of_the_wrong_kind_are_named_by_line() -> None:
    assert "a loop works on a list or a mapping, not on a string (message 1 line 1)" in complaint(
        "{% for x in a %}{% endfor %}"
    )
    assert "upper works on text, not on an array" in complaint("{{ xs|upper }}")
    assert "join works on a list, not on a string" in complaint("{{ a|join }}")
    assert "items works on a mapping" in complaint("{{ xs|items }}")
    assert "first asks for an item of an empty list" in complaint("{{ xs|first }}", xs=[])
    assert 'an item has no field "q"' in complaint("{{ xs|map(attribute='q')|join }}", xs=[{}])
    assert "even and odd works on whole numbers" in complaint("{% if a is odd %}{% endif %}", a="%1000000000d")
    assert "cannot be compared" in complaint("{% if a < 1 %}{% endif %}")
    assert "cannot be compared or unpacked (message 1 line 2)" in complaint("\n{% for p, q in xs %}{% endfor %}")


def test_output_is_capped_over_all_messages_while_it_is_written() -> None:
    half = "x" * (MAX_OUTPUT_BYTES // 2)
    content = PromptContent(
        model="m",
        input={"a": {}, "xs": {}},
        messages=tuple(PromptMessage(role="user", content="{{ a }}") for _ in range(2)),
    )
    compiled = compile_prompt(content, "prompt x@1")
    assert sum(len(message.content) for message in compiled.render({"a": half, "xs": []})) == MAX_OUTPUT_BYTES
    with pytest.raises(PromptTooLarge, match="prompt x@1 cannot be rendered: its messages are above 1,048,576 bytes"):
        compiled.render({"a": half + "x", "xs": []})
    with pytest.raises(PromptTooLarge):
        render("{% for x in xs %}{{ a }}{% endfor %}", a="y" * 400_000, xs=[0] * 30_000)
    with pytest.raises(PromptTooLarge):  # counted in bytes
        render("{{ a }}{{ a }}{{ a }}{{ a }}", a="é" * 140_000)
    with pytest.raises(PromptTooLarge):
        render("{{ xs|join('" + "-" * 60 + "') }}", xs=[0] * 30_000)
    with pytest.raises(PromptTooLarge):
        render("{{ a|replace('y', 'yyyyyyyyyyyyyyyy') }}{{ a|indent(16) }}", a="y" * 400_000)
    with pytest.raises(PromptTooLarge):
        render("{{ a|indent(16) }}", a="\n" * 100_000)


def test_constant_messages_count_too() -> None:
    messages = (PromptMessage(role="user", content="x" * 600_000), PromptMessage(role="user", content="y" * 600_000))
    with pytest.raises(PromptTooLarge):
        compile_prompt(PromptContent(model="m", messages=messages)).render({})


def test_knowledge_is_walked_and_checked_like_any_value() -> None:
    content = PromptContent(
        model="m",
        input={"question": {"type": "string"}},
        knowledge=Knowledge(kb="handbook@3", query="{{ question|trim }}"),
        messages=(
            PromptMessage(role="system", content="{% for c in knowledge %}[{{ c.id }}]{{ c.text }}{% endfor %}"),
        ),
    )
    compiled = compile_prompt(content)
    assert compiled.query({"question": " why? "}) == "why?"
    assert compiled.render({"question": "q"}, [{"id": "1", "text": "{{ x }}"}])[0].content == "[1]{{ x }}"
    assert compiled.render({"question": "q"})[0].content == ""
    with pytest.raises(VariablesFault, match="c.text"):
        compiled.render({"question": "q"}, [{"id": "1"}])
    with pytest.raises(VariablesFault, match="knowledge holds something that is not text"):
        compiled.render({"question": "q"}, [{"id": object()}])
    with pytest.raises(PromptTooLarge):
        compiled.render({"question": "q"}, [{"id": "1", "text": "x" * 2_000_000}])
    with pytest.raises(VariablesFault, match='"knowledge" is unknown'):
        compiled.render({"question": "q", "knowledge": []})


def test_query_of_the_knowledge_base_cannot_read_the_knowledge() -> None:
    knowledge = Knowledge(kb="handbook@3", query="{{ knowledge }}")
    with pytest.raises(PromptFault, match="query line 1"):
        compile_prompt(
            PromptContent(model="m", knowledge=knowledge, messages=(PromptMessage(role="user", content="x"),))
        )


def test_worker_pays_for_jinja_only_when_a_prompt_is_called_and_never_for_yaml() -> None:
    script = (
        "import sys, headgate.prompts, headgate.prompts.model, headgate.prompts.reference\n"
        "assert not {'jinja2', 'yaml'} & set(sys.modules)\n"
        "import headgate.prompts.templates, headgate.prompts.request\n"
        "assert 'yaml' not in sys.modules and 'jinja2' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
