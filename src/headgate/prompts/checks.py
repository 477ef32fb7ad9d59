"""Everything that a prompt's content must satisfy to become a version, whoever sent it."""

from collections.abc import Iterator
from dataclasses import dataclass

from headgate.prompts.dialects import LIMIT
from headgate.prompts.faults import PromptFault, ReferenceFault, quoted
from headgate.prompts.model import MAX_CONTENT_BYTES, ROLES, Knowledge, PromptContent, canonical
from headgate.prompts.reference import parse_reference
from headgate.prompts.schema import schema_faults
from headgate.prompts.syntax import MOST_NODES, Findings
from headgate.prompts.templates import compile_prompt, examine

Path = tuple[str | int, ...]
LIMIT_NAMES = ("max_tokens", "max_completion_tokens")
MOST_MESSAGES = 100
MOST_TOOLS = 200
MOST_CHUNKS = 100
ALWAYS_THE_CALLERS = (
    "stream",
    "stream_options",
    "metadata",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "store",
    "service_tier",
)
"""Fields of a request that no prompt decides."""
OF_THE_VERSION = ("model", "messages", "input", "instructions", "system", "prompt", "variables")
"""Fields that a version writes itself, so that they are no parameters."""
OF_THEIR_OWN_KEY = ("tools", "response_format")


@dataclass(frozen=True, slots=True)
class ContentFault:
    """One fault: where in the content, on which line of the template there (0: not in a template), and what."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        where = ".".join(map(str, self.path)) or "prompt"
        return f"{where}{f' line {self.line}' if self.line else ''}: {self.text}"


@dataclass(frozen=True, slots=True)
class ContentReport:
    """What the check of a content found; no faults: it may become a version."""

    faults: list[ContentFault]
    warnings: list[ContentFault]


def check_content(content: PromptContent) -> ContentReport:
    """Every fault of a content, and what is allowed but looks like a slip."""
    faults = [*_plain_faults(content), *_parameter_faults(content)]
    faults.extend(ContentFault(("input", *fault.path), 0, fault.text) for fault in schema_faults(content.input))
    examined = list(_examined(content))
    faults.extend(
        ContentFault(path, fault.line, fault.text) for path, findings in examined for fault in findings.faults
    )
    if not faults and sum(findings.nodes for _, findings in examined) > MOST_NODES:
        faults.append(ContentFault(("messages",), 0, f"a prompt has at most {MOST_NODES:,} values, filters and blocks"))
    used = frozenset[str]().union(*(findings.used for _, findings in examined))
    return ContentReport(faults, [] if faults else list(_unused(content, used)))


def refuse_faults(content: PromptContent) -> None:
    """Raises PromptFault unless the content may become a version; compiles it, as a worker will."""
    if faults := check_content(content).faults:
        raise PromptFault([str(fault) for fault in faults])
    compile_prompt(content)


def _examined(content: PromptContent) -> Iterator[tuple[Path, Findings]]:
    names = [*content.input, *(["knowledge"] if content.knowledge else [])]
    for index, message in enumerate(content.messages):
        yield ("messages", index, "content"), examine(message.content, names)
    if content.knowledge is not None:
        yield ("knowledge", "query"), examine(content.knowledge.query, list(content.input))


def _unused(content: PromptContent, used: frozenset[str]) -> Iterator[ContentFault]:
    for name in content.input:
        if name not in used:
            yield ContentFault(("input", name), 0, f"{quoted(name)} is an input that no template reads")
    if content.knowledge is not None and "knowledge" not in used:
        yield ContentFault(("knowledge",), 0, "the prompt has knowledge that no template reads")


def _plain_faults(content: PromptContent) -> Iterator[ContentFault]:
    if not 0 < len(content.model.strip()) <= 256 or not content.model.isprintable():
        yield ContentFault(("model",), 0, "model is the name of a routed model, such as gpt-5-mini")
    elif content.model.startswith("prompt:"):
        yield ContentFault(("model",), 0, "model is a routed model, not another prompt")
    if not 0 < len(content.messages) <= MOST_MESSAGES:
        yield ContentFault(("messages",), 0, f"a prompt has 1 to {MOST_MESSAGES} messages, not {len(content.messages)}")
    if len(content.tools) > MOST_TOOLS:
        yield ContentFault(("tools",), 0, f"a prompt has at most {MOST_TOOLS} tools, not {len(content.tools)}")
    for index, message in enumerate(content.messages):
        if message.role not in ROLES:
            text = f"role is one of {', '.join(ROLES)}, not {quoted(message.role)}"
            yield ContentFault(("messages", index, "role"), 0, text)
    if content.knowledge is not None:
        yield from _knowledge_faults(content.knowledge)
    yield from _size_faults(content)


def _size_faults(content: PromptContent) -> Iterator[ContentFault]:
    try:
        size = len(canonical(content))
    except UnicodeEncodeError:
        yield ContentFault((), 0, "a text holds half of a Unicode surrogate pair")
    except (ValueError, TypeError, RecursionError) as error:
        yield ContentFault((), 0, f"the content cannot be written as JSON: {error}")
    else:
        if size > MAX_CONTENT_BYTES:
            yield ContentFault((), 0, f"a prompt's content is at most 1 MB; this one has {size:,} bytes")


def _knowledge_faults(knowledge: Knowledge) -> Iterator[ContentFault]:
    if not 0 < knowledge.top_k <= MOST_CHUNKS:
        yield ContentFault(("knowledge", "top_k"), 0, f"top_k is from 1 to {MOST_CHUNKS}")
    if knowledge.min_score is not None and not -1 <= knowledge.min_score <= 1:
        yield ContentFault(("knowledge", "min_score"), 0, "min_score is a cosine: from -1 to 1")
    for name, value in knowledge.filter.items():
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(one, str | int | float | bool) for one in values):
            yield ContentFault(
                ("knowledge", "filter", name), 0, "a filter's field has a plain value, or a list of them"
            )
    try:
        parse_reference(knowledge.kb)
    except ReferenceFault as error:
        yield ContentFault(("knowledge", "kb"), 0, str(error))


def _parameter_faults(content: PromptContent) -> Iterator[ContentFault]:
    if LIMIT in content.parameters and (twice := [name for name in LIMIT_NAMES if name in content.parameters]):
        yield ContentFault(("parameters", twice[0]), 0, f"{twice[0]} and {LIMIT} are the same limit; keep {LIMIT}")
    for name in content.parameters:
        if name in ALWAYS_THE_CALLERS:
            yield ContentFault(("parameters", name), 0, f"{name} is always the caller's")
        elif name in OF_THE_VERSION:
            yield ContentFault(("parameters", name), 0, f"{name} is no parameter: the version's own keys decide it")
        elif name in OF_THEIR_OWN_KEY:
            yield ContentFault(("parameters", name), 0, f"{name} is a key of the prompt, beside parameters")
        elif not name or len(name) > 100:
            yield ContentFault(("parameters", name[:100]), 0, "a parameter's name has 1 to 100 characters")
    for index, name in enumerate(content.overridable):
        if name in OF_THE_VERSION or not name or len(name) > 100:
            text = f"{quoted(name)} cannot be overridden; messages sent along follow the prompt's own"
            yield ContentFault(("overridable", index), 0, text)
        elif name in ALWAYS_THE_CALLERS:
            yield ContentFault(("overridable", index), 0, f"{name} is always the caller's; it need not be listed")
