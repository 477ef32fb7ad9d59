"""Canonical JSON (RFC 8785): one text for equal values, so that hashes name contents and not spellings."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from headgate.evals.faults import EvaluationFault

DEEPEST = 64


class NotCanonical(EvaluationFault):
    """A value that has no canonical JSON: not a number, an integer beyond 64-bit floats, half a surrogate pair."""

    code = "not_canonical"


def canonical_json(value: Any) -> bytes:
    """The one JSON text of ``value`` (mappings, lists, texts, numbers, booleans, None); raises NotCanonical.

    Keys are ordered by their UTF-16 code units and numbers written as ECMAScript writes them, so 1.0 and 1 are equal.
    """
    pieces: list[str] = []
    _write(value, pieces, 0)
    return "".join(pieces).encode()


def digest(value: Any) -> str:
    """The SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def _write(value: Any, out: list[str], depth: int) -> None:
    if depth > DEEPEST:
        raise NotCanonical(f"values are nested deeper than {DEEPEST} levels.")
    if isinstance(value, str):
        out.append(_text(value))
    elif value is None or isinstance(value, bool):
        out.append("null" if value is None else "true" if value else "false")
    elif isinstance(value, int | float):
        out.append(_number(value))
    elif isinstance(value, Mapping):
        _object(value, out, depth)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            out.append("," if index else "[")
            _write(item, out, depth + 1)
        out.append("]" if value else "[]")
    else:
        raise NotCanonical(f"a {type(value).__name__} is no JSON value.")


def _object(value: Mapping[Any, Any], out: list[str], depth: int) -> None:
    for key in value:
        if not isinstance(key, str):
            raise NotCanonical(f"the key {str(key)[:40]} is no text.")
    keys = sorted(value, key=_utf16)
    for index, key in enumerate(keys):
        out.append("," if index else "{")
        out.append(_text(key))
        out.append(":")
        _write(value[key], out, depth + 1)
    out.append("}" if keys else "{}")


def _utf16(text: str) -> bytes:
    try:
        return text.encode("utf-16-be")
    except UnicodeEncodeError:
        raise NotCanonical("a text holds half a surrogate pair, which UTF-8 cannot carry.") from None


def _text(text: str) -> str:
    _utf16(text)
    # json writes exactly the escapes of RFC 8785 §3.2.2.2: short ones where there are, else \u00xx in small letters.
    return json.dumps(text, ensure_ascii=False)


def _number(number: int | float) -> str:
    try:
        value = float(number)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise NotCanonical(f"{str(number)[:40]} is no number of JSON.")
    written = "0" if value == 0 else _ecmascript(value)
    # Beyond 2^53 the written form of a float is another integer, which stands for the same float when read back.
    if isinstance(number, int) and int(value) != number and written != str(number):
        raise NotCanonical(f"the integer {str(number)[:40]} is not exact as a 64-bit float; write it as text.")
    return written


def _ecmascript(value: float) -> str:
    """The shortest digits that read back as ``value``, laid out as ECMAScript's Number::toString does."""
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = fraction if fraction != "0" else ""
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    power = f"e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return sign + digits[0] + (f".{digits[1:]}" if count > 1 else "") + power
