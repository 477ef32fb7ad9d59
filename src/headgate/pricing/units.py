"""The units a provider can charge by, as far as an answer's usage counts them."""

import msgspec


class Unit(msgspec.Struct, frozen=True):
    """Something countable. A unit whose dimensions contain another's is a part of it: cached input is input."""

    usage_key: str
    per: int  # prices are given for this many
    dimensions: frozenset[tuple[str, str]]

    @property
    def place(self) -> tuple[bool, int, str]:
        """Sorts output before input and parts before the whole."""
        return ("direction", "input") in self.dimensions, -len(self.dimensions), self.usage_key

    @property
    def label(self) -> str:
        """The name for people: ``cached input``, ``output``, ``web searches``."""
        return _LABELS.get(self.usage_key, self.usage_key.removesuffix("_tokens").replace("_", " "))


_LABELS = {
    "cache_read_tokens": "cached input",
    "cache_write_tokens": "cache write",
    "cache_write_5m_tokens": "cache write (5 min)",
    "cache_write_1h_tokens": "cache write (1 h)",
    "output_reasoning_tokens": "reasoning output",
    "cache_audio_read_tokens": "cached audio input",
}


def _tokens(usage_key: str, direction: str, **more: str) -> Unit:
    return Unit(usage_key, 1_000_000, frozenset({"family": "tokens", "direction": direction, **more}.items()))


# The names and dimensions are genai-prices' (data_units.py); a test holds the two together.
COUNTED = {
    unit.usage_key: unit
    for unit in (
        _tokens("input_tokens", "input"),
        _tokens("output_tokens", "output"),
        _tokens("cache_read_tokens", "input", token_type="cache_read"),
        _tokens("cache_write_tokens", "input", token_type="cache_write"),
        _tokens("cache_write_5m_tokens", "input", token_type="cache_write", cache_ttl="5m"),
        _tokens("cache_write_1h_tokens", "input", token_type="cache_write", cache_ttl="1h"),
        _tokens("output_reasoning_tokens", "output", token_type="reasoning"),
        _tokens("output_citation_tokens", "output", token_type="citation"),
        _tokens("input_audio_tokens", "input", modality="audio"),
        _tokens("output_audio_tokens", "output", modality="audio"),
        _tokens("cache_audio_read_tokens", "input", modality="audio", token_type="cache_read"),
        _tokens("input_image_tokens", "input", modality="image"),
        _tokens("output_image_tokens", "output", modality="image"),
        Unit("web_searches", 1_000, frozenset({("family", "tool_calls"), ("tool_type", "web_search")})),
    )
}
"""Every unit that a `Usage` can hold, by its key."""

REQUESTS = "requests"
"""The key of the unit that every answer holds once."""
