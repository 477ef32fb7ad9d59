"""Suite files: faults with line and nearest key, shorthands, files written out, hashes of what decides results."""

from decimal import Decimal
from pathlib import Path

import pytest

from headgate.evals.cells import ask_key, cell_key, cells_of
from headgate.evals.dataset import Row, dataset_of
from headgate.evals.faults import SuiteFault
from headgate.evals.scorer import Ask
from headgate.evals.suite import Suite, cluster_of, load_suite

WHOLE = """\
schema: headgate/eval-suite@1
suite: support-answer
description: What it is for.
target: {prompt: support-answer}
dataset: {name: support-golden, version: 3, split: test}
run: {repeat: 2, cluster_by: tags.conversation, slices: [tags.lang], concurrency: 4, seed: 7}
budget: {usd: 4.00, judge_usd: 2.00, wall: 30m}
scorers:
  - {id: schema, type: json_schema, schema: {type: object}, must_pass: true}
  - {id: polite, type: judge.rubric, judge: main, rubric: "Polite."}
  - {id: better, type: judge.pairwise, judge: main, role: primary}
  - {id: latency, type: latency}
judges:
  main: {prompt: judge-rubric@production, model: gpt-5-mini}
policy: standard
"""
SHORT = """\
suite: short
target: support-answer
dataset: golden
scorers:
  - {id: right, type: exact}
"""


def load(text: str, folder: Path | None = None) -> Suite:
    return load_suite(text, "evals/s.yaml", folder=folder)


def faults_of(text: str, folder: Path | None = None) -> list[str]:
    with pytest.raises(SuiteFault) as caught:
        load(text, folder)
    return list(caught.value.faults)


def test_a_whole_suite_is_read_with_roles_and_directions_resolved() -> None:
    suite = load(WHOLE)
    assert (suite.target.prompt, suite.dataset.version, suite.dataset.split) == ("support-answer", 3, "test")
    assert (suite.run.repeat, suite.run.seed, suite.budget.wall_s) == (2, 7, 1800)
    assert suite.budget.usd == Decimal("4.0")
    assert [(one.id, one.role, one.direction, one.must_pass) for one in suite.scorers] == [
        ("schema", "guard", "higher", True),
        ("polite", "primary", "higher", False),
        ("better", "primary", "higher", False),
        ("latency", "info", "lower", False),
    ]
    assert suite.judges["main"].prompt == "judge-rubric@production"
    assert suite.text == WHOLE and not suite.warnings


