"""Prompt files: read with every fault at its line and column, written so that nothing is lost."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.prompts.faults import PromptFault
from headgate.prompts.files import PromptFile, dump_prompt_file, parse_prompt_file
from headgate.prompts.model import Knowledge, PromptContent, PromptMessage, content_sha256

SAMPLE = r"""name: support-answer
description: Answers a customer's question from the handbook.
model: gpt-5-mini                 # a routed model name
parameters: {max_output_tokens: 600}
overridable: [max_output_tokens]
input:                            # JSON Schema properties; required unless they have a default
  question: {type: string}
  tone: {type: string, default: friendly}
knowledge: {kb: handbook@production, query: "{{ question }}", top_k: 4, on_error: fail}
messages:
  - {role: system, content: "In a {{ tone }} tone:{% for c in knowledge %}\n[{{ c.id }}] {{ c.text }}{% endfor %}"}
  - {role: user, content: "{{ question }}"}
tools: []
response_format: null
suites: [support-answer]
"""


def faults(text: str) -> list[str]:
    with pytest.raises(PromptFault) as caught:
        parse_prompt_file(text, "p.yaml")
    assert all(fault.startswith("p.yaml:") for fault in caught.value.faults)
    return [fault.removeprefix("p.yaml:") for fault in caught.value.faults]


def minimal(**changes: str) -> str:
    """A sound file of one message, with some keys said otherwise."""
    lines = {"name": "x", "model": "m", "messages": "[{role: user, content: hi}]", **changes}
    return "".join(f"{key}: {value}\n" for key, value in lines.items())


def test_documented_file_is_read_as_documented() -> None:
    prompt = parse_prompt_file(SAMPLE, "prompts/support-answer.yaml")
    assert (prompt.name, prompt.suites, prompt.warnings) == ("support-answer", ("support-answer",), ())
    assert prompt.description == "Answers a customer's question from the handbook."
    content = prompt.content
    assert content.model == "gpt-5-mini" and content.parameters == {"max_output_tokens": 600}
    assert content.knowledge == Knowledge(kb="handbook@production", query="{{ question }}")
    assert [message.role for message in content.messages] == ["system", "user"]
    assert content.messages[0].content.count("\n") == 1


def test_name_description_and_suites_are_not_part_of_the_version() -> None:
    one = parse_prompt_file(minimal(), "a").content
    other = parse_prompt_file(minimal(name="y", description="d", suites="[s]"), "b").content
    assert content_sha256(one) == content_sha256(other)


def test_every_fault_of_a_file_is_listed_with_its_place() -> None:
    text = """name: Bad Name
modle: gpt
parameters: [1]
overridable: max
messages:
  - role: user
    content: |
      first line
      {{ questoin }}
      {% set x = 1 %}
  - role: usr
    content: 3
    colour: red
  - hello
input:
  question: {typ: string}
  other: {type: string, default: 3}
