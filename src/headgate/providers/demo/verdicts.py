"""Writes a verdict in the form a judge prompt asks for: a JSON Schema, a JSON example, or a word such as PASS or A."""

import json
import re
from collections.abc import Sequence
from typing import Any

from headgate.providers.demo import judging, schemas
from headgate.providers.demo.ask import Json
from headgate.providers.demo.judging import Case, Verdict

_REASON = re.compile(r"reason|explan|rationale|justif|why|comment|critique|analysis|feedback|thought|evidence", re.I)
_VERDICT = re.compile(
    r"verdict|grade|result|label|decision|judg|outcome|winner|prefer|choice|better|best|pass|correct|faithful|support|"
    r"relevan|attribut|score|rating|accept|grounded|quality|level|claims|statements|hallucinat",
    re.I,
)
_NEGATIVE = re.compile(
    r"hallucinat|unsupported|unfaithful|incorrect|fail|violat|non_?committal|refus|error|wrong", re.I
)
_SIDE_FIELD = re.compile(r"(?:^|_)(a|b|1|2|first|second)$", re.I)


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_GOOD = _set(
    "pass passed yes true correct good supported faithful relevant acceptable accept accepted y c ok win excellent "
    "grounded attributed valid 1"
)
_BAD = _set(
    "fail failed no false incorrect bad unsupported unfaithful irrelevant unacceptable reject rejected n i lose poor "
    "wrong hallucinated ungrounded invalid 0"
)
_SIDES = {
    "A": _set("a first 1 answer_a response_a assistant_a candidate_a answer_1 response_1 candidate_1 left"),
    "B": _set("b second 2 answer_b response_b assistant_b candidate_b answer_2 response_2 candidate_2 right"),
    "tie": _set("tie draw equal both neither same c tied equally_good"),
}
_RANGE = re.compile(r"(?:from|between|scale(?: of)?|,|\()?\s*\b(-?\d{1,3})\s*(?:to|and|-|–)\s*(\d{1,3})\b", re.I)
_LISTED = re.compile(r"(?:\b[A-Za-z0-9_-]{1,24}\b\s*(?:\||/)\s*){1,8}\b[A-Za-z0-9_-]{1,24}\b")
_OR = re.compile(r"[\"'`*]{0,2}\b([A-Za-z]{1,16})\b[\"'`*]{0,2},?\s+or\s+[\"'`*]{0,2}([A-Za-z]{1,16})\b")
_LABEL = re.compile(r"\b(GRADE|VERDICT|SCORE|RATING|WINNER|RESULT|ANSWER|JUDGMENT|JUDGEMENT|DECISION)\b\W{0,4}:", re.I)
_ALONE = re.compile(r"\b(?:only|single word|one word|nothing else|just|exactly one|single letter|no other)\b", re.I)
_KEY = re.compile(r"[\"'`]([A-Za-z_][\w-]{0,40})[\"'`]\s*(?::\s*([^,}\n]{1,200}))?")


def asks_for_verdict(schema: Json | None) -> bool:
    """Whether an asked-for JSON object has a field that holds a judgement."""
    return any(_VERDICT.search(name) for name in schemas.fields(schema))


def hint(case: Case, verdict: Verdict) -> schemas.Hint:
    """Fills the fields of an asked-for object by their names."""

    def wanted(name: str, schema: Json) -> Any:
        if isinstance(schema.get("enum"), list):
            return _option(schema["enum"], _graded(case, verdict, name), case)
        allowed = schemas.kinds(schema)
        if "array" in allowed:
            return _rows(case, name, schema)
        if "boolean" in allowed:
            return _boolean(case, verdict, name)
        if "number" in allowed or "integer" in allowed:
            return _number(case, verdict, name, schema)
        if allowed and "string" not in allowed:
            return schemas.MISSING
        if _REASON.search(name):
            return verdict.reason
        if _VERDICT.search(name):
            options = _options(str(schema.get("description", ""))) or _options(case.instructions)
            return _option(options or _default_options(case), _graded(case, verdict, name), case)
        return schemas.MISSING

    return wanted


