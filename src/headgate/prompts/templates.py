"""Compiles a version's templates once and renders them: values are data, the output is capped while it is written."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, NoReturn

from jinja2 import Template, nodes
from jinja2.exceptions import SecurityError, TemplateRuntimeError, TemplateSyntaxError, UndefinedError
from jinja2.runtime import LoopContext, StrictUndefined, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from headgate.prompts import filters
from headgate.prompts.faults import PromptFault, PromptTooLarge, VariablesFault, quoted
from headgate.prompts.inputs import LARGEST_INPUT, Inputs, NotPlain, too_large, weight
from headgate.prompts.model import PromptContent, RenderedMessage
from headgate.prompts.rules import LOOP_FIELDS
from headgate.prompts.syntax import COMPUTED_KEY, MOST_NODES, Findings, TemplateFault, findings_of

MAX_OUTPUT_BYTES = 1 << 20
MAX_TEMPLATE_CHARS = 1 << 20
MOST_TOKENS = 30_000
MAX_WORK = 1 << 27
"""Most of (weight of a version's templates) x (weight of its inputs): about nanoseconds."""
_EACH = "_each"


class _Missing(StrictUndefined):
    """A value that is not there; its error text is only its name, which the renderer turns into a sentence."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        return str(self._undefined_name)


class _PlainDataEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox that reads fields of mappings and places of lists, never an attribute of a Python object."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if type(obj) is dict:
            try:
                return obj[attribute]
            except KeyError:
                return self.undefined(obj=obj, name=attribute)
        if type(obj) is LoopContext and attribute in LOOP_FIELDS:
            return getattr(obj, attribute)
        if isinstance(obj, Undefined):
            str(obj)  # raises, naming the value that is missing and not its field
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        kind, key = type(obj), type(argument)
        if kind is dict and key is str:
            return self.getattr(obj, argument)
        if kind in (list, tuple, str) and key is int and -len(obj) <= argument < len(obj):
            return obj[argument]
        for value in (obj, argument):
            if isinstance(value, Undefined):
                str(value)
        return self.undefined(obj=obj, name=argument)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return False

    def is_safe_callable(self, obj: Any) -> bool:
        return False

    def call(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise SecurityError("templates call nothing")


def _environment() -> _PlainDataEnvironment:
    made = _PlainDataEnvironment(
        undefined=_Missing, finalize=filters.as_text, autoescape=False, keep_trailing_newline=True, cache_size=0
    )
    made.globals.clear()
    made.filters.clear()
    made.filters.update(filters.FILTERS)
    made.filters[_EACH] = filters.each
    made.tests.clear()
    made.tests.update(filters.TESTS)
    return made


_ENVIRONMENT = _environment()


def check_template(source: str, names: Sequence[str]) -> list[TemplateFault]:
    """Every fault of a template that may read the variables ``names``, `knowledge` among them if the prompt has it."""
    return examine(source, names).faults


def examine(source: str, names: Sequence[str]) -> Findings:
    """What a template says: its faults, what it reads, its weight."""
    return _parsed(source, names)[1]


def _parsed(source: str, names: Sequence[str]) -> tuple[nodes.Template | None, Findings]:
    if len(source) > MAX_TEMPLATE_CHARS:
        return None, _one_fault(1, f"a template has at most {MAX_TEMPLATE_CHARS:,} characters")
    try:
        if next(islice(_ENVIRONMENT.lex(source), MOST_TOKENS, None), None) is not None:
            return None, _one_fault(1, f"a template has at most {MOST_TOKENS:,} words and signs within its braces")
        tree = _ENVIRONMENT.parse(source)
        return tree, findings_of(tree, names)
    except TemplateSyntaxError as error:
        return None, _one_fault(error.lineno, str(error.message))
    except RecursionError:
        return None, _one_fault(1, "blocks or expressions are nested too deep")
    except ValueError:  # Python refuses to read a number of more than 4,300 digits
        return None, _one_fault(1, "a number is beyond 64 bits")


def _one_fault(line: int, text: str) -> Findings:
    return Findings(faults=[TemplateFault(line, text)])


class CompiledPrompt:
    """One version, ready to render; safe to share between threads."""

    def __init__(self, content: PromptContent, label: str) -> None:
        self.content = content
        self.label = label
        names = [*content.input, *(["knowledge"] if content.knowledge else [])]
        self._pieces = [
            _Piece(message.content, names, f"message {place}") for place, message in enumerate(content.messages, 1)
        ]
        self._query = _Piece(content.knowledge.query, list(content.input), "query") if content.knowledge else None
        pieces = [*self._pieces, *([self._query] if self._query else [])]
        if faults := [fault for piece in pieces for fault in piece.faults]:
            raise PromptFault(faults)
        if sum(piece.nodes for piece in pieces) > MOST_NODES:
            raise PromptFault([f"a prompt has at most {MOST_NODES:,} values, filters and blocks"])
        work = sum(piece.weight for piece in pieces)
        self.largest_input = min(LARGEST_INPUT, MAX_WORK // max(work, 1))
        """Most that variables, and knowledge, may weigh for this version."""
        self._inputs = Inputs(content.input, label)

    def render(
        self, variables: Mapping[str, Any], knowledge: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[RenderedMessage, ...]:
        """The messages with the values filled in; raises VariablesFault or PromptTooLarge."""
        values = self._inputs.complete(variables, self.largest_input)
        if self.content.knowledge is not None:
            values["knowledge"] = self._checked_knowledge(knowledge)
        left, rendered = MAX_OUTPUT_BYTES, []
        for message, piece in zip(self.content.messages, self._pieces, strict=True):
            text, left = piece.render(values, left, self.label)
            rendered.append(RenderedMessage(role=message.role, content=text))
        return tuple(rendered)

    def query(self, variables: Mapping[str, Any]) -> str | None:
        """What the knowledge base is asked; None for a prompt without one."""
        if self._query is None:
            return None
        values = self._inputs.complete(variables, self.largest_input)
        return self._query.render(values, MAX_OUTPUT_BYTES, self.label)[0]

    def _checked_knowledge(self, knowledge: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        chunks = list(knowledge)
        try:
            size = weight(chunks)
        except NotPlain as error:
            raise VariablesFault(self.label, [f"knowledge {error}"]) from None
        if size > self.largest_input:
            raise too_large(self.label, "pieces of knowledge", self.largest_input)
        return chunks


def compile_prompt(content: PromptContent, label: str = "this prompt") -> CompiledPrompt:
    """The compiled version; PromptFault when a template is outside the listed part. ``label`` opens error texts."""
    return CompiledPrompt(content, label)


class _Piece:
    """One template: constant text, or compiled code."""

    def __init__(self, source: str, names: Sequence[str], where: str) -> None:
        tree, findings = _parsed(source, names)
        self.faults = [f"{where} line {fault.line}: {fault.text}" for fault in findings.faults]
        self.weight, self.nodes = findings.weight, findings.nodes
        self._paths = findings.paths
        self._where = where
        self._template: Template | None = None
        self._constant = ""
        self._constant_bytes = 0
        if tree is None or self.faults:
            return
        if all(isinstance(node, nodes.Output) and _is_text(node) for node in tree.body):
            self._constant = "".join(part.data for node in tree.find_all(nodes.Output) for part in _texts(node))
            self._constant_bytes = len(self._constant.encode())
        else:
            self._template = _compiled(tree)

    def render(self, values: Mapping[str, Any], left: int, label: str) -> tuple[str, int]:
        """The text, and how many of the ``left`` bytes remain."""
        if self._template is None:
            if self._constant_bytes > left:
                raise _output_too_large(label)
            return self._constant, left - self._constant_bytes
        parts: list[str] = []
        try:
            for part in self._template.generate(values):
                if part:
                    left -= len(part) if part.isascii() else len(part.encode())
                    if left < 0:
                        raise _output_too_large(label)
                    parts.append(part)
        except filters.TextTooLong:
            raise _output_too_large(label) from None
        except (UndefinedError, TemplateRuntimeError, TypeError, ValueError) as error:
            raise VariablesFault(label, [self._sentence(error)]) from None
        return "".join(parts), left

    def _sentence(self, error: Exception) -> str:
        place = f"{self._where} line {_line(error.__traceback__)}"
        if isinstance(error, UndefinedError):
            name = str(error)
            paths = self._paths.get(name) or self._paths.get(COMPUTED_KEY) or {name}
            return f"{quoted(' or '.join(sorted(paths)))} is missing ({place})"
        if isinstance(error, TemplateRuntimeError):
            return f"{error} ({place})"
        return f"values of different kinds cannot be compared or unpacked ({place})"


def _texts(node: nodes.Output) -> Iterator[nodes.TemplateData]:
    return (part for part in node.nodes if isinstance(part, nodes.TemplateData))


def _is_text(node: nodes.Output) -> bool:
    return all(isinstance(part, nodes.TemplateData) for part in node.nodes)


def _compiled(tree: nodes.Template) -> Template:
    for loop in list(tree.find_all(nodes.For)):
        guard = nodes.Filter(loop.iter, _EACH, [], [], None, None, lineno=loop.lineno)
        loop.iter = guard.set_environment(_ENVIRONMENT)
    return Template.from_code(_ENVIRONMENT, _ENVIRONMENT.compile(tree), {})


def _line(trace: TracebackType | None) -> int:
    # Jinja2 rewrites the traceback: frames of its code carry the template's file name and lines.
    line = 1
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _output_too_large(label: str) -> PromptTooLarge:
    return PromptTooLarge(
        f"{label} cannot be rendered: its messages are above {MAX_OUTPUT_BYTES:,} bytes.",
        hint="Send shorter variables, or fewer of them.",
    )
