"""Counting and estimating tokens."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.pricing.tokens import count_tokens, estimate, vocabulary_of
from headgate.pricing.vocabulary import encoding


@pytest.mark.parametrize(
    ("model", "vocabulary"),
    [
        ("gpt-4o-mini-2024-07-18", "o200k_base"),
        ("gpt-4.1", "o200k_base"),
        ("gpt-4.5-preview", "o200k_base"),
        ("gpt-5.4", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("openai/gpt-4o", "o200k_base"),
        ("ft:gpt-4o:acme::1", "o200k_base"),
        ("claude-sonnet-4-5", "o200k_base"),
        (None, "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("openai/gpt-4-0613", "cl100k_base"),
        ("ft:gpt-3.5-turbo:acme::1", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
    ],
)
def test_models_find_their_vocabulary(model: str | None, vocabulary: str) -> None:
    assert vocabulary_of(model) == vocabulary


def test_known_texts_have_their_known_counts() -> None:
    # Counts as tiktoken's documentation and the cookbook give them.
    assert count_tokens("tiktoken is great!", "gpt-4") == 6
    assert count_tokens("antidisestablishmentarianism", "gpt-4") == 6
    assert count_tokens("お誕生日おめでとう", "gpt-4") == 9
    assert count_tokens("お誕生日おめでとう", "gpt-4o") == 8
    assert count_tokens("", "gpt-4o") == 0


def test_names_of_special_tokens_in_a_text_are_text() -> None:
    assert count_tokens("<|endoftext|>", "gpt-4o") > 1


@given(st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_text_is_counted_and_round_trips(text: str) -> None:
    tokenizer = encoding("o200k_base")
    tokens = tokenizer.encode(text, disallowed_special=())
    assert count_tokens(text, None) == len(tokens)
    assert tokenizer.decode(tokens) == text


def test_a_lone_surrogate_is_counted() -> None:
    assert count_tokens("\ud800", None) >= 1


def test_past_the_limit_the_rest_is_taken_to_be_like_the_beginning() -> None:
    assert count_tokens("hello " * 100_000, "gpt-4o") == pytest.approx(100_000, rel=0.01)


def test_estimates_are_marked_and_frame_chats_only() -> None:
    chat = estimate("openai.chat", "gpt-4o", "Hello, world!", "Hi")
    plain = estimate("openai.completions", "gpt-4o", "Hello, world!", "Hi")
    assert (chat.source, chat.input_tokens, chat.output_tokens, chat.problem) == ("estimated", 10, 1, None)
    assert (plain.input_tokens, plain.output_tokens) == (4, 1)
    assert (chat.cached_input_tokens, chat.reasoning_tokens) == (None, None)


def test_an_embedding_is_estimated_from_its_input_alone() -> None:
    usage = estimate("openai.embeddings", "text-embedding-3-small", "Hello, world!", None)
    assert (usage.input_tokens, usage.output_tokens, usage.problem) == (4, 0, None)


def test_lengths_alone_give_a_token_for_four_characters() -> None:
    usage = estimate("openai.completions", None, None, None, input_chars=9, output_chars=0)
    assert (usage.input_tokens, usage.output_tokens, usage.source) == (3, 0, "estimated")


def test_what_nothing_is_known_of_stays_unknown() -> None:
    half = estimate("openai.chat", None, "Hello", None)
    assert (half.source, half.output_tokens) == ("estimated", None)
    assert "of the output" in (half.problem or "")
    none = estimate("openai.chat", None, None, None)
    assert (none.source, none.input_tokens, none.output_tokens) == ("none", None, None)
