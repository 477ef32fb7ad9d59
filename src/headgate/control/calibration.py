"""Judge cards: a judge's logged verdicts against people's labels, computed here from the log."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from headgate.control.access import Principal
from headgate.control.api_requests import request_id_of
from headgate.control.eval_runs import new_id, pinned_judges
from headgate.control.eval_shapes import CardLabel, CreateCard
from headgate.control.evidence import Wanted, chosen
from headgate.control.gates import rubric_sha256
from headgate.control.publish import name_of
from headgate.control.rows import money
from headgate.control.scoring import scorer_json
from headgate.control.state import ControlApp
from headgate.core.durations import BadTime, parse_duration
from headgate.core.errors import MalformedRequest
from headgate.core.ids import now_us
from headgate.evals.facts import CardFacts
from headgate.evals.output import Output
from headgate.evals.scorer import Scorer
from headgate.evals.suite import load_suite, scorers_of
from headgate.registry import judge_cards, suites
from headgate.registry.judge_cards import JudgeCard
from headgate.store import lookup

MAX_LABELS = 5000
MIN_LABELS = 10
_CHUNK = 256
_WORDS = {"judge.pairwise": ("A", "B", "tie")}
_WITHOUT_WORDS = ("judge.claims", "judge.context_recall", "judge.context_precision", "judge.answer_relevance")
_USUAL_WORDS = ("pass", "fail")
_SWAPPED = {"A": "B", "B": "A", "tie": "tie"}


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """One label beside the verdicts of the judge (None: unreadable), the second in the other order if asked."""

    label: str
    verdict: str | None
    second: str | None
    longest: str | None  # what the rule "the longer answer is better" says


def create_card(control: ControlApp, who: Principal, wanted: CreateCard) -> JudgeCard:
    """Blocking: calibrate and keep a card; raises NotFound, MalformedRequest naming the label that is no evidence."""
    registry = control.publisher.registry
    kept = suites.get(registry, wanted.suite_sha256)
    suite = load_suite(kept.text, kept.file)
    scorer = next((one for one in scorers_of(suite) if one.spec.id == wanted.scorer), None)
    if scorer is None or not scorer.needs_judge or scorer.spec.judge is None:
        raise MalformedRequest(f'The suite {suite.name} has no scorer "{wanted.scorer[:60]}" that asks a judge.')
    if scorer.spec.type in _WITHOUT_WORDS:
        raise MalformedRequest(
            f"{scorer.spec.type} gives no pass or fail that people's labels could be laid beside.",
            hint="Calibrate a judge of judge.faithfulness, judge.rubric, judge.reference or judge.pairwise.",
        )
    words = _WORDS.get(scorer.spec.type, _USUAL_WORDS)
    _check(wanted, words)
    known = pinned_judges(registry, suite)[scorer.spec.judge]
    judge, _, number = str(known["ref"]).rpartition("@")
    outputs, questions, cost = _heard(control, wanted, judge, str(known["sha256"]), scorer)
    judged = [_judged(label, outputs, questions, words) for label in wanted.labels]
    now = now_us()
    facts = _facts(str(known["ref"]), judged, words, cost, now)
    evidence = hashlib.sha256(msgspec.json.encode(sorted(wanted.labels, key=lambda one: one.request_id))).hexdigest()
    card = JudgeCard(
        id=new_id("card"),
        judge=judge,
        number=int(number),
        prompt_sha256=str(known["sha256"]),
        model=str(known["model"]),
        rubric_sha256=rubric_sha256({one.spec.id: scorer_json(one) for one in scorers_of(suite)}, scorer.spec.judge),
        scorer_type=scorer.spec.type,
        facts=msgspec.to_builtins(facts),
        evidence_sha256=evidence,
        who=name_of(who),
        created_at_us=now,
        expires_at_us=now + round(_expires_s(wanted.expires) * 1e6),
    )
    judge_cards.store(registry, card)
    return card


def _check(wanted: CreateCard, words: Sequence[str]) -> None:
    if not MIN_LABELS <= len(wanted.labels) <= MAX_LABELS:
        raise MalformedRequest(f"{len(wanted.labels)} labels are not from {MIN_LABELS} to {MAX_LABELS}.")
    seen: set[str] = set()
    for number, label in enumerate(wanted.labels):
        if label.label not in words:
            raise MalformedRequest(
                f'labels[{number}]: "{label.label[:40]}" is no verdict of this judge.',
                hint=f"Write {', '.join(words)}.",
            )
        for text in (label.request_id, label.swapped):
            if text is not None and request_id_of(text) in seen:
                raise MalformedRequest(f"labels[{number}]: the request {text} is there twice.")
            if text is not None:
                seen.add(request_id_of(text))


def _heard(
    control: ControlApp, wanted: CreateCard, judge: str, sha256: str, scorer: Scorer
) -> tuple[dict[str, Output], dict[str, dict[str, Any]], Decimal | None]:
    """The judge's answers and what it was asked, by request id, and what they cost; raises when one is no evidence."""
    ids = [request_id_of(text) for one in wanted.labels for text in (one.request_id, one.swapped) if text is not None]
    outputs: dict[str, Output] = {}
    questions: dict[str, dict[str, Any]] = {}
    cost: Decimal | None = Decimal(0)
    rubric = scorer.spec.params.get("rubric")
    for first in range(0, len(ids), _CHUNK):
        part = ids[first : first + _CHUNK]
        calls = lookup.calls_of_ids(control.log, part)
        variables = lookup.variables_of(control.log, list(calls.values()))
        asked = {one: msgspec.json.decode(text, type=dict[str, Any]) for one, text in variables.items()}
        wants = {one: Wanted(prompt=judge, sha256=sha256, variables=asked.get(one, {}), is_ask=True) for one in part}
        found = chosen(control.log, wants, {one: [call] for one, call in calls.items() if call.purpose == "judge"})
        for one in part:
            if found[one].output is None:
                reason = found[one].problem if one in calls else "it is not in the log"
                raise MalformedRequest(f"The request {one} is no evidence of this judge: {reason}.", code="no_evidence")
            if rubric is not None and asked[one].get("rubric") != rubric:
                raise MalformedRequest(
                    f"The request {one} is no evidence of this judge: it judged by another rubric.", code="no_evidence"
                )
            output = found[one].output
            assert output is not None
            outputs[one], questions[one] = output, asked[one]
            cost = None if cost is None or output.cost_usd is None else cost + output.cost_usd
    return outputs, questions, cost


