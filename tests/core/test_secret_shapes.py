"""Telling keys from names, and masking them."""

import pytest

from headgate.core.secret_shapes import looks_like_secret, masked, owner_of_secret, shown


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("sk-proj-abcdefgh12345678", "OpenAI"),
        ("Bearer sk-ant-api03-abcdefgh", "Anthropic"),
        ("gsk_abcdefgh1234", "Groq"),
        ("hg_abcdefgh1234", "Headgate"),
        ("AIzaSyAbcdefgh", "Google"),
        ("eyJhbGciOi.JIUzI1NiJ9", "a token service"),
        ("gpt-5-mini", None),
        ("sk-1", None),
    ],
)
def test_the_owner_of_a_key_is_told_by_its_shape(text: str, owner: str | None) -> None:
    assert owner_of_secret(text) == owner
    assert looks_like_secret(text) is (owner is not None)


@pytest.mark.parametrize(
    "text", ["Bearer x", "basic dXNlcg", "9f86d081884c7d659a2feaa0c55ad015", "A1b2C3d4E5f6G7h8I9j0K1l2M3n4=="]
)
def test_tokens_without_a_known_prefix_are_secrets_too(text: str) -> None:
    assert looks_like_secret(text)


@pytest.mark.parametrize(
    "text",
    [
        "meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8",
        "https://api.openai.com/v1",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "team-a",
        "",
    ],
)
def test_names_addresses_and_ids_are_no_secrets(text: str) -> None:
    assert not looks_like_secret(text)
    assert shown(text) == f'"{text}"'


def test_values_are_shown_bounded_escaped_and_masked() -> None:
    assert masked("sk-proj-abcdefgh12345678") == "sk-p…"
    assert shown("https://u:sk-proj-abcdefgh12345678@a") == '"http…"'
    assert shown("a\nb\x1b[31m") == '"a\\nb\\x1b[31m"'
    assert len(shown("é" * 1000)) < 70
    assert (shown(True), shown(10**4000), shown(1.5)) == ("true", "a huge number", "1.5")