def as_text(case: Case, verdict: Verdict) -> str:
    """The verdict as the prompt's own words ask: JSON when it shows or names keys, else a word with the reason."""
    if re.search(r"\bJSON\b", case.instructions) and (schema := _schema_of_example(case.instructions)):
        return json.dumps(schemas.build(schema, hint(case, verdict)), ensure_ascii=False)
    options = _options(case.instructions)
    scale = None if options else _scale(case.instructions)
    bracketed = re.search(r"\[\[", case.instructions)
    if scale:
        word = str(round(scale[0] + verdict.share * (scale[1] - scale[0])))
    else:
        word = str(_option(options or _default_options(case), verdict, case))
    if bracketed:
        word = f"[[{word}]]"
    label = _LABEL.search(case.instructions)
    if label:
        return f"{verdict.reason}\n{label.group(1)}: {word}"
    if _ALONE.search(case.instructions):
        return word
    return f"{verdict.reason}\nVerdict: {word}"


def _default_options(case: Case) -> list[Any]:
    return ["A", "B", "tie"] if case.is_pair else ["PASS", "FAIL"]


def _graded(case: Case, verdict: Verdict, name: str) -> Verdict:
    """The verdict turned round for a field that names a fault."""
    if case.is_pair or not _NEGATIVE.search(name):
        return verdict
    return Verdict(passed=not verdict.passed, share=1 - verdict.share, winner=None, reason=verdict.reason)


def _option(options: Sequence[Any], verdict: Verdict, case: Case) -> Any:
    """The option that says what ``verdict`` says; numbers and unknown words count as levels from low to high."""
    plain = [re.sub(r"\W+", "_", str(option).strip().lower()).strip("_") for option in options]
    if case.is_pair and verdict.winner:
        for option, word in zip(options, plain, strict=True):
            if word in _SIDES[verdict.winner]:
                return option
        if verdict.winner == "tie":
            return options[-1]
    good = [option for option, word in zip(options, plain, strict=True) if word in _GOOD]
    bad = [option for option, word in zip(options, plain, strict=True) if word in _BAD]
    if good and bad and len(options) <= 3:
        return good[0] if verdict.passed else bad[0]
    levels = list(options)
    if plain[0] in _GOOD and plain[-1] not in _GOOD and not plain[0].isdigit():
        levels.reverse()
    return levels[min(len(levels) - 1, int(verdict.share * len(levels)))] if levels else schemas.MISSING


def _boolean(case: Case, verdict: Verdict, name: str) -> Any:
    if re.search(r"non_?committal|refus|abstain", name, re.I):
        return judging.abstains(case.first)
    if not _VERDICT.search(name) and not _NEGATIVE.search(name):
        return schemas.MISSING
    return _graded(case, verdict, name).passed


def _number(case: Case, verdict: Verdict, name: str, schema: Json) -> Any:
    if not _VERDICT.search(name) and not re.search(r"confiden|value|points|probab", name, re.I):
        return schemas.MISSING
    whole = "number" not in schemas.kinds(schema)
    scale = _scale(str(schema.get("description", ""))) or _scale(case.instructions)
    low, high = scale or ((1, 5) if whole else (0, 1))
    low, high = schema.get("minimum", low), schema.get("maximum", high)
    if not all(isinstance(bound, int | float) for bound in (low, high)):
        return schemas.MISSING
    share = _graded(case, verdict, name).share
    side = _SIDE_FIELD.search(name)
    if side and verdict.second_share is not None and side.group(1).lower() in ("b", "2", "second"):
        share = verdict.second_share
    value = low + share * (high - low)
    return round(value) if whole else round(value, 4)


def _rows(case: Case, name: str, schema: Json) -> Any:
    """One entry for each claim of the candidate or each passage of the context."""
    inner = schema.get("items")
    if not isinstance(inner, dict):
        return schemas.MISSING
    if re.search(r"question", name, re.I):
        return (
            [f"What about {' '.join(case.first.split()[:12])}?"]
            if "string" in schemas.kinds(inner)
            else schemas.MISSING
        )
    is_about_passages = re.search(r"context|passage|chunk|document|note|source|relevan|useful", name, re.I)
    about_passages = is_about_passages and case.context
    texts = list(case.context) if about_passages else judging.claims(case)
    named = schemas.fields(inner) if schemas.kinds(inner) == ["object"] or "properties" in inner else None
    if named is None and "boolean" in schemas.kinds(inner):
        return [judging.is_relevant(case, text) for text in texts[:100]] if about_passages else schemas.MISSING
    if named is None:
        return texts if "string" in schemas.kinds(inner) else schemas.MISSING
    rows: list[Any] = []
    for at, text in enumerate(texts[:100]):
        holds = judging.is_relevant(case, text) if about_passages else judging.supports(case, text)
        rows.append(schemas.build(inner, _row_hint(at, text, holds=holds)))
    return rows


