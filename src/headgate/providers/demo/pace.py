"""Believable delays, derived from the request alone: first token after 80-250 ms, then 60-120 tokens a second."""

from dataclasses import dataclass

_LONGEST_WHOLE_S = 1.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How long one answer takes; all zero when waiting is switched off."""

    first_token_s: float
    token_s: float

    def whole_s(self, output_tokens: int) -> float:
        """Until an answer that is not streamed is there."""
        return min(_LONGEST_WHOLE_S, self.first_token_s + self.token_s * output_tokens) if self.token_s else 0.0


def pace_of(seed: bytes, speed: float) -> Pace:
    """The delays of the request with this digest; ``speed`` 2 is twice as fast, 0 does not wait at all."""
    if speed <= 0:
        return Pace(first_token_s=0.0, token_s=0.0)
    first = 0.080 + 0.170 * seed[0] / 255
    rate = 60 + 60 * seed[1] / 255
    return Pace(first_token_s=first / speed, token_s=1 / (rate * speed))
