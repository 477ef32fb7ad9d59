"""The providers Headgate knows by name: where they answer, which variable holds their key, which models are theirs."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from headgate.core.settings_types import Dialect


@dataclass(frozen=True, kw_only=True)
class KnownProvider:
    """One provider; ``provider`` is its id in the price list."""

    name: str
    provider: str
    kind: Dialect
    base_url: str
    key_names: tuple[str, ...]
    models: tuple[str, ...]  # globs; the first provider found that claims a name gets it
    base_url_name: str | None = None

    @property
    def host(self) -> str:
        """The host of its API."""
        return urlsplit(self.base_url).hostname or ""


# Base URLs and variable names as the providers' own SDKs and OpenAI-compatibility pages give them (seen 2026-11).
KNOWN_PROVIDERS: tuple[KnownProvider, ...] = (
    KnownProvider(
        name="openai",
        provider="openai",
        kind="openai",
        base_url="https://api.openai.com/v1",
        key_names=("OPENAI_API_KEY",),
        base_url_name="OPENAI_BASE_URL",
        models=(
            "gpt-*",
            "o[0-9]*",
            "chatgpt-*",
            "text-embedding-3-*",
            "text-embedding-ada-*",
            "text-moderation-*",
            "omni-moderation-*",
            "dall-e-*",
            "whisper-*",
            "tts-*",
            "sora-*",
            "codex-*",
            "computer-use-*",
            "davinci-*",
            "babbage-*",
            "ft:*",
        ),
    ),
    KnownProvider(
        name="anthropic",
        provider="anthropic",
        kind="anthropic",
        base_url="https://api.anthropic.com/v1",
        key_names=("ANTHROPIC_API_KEY",),
        base_url_name="ANTHROPIC_BASE_URL",
        models=("claude-*",),
    ),
    KnownProvider(
        name="gemini",
        provider="google",
        kind="openai",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        key_names=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        models=("gemini-*", "models/gemini-*", "gemma-*", "imagen-*", "text-embedding-00*"),
    ),
    KnownProvider(
        name="mistral",
        provider="mistral",
        kind="openai",
        base_url="https://api.mistral.ai/v1",
        key_names=("MISTRAL_API_KEY",),
        models=(
            "mistral-*",
            "ministral-*",
            "magistral-*",
            "codestral-*",
            "devstral-*",
            "pixtral-*",
            "voxtral-*",
            "open-mistral-*",
            "open-mixtral-*",
        ),
    ),
    KnownProvider(
        name="deepseek",
        provider="deepseek",
        kind="openai",
        base_url="https://api.deepseek.com/v1",
        key_names=("DEEPSEEK_API_KEY",),
        models=("deepseek-*",),
    ),
    KnownProvider(
        name="xai",
        provider="x-ai",
        kind="openai",
        base_url="https://api.x.ai/v1",
        key_names=("XAI_API_KEY",),
        models=("grok-*",),
    ),
    KnownProvider(
        name="groq",
        provider="groq",
        kind="openai",
        base_url="https://api.groq.com/openai/v1",
        key_names=("GROQ_API_KEY",),
        models=("llama-*", "llama3-*", "groq/*", "meta-llama/llama-4-*", "openai/gpt-oss-*"),
    ),
    KnownProvider(
        name="cerebras",
        provider="cerebras",
        kind="openai",
        base_url="https://api.cerebras.ai/v1",
        key_names=("CEREBRAS_API_KEY",),
        models=("llama3.*", "llama-*"),
    ),
    KnownProvider(
        name="perplexity",
        provider="perplexity",
        kind="openai",
        base_url="https://api.perplexity.ai",
        key_names=("PERPLEXITY_API_KEY",),
        models=("sonar", "sonar-*"),
    ),
    KnownProvider(
        name="fireworks",
        provider="fireworks",
        kind="openai",
        base_url="https://api.fireworks.ai/inference/v1",
        key_names=("FIREWORKS_API_KEY",),
        models=("accounts/*/models/*",),
    ),
    KnownProvider(
        name="openrouter",
        provider="openrouter",
        kind="openai",
        base_url="https://openrouter.ai/api/v1",
        key_names=("OPENROUTER_API_KEY",),
        models=("*/*",),
    ),
    KnownProvider(
        name="together",
        provider="together",
        kind="openai",
        base_url="https://api.together.xyz/v1",
        key_names=("TOGETHER_API_KEY",),
        models=("*/*",),
    ),
)

_BY_HOST = {p.host: p for p in KNOWN_PROVIDERS}
_MORE_HOSTS = {"api.cohere.ai": "cohere", "api.cohere.com": "cohere", "api.z.ai": "zai", "api.voyageai.com": "voyageai"}
_SUFFIXES = (
    (".openai.azure.com", "azure"),
    (".services.ai.azure.com", "azure"),
    (".cognitiveservices.azure.com", "azure"),
)


def known_provider(base_url: str) -> KnownProvider | None:
    """The provider whose API answers at the host of ``base_url``."""
    return _BY_HOST.get(_host(base_url))


def is_provider_name(name: str) -> bool:
    """Whether ``name`` is one of our names for a provider."""
    return any(p.name == name for p in KNOWN_PROVIDERS)


def provider_id(base_url: str) -> str | None:
    """The price list's id for the host of ``base_url``; None: unknown, so unpriced."""
    host = _host(base_url)
    if host in _BY_HOST:
        return _BY_HOST[host].provider
    return _MORE_HOSTS.get(host) or next((name for suffix, name in _SUFFIXES if host.endswith(suffix)), None)


def models_of(provider: str | None) -> tuple[str, ...]:
    """The globs of the models that belong to a provider of the price list."""
    return next((p.models for p in KNOWN_PROVIDERS if p.provider == provider), ())


def _host(base_url: str) -> str:
    return (urlsplit(base_url).hostname or "").lower()
