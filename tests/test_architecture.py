"""The floors, the borders and the sizes that docs/contributing.md states, held by reading the source and by starting
real processes.
"""

import ast
import gc
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from headgate.core.settings import Upstream
from support.client import call, request_bytes
from support.settings import settings_for
from support.upstream import ScriptedUpstream, answer
from support.worker import WorkerProcess

SOURCE = Path(__file__).parents[1] / "src"
ROOT = "headgate"
FLOORS = {
    "core": 0,
    **dict.fromkeys(("wire", "spool", "store", "pricing", "snapshot", "prompts", "retrieval", "stats", "client"), 1),
    **dict.fromkeys(("providers", "runtimes", "registry", "evals"), 2),
    "monitor": 3,
    **dict.fromkeys(("gateway", "control"), 4),
    "supervisor": 5,
    **dict.fromkeys(("cli", "testing"), 6),
}
"""A package imports from lower floors and itself; packages on one floor do not know each other."""
NOT_IN_GATEWAY = {"store", "registry", "evals", "monitor", "runtimes", "client", "pricing"}
ONE_HOME = {"duckdb": "store", "sqlite3": "registry", "openai": "evals", "anthropic": "evals"}
"""Third-party module to the one package that may import it."""
ENVIRONMENT_HOME = "headgate.core.settings"
CLOCK_HOME = "headgate.core.ids"
ENVIRONMENT_READS = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv"}
CLOCK_READS = {
    *(f"time.{name}{unit}" for name in ("time", "monotonic", "perf_counter") for unit in ("", "_ns")),
    *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"),
}
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_WORKER_MODULES = 450
NOT_IN_WORKER = (
    *("duckdb", "sqlite3", "_sqlite3", "openai", "anthropic", "tiktoken", "regex", "numpy", "genai_prices"),
    *("rich", "jinja2", "arro3", "httpx2", "pydantic", "requests", "yaml"),
)
"""uvicorn imports click for its own command line; nothing else here may come along."""


@dataclass(frozen=True, kw_only=True)
class Import:
    """One name that a module brings in, wherever in the file it stands."""

    by: str
    name: str
    line: int
    is_top_level: bool
    is_for_types: bool


@dataclass(frozen=True, kw_only=True)
class Module:
    """One source file."""

    name: str
    path: Path
    lines: tuple[str, ...]
    tree: ast.Module
    nodes: tuple[ast.AST, ...]

    def __str__(self) -> str:
        return str(self.path.relative_to(SOURCE.parent))


@pytest.fixture(scope="module", autouse=True)
def parsed() -> Iterator[None]:
    """Reads the source, without a look for garbage among half a million nodes."""
    gc.disable()
    imports()
    gc.enable()
    yield
    modules.cache_clear()
    imports.cache_clear()


@cache
def modules() -> dict[str, Module]:
    """Every module of the package by its dotted name."""
    found: dict[str, Module] = {}
    for path in sorted((SOURCE / ROOT).rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        nodes = tuple(ast.walk(tree))
        found[name] = Module(name=name, path=path, lines=tuple(text.splitlines()), tree=tree, nodes=nodes)
    return found


@cache
def imports() -> tuple[Import, ...]:
    """Every import of every module: at the top, inside functions, under TYPE_CHECKING, through importlib."""
    return tuple(found for module in modules().values() for found in imports_of(module))


def imports_of(module: Module) -> Iterator[Import]:
    for node, is_top_level, is_for_types in _walk(module.tree, True, False):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and _dotted(node.func) in ("importlib.import_module", "import_module"):
            first = node.args[0]
            names = [first.value] if isinstance(first, ast.Constant) and isinstance(first.value, str) else []
        else:
            continue
        for name in names:
            yield Import(
                by=module.name, name=name, line=node.lineno, is_top_level=is_top_level, is_for_types=is_for_types
            )


def _walk(node: ast.AST, is_top_level: bool, is_for_types: bool) -> Iterator[tuple[ast.AST, bool, bool]]:
    for child in ast.iter_child_nodes(node):
        yield child, is_top_level, is_for_types
        inner_top = is_top_level and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        guard = isinstance(child, ast.If) and (_dotted(child.test) or "").endswith("TYPE_CHECKING")
        yield from _walk(child, inner_top, is_for_types or guard)


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    is_package = module.path.name == "__init__.py"
    parts = module.name.split(".")
    base = parts[: len(parts) - node.level + (1 if is_package else 0)]
    return ".".join([*base, *(node.module.split(".") if node.module else [])])


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value)
        return None if base is None else f"{base}.{node.attr}"
    return None


