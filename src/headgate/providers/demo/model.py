"""The demo model: an `Ask` in, a `Reply` out. It calls a tool, judges, fills a schema or answers in text."""

import json
import re
from dataclasses import replace
from typing import Any

from headgate.providers.demo import answers, judging, schemas, skills, tokens, verdicts, words
from headgate.providers.demo.ask import Ask, Call, Json, Reply, Tool
from headgate.providers.demo.judging import Case

_GENERIC = frozenset(
    words.content_words(
        "fetch find search list create make set read look lookup run call query check tool function data"
    )
)
_PLACE = re.compile(r"\b(?:in|at|for|near|to|from)\s+((?:[A-Z][\w'’.-]*)(?:[ ,]+[A-Z][\w'’.-]*){0,3})")
_QUOTED = re.compile(r"[\"“`]([^\"”`\n]{1,400})[\"”`]")
_NUMBER = re.compile(r"(?<![\w.])-?\d{1,15}(?:\.\d{1,6})?(?![\w.]*\d)")
_SHAPES = {
    "email": re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}"),
    "date": re.compile(r"\b\d{4}-\d{2}-\d{2}\b"),
    "url": re.compile(r"https?://[^\s\"'<>]{1,500}"),
}
_TEXT_LIMIT = 20_000


def reply(ask: Ask, choice: int = 0) -> Reply:
    """The answer to ``ask``, cut by its stop sequences and its token limit."""
    case = judging.recognise(ask.turns, wants_verdict=_wants_verdict(ask))
    thinking = _thinking(ask, case) if ask.thinks else ""
    calls = _calls(ask, case)
    if calls:
        return _counted(Reply(text="", calls=calls, thinking=thinking, finish="tool_calls"))
    return _cut(ask, Reply(text=_text(ask, case, choice), thinking=thinking))


def _wants_verdict(ask: Ask) -> bool:
    forced = [tool.schema for tool in ask.tools if tool.name == ask.tool_named or len(ask.tools) == 1]
    return any(verdicts.asks_for_verdict(schema) for schema in [ask.schema, *forced])


def _text(ask: Ask, case: Case | None, choice: int) -> str:
    if case is not None:
        verdict = judging.judge(case)
        if ask.form == "schema":
            return _as_json(schemas.build(ask.schema, verdicts.hint(case, verdict)))
        written = verdicts.as_text(case, verdict)
        if ask.form == "text" or written.startswith("{"):
            return written
        return _as_json({"reason": verdict.reason, "verdict": verdict.winner or ("PASS" if verdict.passed else "FAIL")})
    if ask.form == "schema":
        return _as_json(schemas.build(ask.schema, _answer_hint(ask)))
    if ask.form == "json":
        return _as_json({"answer": answers.bare_answer(ask), "sources": answers.cited(ask), "model": "Headgate demo"})
    return answers.answer(ask, choice)


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _thinking(ask: Ask, case: Case | None) -> str:
    if case is not None:
        return f"A judging request. {judging.judge(case).reason}"
    asked = " ".join(ask.last_user_text.split()[:24])[:240]
    return f"The request ends with: {asked} I look for notes that share words with it, then for a sum or a tool."


def _calls(ask: Ask, case: Case | None) -> tuple[Call, ...]:
    chosen = _chosen_tools(ask, case)
    calls: list[Call] = []
    for tool in chosen:
        hint = verdicts.hint(case, judging.judge(case)) if case is not None else _argument_hint(ask, tool)
        built = schemas.build({"type": "object", **tool.schema}, hint)
        calls.append(Call(name=tool.name, arguments=json.dumps(built, ensure_ascii=False, separators=(",", ":"))))
    return tuple(calls)


def _chosen_tools(ask: Ask, case: Case | None) -> list[Tool]:
    if not ask.tools or ask.tool_choice == "none":
        return []
    if ask.tool_named:
        return [tool for tool in ask.tools if tool.name == ask.tool_named][:1]
    if case is not None:
        judges = [tool for tool in ask.tools if verdicts.asks_for_verdict(tool.schema)]
        if judges and (len(ask.tools) == 1 or ask.tool_choice == "required"):
            return judges[:1]
    named = [] if ask.last is not None and ask.last.role == "tool" else _named_tools(ask)
    if not named and ask.tool_choice == "required":
        named = [ask.tools[0]]
    return named if ask.parallel_calls else named[:1]


def _named_tools(ask: Ask) -> list[Tool]:
    """The tools whose name, or whose every telling word, is in the newest user message."""
    text = ask.last_user_text[:_TEXT_LIMIT]
    stems = set(words.content_words(text))
    exact = [tool for tool in ask.tools if tool.name in text or tool.name.replace("_", " ") in text.lower()]
    if exact:
        return exact[:8]
    named: list[Tool] = []
    for tool in ask.tools:
        spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", tool.name).replace("_", " ").replace("-", " ").replace(".", " ")
        telling = set(words.content_words(spaced)) - _GENERIC
        if telling and telling <= stems:
            named.append(tool)
    return named[:8]


