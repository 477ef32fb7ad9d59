"""How well the search finds what 60 and more labelled questions ask for, hybrid and each part alone."""

import json
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest

from headgate.retrieval.index import Index, load
from headgate.retrieval.metrics import RetrievalScores, scores
from headgate.retrieval.sources import read_folder
from support.knowledge import made_version

QUESTIONS = Path(__file__).with_name("handbook_questions.jsonl")
PARTS = {"hybrid": ("vectors", "keywords"), "vectors": ("vectors",), "keywords": ("keywords",)}


@cache
def labelled() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Questions with the sections, as ``path#heading``, that answer them."""
    read = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    return tuple((one["question"], tuple(one["relevant"])) for one in read)


@pytest.fixture(scope="module")
def handbook(tmp_path_factory: pytest.TempPathFactory) -> Index:
    home = tmp_path_factory.mktemp("home")
    folder = Path(str(files("headgate") / "samples" / "kb" / "handbook"))
    texts = {one.path: one.text for one in read_folder(folder).texts}
    return load(home, made_version(home, texts))


def section(source: str, heading: str) -> str:
    return f"{source}#{heading.rpartition(' › ')[2]}"


def measured(index: Index, use: tuple[str, ...]) -> RetrievalScores:
    asked = []
    for question, relevant in labelled():
        hits = index.search(question, top_k=5, use=use)
        asked.append(([section(hit.chunk.source, hit.chunk.heading) for hit in hits], relevant))
    return scores(asked, 5)


def test_there_are_60_questions_and_every_label_is_a_section_of_the_handbook(handbook: Index) -> None:
    assert len(labelled()) >= 60
    assert len({question for question, _ in labelled()}) == len(labelled())
    known = {section(chunk.source, chunk.heading) for chunk in handbook.chunks}
    assert {one for _, relevant in labelled() for one in relevant} <= known


def test_the_hybrid_finds_at_least_as_much_as_either_part_alone(handbook: Index) -> None:
    found = {name: measured(handbook, use) for name, use in PARTS.items()}
    print(found)
    recalls = {name: one.recall_at_k or 0.0 for name, one in found.items()}
    assert recalls["hybrid"] >= max(recalls["vectors"], recalls["keywords"])
    assert recalls["hybrid"] >= 0.9
    assert (found["hybrid"].mrr or 0.0) >= 0.75
