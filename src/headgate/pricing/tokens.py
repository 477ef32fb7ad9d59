"""Counts tokens where no provider did: upstreams without usage, and answers cut off before it came."""

import re

from headgate.pricing.usage import Usage
from headgate.pricing.vocabulary import VocabularyName, encoding

# Counting takes about 5 µs per token; past this length the rest is taken to be like the beginning.
_EXACT_LIMIT_CHARS = 400_000
_CHARS_PER_TOKEN = 4
# OpenAI's cookbook: 3 tokens around each message and 3 that open the answer. How many messages the text came from is
# not known here, so one is assumed.
_CHAT_OVERHEAD_TOKENS = 6

_CL100K = re.compile(r"(gpt-4(?![o.\d])|gpt-3\.?5|text-embedding-|davinci-002|babbage-002)")
_ESTIMABLE = frozenset(
    {"openai.chat", "openai.responses", "openai.completions", "openai.embeddings", "anthropic.messages"}
)
_CHATS = frozenset({"openai.chat", "openai.responses", "anthropic.messages"})


def vocabulary_of(model: str | None) -> VocabularyName:
    """The vocabulary of an OpenAI model; o200k_base for all others, whose own are not public, as an estimate."""
    name = (model or "").lower().rsplit("/", 1)[-1].removeprefix("ft:")
    return "cl100k_base" if _CL100K.match(name) else "o200k_base"


def count_tokens(text: str, model: str | None) -> int:
    """How many tokens ``text`` is for ``model``: exact for OpenAI models up to 400,000 characters, else an estimate.

    Names of special tokens in the text count as text. Raises VocabularyDamaged when the package is.
    """
    tokenizer = encoding(vocabulary_of(model))
    if len(text) <= _EXACT_LIMIT_CHARS:
        return len(tokenizer.encode(text, disallowed_special=()))
    counted = len(tokenizer.encode(text[:_EXACT_LIMIT_CHARS], disallowed_special=()))
    return -(-counted * len(text) // _EXACT_LIMIT_CHARS)


def is_estimable(endpoint: str) -> bool:
    """Whether requests to ``endpoint`` take tokens in a way that text alone can estimate."""
    return endpoint in _ESTIMABLE


def estimate(
    endpoint: str,
    model: str | None,
    input_text: str | None,
    output_text: str | None,
    *,
    input_chars: int | None = None,
    output_chars: int | None = None,
) -> Usage:
    """Usage counted from the texts, or at four characters a token where only lengths are known; marked as estimated.

    What neither is known of stays None. Chats get 6 tokens more for the frame around one message.
    """
    input_tokens = estimated_tokens(input_text, input_chars, model)
    if input_tokens is not None and endpoint in _CHATS:
        input_tokens += _CHAT_OVERHEAD_TOKENS
    output_tokens = 0 if endpoint == "openai.embeddings" else estimated_tokens(output_text, output_chars, model)
    missing = "input" if input_tokens is None else "output" if output_tokens is None else None
    return Usage(
        source="estimated" if input_tokens is not None or output_tokens is not None else "none",
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        problem=missing and f"no usage in the answer, and neither text nor length of the {missing} to estimate it from",
    )


def estimated_tokens(text: str | None, chars: int | None, model: str | None) -> int | None:
    """Counted from the text, else one token for four characters, else None."""
    if text is not None:
        return count_tokens(text, model)
    return None if chars is None else -(-chars // _CHARS_PER_TOKEN)
