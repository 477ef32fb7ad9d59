"""Checks the syntax tree of a template: only the listed part of Jinja2, and only work that is linear in the inputs.

Inside a loop a value is *own* when it is a literal or reached from the loop's own variable, else *shared*: shared
values may be written, tested for truth and compared with own ones, but not read whole, once per round.
`docs/design/prompts.md` proves that this bounds every render.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import nodes

from headgate.core.settings_file import nearest
from headgate.prompts import rules
from headgate.prompts.faults import quoted

DEEPEST_LOOP = 2
DEEPEST_BLOCK = 12
DEEPEST_EXPRESSION = 24
MOST_NODES = 2_000
COMPUTED_KEY = ""
"""Stands in `Findings.paths` for a key that is a value, which error texts do not repeat."""
_LARGEST_INT = 1 << 63


@dataclass(frozen=True, slots=True)
class TemplateFault:
    """One fault of a template, with its line in the template."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Value:
    """What the checker knows of an expression: own or shared, and whether a filter may have widened it."""

    is_own: bool = True
    is_widened: bool = False

    def __and__(self, other: "Value") -> "Value":
        return Value(self.is_own and other.is_own, self.is_widened or other.is_widened)


OWN = Value()


@dataclass(slots=True)
class Findings:
    """What one template says: its faults, the variables it reads, how it names their fields, and its weight."""

    faults: list[TemplateFault] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    paths: dict[str, set[str]] = field(default_factory=dict)  # field name -> how the template writes it
    nodes: int = 0
    weight: int = 0  # work per unit of input, outside what every render does


def findings_of(tree: nodes.Template, names: Sequence[str]) -> Findings:
    """What ``tree`` says when the variables ``names`` exist."""
    checker = _Checker(frozenset(names))
    checker.block(tree.body, 0)
    return checker.found


