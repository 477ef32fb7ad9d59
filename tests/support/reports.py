"""Reports of a small made-up evaluation, compared by the real statistics."""

from collections.abc import Sequence
from decimal import Decimal

from headgate.evals.facts import CardFacts, RunFacts, ScorerFacts
from headgate.evals.output import Output, ToolCall
from headgate.evals.report import Gated, Report, Side, answer_of, build
from headgate.evals.results import Result
from headgate.evals.verdict import RuleOutcome, Verdict

SCORERS = {
    "schema": ScorerFacts(id="schema", type="json_schema", must_pass=True, role="guard"),
    "faithful": ScorerFacts(id="faithful", type="judge.rubric", judge="main"),
    "better": ScorerFacts(id="better", type="judge.pairwise", judge="main", equal_at=0.0),
    "latency": ScorerFacts(id="latency", type="latency", role="info", direction="lower"),
}
CARD = CardFacts(
    judge="judge-rubric@2", n=120, agreement=0.891, kappa=0.74, kappa_interval=(0.62, 0.86), tpr=0.93, tnr=0.82,
    swap_consistency=0.9, position_effect=-0.03, beats_longest=True, unreadable=2, cost_usd="0.0312",
)  # fmt: skip
ITEMS = 12


def rows(run: str, system: str, values: dict[str, Sequence[float | None]]) -> list[Result]:
    """A row for each item and scorer; None is unscored."""
    return [
        Result(
            run=run, item=f"case-{index:02}", system=system, scorer=scorer, value=value,
            status="unscored" if value is None else "ok", tags={"lang": "de" if index % 3 else "en"},
            cost_usd=Decimal("0.00021") + index * Decimal("0.00001"), latency_ms=700.0 + 9 * index,
            output_sha256=f"{system}{index}", reason=f"{scorer} of case {index}",
        )
        for scorer, found in values.items()
        for index, value in enumerate(found)
    ]  # fmt: skip


def side(system: str, values: dict[str, Sequence[float | None]], texts: Sequence[str] | None = None) -> Side:
    """A run with its outputs."""
    run = f"run-of-{system}"
    said = [f"Hello, you have {index} parcels." for index in range(ITEMS)] if texts is None else texts
    return Side(
        facts=RunFacts(
            run=run, system=system, results=rows(run, system, values), scorers=SCORERS, items_planned=ITEMS,
            judges={"main": CARD, "other": None},
        ),
        answers={
            f"case-{index:02}": answer_of(
                Output(
                    text=text, request_id=f"019{index:05}", cost_usd=Decimal("0.0002"), latency_ms=812.0,
                    finish_reason="stop", tool_calls=(ToolCall(name="find", arguments_json='{"id": 1}'),)[: index % 2],
                )
            )
            for index, text in enumerate(said)
        },
        total_cost_usd=Decimal("0.0312"), judge_cost_usd=Decimal("0.0121"), calls=24, cached=12,
        started_at="2026-11-29T03:00:00Z", finished_at="2026-11-29T03:01:00Z",
    )  # fmt: skip


RULES = (
    RuleOutcome(
        rule="primary", metric="faithful", outcome="fail", observed=-0.112, bound=-0.052, limit=-0.05, n=ITEMS,
        method="paired t", sentence="faithful lost 0.112 [−0.172, −0.052], more than the margin of 0.05.",
    ),
    RuleOutcome(
        rule="power", metric="faithful", outcome="inconclusive", n=ITEMS, needed_items=140,
        sentence="With 12 cases a drop of 0.05 would be seen in 21 of 100 runs.",
    ),
    RuleOutcome(rule="absolute", metric="schema", outcome="pass", n=ITEMS, sentence="schema passed 11 of 12."),
    RuleOutcome(rule="judge", metric="main", outcome="not_applicable", sentence="The policy asks for no card."),
)  # fmt: skip


def verdict(word: str = "fail", rules: tuple[RuleOutcome, ...] = RULES) -> Gated:
    """A gate's word over the made-up comparison."""
    return Gated(
        verdict=Verdict(
            verdict=word, grade="B", policy="standard", policy_sha256="ab" * 32, candidate="support-answer@8",  # type: ignore[arg-type]
            baseline="support-answer@7", rules=rules, comparison=None, attempts=2,
            warnings=("Two of the judges have no card.",),
        ),
        id="d-1", alias="production",
        receipt="r-019" if word == "pass" else None, expires_at="2026-12-29T03:01:00Z" if word == "pass" else None,
    )  # fmt: skip


def sample(word: str | None = "fail", **more: object) -> Report:
    """A candidate that lost four cases, won two and broke the schema once."""
    before: dict[str, Sequence[float | None]] = {
        "schema": [1.0] * ITEMS,
        "faithful": [1.0, 0.5, 0.75, 1.0, 0.25, 0.5, 0.75, 1.0, 1.0, 0.5, 0.5, 0.25],
        "latency": [700.0 + 9 * index for index in range(ITEMS)],
    }
    after: dict[str, Sequence[float | None]] = {
        "schema": [1.0] * 4 + [0.0] + [1.0] * 7,
        "faithful": [0.25, 0.5, 0.75, 0.5, 0.0, 0.75, 1.0, 1.0, 0.75, 0.5, None, 0.25],
        "better": [-1.0, 0.0, 0.0, -1.0, -0.5, 0.5, 1.0, 0.0, 0.0, 0.0, None, 0.0],
        "latency": [731.0 + 9 * index for index in range(ITEMS)],
    }
    texts = [f"Good day.\nYou have {index if index % 4 else 'no'} parcels.\nRegards" for index in range(ITEMS)]
    given = {f"case-{index:02}": (f'{{"question": "Parcels of {index}?"}}', f"{index}") for index in range(ITEMS)}
    facts: dict[str, object] = {
        "suite": "support-answer", "description": "Answers from the handbook.", "dataset": "support-golden@3",
        "inputs": given, "hashes": {"prompt": "3f" * 32, "dataset": "9e" * 32, "suite": "71" * 32},
        "gated": None if word is None else verdict(word),
    }  # fmt: skip
    before_texts = [f"Hello.\nYou have {index} parcels.\nRegards" for index in range(ITEMS)]
    return build(
        side("support-answer@8", after, texts), side("support-answer@7", before, before_texts), **{**facts, **more}  # type: ignore[arg-type]
    )  # fmt: skip