def package_of(name: str) -> str | None:
    """`headgate.wire.sse` -> `wire`; None for the root package itself and for foreign names."""
    parts = name.split(".")
    if parts[0] != ROOT or len(parts) < 2 or (len(parts) == 2 and parts[1] in ("__version__", "__main__")):
        return None
    return parts[1]


def place(found: Import) -> str:
    return f"{modules()[found.by]}:{found.line}"


def test_every_package_has_a_floor() -> None:
    packages = {package for name in modules() if (package := package_of(name)) is not None}
    assert packages <= set(FLOORS), "new packages need a place in FLOORS and in docs/contributing.md"


def test_imports_go_down_the_floors() -> None:
    wrong = []
    for found in imports():
        own, other = package_of(found.by), package_of(found.name)
        if own is None or other is None or own == other:
            continue
        if FLOORS[other] >= FLOORS[own]:
            wrong.append(f"{place(found)}: {own} (floor {FLOORS[own]}) imports {found.name} (floor {FLOORS[other]})")
    assert not wrong, "\n".join(wrong)


def test_the_gateway_knows_nothing_of_the_database() -> None:
    wrong = [
        f"{place(found)}: {found.name}"
        for found in imports()
        if package_of(found.by) == "gateway" and package_of(found.name) in NOT_IN_GATEWAY
    ]
    assert not wrong, "\n".join(wrong)


def test_commands_reach_stored_data_over_http_and_one_module_opens_a_stopped_home() -> None:
    wrong = [
        f"{place(found)}: {found.name}"
        for found in imports()
        if package_of(found.by) == "cli"
        and package_of(found.name) in ("registry", "spool", "snapshot", "control")
        and found.by not in ("headgate.cli.offline", "headgate.cli.inprocess")
    ]
    assert not wrong, "\n".join(wrong)


def test_databases_and_sdks_are_imported_in_their_one_package_only() -> None:
    wrong = []
    for found in imports():
        home = ONE_HOME.get(found.name.split(".")[0])
        if home is not None and package_of(found.by) != home:
            wrong.append(f"{place(found)}: {found.name} belongs in {home}")
    assert not wrong, "\n".join(wrong)


def test_core_needs_the_standard_library_alone() -> None:
    wrong = [
        f"{place(found)}: {found.name}"
        for found in imports()
        if package_of(found.by) == "core"
        and (top := found.name.split(".")[0]) not in sys.stdlib_module_names
        and top != ROOT
    ]
    assert not wrong, "\n".join(wrong)


def test_the_environment_is_read_in_one_module() -> None:
    assert not _reads_outside(ENVIRONMENT_READS, ENVIRONMENT_HOME)


def test_the_clock_is_read_in_one_module() -> None:
    assert not _reads_outside(CLOCK_READS, CLOCK_HOME)


def _reads_outside(banned: set[str], home: str) -> list[str]:
    wrong = []
    for module in modules().values():
        if module.name == home:
            continue
        known = _bound_names(module)
        for node in module.nodes:
            if not isinstance(node, ast.Attribute | ast.Name):
                continue
            dotted = _dotted(node)
            if dotted is None:
                continue
            first, _, rest = dotted.partition(".")
            full = f"{known.get(first, first)}.{rest}" if rest else known.get(first, first)
            if full in banned:
                wrong.append(f"{module}:{node.lineno}: {full} belongs in {home}")
    return wrong


def _bound_names(module: Module) -> dict[str, str]:
    """Local name to the full name it was imported as."""
    bound: dict[str, str] = {}
    for node in module.nodes:
        if isinstance(node, ast.Import):
            bound.update((alias.asname, alias.name) for alias in node.names if alias.asname)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            bound.update((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)
    return bound


def test_no_import_cycles() -> None:
    graph: dict[str, set[str]] = {name: set() for name in modules()}
    for found in imports():
        # Imports for types alone never run, and those in functions run after both modules are whole.
        if found.is_top_level and not found.is_for_types and (target := _module_named(found.name)) is not None:
            graph[found.by].add(target)
    cycle = _cycle(graph)
    assert cycle is None, " -> ".join(cycle or [])


def _module_named(name: str) -> str | None:
    while name.startswith(ROOT):
        if name in modules():
            return name
        name = name.rpartition(".")[0]
    return None


def _cycle(graph: dict[str, set[str]]) -> list[str] | None:
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str] | None:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        for target in sorted(graph[name] - {name}):
            if (found := visit(target, [*path, name])) is not None:
                return found
        done.add(name)
        return None

    return next((found for name in sorted(graph) if (found := visit(name, [])) is not None), None)