def _argument_hint(ask: Ask, tool: Tool) -> schemas.Hint:
    """Finds arguments in the newest user message: listed values, numbers, places, dates, quoted text."""
    text = ask.last_user_text[:_TEXT_LIMIT]
    found_numbers = [found.group(0) for found in _NUMBER.finditer(text)]
    quoted = [found.group(1) for found in _QUOTED.finditer(text) if found.group(1) != tool.name]
    places = [found.group(1).rstrip(".,'") for found in _PLACE.finditer(text)]

    def wanted(name: str, schema: Json) -> Any:
        if isinstance(schema.get("enum"), list):
            return _listed(schema["enum"], text)
        allowed = schemas.kinds(schema)
        if ("integer" in allowed or "number" in allowed) and found_numbers:
            number = found_numbers.pop(0) if len(found_numbers) > 1 else found_numbers[0]
            return float(number) if "." in number else int(number)
        if allowed and "string" not in allowed:
            return schemas.MISSING
        for shape, pattern in _SHAPES.items():
            if (shape in name.lower() or schema.get("format") == shape) and (found := pattern.search(text)):
                return found.group(0)
        if re.search(r"city|place|location|country|where|town|address|destination|origin", name, re.I) and places:
            return places[0]
        if quoted:
            return quoted.pop(0) if len(quoted) > 1 else quoted[0]
        if re.search(r"query|question|text|input|prompt|message|content|expression|code|command|topic|q$", name, re.I):
            return skills_expression(text) if "expression" in name.lower() else text.strip()[:2000] or schemas.MISSING
        return places[0] if places and len(schemas.fields(tool.schema)) == 1 else schemas.MISSING

    return wanted


def skills_expression(text: str) -> str:
    """The sum in ``text``, or the text."""
    done = skills.arithmetic(text)
    return done.rpartition(" = ")[0] if done else text.strip()[:2000]


def _listed(options: list[Any], text: str) -> Any:
    lowered = text.lower()
    return next(
        (option for option in options if isinstance(option, str) and option.lower() in lowered), schemas.MISSING
    )


def _answer_hint(ask: Ask) -> schemas.Hint:
    """Fills an object from the answer: its text, its sources, a label, the sum, and whether the notes say it."""
    text = answers.bare_answer(ask)
    from_arguments = _argument_hint(ask, Tool(name="", schema={}))

    def wanted(name: str, schema: Json) -> Any:
        if isinstance(schema.get("enum"), list):
            options = [option for option in schema["enum"] if isinstance(option, str)]
            return skills.choose(options, ask.last_user_text) if options else schemas.MISSING
        allowed = schemas.kinds(schema)
        if "array" in allowed:
            inner = schema.get("items")
            is_ids = re.search(r"source|citation|id|reference|note", name, re.I) and isinstance(inner, dict)
            return answers.cited(ask) if is_ids and "string" in schemas.kinds(inner or {}) else schemas.MISSING
        if "boolean" in allowed:
            return not judging.abstains(text)
        if "number" in allowed and re.search(r"confiden|score|probab", name, re.I):
            return 0.2 if judging.abstains(text) else 0.8
        if ("number" in allowed or "integer" in allowed) and (done := skills.arithmetic(ask.last_user_text)):
            return _as_number(done.rpartition("= ")[2])
        if re.search(
            r"answer|text|summary|response|result|reply|message|content|output|explan|reason|steps?$", name, re.I
        ):
            return text
        return from_arguments(name, schema)

    return wanted


def _as_number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)


def _cut(ask: Ask, whole: Reply) -> Reply:
    """``whole`` up to the first stop sequence and the token limit; thinking counts against the limit."""
    text, sequence = _before_stop(whole.text, ask.stop)
    out = replace(whole, text=text, finish="stop_sequence" if sequence else "stop", stop_sequence=sequence)
    if ask.max_tokens is not None:
        thinking, thought_cut = tokens.head(out.thinking, ask.max_tokens)
        text, text_cut = tokens.head(out.text, max(0, ask.max_tokens - tokens.count(thinking)))
        if thought_cut or text_cut:
            out = replace(out, text=text, thinking=thinking, finish="length", stop_sequence=None)
    return _counted(out)


def _before_stop(text: str, stop: tuple[str, ...]) -> tuple[str, str | None]:
    found = [(at, sequence) for sequence in stop if sequence and (at := text.find(sequence)) >= 0]
    if not found:
        return text, None
    at, sequence = min(found)
    return text[:at], sequence


def _counted(out: Reply) -> Reply:
    thinking = tokens.count(out.thinking)
    calls = sum(tokens.count(call.name) + tokens.count(call.arguments) + 4 for call in out.calls)
    return replace(out, output_tokens=tokens.count(out.text) + thinking + calls, thinking_tokens=thinking)
