"""Texts into chunks: no word is lost, no chunk is too long, the same piece has the same id."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.errors import MalformedRequest
from headgate.retrieval.chunking import check_chunker, chunks_of
from headgate.retrieval.model import Chunker

TEXTS = st.text(alphabet=st.sampled_from("ab é.\n#`-!? \t"), max_size=3000)
WAYS = st.sampled_from(["heading", "paragraph", "size"])


@settings(max_examples=150, deadline=None)
@given(text=TEXTS, by=WAYS, size=st.integers(100, 400), part=st.integers(2, 9))
def test_no_character_is_lost_and_no_chunk_is_longer_than_the_size(text: str, by: str, size: int, part: int) -> None:
    chunker = Chunker(by=by, size=size, overlap=size // part)  # type: ignore[arg-type]
    chunks = chunks_of("a.txt", text, chunker)
    assert all(len(chunk.text) <= size for chunk in chunks)
    for piece in re.findall(r"\S+", text):
        if len(piece) <= size // 2:
            assert any(piece in chunk.text for chunk in chunks), piece


@settings(deadline=None)
@given(words=st.lists(st.text(alphabet="abcdefgh", min_size=1, max_size=12), max_size=400))
def test_without_overlap_the_chunks_put_together_are_the_text(words: list[str]) -> None:
    numbered = [f"{word}{number}" for number, word in enumerate(words)]  # each piece of text occurs once
    chunks = chunks_of("a.txt", " ".join(numbered), Chunker(by="size", size=100, overlap=0))
    assert " ".join(chunk.text for chunk in chunks).split() == numbered


def test_headings_make_chunks_that_know_where_they_stand() -> None:
    text = (
        "intro\n# Shop\n## Refunds\nfive days\n\n```\n# not a heading\n```\n## Delivery\nthree days\n# Press\nask us\n"
    )
    found = [(chunk.heading, chunk.text) for chunk in chunks_of("a.md", text, Chunker())]
    assert found == [
        ("", "intro"),
        ("Shop › Refunds", "five days\n\n```\n# not a heading\n```"),
        ("Shop › Delivery", "three days"),
        ("Press", "ask us"),
    ]


def test_a_long_section_is_cut_at_paragraphs_then_sentences_with_overlap() -> None:
    sentences = [f"Sentence number {number} says something." for number in range(40)]
    chunks = chunks_of("a.md", "# T\n" + " ".join(sentences), Chunker(size=300, overlap=60))
    assert all(chunk.text.endswith("something.") for chunk in chunks)
    for before, after in zip(chunks, chunks[1:], strict=False):
        shared = [one for one in sentences if one in before.text and one in after.text]
        assert shared


def test_the_same_piece_has_the_same_id_whatever_stands_around_it() -> None:
    one = chunks_of("a.md", "# A\nfirst\n# B\nsecond", Chunker())
    other = chunks_of("a.md", "# A\nchanged\n# B\nsecond", Chunker())
    assert one[1].id == other[1].id and one[0].id != other[0].id
    assert chunks_of("b.md", "# B\nsecond", Chunker())[0].id != one[1].id
    assert len(chunks_of("a.md", "# A\nsame\n# A\nsame", Chunker())) == 1


@pytest.mark.parametrize(("size", "overlap"), [(99, 0), (20_001, 0), (200, 101), (200, -1)])
def test_sizes_that_cannot_be_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(MalformedRequest):
        check_chunker(Chunker(size=size, overlap=overlap))
