"""Which cases stand in a prompt's own text: whole texts, whatever their spacing, and no labels."""

from typing import Any

import pytest

from headgate.evals.dataset import Row
from headgate.evals.known_cases import cases_in_prompt
from headgate.prompts.model import PromptContent, PromptMessage

LONG = "My parcel arrived on Tuesday, but the left shoe was missing from it."


def prompt(*texts: str, **more: Any) -> PromptContent:
    return PromptContent(model="m", messages=tuple(PromptMessage(role="user", content=text) for text in texts), **more)


@pytest.mark.parametrize(
    ("text", "row", "is_named"),
    [
        (f"Answer.\nExample: {LONG} Reply: sorry.", Row(input={"question": LONG}), True),
        (LONG.upper().replace(" ", "\n ") + "!!", Row(input={"question": LONG}), True),
        (f"It is said: {LONG}", Row(input={"question": "x"}, expected=LONG), True),
        (f"It is said: {LONG}", Row(input={"question": "x"}, expected={"text": [LONG]}), True),
        (LONG, Row(input={"messages": [{"role": "user", "content": LONG}]}), True),
        ("Q: Where is my order?\nA: On its way.", Row(input={"question": "Where is my order?"}), True),
        ("Where is my order?", Row(input={"question": "where is  my order"}), True),
        ("Say where is my order and when it comes.", Row(input={"question": "Where is my order?"}), False),
        ("One of:\n- billing question\n- delivery", Row(input={"question": "x"}, expected="billing question"), False),
        ("{{ question }}", Row(input={"question": LONG}), False),
        (LONG[:50], Row(input={"question": LONG}), False),
        ("friendly\ntone", Row(input={"tone": "friendly"}), False),
    ],
)
def test_a_case_is_named_where_its_text_stands_whole(text: str, row: Row, is_named: bool) -> None:
    found = cases_in_prompt(prompt(text), [Row(id="other", input={"question": "Something else"}), row])
    assert found == ((row.id,) if is_named else ())


def test_defaults_of_inputs_are_text_of_the_prompt_too() -> None:
    content = prompt("{{ examples }}", input={"examples": {"type": "string", "default": f"Q: {LONG}"}})
    assert cases_in_prompt(content, [Row(id="a", input={"question": LONG})]) == ("a",)


def test_a_prompt_of_the_largest_size_is_searched_for_ten_thousand_cases_in_one_pass() -> None:
    text = " ".join(f"word{number}" for number in range(90_000))
    rows = [Row(id=str(number), input={"q": f"{LONG} {number}"}) for number in range(10_000)]
    rows.append(Row(id="there", input={"q": " ".join(f"word{number}" for number in range(4000, 4010))}))
    assert cases_in_prompt(prompt(text), rows) == ("there",)
