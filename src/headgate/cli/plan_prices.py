"""What a planned run costs: the answers and the judges, from the least to the most that its prompts allow."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headgate.client import Client
    from headgate.evals.dataset import Dataset, Row
    from headgate.evals.scorer import Scorer
    from headgate.evals.suite import Suite

_CHARS_A_TOKEN = 4
_LONG_ANSWER = 2000  # tokens, where the prompt sets no limit


def priced(client: "Client", suite: "Suite", rows: "Dataset", ref: str, *, answers: int) -> dict[str, Any]:
    """`{least_usd, most_usd, unpriced, judges}`; an amount is None where a price or a limit is unknown, and
    ``unpriced`` says which. Answers that the log has cost nothing; every verdict is counted, cached or not.
    """
    from headgate.evals.suite import scorers_of

    ordered = sorted(rows.rows, key=lambda row: len(str(row.input)))
    short, long = ordered[0], ordered[-1]
    own = _Range.of_calls(
        client.render_prompt(ref, short.variables), client.render_prompt(ref, long.variables), calls=answers
    )
    most_output = (client.render_prompt(ref, long.variables).get("tokens") or {}).get("most_output")
    longest = "word " * ((most_output or _LONG_ANSWER) * _CHARS_A_TOKEN // 5)
    judges = []
    for scorer in scorers_of(suite):
        if scorer.needs_judge:
            judges.append(_judge(client, suite, scorer, (short, long), longest, len(rows.rows) * suite.run.repeat))
    total = own
    for one in judges:
        total = total.plus(one["range"])
    return {**total.json(), "judges": [{**one["facts"], **one["range"].json()} for one in judges]}


def _judge(
    client: "Client", suite: "Suite", scorer: "Scorer", ends: "tuple[Row, Row]", longest: str, cells: int
) -> dict[str, Any]:
    from headgate.evals.output import Output

    name = scorer.spec.judge or ""
    ref = suite.judges[name].prompt
    renders: list[dict[str, Any]] = []
    calls = 0
    for row, text in zip(ends, ("", longest), strict=True):
        asks = scorer.asks(row, Output(text=text), Output(text=f"other {text}"))
        calls = max(calls, len(asks))
        renders += [client.render_prompt(ref, asks[0].variables)] if asks else []
    facts = {"scorer": scorer.spec.id, "judge": ref, "calls": calls * cells}
    if not renders:
        return {"facts": facts, "range": _Range(Decimal(0), Decimal(0), None)}
    return {"facts": facts, "range": _Range.of_calls(renders[0], renders[-1], calls=calls * cells)}


class _Range:
    """From the least to the most, in USD."""

    def __init__(self, least: Decimal | None, most: Decimal | None, unpriced: str | None) -> None:
        self._least, self._most, self._unpriced = least, most, unpriced

    @classmethod
    def of_calls(cls, short: dict[str, Any], long: dict[str, Any], *, calls: int) -> "_Range":
        """That many calls, each between these two."""
        if calls == 0:
            return cls(Decimal(0), Decimal(0), None)
        low, high = short.get("price") or {}, long.get("price") or {}
        least, most = low.get("input_usd"), high.get("most_usd")
        return cls(
            None if least is None else Decimal(str(least)) * calls,
            None if most is None else Decimal(str(most)) * calls,
            None if most is not None else f"{long.get('name')}: {high.get('reason') or 'no price'}",
        )

    def plus(self, other: "_Range") -> "_Range":
        """Both together; unknown when one is."""
        least = None if self._least is None or other._least is None else self._least + other._least
        most = None if self._most is None or other._most is None else self._most + other._most
        return _Range(least, most, self._unpriced or other._unpriced)

    def json(self) -> dict[str, str | None]:
        """As the answer has it."""
        return {
            "least_usd": None if self._least is None else f"{self._least:f}",
            "most_usd": None if self._most is None else f"{self._most:f}",
            "unpriced": self._unpriced if self._most is None else None,
        }