def _row_hint(at: int, text: str, *, holds: bool) -> schemas.Hint:
    def wanted(name: str, schema: Json) -> Any:
        allowed = schemas.kinds(schema)
        good = holds != bool(_NEGATIVE.search(name))
        if isinstance(schema.get("enum"), list):
            plain = {str(option).strip().lower(): option for option in schema["enum"]}
            return next((plain[word] for word in plain if word in (_GOOD if good else _BAD)), schemas.MISSING)
        if "boolean" in allowed:
            return good
        if "integer" in allowed or "number" in allowed:
            return at if re.search(r"index|id|number|rank|position", name, re.I) else int(good)
        if _REASON.search(name):
            return f"Demo judge: {'enough' if holds else 'too few'} shared words."
        return text if "string" in allowed or not allowed else schemas.MISSING

    return wanted


def _scale(text: str) -> tuple[int, int] | None:
    found = _RANGE.search(text)
    if not found:
        return None
    low, high = int(found.group(1)), int(found.group(2))
    return (low, high) if low < high else None


def _options(text: str) -> list[str]:
    """The words to choose from that a text lists: ``PASS|FAIL``, ``A / B / tie``, ``"yes" or "no"``, ``[[A]]``."""
    bracketed = list(dict.fromkeys(re.findall(r"\[\[\s*([ABC]|tie)\s*\]\]", text)))
    if len(bracketed) > 1:
        return bracketed
    for found in _LISTED.finditer(text):
        words = [word.strip() for word in re.split(r"[|/]", found.group(0))]
        if _are_verdicts(words):
            return words
    for found in _OR.finditer(text):
        words = [found.group(1), found.group(2)]
        before = re.search(r"([A-Za-z]{1,16})[\"'`*]{0,2}\s*,\s*[\"'`*]{0,2}$", text[: found.start()][-40:])
        if before and _are_verdicts([before.group(1), *words]):
            return [before.group(1), *words]
        if _are_verdicts(words):
            return words
    return []


def _are_verdicts(words: Sequence[str]) -> bool:
    known = _GOOD | _BAD | _SIDES["A"] | _SIDES["B"] | _SIDES["tie"]
    plain = {word.lower() for word in words}
    return len(plain) > 1 and sum(1 for word in plain if word in known) >= 2 and not plain <= {"a", "i"}


def _schema_of_example(text: str) -> Json | None:
    """A schema read off the JSON object that a prompt shows, or off the keys that it quotes after the word JSON."""
    start = re.search(r"\bJSON\b", text)
    shown = re.search(r"\{[^{}]{2,2000}\}", text)
    region = shown.group(0) if shown else text[start.start() : start.start() + 600] if start else ""
    properties: Json = {}
    for key, sample in _KEY.findall(region):
        if (shown and not sample) or key in properties or key.lower() in _GOOD | _BAD:
            continue
        properties[key] = _property(key, sample)
    if not properties:
        return None
    return {"type": "object", "properties": properties, "required": list(properties)}


def _property(key: str, sample: str) -> Json:
    bare = sample.strip().strip("\"'`<>")
    if re.fullmatch(r"true|false|bool(?:ean)?|true\W+(?:or\W+)?false", bare, re.I):
        return {"type": "boolean"}
    if re.search(r"\b(?:integer|int)\b", bare) or re.fullmatch(r"-?\d+|\d+\s*(?:-|–|to)\s*\d+", bare):
        return {"type": "integer", "description": bare}
    if re.search(r"\b(?:number|float)\b", bare) or re.fullmatch(r"-?\d*\.\d+", bare):
        return {"type": "number", "description": bare}
    options = _options(sample)
    if options:
        return {"type": "string", "enum": options}
    if not bare and re.search(r"score|rating|points", key, re.I):
        return {"type": "number"}
    return {"type": "string", "description": bare}
