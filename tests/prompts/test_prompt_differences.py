"""What differs between two versions, readable and bounded."""

import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.prompts.differences import Difference, compared, differences


def content(*messages: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {"model": "gpt-5-mini", "messages": [{"role": role, "content": text} for role, text in messages], **more}


def told(found: list[Difference]) -> list[tuple[str, str]]:
    return [(difference.field, difference.kind) for difference in found]


def test_the_same_content_has_no_difference() -> None:
    one = content(("user", "Hi"), parameters={"temperature": 0}, tools=[{"function": {"name": "f"}}])
    assert (
        differences(one, content(("user", "Hi"), **{k: v for k, v in one.items() if k not in ("model", "messages")}))
        == []
    )


def test_every_field_is_named_and_said_to_be_changed_added_or_removed() -> None:
    before = content(
        ("system", "Be kind."), ("user", "{{ q }}"), parameters={"temperature": 0, "seed": 1},
        input={"q": {"type": "string"}}, tools=[{"type": "function", "function": {"name": "find"}}],
    )  # fmt: skip
    after = content(
        ("system", "Be very kind."), ("assistant", "ok"), ("user", "{{ q }}"),
        parameters={"temperature": 1, "max_output_tokens": 5}, input={"q": {"type": "string"}},
        overridable=["temperature"], response_format={"type": "json_object"},
    )  # fmt: skip
    assert told(differences(before, {**after, "model": "other"})) == [
        ("model", "changed"),
        ("parameters.temperature", "changed"),
        ("parameters.seed", "removed"),
        ("parameters.max_output_tokens", "added"),
        ("overridable", "added"),
        ("message 1 (system)", "changed"),
        ("message 2 (assistant)", "added"),
        ("tool find", "removed"),
        ("response_format", "added"),
    ]


def test_a_message_that_was_put_in_front_leaves_the_others_equal() -> None:
    old = [("user", f"text {number}") for number in range(5)]
    assert told(differences(content(*old), content(("system", "new"), *old))) == [("message 1 (system)", "added")]
    assert told(differences(content(*old), content(*old[:2], *old[3:]))) == [("message 3 (user)", "removed")]


def test_changed_words_are_marked_and_a_new_text_is_not_sprinkled() -> None:
    gone, come = compared("Answer in a {{ tone }} tone.", "Answer in a {{ mood }} tone.")
    assert [(gone.mark, come.mark)] == [("-", "+")]
    assert [piece.text.strip() for piece in gone.pieces if piece.is_changed] == ["tone"]
    assert [piece.text.strip() for piece in come.pieces if piece.is_changed] == ["mood"]
    other = compared("Answer in a kind tone.", "Nothing!")
    assert not any(piece.is_changed for line in other for piece in line.pieces)


def test_equal_lines_far_from_a_change_are_left_out_and_counted() -> None:
    old = [f"line {number}" for number in range(40)]
    lines = compared("\n".join(old), "\n".join([*old[:20], "LINE 20", *old[21:]]))
    assert [line.mark for line in lines] == ["~", " ", " ", " ", "-", "+", " ", " ", " ", "~"]
    assert (lines[0].text, lines[-1].text) == ("17 equal lines", "16 equal lines")


TEXT = st.text(alphabet="ab \n", max_size=60)


@settings(deadline=None)
@given(TEXT, TEXT)
def test_the_lines_of_both_sides_can_be_read_back(before: str, after: str) -> None:
    lines = compared(before, after)
    if any(line.mark == "~" for line in lines):
        return
    assert "\n".join(line.text for line in lines if line.mark in " -") == before
    assert "\n".join(line.text for line in lines if line.mark in " +") == after


def test_hostile_sizes_take_bounded_time() -> None:
    letters = "\n".join("ab"[number % 2] * (number % 3) for number in range(100_000))
    words = "\n".join(" ".join("abcdef"[(number * line) % 6] for number in range(700)) for line in range(300))
    started = time.process_time()
    compared(letters, letters[1:] + "\nb")
    compared(words, words.replace("a", "x"))
    differences(content(*[("user", words)] * 10), content(*[("user", words[1:])] * 10))
    assert time.process_time() - started < 8