class _Checker:
    def __init__(self, names: frozenset[str]) -> None:
        self.found = Findings()
        self._names = names
        self._loops: list[set[str]] = []
        self._line = 1  # of the last node that has one: operands of comparisons have none
        self._expressions: dict[type[nodes.Node], Callable[[Any, bool, int], Value]] = {
            nodes.Name: self._name,
            nodes.Const: self._const,
            nodes.Getattr: self._getattr,
            nodes.Getitem: self._getitem,
            nodes.Filter: self._filter,
            nodes.Test: self._test,
            nodes.Compare: self._compare,
            nodes.And: self._and,
            nodes.Or: self._or,
            nodes.Not: self._not,
            nodes.Neg: self._neg,
            nodes.CondExpr: self._choice,
        }

    def _fault(self, node: nodes.Node, text: str) -> Value:
        fault = TemplateFault(node.lineno or self._line, text)
        if fault not in self.found.faults[-20:]:
            self.found.faults.append(fault)
        return OWN

    def _count(self, node: nodes.Node, depth: int) -> None:
        self._line = node.lineno or self._line
        self.found.nodes += 1
        if self.found.nodes == MOST_NODES + 1:
            self._fault(node, f"a prompt has at most {MOST_NODES:,} values, filters and blocks")
        if self._loops:
            self.found.weight += rules.LOOP_NODE_WEIGHT
        if depth == DEEPEST_EXPRESSION:
            self._fault(node, f"an expression nests at most {DEEPEST_EXPRESSION} deep")

    # Statements

    def block(self, body: Sequence[nodes.Node], depth: int) -> None:
        """Checks the statements of one block."""
        for node in body:
            if self.found.nodes > MOST_NODES:
                return
            if depth > DEEPEST_BLOCK:
                self._fault(node, f"blocks nest at most {DEEPEST_BLOCK} deep")
                return
            self._statement(node, depth)

    def _statement(self, node: nodes.Node, depth: int) -> None:
        self._line = node.lineno or self._line
        if isinstance(node, nodes.Output):
            for part in node.nodes:
                if isinstance(part, nodes.TemplateData):
                    self._count(part, 0)
                else:
                    self._value(part, True, 0)
        elif isinstance(node, nodes.If):
            self._if(node, depth)
        elif isinstance(node, nodes.For):
            self._for(node, depth)
        else:
            self._refuse(node)

    def _if(self, node: nodes.If, depth: int) -> None:
        self._value(node.test, False, 0)
        self.block(node.body, depth + 1)
        for branch in node.elif_:
            self._value(branch.test, False, 0)
            self.block(branch.body, depth + 1)
        self.block(node.else_, depth + 1)

    def _for(self, node: nodes.For, depth: int) -> None:
        if node.recursive:
            self._fault(node, "recursive loops are not available")
        if len(self._loops) == DEEPEST_LOOP:
            self._fault(node, f"loops nest at most {DEEPEST_LOOP} deep")
            return
        walked = self._value(node.iter, False, 0)
        if isinstance(node.iter, nodes.Const):
            self._fault(node, "a loop walks a variable, not a literal")
        if not walked.is_own:
            self._fault(node, "a loop inside a loop walks a list of the outer loop's own item, as in `for t in c.tags`")
        targets = self._targets(node.target)
        self._loops.append(targets)
        if node.test is not None:
            self._value(node.test, False, 0)
        self._loops[-1] = targets | {"loop"}
        self.block(node.body, depth + 1)
        self._loops.pop()
        self.block(node.else_, depth + 1)

    def _targets(self, target: nodes.Node) -> set[str]:
        found: set[str] = set()
        for part in target.items if isinstance(target, nodes.Tuple) else [target]:
            if not isinstance(part, nodes.Name):
                self._fault(target, "a loop has one variable, or two or more with commas between")
            elif part.name in self._names or self._is_in_scope(part.name):
                self._fault(part, f"the loop variable {quoted(part.name)} hides another variable of that name")
            elif part.name.startswith("_") or part.name == "loop":
                self._fault(part, f"{quoted(part.name)} cannot be a loop variable")
            else:
                found.add(part.name)
        return found

    def _refuse(self, node: nodes.Node) -> Value:
        name = type(node).__name__
        return self._fault(node, rules.REFUSED.get(name, f"{name} is not available in a prompt's template"))

    # Expressions: ``printed`` says that the value goes to the output as it is

    def _value(self, node: nodes.Node, printed: bool, depth: int) -> Value:
        self._count(node, depth)
        if depth >= DEEPEST_EXPRESSION:
            return OWN
        check = self._expressions.get(type(node))
        return self._refuse(node) if check is None else check(node, printed, depth + 1)

    def _is_in_scope(self, name: str) -> bool:
        return any(name in names for names in self._loops)

    def _name(self, node: nodes.Name, printed: bool, depth: int) -> Value:
        if node.name == "loop":
            return self._fault(node, "loop is read inside a loop, as loop.index, loop.first, loop.last …")
        if self._loops and node.name in self._loops[-1]:
            return OWN
        if self._is_in_scope(node.name):
            return Value(is_own=False)
        if node.name not in self._names:
            return self._unknown(node)
        self.found.used.add(node.name)
        return Value(is_own=not self._loops)

    def _unknown(self, node: nodes.Name) -> Value:
        if node.name == "knowledge":
            return self._fault(node, "knowledge is read, but the prompt has no knowledge: name a knowledge base there")
        close = nearest(node.name, sorted(self._names))
        meant = f"; did you mean {close}?" if close else ": declare it under input"
        return self._fault(node, f"{quoted(node.name)} is not a variable of this prompt{meant}")

    def _const(self, node: nodes.Const, printed: bool, depth: int) -> Value:
        value = node.value
        if type(value) is int and abs(value) >= _LARGEST_INT:
            self._fault(node, "a number is beyond 64 bits")
        if type(value) is str and not _is_unicode(value):
            self._fault(node, "a text holds half of a Unicode surrogate pair")
        return OWN

    def _getattr(self, node: nodes.Getattr, printed: bool, depth: int) -> Value:
        if node.attr.startswith("_"):
            return self._fault(node, f"{quoted(node.attr)} cannot be read: field names start with a letter")
        if isinstance(node.node, nodes.Name) and node.node.name == "loop" and self._is_in_scope("loop"):
            if node.attr not in rules.LOOP_FIELDS:
                self._fault(node, f"loop.{node.attr} is not available; loop has {', '.join(sorted(rules.LOOP_FIELDS))}")
            return OWN
        self._note_path(node.attr, node)
        return self._value(node.node, False, depth)

    def _getitem(self, node: nodes.Getitem, printed: bool, depth: int) -> Value:
        if isinstance(node.arg, nodes.Const):
            name = node.arg.value
            if isinstance(name, str) and name.startswith("_"):
                return self._fault(node, f"{quoted(name)} cannot be read: field names start with a letter")
            self._note_path(str(name), node)
        else:
            self._note_path(COMPUTED_KEY, node)
        key, value = self._value(node.arg, False, depth), self._value(node.node, False, depth)
        if not key.is_own and not value.is_own:
            return self._fault(
                node, "inside a loop a key is a literal or the loop's own item, or the mapping is its own"
            )
        return value

    def _note_path(self, name: str, node: nodes.Node) -> None:
        self.found.paths.setdefault(name, set()).add(written(node))

    def _filter(self, node: nodes.Filter, printed: bool, depth: int) -> Value:
        rule = rules.FILTERS.get(node.name)
        if node.node is None:
            return self._refuse(nodes.FilterBlock(lineno=node.lineno))
        if rule is None:
            return self._fault(node, _unknown_word("filter", node.name, sorted(rules.FILTERS)))
        passes_on = rule.reads == "keeps" or rule.result == "as read"
        inner = self._value(node.node, printed and passes_on, depth)
        arguments = self._arguments(node, rule, depth)
        if rule.reads != "ends":
            indented = node.name == "tojson" and (node.args or node.kwargs)
            self.found.weight += rules.WEIGHT_OF_INDENTED_JSON if indented else rule.weight
            if not inner.is_own and not (printed and rule.reads == "keeps"):
                return self._fault(node, _shared(f"the filter {node.name}", written(node.node)))
        if rule.is_widening and inner.is_widened:
            self._fault(
                node, f"{node.name} follows another filter that lengthens text; one of them is allowed per value"
            )
        if rule.result == "number":
            return OWN
        result = inner & arguments
        return Value(result.is_own, result.is_widened or rule.is_widening)

    def _arguments(self, node: nodes.Filter, rule: rules.FilterRule, depth: int) -> Value:
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            return self._fault(node, "arguments are written out, without * and **")
        positions = sum(not argument.is_keyword for argument in rule.arguments)
        if len(node.args) > positions:
            return self._fault(node, f"{node.name} takes at most {positions} arguments without a name")
        known = [argument.name for argument in rule.arguments]
        given: dict[str, nodes.Expr] = dict(zip(known, node.args, strict=False))
        for keyword in node.kwargs:
            name = str(keyword.key)
            if name in given or name not in known:
                return self._fault(node, f"{node.name} has no argument {quoted(name)}, or has it twice")
            given[name] = keyword.value
        result = OWN
        for argument in rule.arguments:
            if argument.name in given:
                result &= self._argument(node, argument, given[argument.name], depth)
            elif argument.is_required:
                self._fault(node, f"{node.name} needs its argument {argument.name}")
        if node.name == "replace":
            self._check_replace(node, given)
        return result

    def _argument(self, node: nodes.Filter, argument: rules.Argument, given: nodes.Expr, depth: int) -> Value:
        if argument.kind == "value":  # computed in any case, so never merely written
            return OWN if _is_empty_container(given) else self._value(given, False, depth)
        value = given.value if isinstance(given, nodes.Const) else None
        if argument.kind == "whole number":
            fits = type(value) is int and 0 <= value <= argument.most
            wanted = f"a whole number from 0 to {argument.most:,}, written out"
        elif argument.kind == "text":
            fits = type(value) is str and len(value) <= argument.most
            wanted = f"a text of at most {argument.most} characters, written out"
        else:
            fits, wanted = type(value) is bool, "true or false"
        return OWN if fits else self._fault(node, f"{node.name}: {argument.name} is {wanted}")

    def _check_replace(self, node: nodes.Filter, given: dict[str, nodes.Expr]) -> None:
        old, new = (getattr(given.get(name), "value", None) for name in ("old", "new"))
        if isinstance(old, str) and isinstance(new, str):
            if not old:
                self._fault(node, "replace: old is at least one character")
            elif len(new) > rules.MOST_WIDER * len(old):
                self._fault(node, f"replace: new is at most {rules.MOST_WIDER} times as long as old")

    def _test(self, node: nodes.Test, printed: bool, depth: int) -> Value:
        takes_value = rules.TESTS.get(node.name)
        if takes_value is None:
            return self._fault(node, _unknown_word("test", node.name, sorted(rules.TESTS)))
        if len(node.args) != int(takes_value) or node.kwargs or node.dyn_args or node.dyn_kwargs:
            return self._fault(node, f"the test {node.name} takes {'one value' if takes_value else 'no arguments'}")
        value = self._value(node.node, False, depth)
        if takes_value:
            self._compared(node, value, node.args[0], node.name == "in", depth)
        return OWN

    def _compare(self, node: nodes.Compare, printed: bool, depth: int) -> Value:
        left = self._value(node.expr, False, depth)
        for operand in node.ops:
            left = self._compared(operand, left, operand.expr, operand.op in ("in", "notin"), depth)
        return OWN

    def _compared(self, node: nodes.Node, left: Value, right: nodes.Expr, is_in: bool, depth: int) -> Value:
        if is_in and isinstance(right, nodes.List | nodes.Tuple):
            self.found.weight += rules.COMPARISON_WEIGHT
            return self._literals(right)
        self.found.weight += rules.SEARCH_WEIGHT if is_in else rules.COMPARISON_WEIGHT
        value = self._value(right, False, depth)
        if is_in and not value.is_own:
            return self._fault(node, _shared("in", written(right)))
        if not value.is_own and not left.is_own:
            return self._fault(node, "inside a loop one side of a comparison is a literal or the loop's own item")
        return value

    def _literals(self, node: nodes.List | nodes.Tuple) -> Value:
        for item in node.items:
            self._count(item, 0)
            if self.found.nodes > MOST_NODES:
                break
            if isinstance(item, nodes.Const):
                self._const(item, False, 0)
            else:
                self._refuse(node)
        return OWN

    def _and(self, node: nodes.And, printed: bool, depth: int) -> Value:
        # Of `a and b`, a is computed and not written when it holds.
        return self._value(node.left, False, depth) & self._value(node.right, printed, depth)

    def _or(self, node: nodes.Or, printed: bool, depth: int) -> Value:
        return self._value(node.left, printed, depth) & self._value(node.right, printed, depth)

    def _not(self, node: nodes.Not, printed: bool, depth: int) -> Value:
        self._value(node.node, False, depth)
        return OWN

    def _neg(self, node: nodes.Neg, printed: bool, depth: int) -> Value:
        if not isinstance(node.node, nodes.Const) or type(node.node.value) not in (int, float):
            return self._refuse(nodes.Sub(lineno=node.lineno))
        return self._const(node.node, False, depth)

    def _choice(self, node: nodes.CondExpr, printed: bool, depth: int) -> Value:
        self._value(node.test, False, depth)
        chosen = self._value(node.expr1, printed, depth)
        if node.expr2 is None:
            return self._fault(node, "an inline if needs its else")
        return chosen & self._value(node.expr2, printed, depth)


def _shared(what: str, name: str) -> str:
    return (
        f"{what} reads all of `{name}` in every round of the loop; inside a loop it may read the loop's own item only"
    )


def _unknown_word(kind: str, name: str, known: list[str]) -> str:
    close = nearest(name, known)
    meant = f"did you mean {close}?" if close else f"available: {', '.join(known)}"
    return f"the {kind} {quoted(name)} is not available; {meant}"


def _is_empty_container(node: nodes.Node) -> bool:
    return isinstance(node, nodes.List | nodes.Tuple | nodes.Dict) and not node.items


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def written(node: nodes.Node) -> str:
    """A path as the template writes it, for error texts: `c.tags[0]`."""
    parts: list[str] = []
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        if isinstance(node, nodes.Getattr):
            parts.append(f".{node.attr}")
        else:
            parts.append(f"[{node.arg.value!r}]" if isinstance(node.arg, nodes.Const) else "[…]")
        node = node.node
    base = node.name if isinstance(node, nodes.Name) else "…"
    return base + "".join(reversed(parts))