def _judged(
    label: CardLabel, outputs: dict[str, Output], questions: dict[str, dict[str, Any]], words: Sequence[str]
) -> _Judged:
    from headgate.evals.scorers.judges import verdict_of

    one = request_id_of(label.request_id)
    verdict, _ = verdict_of(outputs[one], words)
    second = None
    if label.swapped is not None:
        turned, _ = verdict_of(outputs[request_id_of(label.swapped)], words)
        second = None if turned is None else _SWAPPED.get(turned, turned)
    longest = None
    sides = [str(questions[one].get(name, "")) for name in ("answer_a", "answer_b")]
    if all(sides):
        longest = "tie" if len(sides[0]) == len(sides[1]) else "A" if len(sides[0]) > len(sides[1]) else "B"
    return _Judged(label=label.label, verdict=verdict, second=second, longest=longest)


def _facts(ref: str, judged: Sequence[_Judged], words: Sequence[str], cost: Decimal | None, at_us: int) -> CardFacts:
    from headgate.stats.agreement import cohen_kappa, confusion

    read = [one for one in judged if one.verdict is not None]
    if not read:
        raise MalformedRequest("No verdict of the judge can be read.", code="no_evidence")
    _, table = confusion([one.label for one in read], [one.verdict for one in read])
    kappa = cohen_kappa(table)
    swaps = _swaps(judged)
    asked_twice = sum(swaps.values())
    decided = [one.verdict for one in read if one.verdict in ("A", "B")]
    return CardFacts(
        judge=ref,
        n=len(read),
        agreement=kappa.agreement,
        kappa=kappa.kappa,
        kappa_interval=kappa.interval(),
        tpr=_rate(read, words[0]) if "pass" in words else None,
        tnr=_rate(read, words[1]) if "pass" in words else None,
        swap=swaps,
        swap_consistency=(swaps["consistent"] / asked_twice) if asked_twice else None,
        position_effect=(decided.count("A") / len(decided) - 0.5) if decided and "A" in words else None,
        beats_longest=_beats_longest(read),
        unreadable=len(judged) - len(read),
        cost_usd=None if cost is None else money(cost),
        created_at_us=at_us,
    )


def _swaps(judged: Sequence[_Judged]) -> dict[str, int]:
    """Pairs that were asked in both orders: the same answer preferred, or not."""
    pairs = [one for one in judged if one.verdict is not None and one.second is not None]
    same = sum(one.verdict == one.second for one in pairs)
    return {"consistent": same, "inconsistent": len(pairs) - same} if pairs else {}


def _rate(read: Sequence[_Judged], word: str) -> float | None:
    of_word = [one for one in read if one.label == word]
    return sum(one.verdict == word for one in of_word) / len(of_word) if of_word else None


def _beats_longest(read: Sequence[_Judged]) -> bool | None:
    pairs = [one for one in read if one.longest is not None]
    if not pairs:
        return None
    return sum(one.verdict == one.label for one in pairs) > sum(one.longest == one.label for one in pairs)


def _expires_s(text: str) -> float:
    try:
        return parse_duration(text)
    except BadTime:
        raise MalformedRequest(f'expires="{text[:40]}" is no time.', hint="Write 90d.") from None
