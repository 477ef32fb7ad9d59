"""Regular expressions over text that a model wrote: compiled once, bounded in time, in a syntax near to Python's.

The `regex` package (a dependency of tiktoken) is used because it has a time limit: `re` cannot be stopped, and a
pattern such as ``(a+)+$`` takes years on a short answer.
"""

from functools import lru_cache
from typing import Any, cast

import regex

MAX_PATTERN_CHARS = 2000
TIMEOUT_S = 1.0


class BadPattern(ValueError):
    """A pattern that cannot be compiled."""


class TooSlow(Exception):
    """A pattern ran into its time limit."""


@lru_cache(maxsize=500)
def compiled(pattern: str, *, ignores_case: bool = False) -> Any:
    """The compiled pattern; raises BadPattern."""
    if len(pattern) > MAX_PATTERN_CHARS:
        raise BadPattern(f"a pattern has at most {MAX_PATTERN_CHARS:,} characters")
    try:
        return regex.compile(pattern, regex.IGNORECASE if ignores_case else 0)
    except (regex.error, RecursionError, OverflowError) as error:
        raise BadPattern(f"this is no pattern: {str(error)[:200]}") from None


def found_in(pattern: str, text: str, *, whole: bool = False, ignores_case: bool = False) -> str | None:
    """The text of the first match, of the whole text when ``whole``; None without one; raises TooSlow."""
    one = compiled(pattern, ignores_case=ignores_case)
    try:
        match = one.fullmatch(text, timeout=TIMEOUT_S) if whole else one.search(text, timeout=TIMEOUT_S)
    except TimeoutError:
        raise TooSlow from None
    return None if match is None else cast(str, match.group(0))


def last_group(pattern: str, text: str) -> str | None:
    """The first group (or the whole) of the last match; None without a match; raises TooSlow."""
    last = None
    try:
        for match in compiled(pattern).finditer(text, timeout=TIMEOUT_S):
            last = match
    except TimeoutError:
        raise TooSlow from None
    if last is None:
        return None
    group = last.group(1) if last.re.groups else last.group(0)
    return cast("str | None", group)
