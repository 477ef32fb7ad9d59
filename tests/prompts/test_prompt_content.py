"""What a version is: its canonical JSON and hash, the references that name it, the checks at push."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.prompts.checks import check_content, refuse_faults
from headgate.prompts.faults import PromptFault, ReferenceFault
from headgate.prompts.model import Knowledge, PromptContent, PromptMessage, canonical, content_sha256, decode_content
from headgate.prompts.reference import Reference, parse_reference, reference_of


def content(**fields: Any) -> PromptContent:
    base = PromptContent(model="gpt-5-mini", messages=(PromptMessage(role="user", content="Hello"),))
    return msgspec.structs.replace(base, **fields)


def test_canonical_json_has_no_spaces_and_leaves_defaults_out() -> None:
    assert canonical(content()) == b'{"model":"gpt-5-mini","messages":[{"role":"user","content":"Hello"}]}'


def test_hash_is_stable_over_releases() -> None:
    full = content(
        parameters={"temperature": 0.7, "max_output_tokens": 600},
        overridable=("temperature",),
        input={"q": {"type": "string"}},
        knowledge=Knowledge(kb="handbook@3", query="{{ q }}"),
        tools=({"type": "function", "function": {"name": "f"}},),
        response_format={"type": "json_object"},
    )
    assert content_sha256(content()) == "fa86d3695b3f584e9a28e6b62dbc4e38813ae460a796b7a140c0771a1d68e641"
    assert content_sha256(full) == "3838fa97b7bdf1987e8e4496ec040265c23a8999b5dd3ef924ba0aa97a7017fb"


def test_order_that_means_nothing_changes_no_hash_and_order_that_reaches_the_model_does() -> None:
    one = content(parameters={"a": 1, "b": 2}, overridable=("x", "y"), input={"p": {}, "q": {}})
    other = content(parameters={"b": 2, "a": 1}, overridable=("y", "x", "y"), input={"q": {}, "p": {}})
    assert content_sha256(one) == content_sha256(other)
    schema = {"name": {"type": "string"}, "reason": {"type": "string"}}
    turned = dict(reversed(schema.items()))
    assert content_sha256(content(response_format=schema)) != content_sha256(content(response_format=turned))


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "other"},
        {"parameters": {"a": 1}},
        {"overridable": ("a",)},
        {"input": {"q": {}}},
        {"knowledge": Knowledge(kb="k@1", query="")},
        {"messages": (PromptMessage(role="system", content="Hello"),)},
        {"tools": ({"a": 1},)},
        {"response_format": {"a": 1}},
    ],
)
def test_every_field_is_part_of_the_hash(changed: dict[str, Any]) -> None:
    assert content_sha256(content(**changed)) != content_sha256(content())


SCALARS = st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


@settings(deadline=None)
@given(st.dictionaries(st.text(), TREES, max_size=4), st.text(), st.lists(st.text(), max_size=3))
def test_content_survives_its_canonical_json(parameters: dict[str, Any], text: str, overridable: list[str]) -> None:
    made = content(
        parameters=parameters,
        overridable=tuple(overridable),
        messages=(PromptMessage(role="user", content=text),),
        tools=(parameters,),
    )
    read = decode_content(canonical(made))
    assert canonical(read) == canonical(made)
    assert content_sha256(read) == content_sha256(made)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a prompt's content"),
        ("[]", "Expected `object`"),
        ('{"model": "m"}', "missing required field `messages`"),
        ('{"model": 3, "messages": []}', "$.model"),
        ('{"model": "m", "messages": [{"role": "user"}]}', "$.messages[0]"),
        ('{"model": "m", "messages": ' + "[" * 100_000, "is not a prompt's content"),
        ("x" * 1_100_000, "at most 1 MB"),
    ],
)
def test_json_that_is_no_content_is_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(PromptFault) as caught:
        decode_content(text)
    assert words in str(caught.value) and caught.value.status == 400


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": ""}, "model is the name of a routed model"),
        ({"model": "prompt:other"}, "not another prompt"),
        ({"messages": ()}, "1 to 100 messages, not 0"),
        ({"messages": (PromptMessage(role="user", content="x"),) * 101}, "1 to 100 messages"),
        (
            {"messages": (PromptMessage(role="tool", content="x"),)},
            'role is one of system, developer, user, assistant, not "tool"',
        ),
        (
            {"messages": (PromptMessage(role="user", content="a\n{{ q }}"),)},
            'messages.0.content line 2: "q" is not a variable',
        ),
        ({"messages": (PromptMessage(role="user", content="\ud800"),)}, "surrogate"),
        ({"messages": (PromptMessage(role="user", content="x" * 600_000),) * 2}, "at most 1 MB"),
        ({"tools": ({},) * 201}, "at most 200 tools"),
        ({"parameters": {"stream": True}}, "stream is always the caller's"),
        ({"parameters": {"model": "x"}}, "model is no parameter"),
        ({"parameters": {"tools": []}}, "tools is a key of the prompt"),
        ({"parameters": {"max_output_tokens": 1, "max_tokens": 1}}, "are the same limit"),
        ({"overridable": ("messages",)}, '"messages" cannot be overridden'),
        ({"overridable": ("user",)}, "user is always the caller's"),
        ({"input": {"q": {"type": "text"}}}, "input.q.type: type is one of"),
        ({"knowledge": Knowledge(kb="Hand Book", query="x")}, "is not a prompt's name"),
        ({"knowledge": Knowledge(kb="k@1", query="{{ knowledge }}")}, "knowledge.query line 1"),
        ({"knowledge": Knowledge(kb="k@1", query="x", top_k=0)}, "top_k is from 1 to 100"),
    ],
)
def test_contents_are_checked_whoever_sends_them(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(PromptFault) as caught:
        refuse_faults(content(**fields))
    assert words in str(caught.value)


def test_inputs_that_nothing_reads_are_a_warning() -> None:
    report = check_content(content(input={"q": {}}, knowledge=Knowledge(kb="k@1", query="x")))
    assert report.faults == []
    assert [warning.text for warning in report.warnings] == [
        '"q" is an input that no template reads',
        "the prompt has knowledge that no template reads",
    ]
    asked = content(input={"q": {}}, knowledge=Knowledge(kb="k@1", query="{{ q }}"))
    assert [warning.path for warning in check_content(asked).warnings] == [("knowledge",)]


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("support-answer@7", Reference(name="support-answer", number=7)),
        ("support-answer@production", Reference(name="support-answer", alias="production")),
        ("team/a.b_c-d@latest", Reference(name="team/a.b_c-d", alias="latest")),
        ("x", Reference(name="x")),
    ],
)
def test_references_are_read_and_written(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference
    assert str(reference) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@7",
        "x@",
        "X",
        "x@0",
        "x@-1",
        "x@7.0",
        "x@Prod",
        "x@a@b",
        "a//b",
        "a/../b",
        "a/",
        "é",
        "x" * 200,
        "x@" + "9" * 20,
        "x\n",
    ],
)
def test_what_names_no_prompt_is_refused(text: str) -> None:
    with pytest.raises(ReferenceFault) as caught:
        parse_reference(text)
    assert (caught.value.status, caught.value.code) == (400, "prompt_reference")
    assert len(str(caught.value)) < 300 and caught.value.hint


def test_reference_of_a_body_takes_the_prefix_and_whole_numbers() -> None:
    assert reference_of("hg:x", 7) == reference_of("x", "7") == Reference(name="x", number=7)
    assert reference_of("x", None) == reference_of("x", "") == Reference(name="x")
    with pytest.raises(ReferenceFault):
        reference_of("x", True)
