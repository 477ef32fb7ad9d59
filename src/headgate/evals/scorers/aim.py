"""What a scorer looks at: which part of the answer, and which part of the row's expectation."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn

import msgspec

from headgate.evals.dataset import Row
from headgate.evals.output import Output
from headgate.evals.scorer import ScorerFault
from headgate.evals.scorers import patterns

MISSING = msgspec.UNSET
MAX_JSON_CHARS = 2_000_000

ExtractHelp = msgspec.Meta(
    description="which part of the answer is judged: json_pointer (/total), regex (its first group, of the last match) "
    "or after (the text after the last occurrence of a marker)"
)
ExpectedHelp = msgspec.Meta(description="what is expected of every row, in place of the row's `expected`")
FieldHelp = msgspec.Meta(description="JSON pointer into the row's `expected`, like /queue")


class Extract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way of taking a part out of an answer."""

    json_pointer: str | None = None
    regex: str | None = None
    after: str | None = None


class Aimed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of scorers that compare a part of the answer with something expected."""

    expected: Annotated[Any, ExpectedHelp] = MISSING
    field: Annotated[str | None, FieldHelp] = None
    extract: Annotated[Extract | None, ExtractHelp] = None


class Unreadable(Exception):
    """The part of an answer that a scorer looks at is not there; the text says why."""


class NotThere(Exception):
    """A row does not have what a scorer needs; the text says what."""


def check_aim(params: Aimed) -> None:
    """ScorerFault when the parameters cannot mean anything."""
    if params.extract is not None:
        check_extract(params.extract)
    if params.field is not None:
        _check_pointer(params.field, ("field",))


def check_extract(extract: Extract) -> None:
    """ScorerFault when a way of taking a part out is none, or more than one."""
    ways = [way for way in (extract.json_pointer, extract.regex, extract.after) if way is not None]
    if len(ways) != 1 or not (ways[0] or extract.json_pointer is not None):
        raise ScorerFault("extract has one of json_pointer, regex and after", ("extract",))
    if extract.json_pointer is not None:
        _check_pointer(extract.json_pointer, ("extract", "json_pointer"))
    if extract.regex is not None:
        try:
            patterns.compiled(extract.regex)
        except patterns.BadPattern as error:
            raise ScorerFault(f"regex: {error}", ("extract", "regex")) from None


def _check_pointer(pointer: str, path: tuple[str, ...]) -> None:
    if pointer and not pointer.startswith("/"):
        raise ScorerFault(f"a JSON pointer begins with /, like /{pointer[:40]}", path)


def expected_of(params: Aimed, row: Row) -> Any:
    """What is expected of the row; raises NotThere when neither the suite nor the row says."""
    value = params.expected
    if value is MISSING:
        value = row.expected
    if value is None:
        raise NotThere("the row has no expected value")
    if params.field is None:
        return value
    found = at_pointer(value, params.field)
    if found is MISSING or found is None:
        raise NotThere(f"the row's expected value has nothing at {params.field}")
    return found


def expected_text(params: Aimed, row: Row) -> str:
    """What is expected, as text: numbers and booleans as JSON writes them; raises NotThere."""
    value = expected_of(params, row)
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise NotThere("the expected value is no text; name a part of it with field")


def expected_texts(params: Aimed, row: Row) -> list[str]:
    """What is expected, as a list of texts: one text, or a list of them; raises NotThere."""
    value = expected_of(params, row)
    values = list(value) if isinstance(value, list | tuple) else [value]
    if not values or not all(isinstance(one, str) and one for one in values):
        raise NotThere("the expected value is neither a text nor a list of texts")
    return values


def judged_text(extract: Extract | None, output: Output) -> str:
    """The part of the answer's text that is judged; raises Unreadable when it has no such part."""
    if extract is None:
        return output.text
    if extract.after is not None:
        _, found, rest = output.text.rpartition(extract.after)
        if not found:
            raise Unreadable(f"the answer does not hold the marker {extract.after[:60]!r}")
        return rest.strip()
    if extract.regex is not None:
        return _last_match(extract.regex, output.text)
    value = at_pointer(json_of(output.text), extract.json_pointer or "")
    if value is MISSING:
        raise Unreadable(f"the answer has nothing at {extract.json_pointer}")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _last_match(pattern: str, text: str) -> str:
    try:
        found = patterns.last_group(pattern, text)
    except patterns.TooSlow:
        raise Unreadable(f"the pattern took longer than {patterns.TIMEOUT_S:g} s on this answer") from None
    if found is None:
        raise Unreadable("the answer does not match the pattern of extract")
    return found


def json_of(text: str, *, allow_fence: bool = False) -> Any:
    """The JSON value of a whole text; raises Unreadable for anything else, NaN and values nested too deep included."""
    if len(text) > MAX_JSON_CHARS:
        raise Unreadable(f"the answer has more than {MAX_JSON_CHARS:,} characters")
    try:
        return json.loads(_unfenced(text) if allow_fence else text, parse_constant=_no_constant)
    except RecursionError:
        raise Unreadable("the answer is JSON nested too deep") from None
    except ValueError as error:
        raise Unreadable(f"the answer is not JSON: {str(error)[:120]}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _unfenced(text: str) -> str:
    bare = text.strip()
    if not bare.startswith("```") or not bare.endswith("```") or "\n" not in bare:
        return text
    return bare[bare.index("\n") + 1 : -3]


def at_pointer(value: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) leads to; MISSING when there is nothing."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif _is_index(value, key):
            value = value[int(key)]
        else:
            return MISSING
    return value


def _is_index(value: Any, key: str) -> bool:
    is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    is_number = key.isascii() and key.isdecimal() and len(key) < 10 and (key == "0" or key[0] != "0")
    return is_list and is_number and int(key) < len(value)
