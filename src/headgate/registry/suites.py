"""Texts of suite files in the registry, found by the hash of what decides results, or by name."""

import sqlite3
from dataclasses import dataclass
from hashlib import sha256

from headgate.core.errors import NotFound
from headgate.core.ids import now_us
from headgate.registry import history
from headgate.registry.database import Database
from headgate.registry.targets import shown

_COLUMNS = "suite, sha256, text_sha256, text, file, prompt, who, created_at_us"


@dataclass(frozen=True, kw_only=True)
class SuiteText:
    """The self-contained text of a suite file; ``prompt`` is its target."""

    name: str
    sha256: str
    text_sha256: str
    text: str
    file: str
    prompt: str
    who: str
    created_at_us: int


def store(
    database: Database, *, name: str, content_sha256: str, text: str, file: str, prompt: str, who: str
) -> SuiteText:
    """Keeps the text; the same text again becomes the newest of its suite."""
    digest = sha256(text.encode()).hexdigest()
    row = (name, content_sha256, digest, text, history.kept_text(file), prompt, who, now_us())
    with database.write() as connection:
        newest = _newest(connection, "suite = ?", name)
        if newest is not None and newest.text_sha256 == digest:
            return newest
        connection.execute("DELETE FROM suite_text WHERE text_sha256 = ?", (digest,))
        connection.execute(f"INSERT INTO suite_text ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        history.append(
            connection,
            who=who,
            action="suite.push",
            object=f"suite:{name}",
            detail={"sha256": content_sha256, "text_sha256": digest, "prompt": prompt},
        )
    return SuiteText(
        name=name,
        sha256=content_sha256,
        text_sha256=digest,
        text=text,
        file=row[4],
        prompt=prompt,
        who=who,
        created_at_us=row[7],
    )


def get(database: Database, name_or_sha256: str) -> SuiteText:
    """The newest text of a suite, by its name or by the hash of its content; raises NotFound."""
    with database.read() as connection:
        found = _newest(connection, "sha256 = ?", name_or_sha256) or _newest(connection, "suite = ?", name_or_sha256)
        if found is None:
            rows = connection.execute("SELECT DISTINCT suite FROM suite_text ORDER BY suite LIMIT 20").fetchall()
            known = ", ".join(row[0] for row in rows) or "none"
            raise NotFound(
                f"There is no suite {shown(name_or_sha256)}. Suites: {known}.",
                code="suite_missing",
                hint="headgate eval run stores a suite before it runs it.",
            )
        return found


def by_text(database: Database, text_sha256: str) -> SuiteText | None:
    """The text with this hash of its own."""
    with database.read() as connection:
        return _newest(connection, "text_sha256 = ?", text_sha256)


def of_prompt(connection: sqlite3.Connection, prompt: str) -> str | None:
    """The name of the suite of a prompt that was stored last."""
    found = _newest(connection, "prompt = ?", prompt)
    return None if found is None else found.name


def of_kb(connection: sqlite3.Connection, kb: str) -> str | None:
    """The name of the suite that was stored last of a prompt that reads from a knowledge base."""
    row = connection.execute(
        """SELECT suite FROM suite_text WHERE prompt IN (
               SELECT prompt FROM prompt_version WHERE json_extract(content, '$.knowledge.kb') GLOB ? || '@*')
           ORDER BY seq DESC LIMIT 1""",
        (kb,),
    ).fetchone()
    return None if row is None else str(row[0])


def _newest(connection: sqlite3.Connection, condition: str, value: str) -> SuiteText | None:
    sql = f"SELECT {_COLUMNS} FROM suite_text WHERE {condition} ORDER BY seq DESC LIMIT 1"
    row = connection.execute(sql, (history.kept_text(value[:300]),)).fetchone()
    if row is None:
        return None
    return SuiteText(
        name=row[0],
        sha256=row[1],
        text_sha256=row[2],
        text=row[3],
        file=row[4],
        prompt=row[5],
        who=row[6],
        created_at_us=row[7],
    )
