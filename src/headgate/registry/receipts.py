"""Decisions of gates, every one of them, and receipts: the stored evidence of a gate that was passed."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headgate.core.errors import NotFound
from headgate.registry import history
from headgate.registry.database import Database
from headgate.registry.targets import shown

_DECISION = """id, at_us, candidate_run, candidate_system, baseline_run, baseline_system, alias, suite, suite_sha256,
               dataset, dataset_sha256, policy, policy_sha256, verdict, grade, attempt, detail, who"""
_RECEIPT = """id, decision, kind, object, number, sha256, alias, policy, policy_sha256, suite, suite_sha256, dataset,
              dataset_sha256, judge_cards, baseline_sha256, result_sha256, grade, issued_at_us, expires_at_us, who"""
# What a receipt was held against is part of its decision, which nothing can change.
_READ = f"""{_RECEIPT},
            (SELECT json_extract(detail, '$.yardstick') FROM gate_decision WHERE id = receipt.decision) AS yardstick"""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One judgement of a run by a policy; ``detail`` is the whole verdict."""

    id: str
    at_us: int
    candidate_run: str
    candidate_system: str
    baseline_run: str | None
    baseline_system: str | None
    alias: str | None
    suite: str | None
    suite_sha256: str | None
    dataset: str | None
    dataset_sha256: str | None
    policy: str
    policy_sha256: str
    verdict: str
    grade: str
    attempt: int
    detail: Mapping[str, Any]
    who: str


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """A passed gate and everything it is bound to; ``baseline_sha256`` None: nothing was in force to compare with."""

    id: str
    decision: str
    kind: str
    object: str
    number: int
    sha256: str
    alias: str | None
    policy: str
    policy_sha256: str
    suite: str
    suite_sha256: str
    dataset: str
    dataset_sha256: str
    judge_cards: tuple[str, ...]
    baseline_sha256: str | None
    result_sha256: str
    grade: str
    issued_at_us: int
    expires_at_us: int | None
    who: str
    since: str | None = None  # the receipt whose suite and cases it was held against
    weaker: tuple[str, ...] = ()  # what of them was gone or other

    def is_expired(self, at_us: int) -> bool:
        """Whether it counts no more."""
        return self.expires_at_us is not None and self.expires_at_us <= at_us


def attempts(database: Database, dataset_sha256: str | None) -> int:
    """How often runs on these very rows were judged before: each look makes the next one worth less."""
    if dataset_sha256 is None:
        return 0
    with database.read() as connection:
        return _attempts(connection, dataset_sha256)


def store(database: Database, decision: Decision, given: Sequence[Receipt], *, about: str | None = None) -> None:
    """Keeps a decision and the receipts it brought, with their entry of the history; ``about``: the object that was
    judged (`kb:handbook`).
    """
    with database.write() as connection:
        _insert(connection, "gate_decision", _DECISION, decision)
        for receipt in given:
            _insert(connection, "receipt", _RECEIPT, receipt)
        history.append(
            connection,
            who=decision.who,
            action=f"gate.{decision.verdict}",
            object=about or _object(decision),
            detail={
                "decision": decision.id,
                "system": decision.candidate_system,
                "run": decision.candidate_run,
                "baseline": decision.baseline_system,
                "policy": decision.policy,
                "policy_sha256": decision.policy_sha256,
                "dataset_sha256": decision.dataset_sha256,
                "attempt": decision.attempt,
                "grade": decision.grade,
                "receipt": ",".join(receipt.id for receipt in given) or None,
            },
        )


def decision(database: Database, decision_id: str) -> Decision:
    """One decision; raises NotFound."""
    with database.read() as connection:
        sql = f"SELECT {_DECISION} FROM gate_decision WHERE id = ?"
        row = connection.execute(sql, (decision_id[:100],)).fetchone()
    if row is None:
        raise NotFound(f"There is no decision {shown(decision_id)}.", code="decision_missing")
    return _decision(row)


def decisions_of(database: Database, run_id: str) -> list[Decision]:
    """Every decision about a run, newest first."""
    with database.read() as connection:
        sql = f"SELECT {_DECISION} FROM gate_decision WHERE candidate_run = ? ORDER BY at_us DESC, id DESC LIMIT 200"
        return [_decision(row) for row in connection.execute(sql, (run_id,)).fetchall()]


def get(database: Database, receipt_id: str) -> Receipt:
    """One receipt; raises NotFound."""
    with database.read() as connection:
        row = connection.execute(f"SELECT {_READ} FROM receipt WHERE id = ?", (receipt_id[:100],)).fetchone()
    if row is None:
        raise NotFound(
            f"There is no receipt {shown(receipt_id)}.", code="receipt_missing", hint="List them: GET /api/receipts."
        )
    return _receipt(row)


