"""What the demo model understands: notes, styles, skills; every rule in words a user can check."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.providers.demo import skills, tokens, words
from headgate.providers.demo.answers import answer
from headgate.providers.demo.ask import Ask, Turn

NOTICE = "This is Headgate's demo model. "
NOTES = (
    "[returns-1] Customers may return goods within 30 days of delivery for a full refund.\n"
    "[returns-2] Refunds are paid within 5 working days.\n"
    "[shipping-1] Orders ship within 2 days. Express shipping costs $12."
)


def say(question: str, system: str = "", *, model: str = "demo-chat", **more: float) -> str:
    turns = [Turn(role="system", text=system)] if system else []
    ask = Ask(model=model, turns=(*turns, Turn(role="user", text=question)), seed=bytes(range(32)), **more)  # type: ignore[arg-type]
    return answer(ask)


@pytest.mark.parametrize(
    "question",
    [
        f"Context:\n{NOTES}\n\nQuestion: What does express shipping cost?\nAnswer:",
        f"Use the following notes to answer:\n{NOTES}\n\nWhat does express shipping cost?",
        f"<notes>\n{NOTES}\n</notes>\nWhat does express shipping cost?",
        '<documents><document id="shipping-1">Express shipping costs $12.</document>'
        '<document id="x">Hats.</document></documents> What does express shipping cost?',
    ],
)
def test_notes_are_found_in_every_form(question: str) -> None:
    assert say(question) == f"{NOTICE}Express shipping costs $12. [shipping-1]"


def test_what_the_notes_do_not_say_is_said_so() -> None:
    system = f"Answer from these notes:\n{NOTES}"
    assert say("Who founded the company?", system) == f"{NOTICE}The notes do not say."
    own = f'{system}\n\nIf the notes do not say, reply with "I do not know."'
    assert say("Who founded the company?", own) == "I do not know."
    assert say("Who founded the company?", "Answer from these notes:") == f"{NOTICE}The notes do not say."


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("Do not cite sources.", f"{NOTICE}Refunds are paid within 5 working days."),
        ("Use bullet points.", f"{NOTICE[:-1]}\n- Refunds are paid within 5 working days. [returns-2]"),
        ("Be friendly.", f"{NOTICE}Happy to help! Refunds are paid within 5 working days. [returns-2]"),
        ("Answer in at most 3 words.", "Refunds are paid"),
        ('End with "Bye."', f"{NOTICE}Refunds are paid within 5 working days. [returns-2] Bye."),
        ("Answer in capital letters.", f"{NOTICE}Refunds are paid within 5 working days. [returns-2]".upper()),
    ],
)
def test_the_style_asked_for_is_kept(style: str, expected: str) -> None:
    assert say("When are refunds paid?", f"{style} Answer from these notes:\n{NOTES}") == expected


def test_a_prompt_that_forbids_the_notes_gets_a_worse_answer() -> None:
    assert "30 days" in say("Can I return goods?", f"Use these notes:\n{NOTES}")
    assert "30 days" not in say("Can I return goods?", f"Ignore the notes.\nThe notes:\n{NOTES}")


def test_a_high_temperature_makes_answers_careless_for_some_requests() -> None:
    system = f"Answer from these notes:\n{NOTES}"
    calm = {say(f"When are refunds paid? {at}", system) for at in range(20)}
    wild = set()
    for at in range(20):
        turns = (Turn(role="system", text=system), Turn(role="user", text="When are refunds paid?"))
        wild.add(answer(Ask(model="demo-chat", turns=turns, seed=bytes([at * 12] * 32), temperature=1.8)))
    assert len(calm) == 1
    assert len(wild) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("17 * 23", "17 * 23 = 391"),
        ("what is (2 + 3) * 4?", "(2 + 3) * 4 = 20"),
        ("1,000 / 8", "1,000 / 8 = 125"),
        ("12 divided by 5", "12 divided by 5 = 2.4"),
        ("2 ^ 10", "2 ^ 10 = 1024"),
        ("0.1 + 0.2", "0.1 + 0.2 = 0.3"),
        ("1 / 0", None),
        ("9^9^9^9", None),
        ("no sum here", None),
    ],
)
def test_sums_are_exact_or_left_alone(text: str, expected: str | None) -> None:
    assert skills.arithmetic(text) == expected


def test_small_requests_get_small_answers() -> None:
    assert say('Say "pong"') == "pong"
    assert say("What is 17 * 23? Reply with only the number.") == "391"
    assert say("Classify as billing, shipping or other: my shipping is late") == "shipping"
    assert say("Classify the sentiment as positive, negative or neutral: I love it") == "positive"
    assert "here is the text unchanged: good morning" in say("Translate 'good morning' to French")
    assert say("Hello there").startswith(f"{NOTICE}Hello!")


@settings(deadline=None)
@given(st.text(max_size=300))
def test_token_pieces_join_to_the_text_and_every_text_gets_an_answer(text: str) -> None:
    assert "".join(tokens.pieces(text)) == text
    assert len(tokens.pieces(text)) == tokens.count(text)
    assert say(text) == say(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [("refunded", "refunds"), ("cancellation", "cancelled"), ("policies", "policy"), ("shipping", "shipped")],
)
def test_forms_of_a_word_share_a_stem(one: str, other: str) -> None:
    assert words.stem(one) == words.stem(other)
