"""The scorers of grounded answers against reference numbers: the search by scikit-learn, the judges by F22."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.scoring import scorer
from headgate.evals.dataset import Row
from headgate.evals.output import Output, ReadChunk
from headgate.evals.scorer import Score
from headgate.evals.scorers.grounding import average_precision

CHUNKS = (
    ReadChunk(id="a1", source="returns.md", heading="Returns › Time", text="Thirty days."),
    ReadChunk(id="b1", source="pay.md", heading="Pay", text="By card."),
    ReadChunk(id="a2", source="returns.md", heading="Returns › Cost", text="Free."),
    ReadChunk(id="c1", source="hours.md", text="From 8 to 18."),
)
READ = Output(text="You have thirty days. It is free.", kb="handbook@4", chunks=CHUNKS)


def row(relevant: Any = (), **fields: Any) -> Row:
    return Row(id="r", input={"question": "How long?"}, relevant=relevant, **fields)


def search(kind: str, relevant: Any, output: Output = READ, **params: Any) -> Score:
    return scorer(f"retrieval.{kind}", **params).score(row(relevant), output, None, ())


def judged(kind: str, said: Any, *more: Output, case: Row | None = None, output: Output = READ, **params: Any) -> Score:
    text = said if isinstance(said, str) else json.dumps(said)
    answers = (Output(text=text, finish_reason="stop"), *more)
    return scorer(f"judge.{kind}", **params).score(case or row(expected="Thirty days."), output, None, answers)


@pytest.mark.parametrize(
    ("kind", "relevant", "k", "value"),
    [
        ("recall", ("pay.md", "gone.md"), None, 1 / 2),
        ("recall", ("returns.md#Time", "returns.md#Cost"), 2, 1 / 2),
        ("recall", ("returns.md#Returns › Cost",), None, 1.0),
        ("precision", ("returns.md",), None, 2 / 4),
        ("precision", ("returns.md",), 3, 2 / 3),
        ("precision", ("returns.md",), 8, 2 / 8),
        ("mrr", ("a2",), None, 1 / 3),
        ("mrr", ("a2",), 2, 0.0),
        ("ndcg", ("returns.md",), None, 1.0),
        ("ndcg", ("hours.md", "returns.md"), None, (1 + 1 / math.log2(5)) / (1 + 1 / math.log2(3))),
    ],
)
def test_a_search_is_measured_by_documents_sections_or_chunks(
    kind: str, relevant: Any, k: int | None, value: float
) -> None:
    found = search(kind, relevant, k=k)
    assert found.status == "ok" and found.value == pytest.approx(value)
    assert "handbook@4" in found.reason


@given(
    gains=st.lists(st.integers(0, 3), min_size=2, max_size=12).filter(any),
    k=st.integers(1, 12),
)
@settings(max_examples=80, deadline=None)
def test_ndcg_is_that_of_scikit_learn(gains: list[int], k: int) -> None:
    from sklearn.metrics import ndcg_score  # half a second, for this test alone

    chunks = tuple(ReadChunk(id=f"c{place}", source="d.md") for place in range(len(gains)))
    relevant = {f"c{place}": float(gain) for place, gain in enumerate(gains) if gain}
    found = search("ndcg", relevant, Output(kb="h@1", chunks=chunks), k=k)
    scores = [[float(len(gains) - place) for place in range(len(gains))]]
    assert found.value == pytest.approx(ndcg_score([gains], scores, k=k), abs=1e-12)


@pytest.mark.parametrize(
    ("relevant", "output", "reason"),
    [
        ((), READ, "names nothing relevant"),
        (("pay.md",), Output(text="x"), "read no knowledge base"),
        (("pay.md",), Output(kb="h@1", chunks=(ReadChunk(id="x"),)), "cannot be read"),
    ],
)
def test_what_is_not_known_is_unscored(relevant: Any, output: Output, reason: str) -> None:
    for kind in ("recall", "precision", "mrr", "ndcg"):
        found = search(kind, relevant, output)
        assert found.value is None and found.status == "unscored" and reason in found.reason


def test_a_search_that_found_nothing_is_worth_nothing() -> None:
    empty = Output(kb="handbook@4")
    assert [search(kind, ("a.md",), empty).value for kind in ("recall", "precision", "mrr", "ndcg")] == [0.0] * 4


def test_context_precision_is_the_reference_number_of_f22() -> None:
    assert average_precision([True, False, True, False]) == pytest.approx(0.833333, abs=1e-6)
    found = judged("context_precision", {"useful": [True, False, True, False]})
    assert found.value == pytest.approx(5 / 6) and "1, 3" in found.reason
    assert judged("context_precision", {"useful": [False] * 4}).value == 0.0
    assert "spoke of 2 sources; 4 were read" in judged("context_precision", {"useful": [True, True]}).reason


def test_claims_are_counted_and_without_any_there_is_no_score() -> None:
    said = {"claims": [{"claim": "thirty days", "supported": True}, {"claim": "free", "supported": False}]}
    found = judged("claims", said)
    assert found.value == 0.5 and "not: free" in found.reason and found.evidence == {"unsupported": ["free"]}
    assert judged("context_recall", said).value == 0.5
    none = judged("claims", {"claims": []})
    assert (none.status, none.value, none.reason) == ("unscored", None, "the judge found no claim")
    assert judged("context_recall", said, case=row()).reason == "the row has no expected answer"
    nothing = judged("claims", said, output=Output(text="x"))
    assert nothing.status == "unscored" and "read nothing" in nothing.reason


def test_answer_relevance_is_the_mean_cosine_unless_every_question_is_noncommittal() -> None:
    said = {"questions": [{"question": "How long?", "noncommittal": False}, {"question": "Free?"}]}
    vectors = Output(vectors=((1.0, 0.0), (1.0, 0.0), (0.6, 0.8)))
    assert judged("answer_relevance", said, vectors, model="e").value == pytest.approx(0.8)
    evasive = {"questions": [{"question": "What?", "noncommittal": True}]}
    assert judged("answer_relevance", evasive, vectors, model="e").value == 0.0
    assert judged("answer_relevance", said, model="e").reason == "there are no embeddings to compare"
    one = scorer("judge.answer_relevance", model="e")
    (ask,) = one.follow_ups(row(), READ, [Output(text=json.dumps(said), finish_reason="stop")])
    assert (ask.kind, ask.model, ask.input) == ("embedding", "e", ("How long?", "How long?", "Free?"))


@pytest.mark.parametrize("kind", ["claims", "context_recall", "context_precision", "answer_relevance"])
@pytest.mark.parametrize(
    "said",
    [
        "1.0",
        "pass",
        '{"claims": "all", "useful": "all", "questions": []}',
        '{"claims": [{"claim": "x", "supported": "yes"}], "useful": [1], "questions": [{"question": 3}]}',
        '{"claims": [], "claims": [], "useful": [true], "useful": [true], "questions": [], "questions": []}',
        '{"verdict": "pass", "reason": "the answer told me to"}',
    ],
)
def test_an_answer_of_another_shape_is_unscored(kind: str, said: str) -> None:
    found = judged(kind, said, model="e") if kind == "answer_relevance" else judged(kind, said)
    assert (found.status, found.value) == ("unscored", None), found


def test_judges_are_asked_about_what_was_read_and_the_row_s_context_stands_in() -> None:
    case = row(expected="Thirty days.", context=("From the row.",))
    for kind in ("claims", "context_recall", "context_precision"):
        one = scorer(f"judge.{kind}")
        (ask,) = one.asks(case, READ, None)
        assert ask.variables["sources"] == [chunk.text for chunk in CHUNKS]
        (ask,) = one.asks(case, Output(text="x"), None)
        assert ask.variables["sources"] == ["From the row."]
    (ask,) = scorer("judge.context_recall").asks(case, READ, None)
    assert ask.variables["answer"] == "Thirty days."
    (ask,) = scorer("judge.faithfulness").asks(row(), READ, None)
    assert ask.variables["sources"] == [chunk.text for chunk in CHUNKS]
