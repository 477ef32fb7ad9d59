"""Versions on disk and in memory: deterministic, checked by hash, searched by both parts."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from headgate.control import kb_build
from headgate.core.errors import MalformedRequest
from headgate.retrieval import versions
from headgate.retrieval.index import Index, load
from headgate.retrieval.lexical import embed
from headgate.retrieval.model import LEXICAL_DIMENSIONS, Embedder, KbSettings, Manifest
from headgate.retrieval.vectors_file import VectorsFile
from headgate.retrieval.versions import VersionDamaged
from headgate.retrieval.words import words
from support.knowledge import HANDBOOK, made_version, making


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def index(home: Path) -> Index:
    return load(home, made_version(home))


def test_the_same_sources_make_the_same_directory_whose_name_is_the_hash_of_its_manifest(
    home: Path, tmp_path: Path
) -> None:
    sha256 = made_version(home)
    assert made_version(home) == sha256 == made_version(tmp_path)
    folder = versions.version_path(home, sha256)
    manifest = versions.verify(home, sha256)
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there == {*manifest.files, "manifest.json"}
    assert [source.path for source in manifest.sources] == sorted(HANDBOOK)
    assert manifest.content_sha256 == making(HANDBOOK).content_sha256
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.rglob("*") if path.is_file())
    assert not list((home / "kb" / "staging").iterdir())


@pytest.mark.parametrize("name", ["chunks.jsonl", "vectors.npy", "bm25/data.csc.index.npy", "manifest.json"])
def test_one_changed_bit_is_found_by_hash_and_a_whole_copy_is_put_in_place_again(tmp_path: Path, name: str) -> None:
    sha256 = made_version(tmp_path)
    path = versions.version_path(tmp_path, sha256) / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(VersionDamaged, match="damaged"):
        load(tmp_path, sha256)
    assert made_version(tmp_path) == sha256
    assert load(tmp_path, sha256).chunks


def test_a_missing_file_is_damage_too(tmp_path: Path) -> None:
    sha256 = made_version(tmp_path)
    (versions.version_path(tmp_path, sha256) / "vectors.npy").unlink()
    with pytest.raises(VersionDamaged, match=r"vectors\.npy cannot be read"):
        load(tmp_path, sha256)
    with pytest.raises(ValueError, match="no SHA-256"):
        versions.version_path(tmp_path, "../etc")


def test_both_rankings_are_fused_and_ties_have_one_order(index: Index) -> None:
    hits = index.search("When is the refund paid?", top_k=3)
    assert hits[0].chunk.source == "refunds.md" and hits[0].chunk.heading == "Refunds › Time"
    assert (hits[0].vector_rank, hits[0].keyword_rank, hits[0].score) == (1, 1, 1.0)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert index.search("When is the refund paid?", top_k=3) == hits
    only = index.search("refund", top_k=2, use=("keywords",))
    assert [hit.vector_rank for hit in only] == [None, None] or only[0].vector_rank is None


def test_filters_and_a_least_score_leave_out_what_does_not_fit(index: Index) -> None:
    found = index.search("days", top_k=9, filters={"topic": "delivery"})
    assert {hit.chunk.source for hit in found} == {"delivery.md"}
    assert index.search("days", top_k=9, filters={"topic": ["x", "y"]}) == []
    both = index.search("days", top_k=9, filters={"source": ["hours.txt", "delivery.md"]})
    assert {hit.chunk.source for hit in both} == {"hours.txt", "delivery.md"}
    cosines = sorted(hit.vector_score for hit in index.search("refund days", top_k=9))
    kept = index.search("refund days", top_k=9, min_score=cosines[-1])
    assert [hit.vector_score for hit in kept] == [cosines[-1]]


@pytest.mark.parametrize("query", ["", "???", "\0\ud800", "a" * 9000, "unheardofword"])
def test_odd_questions_find_nothing_or_something_but_never_fail(index: Index, query: str) -> None:
    for hit in index.search(query, top_k=4):
        assert hit.score > 0


def test_a_version_without_a_word_can_be_made_and_searched(tmp_path: Path) -> None:
    index = load(tmp_path, made_version(tmp_path, {"a.txt": "!!! ???"}))
    assert index.search("anything", top_k=3) == []


def test_the_built_in_embedder_is_a_pure_function_of_length_one_that_sees_spelling() -> None:
    refund, refunds, weather, nothing = embed(["refund policy", "Refunds policies", "sunny weather", ""])
    assert refund.shape == (LEXICAL_DIMENSIONS,) and np.isclose(np.linalg.norm(refund), 1)
    assert refund @ refunds > 0.8 > 0.3 > refund @ weather
    assert not nothing.any()
    assert (embed(["refund policy"])[0] == refund).all()
    assert words("Réfunds, ÉCOLES; policies & boxes_3") == ["refund", "ecole", "policy", "boxe", "3"]


def test_vectors_of_a_failed_push_are_kept_and_a_record_cut_off_by_a_crash_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "kb" / "x.vectors"
    file = VectorsFile(path, 3)
    file.append([("aa" * 32, [1.0, 2.0, 3.0]), ("bb" * 32, [0.0, 0.0, 1.0])])
    file.close()
    path.write_bytes(path.read_bytes()[:-5])
    again = VectorsFile(path, 3)
    assert again.hashes() == {"aa" * 32}
    again.append([("cc" * 32, [1.0, 1.0, 1.0])])
    assert again.hashes() == {"aa" * 32, "cc" * 32}
    again.close()


def test_a_query_vector_of_another_length_is_refused(index: Index) -> None:
    routed = Index(_with_model(index), index.chunks, np.ones((len(index.chunks), 4), dtype=np.float32), keywords=None)
    assert routed.search("x", top_k=2, vector=[1, 0, 0, 0])
    assert routed.search("x", top_k=2) == []
    with pytest.raises(MalformedRequest, match="3 dimensions"):
        routed.search("x", top_k=2, vector=[1, 0, 0])


def _with_model(index: Index) -> Manifest:
    return msgspec.structs.replace(index.manifest, settings=KbSettings(embedder=Embedder(model="m")))


def test_an_empty_push_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(MalformedRequest, match="no text"):
        kb_build.cut([], making(HANDBOOK).settings)
