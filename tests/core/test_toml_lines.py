"""The line of every key, for any valid TOML."""

import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.toml_lines import Path, lines_of


def test_tables_arrays_and_inline_tables_have_lines() -> None:
    text = """\
top = 1
[a.b]
c = 2

[[r]]
x = 1
[[r.t]]
y = 1
[[r]]
x = [
  1, # one
  {z = 3,
   w = "}"},
]
[r.sub]
v = 2
m = \"\"\"
[no.table]
q = 1
\"\"\"
d.e.f = 1979-05-27 07:32:00
n = {o = {p = [1, [2, 3]]}}
"""
    lines = lines_of(text)
    expected: dict[Path, int] = {
        ("top",): 1,
        ("a", "b"): 2,
        ("a", "b", "c"): 3,
        ("r",): 5,
        ("r", 0): 5,
        ("r", 0, "x"): 6,
        ("r", 0, "t", 0, "y"): 8,
        ("r", 1): 9,
        ("r", 1, "x"): 10,
        ("r", 1, "x", 0): 11,
        ("r", 1, "x", 1, "z"): 12,
        ("r", 1, "x", 1, "w"): 13,
        ("r", 1, "sub", "v"): 16,
        ("r", 1, "sub", "d", "e", "f"): 21,
        ("r", 1, "sub", "n", "o", "p", 1, 1): 22,
    }
    assert {path: lines.get(path) for path in expected} == expected
    assert not any("no" in path for path in lines)


def test_strings_of_all_kinds_are_stepped_over() -> None:
    text = (
        'a = \'C:\\\'\nb = "\\"] = {"\nc = \'\'\'x\n\'\'\'\'\'\nd = """q\\""""""\n'
        '"\\u0065 f" = ""\n\'g.h\' = \'\'\ni = 1e5#\n"e f2" = "\\\\"\nj = 1'
    )
    data = tomllib.loads(text)
    lines = lines_of(text)
    assert [lines[(key,)] for key in data] == [1, 2, 3, 5, 6, 7, 8, 9, 10]


KEYS = st.text(alphabet="abz09_-", min_size=1, max_size=6)
SCALARS = st.one_of(
    st.integers(-9, 9).map(str),
    st.sampled_from(["true", "1.5", "1979-05-27", "'}]#,'", '"\\"=["', '"""a\n[b]\n"""', "'''\n# '' \n'''"]),
)


def rendered(draw: st.DrawFn, depth: int) -> str:
    kind = draw(st.sampled_from(["scalar", "scalar", "array", "inline"])) if depth else "scalar"
    if kind == "scalar":
        return draw(SCALARS)
    if kind == "array":
        gap = draw(st.sampled_from([" ", "\n", " # ]\n"]))
        return "[" + "".join(gap + rendered(draw, depth - 1) + "," for _ in range(draw(st.integers(0, 3)))) + gap + "]"
    keys = draw(st.lists(KEYS, max_size=3, unique=True))
    return "{" + ", ".join(f"{key} = {rendered(draw, depth - 1)}" for key in keys) + "}"


@st.composite
def documents(draw: st.DrawFn) -> str:
    blocks = [""] * draw(st.integers(1, 4))
    for number in range(len(blocks)):
        header = draw(
            st.sampled_from([f"[t{number}]\n", "[[list]]\n", f"[list2.'x y'.t{number}]\n", "  [[ deep . er ]] # c\n"])
        )
        keys = draw(st.lists(KEYS, max_size=4, unique=True))
        blocks[number] = header + "".join(
            draw(st.sampled_from(["", "\n", "# [x]\n"])) + f"{key} = {rendered(draw, 2)}\n" for key in keys
        )
    return "".join(blocks)


def leaves(data: Any, path: Path = ()) -> list[Path]:
    if isinstance(data, dict):
        return [leaf for key, value in data.items() for leaf in leaves(value, (*path, key))]
    if isinstance(data, list):
        return [leaf for number, value in enumerate(data) for leaf in leaves(value, (*path, number))]
    return [path]


@settings(deadline=None)
@given(documents())
def test_every_value_of_a_document_has_the_line_its_key_is_on(text: str) -> None:
    data = tomllib.loads(text)
    lines = lines_of(text)
    source = text.split("\n")
    for path in leaves(data):
        assert path in lines, (path, text)
        key = path[-1]
        if isinstance(key, str):
            assert key in source[lines[path] - 1], (path, lines[path], text)