def test_shorthands_mean_what_they_say() -> None:
    suite = load(SHORT + "  - {id: ok, type: judge.rubric, rubric: Good., judge: judge-rubric}\n")
    assert (suite.target.prompt, suite.dataset.name, suite.dataset.version) == ("support-answer", "golden", None)
    assert suite.judges["judge-rubric"].prompt == "judge-rubric"
    named = load(SHORT + "  - {id: ok, type: judge.rubric, rubric: Good.}\njudges: {main: judge-rubric@3}\n")
    assert named.scorers[1].judge == "main" and named.judges["main"].prompt == "judge-rubric@3"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("scorers:", "scorrers:", '8:1 unknown key "scorrers"; did you mean scorers?'),
        ("type: latency", "type: latencyy", '12:25 unknown scorer type "latencyy"; did you mean latency?'),
        ("rubric: \"Polite.\"", "rubrik: \"Polite.\"", 'unknown key "rubrik"'),
        ("judge: main, rubric", "judge: mian, rubric", '10:45 there is no judge "mian"; did you mean main?'),
        ("id: better", "id: polite", '11:10 the id "polite" is here twice'),
        ("repeat: 2", "repeat: 0", "6:15 repeat is a whole number from 1 to 100"),
        ("wall: 30m", "wall: soon", "7:44 "),
        ("usd: 4.00", "usd: -4", "7:15 usd is an amount of US dollars"),
        ("{prompt: support-answer}", "support-answer@3", "4:9 a suite names a prompt without its version"),
        ("version: 3", "version: newest", "5:42 a version is a number or sha256:…"),
        ("role: primary", "role: leading", "11:59 role is primary or guard or info"),
        ("must_pass: true", "must_pass: certainly", "9:72 must_pass is true or false"),
        ("type: object", "type: objekt", "type is one of"),
        ("latency}", "latency, must_pass: true}", "12:45 latency has no pass or fail as it is"),
        ("rubric: \"Polite.\"", "", "10:5 rubric is missing"),
        ("headgate/eval-suite@1", "headgate/eval-suite@9", "1:9 the schema of a suite is headgate/eval-suite@1"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_line_and_the_nearest_key(old: str, new: str, fault: str) -> None:
    assert old in WHOLE
    found = faults_of(WHOLE.replace(old, new, 1))
    assert any(fault in one for one in found), found
    assert all(one.startswith("evals/s.yaml:") for one in found)


def test_several_faults_are_all_told() -> None:
    found = faults_of("suite: Bad Name\ntarget: 3\ndataset: {nmae: x}\nscorers: []\nextra: 1\n")
    assert [one.split(" ")[0].split(":")[1] for one in found] == ["1", "2", "3", "3", "4", "5"]


def test_a_limit_makes_a_measure_a_pass_or_a_fail_where_higher_is_better() -> None:
    (_, limited) = load(SHORT + "  - {id: fast, type: latency, max: 900, must_pass: true}\n").scorers
    assert (limited.direction, limited.role, limited.must_pass) == ("higher", "guard", True)
    (_, short) = load(SHORT + "  - {id: short, type: length, max: 20, must_pass: true}\n").scorers
    assert (short.direction, short.must_pass) == ("higher", True)


def test_warnings_name_what_has_no_effect() -> None:
    text = SHORT.replace("type: exact", "type: latency") + "judges: {idle: judge-rubric}\n"
    assert [warning.split(" ", 1)[1] for warning in load(text).warnings] == [
        'judge "idle" is used by no scorer',
        "no scorer has the role primary: a gate has no quality to compare",
    ]


def test_a_named_file_is_written_out_so_that_the_text_stands_alone(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas/answer.json").write_text('{"type": "object", "required": ["total"]}')
    text = SHORT + "  - {id: shape, type: json_schema, schema: schemas/answer.json}\n"
    suite = load(text, tmp_path)
    assert suite.scorers[1].params == {"schema": {"type": "object", "required": ["total"]}}
    alone = load(suite.text)
    assert alone.sha256 == suite.sha256 and alone.scorers == suite.scorers
    assert "which is not read here" in faults_of(text)[0]


def test_files_outside_of_the_folder_or_too_large_or_odd_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "evals"
    folder.mkdir()
    (tmp_path / "secret.json").write_text("{}")
    (folder / "link.json").symlink_to(tmp_path / "secret.json")
    (folder / "large.json").write_bytes(b" " * (257 << 10))
    (folder / "list.json").write_text("[]")
    (folder / "bad.yaml").write_text("a: 1\na: 2\n")

    def said(name: str) -> str:
        return faults_of(SHORT + f"  - {{id: shape, type: json_schema, schema: {name}}}\n", folder)[0]

    assert "outside of the suite's folder" in said("../secret.json")
    assert "outside of the suite's folder" in said("link.json")
    assert "outside of the suite's folder" in said("/etc/hostname")
    assert "more than 256 KB" in said("large.json")
    assert "holds no mapping" in said("list.json")
    assert "bad.yaml:2:1" in said("bad.yaml")
    assert "cannot be read" in said("absent.json")
    assert "no file" in said(".")


def test_the_hash_follows_what_decides_results_and_nothing_else() -> None:
    one = load(WHOLE)
    same = WHOLE.replace("What it is for.", "Other words.").replace("concurrency: 4", "concurrency: 64")
    same = same.replace("policy: standard", "policy: strict").replace("usd: 4.00", "usd: 9.00") + "# a comment\n"
    assert load(same).sha256 == one.sha256
    for old, new in (
        ("repeat: 2", "repeat: 3"),
        ("Polite.", "Kind."),
        ("seed: 7", "seed: 8"),
        ("split: test", "split: dev"),
    ):
        assert load(WHOLE.replace(old, new)).sha256 != one.sha256


def test_clusters_come_from_the_named_tag_or_from_the_row() -> None:
    row = Row(id="a", input={}, cluster="own", tags={"conversation": "c1"})
    assert cluster_of(load(WHOLE), row) == "c1"
    assert cluster_of(load(SHORT), row) == "own"
    assert cluster_of(load(WHOLE), Row(id="b", input={})) is None


def test_cells_have_a_seeded_order_and_keys_of_their_content_only() -> None:
    suite = load(WHOLE)
    made = dataset_of("d", [Row(id=str(n), input={"question": f"q{n % 9}"}) for n in range(10)])
    cells = cells_of(suite, made, "f" * 64)
    assert cells == cells_of(suite, made, "f" * 64)
    assert [cell.order for cell in cells] == list(range(20))
    assert {(cell.item, cell.repeat) for cell in cells} == {(str(n), r) for n in range(10) for r in range(2)}
    other_order = [cell.item for cell in cells_of(load(WHOLE.replace("seed: 7", "seed: 8")), made, "f" * 64)]
    assert other_order != [cell.item for cell in cells]
    keys = {(cell.item, cell.repeat): cell.key for cell in cells}
    assert keys["0", 0] == keys["9", 0] != keys["0", 1]  # the same question, another answer to it


def test_keys_tell_contents_apart_and_stay_the_same_over_releases() -> None:
    row = Row(id="a", input={"question": "Where?"})
    base = cell_key("a" * 64, None, row, 0)
    assert base == "df454692d38bf0966df53b0914f9a4caa99f3c3210adc50aa7c1fbc46108e1ab"
    assert (
        len({base, cell_key("b" * 64, None, row, 0), cell_key("a" * 64, "k", row, 0), cell_key("a" * 64, None, row, 1)})
        == 4
    )
    ask = Ask(kind="judge", judge="main", variables={"answer": "x"})
    renamed = Ask(kind="judge", judge="other", variables={"answer": "x"})
    assert ask_key(ask, "c" * 64) == ask_key(renamed, "c" * 64) != ask_key(ask, "d" * 64)
    embedding = Ask(kind="embedding", model="e", input=("a", "b"))
    assert ask_key(embedding, None) != ask_key(Ask(kind="embedding", model="e", input=("b", "a")), None)
