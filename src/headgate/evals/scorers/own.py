"""A scorer of the user's own: a Python file whose code is part of the suite, and which runs on the client."""

import ast
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from headgate.evals.dataset import Row
from headgate.evals.output import Output
from headgate.evals.scorer import (
    BaseScorer,
    NamedFile,
    Score,
    ScorerFault,
    ScorerSpec,
    failed,
    params_of,
    scored,
    unscored,
)

MAX_CODE_CHARS = 64 << 10
MAX_TIMEOUT_S = 60.0


class OwnParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which code, and what it may return."""

    file: Annotated[
        str, msgspec.Meta(description="the Python file, like scorers/polite.py; it has a function score(row, output)")
    ] = "scorer.py"
    code: Annotated[str, msgspec.Meta(description="the code itself; filled in from file")] = ""
    range: Annotated[
        tuple[float | None, float | None], msgspec.Meta(description="least and largest value; null: without bound")
    ] = (0.0, 1.0)
    timeout_s: Annotated[float, msgspec.Meta(description="seconds for one case", gt=0, le=MAX_TIMEOUT_S)] = 5.0


class Own(BaseScorer):
    """Code of the user's own. The client runs it, so the control process has only the client's word for its values."""

    params_type = OwnParams
    named_files: Mapping[str, NamedFile] = {"file": NamedFile(into="code", is_kept=True)}
    source: Literal["control", "client"] = "client"

    def __init__(self, spec: ScorerSpec) -> None:
        super().__init__(spec)
        params = params_of(spec, OwnParams)
        _check_code(params)
        low, high = params.range
        if low is not None and high is not None and not low < high:
            raise ScorerFault("range is the least and the largest value, like [0, 5]", ("range",))
        self.range = params.range
        self.code, self.file, self.timeout_s = params.code, params.file, params.timeout_s

    def checked(self, answer: Mapping[str, Any]) -> Score:
        """The score that the scorer's process answered, held to its range."""
        status, value, reason = answer.get("status"), answer.get("value"), str(answer.get("reason") or "no reason")
        if status == "unscored":
            return unscored(reason)
        if status != "ok" or not isinstance(value, int | float) or not math.isfinite(value):
            return failed(reason)
        low, high = self.range
        if (low is not None and value < low) or (high is not None and value > high):
            return failed(f"the scorer gave {value:g}, outside of its range; give it a range in the suite")
        return scored(value, reason)

    def score(self, row: Row, output: Output, baseline: Output | None, answers: Sequence[Output | None]) -> Score:
        """An error: code of users runs in `headgate.evals.own_scorer` only."""
        return failed("an own scorer runs on the client, in a process of its own")


def _check_code(params: OwnParams) -> None:
    """ScorerFault when the code cannot be one: it is read, never run here."""
    if not params.code.strip():
        raise ScorerFault("file is missing: the Python file with a function score(row, output)")
    if len(params.code) > MAX_CODE_CHARS:
        raise ScorerFault(f"an own scorer has at most {MAX_CODE_CHARS >> 10} KB of code", ("file",))
    try:
        tree = ast.parse(params.code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        where = f"{params.file}:{line}" if line else params.file
        raise ScorerFault(f"{where} is not Python: {getattr(error, 'msg', error)}", ("file",)) from None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "score":
            if len(node.args.posonlyargs + node.args.args) - len(node.args.defaults) != 2:
                raise ScorerFault(f"{params.file}:{node.lineno} score takes two arguments: row, output", ("file",))
            return
    raise ScorerFault(f"{params.file} has no function score(row, output)", ("file",))
