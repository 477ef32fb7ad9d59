"""Whose prices a base URL has."""

import pytest
from genai_prices.data import providers

from headgate.core.known_providers import KNOWN_PROVIDERS
from headgate.pricing.providers import _hosts, provider_of


@pytest.mark.parametrize(
    ("base_url", "provider"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://API.OpenAI.com:443/v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://api.anthropic.com/v1", "anthropic"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://api.mistral.ai/v1", "mistral"),
        ("https://api.deepseek.com", "deepseek"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://api.together.xyz/v1", "together"),
        ("https://api.fireworks.ai/inference/v1", "fireworks"),
        ("https://api.x.ai/v1", "x-ai"),
        ("https://api.perplexity.ai", "perplexity"),
        ("https://api.cohere.com/compatibility/v1", "cohere"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "google"),
        ("https://acme.openai.azure.com/openai/v1", "azure"),
        ("https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1", "aws"),
        ("https://router.huggingface.co/groq/openai/v1", "huggingface_groq"),
    ],
)
def test_known_hosts_have_their_provider(base_url: str, provider: str) -> None:
    assert provider_of(base_url) == provider


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1:8000/v1",
        "https://api.openai.com.evil.example/v1",
        "https://evil.example/api.openai.com/v1",
        "https://api.openai.com@evil.example/v1",
        "https://notapi.openai.azure.com.example",
        "https://router.huggingface.co/groqqy/v1",
        "unix:demo",
        "",
        "http://[",
    ],
)
def test_unknown_hosts_have_none(base_url: str) -> None:
    assert provider_of(base_url) is None


def test_every_provider_named_has_a_price_list() -> None:
    ids = {provider.id for provider in providers}
    assert {provider for _, _, provider in _hosts()} | {known.provider for known in KNOWN_PROVIDERS} <= ids