tools: [x]
knowledge: {kb: h@1, query: "{{ question }}", on_error: maybe, top_k: many}
1: 2
name: again
"""
    assert faults(text) == [
        "1:1 model is missing",
        '2:1 unknown key "modle"; did you mean model?',
        "3:13 parameters is a mapping, not a list",
        "4:14 overridable is a list, not text",
        '9:1 "questoin" is not a variable of this prompt; did you mean question?',
        "10:1 set is not available: a template assigns nothing",
        '11:11 role is one of system, developer, user, assistant, not "usr"',
        "12:14 content is text, not a number",
        '13:5 unknown key "colour"; known: role, content',
        "14:5 a message is a mapping of role and content, not text",
        '16:19 unknown schema keyword "typ"; did you mean type?',
        '17:34 the default does not fit: "other" must be a string, not an integer',
        "18:9 an entry is a mapping, not text",
        '19:57 on_error is fail or empty, not "maybe"',
        "19:71 top_k is a whole number, not text",
        "20:1 a key is text; put it in quotes",
        "21:1 name is here twice",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("name: [1", "1:9 while parsing a flow sequence expected ',' or ']', but got '<stream end>'"),
        ("a: b\n\tc: d", "2:1 "),
        ("name: x\n  model: y", "2:8 mapping values are not allowed here"),
        ("a: &x [1]\nb: *x", "2:4 aliases are not read here: write the value out"),
        ("a: !!python/object/apply:os.system [id]", "1:4 the tag !!python/object/apply:os.system is not read here"),
        ("a: !secret x", "1:4 the tag !secret is not read here"),
        ("[" * 20_000, "1:1 values are nested too deep"),
        ("a: [" + "1," * 30_000 + "]", "1:39999 a file has at most 20,000 keys and values"),
        ("name: \x07", "1:7 a character that YAML does not allow: #x0007"),
        ("", "1:1 a prompt file is a mapping"),
        ("- 1", "1:1 a prompt file is a mapping"),
        ("a: 1\n---\nb: 2", "2:1 expected a single document"),
        (minimal(parameters="{a: .nan, b: .inf}"), "4:17 .nan is not a number of 64 bits"),
        (minimal(parameters="{a: 99999999999999999999}"), "4:17 99999999999999999999 is not a number of 64 bits"),
        (minimal(messages="[]"), "3:11 a prompt has 1 to 100 messages, not 0"),
        (minimal(messages="[{role: user}]"), "3:12 content is missing"),
        (minimal(messages='[{role: user, content: "a\\n{{ x }}"}]'), '3:34 "x" is not a variable of this prompt'),
        (minimal(messages="\n- role: user\n  content: >\n    a\n    {{ x }}"), '5:12 "x" is not a variable'),
        (minimal(knowledge="{kb: h@1, qurey: x}"), '4:22 unknown key "qurey"; did you mean query?'),
        (minimal(name="a//b"), '1:7 "a//b" is not a prompt\'s name'),
        (minimal(suites="x"), "4:9 suites is a list, not text"),
        (minimal(description="x" * 1001), "4:14 a description has at most 1,000 characters"),
        (minimal(parameters="{stream: true}"), "4:22 stream is always the caller's"),
        (minimal(input="{q: string}"), "4:12 an input is described by a JSON Schema mapping (write {type: string})"),
        ("x" * (3 << 20), "1:1 a prompt file has at most 2 MB"),
    ],
)
def test_bad_files_name_line_and_column(text: str, fault: str) -> None:
    assert any(one.startswith(fault) for one in faults(text)), faults(text)


def test_words_are_read_as_yaml_1_2_has_them() -> None:
    text = minimal(
        parameters="{a: no, b: on, c: 012, d: 2026-01-01, e: 1:30, f: true, g: ~, h: 1e3, i: 0x1F, j: 'true'}"
    )
    assert parse_prompt_file(text, "p").content.parameters == {
        "a": "no", "b": "on", "c": 12, "d": "2026-01-01", "e": "1:30",
        "f": True, "g": None, "h": 1000.0, "i": 31, "j": "true",
    }  # fmt: skip


def test_unused_inputs_are_warnings_with_their_place() -> None:
    prompt = parse_prompt_file(minimal(input="\n  q: {type: string}"), "p.yaml")
    assert prompt.warnings == ('p.yaml:5:6 "q" is an input that no template reads',)


def test_pulled_file_is_readable_and_pushes_the_same_version() -> None:
    prompt = parse_prompt_file(SAMPLE, "p")
    written = dump_prompt_file(prompt)
    assert "content: |-\n    In a {{ tone }} tone:" in written
    assert written.startswith("name: support-answer\ndescription: Answers")
    assert parse_prompt_file(written, "p") == prompt


TEXT = st.text(max_size=40) | st.sampled_from(
    ["no", "on", "012", "1e3", "0x1F", "~", "null", "1:30", "2026-01-01", "<<", "=", "a: b", "- x", " lead", "trail \n",
     "\nlead", "a\n\n\nb\n\n", "a\r\nb", "\ttab\n\ttab", "#x", "{{ }}",
     "\x85", "a\u2028\nb", "\ufeff", "😀\n😀", "a\x00b", "%x\n%y", "  \n a"]
)  # fmt: skip
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
NAMES = st.text(alphabet="abcxyz_", min_size=1, max_size=8)


@settings(deadline=None)
@given(
    parameters=st.dictionaries(NAMES, TREES, max_size=3),
    tools=st.lists(st.dictionaries(TEXT, TREES, min_size=1, max_size=2), max_size=2),
    text=TEXT,
    description=TEXT,
    suites=st.lists(TEXT, max_size=2),
)
def test_pull_then_push_is_the_same_version_for_any_content(
    parameters: dict[str, Any], tools: list[dict[str, Any]], text: str, description: str, suites: list[str]
) -> None:
    escaped = text.replace("{", "(").replace("}", ")")
    content = PromptContent(
        model="m",
        parameters={f"p_{name}": value for name, value in parameters.items()},
        messages=(PromptMessage(role="user", content=escaped),),
        tools=tuple(tools),
    )
    prompt = PromptFile(name="x", description=description, suites=tuple(suites), content=content)
    read = parse_prompt_file(dump_prompt_file(prompt), "p")
    assert content_sha256(read.content) == content_sha256(content)
    assert (read.description, read.suites) == (description, tuple(suites))


@settings(deadline=None)
@given(st.text(alphabet="name: x\nodl[]{}&*!|>'\"-#%@`,?~0123456789\t", max_size=80))
def test_any_text_is_a_prompt_or_refused_with_places(text: str) -> None:
    try:
        parse_prompt_file(text, "p")
    except PromptFault as fault:
        assert all(one.split(" ")[0].count(":") == 2 for one in fault.faults)