def test_a_file_fits_in_500_lines() -> None:
    too_long = [f"{module}: {len(module.lines)}" for module in modules().values() if len(module.lines) > MAX_FILE_LINES]
    too_long += [
        f"tests/{path.relative_to(Path(__file__).parent)}: {count}"
        for path in Path(__file__).parent.rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MAX_FILE_LINES
    ]
    assert not too_long, "\n".join(too_long)


def test_a_function_fits_in_60_lines() -> None:
    too_long = [
        f"{module}:{node.lineno}: {node.name} has {length} lines"
        for module in modules().values()
        for node in module.nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert not too_long, "\n".join(too_long)


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(module)
        for module in modules().values()
        if ast.get_docstring(module.tree) is None and any(line.strip() for line in module.lines)
    ]
    assert not silent, "\n".join(silent)


def test_there_are_no_global_statements() -> None:
    found = [
        f"{module}:{node.lineno}"
        for module in modules().values()
        for node in module.nodes
        if isinstance(node, ast.Global)
    ]
    assert not found, "\n".join(found)


def test_a_broad_except_stands_at_a_named_border() -> None:
    wrong = []
    for module in modules().values():
        for node in module.nodes:
            if not isinstance(node, ast.ExceptHandler) or not _is_broad(node) or isinstance(node.body[-1], ast.Raise):
                continue  # what cleans up and raises again hides nothing
            lines = "\n".join(module.lines[node.lineno - 1 : node.body[0].lineno])
            if not re.search(r"#.*\bborder\b", lines):
                wrong.append(f"{module}:{node.lineno}: {module.lines[node.lineno - 1].strip()}")
    assert not wrong, "say which border it is, and why it may go on: # border: ...\n" + "\n".join(wrong)


def _is_broad(node: ast.ExceptHandler) -> bool:
    if node.type is None:
        return True
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return any(_dotted(kind) in ("Exception", "BaseException") for kind in kinds)


def test_nothing_is_left_to_do_in_the_code() -> None:
    mark = re.compile(r"\b(TODO|FIXME|XXX)\b")
    found = [
        f"{module}:{number}: {line.strip()}"
        for module in modules().values()
        for number, line in enumerate(module.lines, 1)
        if mark.search(line)
    ]
    assert not found, "\n".join(found)


def loaded_after(code: str) -> set[str]:
    """The modules in a fresh interpreter after ``code`` ran."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint('\\n'.join(sys.modules))"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stdout.splitlines())


def test_a_worker_imports_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    upstream = ScriptedUpstream()
    upstream.scripts = [answer(b'{"model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}')]
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # the process writes a line per module it imports, as it does
    worker = WorkerProcess(tmp_path, settings_for(Upstream(name="main", kind="openai", base_url=upstream.base_url)))
    assert call(worker.port, request_bytes()).status == 200
    assert call(worker.port, request_bytes("/healthz", b"", method="GET"), method="GET").status == 200
    worker.recorded()
    worker.stop()
    upstream.close()
    loaded = {line.rpartition("|")[2].strip() for line in capfd.readouterr().err.splitlines() if "|" in line}
    assert "headgate.gateway.relay" in loaded
    assert not loaded & set(NOT_IN_WORKER)
    assert len(loaded) <= MAX_WORKER_MODULES


@pytest.mark.parametrize("arguments", [["--help"], ["log", "--help"], ["serve", "--help"]])
def test_help_imports_little(arguments: list[str]) -> None:
    loaded = loaded_after(f"from headgate.cli.main import main\nmain({arguments!r})")
    heavy = {name for name in (*NOT_IN_WORKER, "uvicorn", "starlette", "msgspec") if name in loaded}
    assert not heavy


def test_the_control_process_starts_without_numpy() -> None:
    loaded = loaded_after("import headgate.control.main")
    assert "headgate.control.app" in loaded
    assert not loaded & {"numpy", "bm25s", "onnxruntime", "tiktoken", "openai", "anthropic"}
