"""Datasets: rows read with faults by line, versions that order and spacing do not change, differences and splits."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.evals import dataset as datasets
from headgate.evals.dataset import Dataset, Row, difference, read_dataset, repeated_inputs, rows_jsonl
from headgate.evals.faults import DatasetFault


def lines(*rows: Any) -> list[bytes]:
    return [json.dumps(row).encode() + b"\n" for row in rows]


def read(*rows: Any) -> Dataset:
    return read_dataset(lines(*rows), "golden.jsonl")


def faults_of(content: list[bytes], file: str = "golden.jsonl") -> list[str]:
    with pytest.raises(DatasetFault) as caught:
        read_dataset(content, file)
    return list(caught.value.faults)


def test_a_row_has_an_id_of_its_content_unless_it_brings_one() -> None:
    one = read({"input": {"question": "Where?"}}, {"id": "mine", "input": {"question": "When?"}})
    assert one.name == "golden"
    assert len(one.rows[0].id) == 12 and one.rows[1].id == "mine"
    assert read({"input": {"question": "Where?"}}).rows[0].id == one.rows[0].id


def test_every_fault_is_named_with_its_line() -> None:
    content = [
        *lines({"input": {"a": 1}, "id": "x"}),
        b"{not json\n",
        *lines({"inptu": {}}, {"expected": "y"}, {"input": "text"}, {"input": {}, "tags": {"lang": 3}}),
        b"\n",
        *lines({"input": {}, "id": "x"}, {"input": {}, "weight": 0}, {"input": {"n": 2**60 + 1}}, [1]),
        b'{"input": {"t": "\xff"}}\n',
    ]
    found = faults_of(content)
    assert [fault.split(" ")[0] for fault in found] == [f"golden.jsonl:{n}" for n in (2, 3, 4, 5, 6, 8, 9, 10, 11, 12)]
    assert "did you mean input?" in found[1]
    assert "input is missing" in found[2]
    assert "tags" in found[4]
    assert 'the id "x" is in line 1 already' in found[5]
    assert "above 0" in found[6]
    assert "write it as text" in found[7]
    assert "not UTF-8" in found[9]


def test_rows_and_files_beyond_their_sizes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "at most 1 MB" in faults_of([b'{"input": {"t": "' + b"x" * (1 << 20) + b'"}}'])[0]
    monkeypatch.setattr(datasets, "MAX_ROWS", 2)
    assert "at most 2 rows" in faults_of(lines(*({"input": {"n": n}} for n in range(5))))[0]
    monkeypatch.setattr(datasets, "MAX_DATASET_BYTES", 1 << 20)
    assert "at most 1 MB" in faults_of([b" " * (1 << 19)] * 3)[0]


def test_values_nested_without_end_are_a_fault_of_their_line() -> None:
    assert "nested" in faults_of([b'{"input": {"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}}"])[0]


def test_an_empty_file_and_a_name_that_is_none_are_refused() -> None:
    assert "no rows" in faults_of([b"\n"])[0]
    assert "not a dataset's name" in faults_of(lines({"input": {}}), "Übung.jsonl")[0]


rows = st.lists(
    st.builds(
        Row,
        input=st.dictionaries(st.sampled_from("abc"), st.integers(-9, 9) | st.text(max_size=5), max_size=3),
        expected=st.none() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
        tags=st.dictionaries(st.sampled_from("xy"), st.text(max_size=3), max_size=2),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda row: row.sha256,
)


@given(rows, st.randoms())
def test_the_version_does_not_depend_on_order_or_spacing(made: list[Row], shuffled: random.Random) -> None:
    one = datasets.dataset_of("d", made)
    mixed = list(one.rows)
    shuffled.shuffle(mixed)
    content = [json.dumps(datasets.as_plain(row), indent=None, separators=(" , ", " : ")).encode() for row in mixed]
    assert read_dataset([*content, b"\n"], "d.jsonl").sha256 == one.sha256


@given(rows)
def test_what_is_written_reads_back_as_the_same_version(made: list[Row]) -> None:
    one = datasets.dataset_of("d", made)
    again = read_dataset(rows_jsonl(one).splitlines(), "d.jsonl")
    assert again.sha256 == one.sha256 and [row.id for row in again.rows] == [row.id for row in one.rows]


@given(rows)
def test_any_change_of_a_row_changes_the_version(made: list[Row]) -> None:
    one = datasets.dataset_of("d", made)
    changed = Dataset(name="d", rows=(*one.rows[1:], Row(id=one.rows[0].id, input={"another": True})))
    assert changed.sha256 != one.sha256


def test_a_difference_names_rows_and_the_fields_that_changed() -> None:
    before = read({"id": "a", "input": {"q": 1}}, {"id": "b", "input": {"q": 2}}, {"id": "c", "input": {"q": 3}})
    after = read(
        {"id": "d", "input": {"q": 4}},
        {"id": "b", "input": {"q": 2}, "expected": "x", "tags": {"lang": "de"}},
        {"id": "a", "input": {"q": 1.0}},
    )
    found = difference(before, after)
    assert [row.id for row in found.added] == ["d"]
    assert [row.id for row in found.removed] == ["c"]
    assert [(one.id, one.fields) for one in found.changed] == [("b", ("expected", "tags"))]
    assert found.same == 1  # 1 and 1.0 are the same number


def test_a_split_is_the_rows_with_that_tag() -> None:
    one = read(
        {"id": "a", "input": {"q": 1}, "tags": {"split": "test"}},
        {"id": "b", "input": {"q": 2}, "tags": {"split": "dev"}},
        {"id": "c", "input": {"q": 3}},
    )
    assert [row.id for row in one.split("test").rows] == ["a"]
    assert one.split(None) is one
    with pytest.raises(DatasetFault, match='its splits are "dev", "test"'):
        one.split("holdout")


def test_rows_with_the_same_input_are_found() -> None:
    one = read({"id": "a", "input": {"q": 1}}, {"id": "b", "input": {"q": 1}}, {"id": "c", "input": {"q": 2}})
    assert repeated_inputs(one) == [("a", "b")]


def test_messages_are_sent_beside_the_variables() -> None:
    message = {"role": "user", "content": "hello"}
    (row,) = read({"input": {"tone": "brief", "messages": [message]}}).rows
    assert (row.messages, row.variables) == ([message], {"tone": "brief"})
    (row,) = read({"input": {"messages": "a variable of that name"}}).rows
    assert (row.messages, row.variables) == (None, {"messages": "a variable of that name"})
