"""Cases that stand in a prompt's own text: what it was shown there, it need not have learned."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from headgate.evals.dataset import Row
from headgate.prompts.model import PromptContent

LONG_CHARS = 40
"""A text this long is named wherever it stands; greetings and instructions that many cases share are shorter."""
SHORT_CHARS = 12
"""An input this long is named where it is a message or a line of its own, as examples are; labels are shorter."""
_WORD = re.compile(r"\w+")
_NESTED = 20


def cases_in_prompt(content: PromptContent, rows: Iterable[Row]) -> tuple[str, ...]:
    """The ids of the cases whose input or expected text stands in the prompt's messages or in defaults of its inputs.

    Case, spacing and punctuation do not count. Of an expected answer only a long text does: a label belongs there.
    """
    texts = [message.content for message in content.messages]
    texts += [text for schema in content.input.values() if isinstance(schema, dict) for text in _texts(schema)]
    plain = [_normal(text) for text in texts]
    heads = {text[at : at + LONG_CHARS] for text in plain for at in _word_starts(text)}
    alone = {line for text in texts for line in _lines(text)}
    return tuple(
        row.id
        for row in rows
        if any(_is_inside(text, plain, heads) for text in _row_texts((row.input, row.expected)))
        or any(len(text) >= SHORT_CHARS and " " in text and text in alone for text in _row_texts(row.input))
    )


def _is_inside(text: str, plain: list[str], heads: set[str]) -> bool:
    # Most texts are told apart by how they begin, so a long prompt is not searched for each case.
    return len(text) >= LONG_CHARS and text[:LONG_CHARS] in heads and any(text in one for one in plain)


def _row_texts(value: Any) -> Iterator[str]:
    return (_normal(text) for text in _texts(value))


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """Every text within a value of JSON, down to a bounded depth."""
    if isinstance(value, str):
        yield value
    elif depth < _NESTED and isinstance(value, (dict, list, tuple)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one, depth + 1)


def _lines(text: str) -> Iterator[str]:
    """The text, its lines, and its lines without a label before them (`Q: Where is my order?`)."""
    yield _normal(text)
    for line in text.splitlines():
        yield _normal(line)
        yield _normal(line.partition(":")[2])


def _normal(text: str) -> str:
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def _word_starts(text: str) -> Iterator[int]:
    return (found.start() for found in _WORD.finditer(text))
