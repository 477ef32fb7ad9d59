"""Folders and files: what is read, what is named and left out, and how each kind becomes text."""

from pathlib import Path

import pytest

from headgate.core.errors import MalformedRequest
from headgate.retrieval.documents import documents_of
from headgate.retrieval.model import MAX_DOCUMENT_BYTES
from headgate.retrieval.sources import read_folder


def test_a_folder_is_read_in_order_and_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.md").write_text("hidden")
    (tmp_path / "sub" / "b.txt").write_text("\ufeffsecond", encoding="utf-8")
    (tmp_path / "a.md").write_text("first")
    (tmp_path / "bin.md").write_bytes(b"a\0b")
    (tmp_path / "latin.txt").write_bytes(b"ok\ncaf\xe9")
    (tmp_path / "empty.md").write_text(" \n")
    (tmp_path / "logo.png").write_bytes(b"png")
    (tmp_path / "big.txt").write_bytes(b"x" * (MAX_DOCUMENT_BYTES + 1))
    (tmp_path / "gone.md").symlink_to(tmp_path / "nowhere")
    found = read_folder(tmp_path)
    assert [(one.path, one.text) for one in found.texts] == [("a.md", "first"), ("sub/b.txt", "second")]
    reasons = {one.path: one.reason for one in found.skipped}
    assert set(reasons) == {"bin.md", "latin.txt", "empty.md", "logo.png", "big.txt", "gone.md"}
    assert reasons["latin.txt"] == "line 2 is not UTF-8 text" and "NUL" in reasons["bin.md"]
    assert [one.path for one in read_folder(tmp_path, ["sub/*"]).texts] == ["sub/b.txt"]


def test_a_folder_without_a_source_is_refused_and_says_what_was_there(tmp_path: Path) -> None:
    with pytest.raises(MalformedRequest, match="no file that can be read") as refused:
        read_folder(tmp_path)
    assert refused.value.code == "kb_empty"
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(MalformedRequest, match=r"a\.png: its ending is none of"):
        read_folder(tmp_path)


def test_html_becomes_text_with_headings_and_without_scripts() -> None:
    page = (
        "<html><head><title>Shop  help</title><meta name='lang' content='en'><style>p{}</style></head>"
        "<body><nav>menu</nav>"
        "<h1>Refunds</h1><p>Five&nbsp;days <b>at</b> most.</p><ul><li>one<li>two</ul><script>alert(1)</script></body>"
    )
    (document,) = documents_of("a.html", page)
    assert document.title == "Shop help" and document.metadata == {"lang": "en"}
    assert document.text == "# Refunds\n\nFive days at most.\n\n- one\n- two"


def test_json_lines_are_documents_with_metadata_and_a_bad_line_is_named() -> None:
    text = '{"title": "T", "text": "one", "lang": "de", "n": 3, "tags": ["x"]}\n\n{"content": "two"}\n'
    found = list(documents_of("faq.jsonl", text))
    assert [(one.title, one.text, one.metadata) for one in found] == [
        ("T", "one", {"title": "T", "lang": "de", "n": 3}),
        ("", "two", {}),
    ]
    for line, words in (('{"text": "a"}\n{', r"faq\.jsonl:2 is not JSON"), ('{"n": 1}', r"faq\.jsonl:1 has no text")):
        with pytest.raises(MalformedRequest, match=words):
            list(documents_of("faq.jsonl", line))


def test_front_matter_is_metadata_and_no_text() -> None:
    (document,) = documents_of("a.md", "---\ntitle: 'My page'\nlang: de\nlist:\n  - x\n---\n# Head\nbody\n")
    assert document.metadata == {"title": "My page", "lang": "de"}
    assert document.title == "My page" and document.text == "# Head\nbody\n"
    (plain,) = documents_of("a.md", "--- no front matter\nbody")
    assert plain.metadata == {} and plain.text.startswith("---")
