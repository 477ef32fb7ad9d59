"""Which SQL texts the sandbox runs: one SELECT whose syntax tree holds nothing but what is listed here."""

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb

from headgate.core.errors import QueryRefused
from headgate.store.columns import VIEW_COLUMNS
from headgate.store.table import first_row

MAX_QUERY_CHARS = 100_000
MAX_NODES = 50_000
MAX_DEPTH = 400

_TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "json_each", "json_tree"})
_TABLE_REFERENCES = frozenset({"EMPTY", "BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "PIVOT"})
_EXPRESSIONS = frozenset(
    {
        "BETWEEN",
        "CASE",
        "CAST",
        "COLLATE",
        "COLUMN_REF",
        "COMPARISON",
        "CONJUNCTION",
        "CONSTANT",
        "DEFAULT",
        "FUNCTION",
        "LAMBDA",
        "LAMBDA_REF",
        "OPERATOR",
        "POSITIONAL_REFERENCE",
        "STAR",
        "SUBQUERY",
        "TYPE",
        "WINDOW",
    }
)
_REFUSED_FUNCTION = re.compile(
    r"(read_|write_|duckdb_|pragma_|pg_|query|sniff|glob$|parquet_|seq_scan|arrow_scan|pandas_scan|python_|sql_auto|"
    r"getenv|getvariable|current_setting|set_config|nextval|currval|json_(de)?serialize|json_execute|checkpoint|"
    r"force_checkpoint|enable_|disable_|load_|which_secret|icu_|test_|from_substrait|get_substrait|add_parquet|"
    r"in_search_path|current_query|write_log|.*sleep)"
)
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_SYSTEM_NAME = re.compile(r"(duckdb|pragma|sqlite|pg|information_schema)(_|$)", re.IGNORECASE)
_DESCRIBE = re.compile(r"\s*(?:describe|desc|show)\s+(?:table\s+)?\"?([A-Za-z_]+)\"?\s*;?\s*", re.IGNORECASE)
_HINT = "Only one SELECT over the views runs here: " + ", ".join(VIEW_COLUMNS) + "."


def _refused(why: str) -> QueryRefused:
    return QueryRefused(f"The query was refused: {why}.", hint=_HINT)


def checked(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    """The text to run for ``query``; raises QueryRefused unless it is one SELECT inside the sandbox's bounds."""
    if len(query) > MAX_QUERY_CHARS:
        raise _refused(f"it has {len(query)} characters, more than {MAX_QUERY_CHARS}")
    if "\0" in query:
        raise _refused("it holds a NUL character")
    described = _described(query)
    if described is not None:
        return described
    tree = _tree(connection, query)
    ctes: set[str] = set()
    tables: list[dict[str, Any]] = []
    for node in _nodes(tree):
        _check_node(node, ctes, tables)
    for table in tables:
        _check_table(table, ctes)
    return query


def _described(query: str) -> str | None:
    """A fixed SELECT for DESCRIBE view and SHOW TABLES, which are no SELECTs by themselves."""
    match = _DESCRIBE.fullmatch(query)
    if match is None:
        return None
    name = match.group(1).lower()
    if name == "tables":
        values = ", ".join(f"('{view}')" for view in VIEW_COLUMNS)
        return f"SELECT name FROM (VALUES {values}) AS t(name) ORDER BY name"
    if name not in VIEW_COLUMNS:
        raise _refused(f'there is no view "{name}"')
    rows = ", ".join(
        "({}, '{}', '{}', '{}')".format(index, column.name.strip('"'), column.sql_type, column.help.replace("'", "''"))
        for index, column in enumerate(VIEW_COLUMNS[name])
    )
    return (
        f"SELECT column_name, column_type, meaning FROM (VALUES {rows}) "
        "AS t(place, column_name, column_type, meaning) ORDER BY place"
    )


def _tree(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    try:
        row = first_row(connection, "SELECT json_serialize_sql(?::VARCHAR)", [query])
    except duckdb.Error as error:
        raise _refused(str(error).splitlines()[0]) from error
    parsed: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    if parsed.get("error"):
        text = str(parsed.get("error_message", "it cannot be parsed"))
        if "SELECT" in text:
            raise _refused("it is not a SELECT")
        raise QueryRefused(f"The query cannot be parsed: {text}", code="query_failed")
    statements = parsed["statements"]
    if len(statements) != 1:
        raise _refused(f"it holds {len(statements)} statements")
    return statements[0]["node"]


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of the tree, without recursion; raises QueryRefused when there are too many or too deep."""
    stack: list[tuple[Any, int]] = [(tree, 0)]
    count = 0
    while stack:
        node, depth = stack.pop()
        count += 1
        if count > MAX_NODES or depth > MAX_DEPTH:
            raise _refused("it is too large")
        if isinstance(node, dict):
            yield node
            stack.extend((child, depth + 1) for child in node.values() if isinstance(child, dict | list))
        elif isinstance(node, list):
            stack.extend((child, depth + 1) for child in node if isinstance(child, dict | list))


def _check_node(node: dict[str, Any], ctes: set[str], tables: list[dict[str, Any]]) -> None:
    if "cte_map" in node:
        _collect_ctes(node["cte_map"], ctes)
    kind = node.get("type")
    if "class" in node:
        if node["class"] not in _EXPRESSIONS:
            raise _refused(f"{str(node['class']).lower()} expressions are not allowed")
    elif "sample" in node and "alias" in node and kind not in _TABLE_REFERENCES:
        raise _refused(f"{str(kind).lower()} is not allowed in FROM")
    if kind == "BASE_TABLE":
        tables.append(node)
    elif kind == "TABLE_FUNCTION":
        name = str(node.get("function", {}).get("function_name", "")).lower()
        if name not in _TABLE_FUNCTIONS:
            raise _refused(f"the table function {name} is not allowed")
    if "function_name" in node and _REFUSED_FUNCTION.match(str(node["function_name"]).lower()):
        raise _refused(f"the function {node['function_name']} is not allowed")


def _collect_ctes(cte_map: Any, ctes: set[str]) -> None:
    for entry in cte_map.get("map", []):
        name = str(entry["key"])
        # A name that could also be a file or a system table would be looked up as such outside the CTE's scope.
        if not _PLAIN_NAME.fullmatch(name) or _SYSTEM_NAME.match(name):
            raise _refused(f'"{name}" cannot name a common table expression')
        ctes.add(name.lower())


def _check_table(table: dict[str, Any], ctes: set[str]) -> None:
    name = str(table.get("table_name", ""))
    schema = str(table.get("schema_name", "")).lower()
    catalog = str(table.get("catalog_name", "")).lower()
    if schema not in ("", "main") or catalog not in ("", "memory"):
        raise _refused(f'there is no view "{".".join(filter(None, (catalog, schema, name)))}"')
    if name.lower() not in VIEW_COLUMNS and (schema or name.lower() not in ctes):
        raise _refused(f'there is no view "{name}"')