def of_decisions(database: Database, decision_ids: Sequence[str]) -> dict[str, Receipt]:
    """The receipts that these decisions brought, by decision; the caller bounds how many it asks for."""
    marks = ", ".join("?" for _ in decision_ids)
    with database.read() as connection:
        sql = f"SELECT {_READ} FROM receipt WHERE decision IN ({marks})"
        found = [_receipt(row) for row in connection.execute(sql, tuple(decision_ids)).fetchall()]
    return {one.decision: one for one in found}


def with_runs(database: Database, kind: str, name: str, limit: int = 1000) -> list[tuple[Receipt, str]]:
    """Receipts of an object, newest first, each with the run that passed."""
    run = "(SELECT candidate_run FROM gate_decision WHERE id = receipt.decision)"
    sql = f"""SELECT {_READ}, {run} FROM receipt
              WHERE kind = ? AND object = ? ORDER BY issued_at_us DESC, id DESC LIMIT ?"""
    with database.read() as connection:
        return [(_receipt(row[:-1]), row[-1]) for row in connection.execute(sql, (kind, name, limit)).fetchall()]


def list_receipts(database: Database, object_name: str | None = None, limit: int = 200) -> list[Receipt]:
    """Receipts, newest first, of one object (`support-answer` or `prompt:support-answer`) or of all."""
    sql = f"""SELECT {_READ} FROM receipt WHERE ?1 IS NULL OR object = ?1 OR kind || ':' || object = ?1
              ORDER BY issued_at_us DESC, id DESC LIMIT ?2"""
    with database.read() as connection:
        return [_receipt(row) for row in connection.execute(sql, (object_name, limit)).fetchall()]


def of_object(connection: sqlite3.Connection, kind: str, name: str) -> list[Receipt]:
    """Every receipt of an object, newest first."""
    sql = f"SELECT {_READ} FROM receipt WHERE kind = ? AND object = ? ORDER BY issued_at_us DESC, id DESC LIMIT 1000"
    return [_receipt(row) for row in connection.execute(sql, (kind, name)).fetchall()]


def standing_of(database: Database, kind: str, name: str, alias: str) -> list[Receipt]:
    """What :func:`standing` says, in a transaction of its own."""
    with database.read() as connection:
        return standing(connection, kind, name, alias)


def standing(connection: sqlite3.Connection, kind: str, name: str, alias: str) -> list[Receipt]:
    """The receipts that the newest move of an alias rested on, of those that rested on any; empty: none ever did."""
    row = connection.execute(
        """SELECT receipt_id FROM alias_move WHERE kind = ? AND object = ? AND alias = ? AND receipt_id IS NOT NULL
           ORDER BY seq DESC LIMIT 1""",
        (kind, name, alias),
    ).fetchone()
    ids = [] if row is None else row[0].split(",")
    sql = f"SELECT {_READ} FROM receipt WHERE id = ?"
    found = (connection.execute(sql, (one,)).fetchone() for one in ids)
    return [_receipt(row) for row in found if row is not None]


def _attempts(connection: sqlite3.Connection, dataset_sha256: str) -> int:
    # One look may be judged by two policies: they share its time.
    sql = "SELECT count(DISTINCT at_us || candidate_run) FROM gate_decision WHERE dataset_sha256 = ?"
    return int(connection.execute(sql, (dataset_sha256,)).fetchone()[0])


def _object(decision: Decision) -> str:
    name = decision.candidate_system.rpartition("@")[0]
    return f"prompt:{name}" if name and decision.suite is not None else f"run:{decision.candidate_run}"


def _insert(connection: sqlite3.Connection, table: str, columns: str, value: Decision | Receipt) -> None:
    names = [name.strip() for name in columns.split(",")]
    values = [_plain(getattr(value, name)) for name in names]
    connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' for _ in names)})", values)


def _plain(value: Any) -> Any:
    is_json = isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, str))
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":")) if is_json else value


def _decision(row: Sequence[Any]) -> Decision:
    values = dict(zip((name.strip() for name in _DECISION.split(",")), row, strict=True))
    return Decision(**{**values, "detail": json.loads(values["detail"])})


def _receipt(row: Sequence[Any]) -> Receipt:
    values = dict(zip((name.strip() for name in _RECEIPT.split(",")), row[:-1], strict=True))
    against = json.loads(row[-1] or "{}")
    return Receipt(
        **{**values, "judge_cards": tuple(json.loads(values["judge_cards"]))},
        since=against.get("since"),
        weaker=tuple(against.get("weaker", ())),
    )
