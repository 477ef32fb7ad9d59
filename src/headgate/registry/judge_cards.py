"""Judge cards: what calibration against people's labels showed of a judge, bound to its prompt, model and rubric."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headgate.core.errors import NotFound
from headgate.registry import history
from headgate.registry.database import Database
from headgate.registry.targets import shown

_COLUMNS = """id, judge, number, prompt_sha256, model, rubric_sha256, scorer_type, facts, evidence_sha256, who,
              created_at_us, expires_at_us"""


@dataclass(frozen=True, kw_only=True)
class JudgeCard:
    """One calibration; ``facts`` are the figures as evaluations compute them."""

    id: str
    judge: str  # name of the judge's prompt
    number: int
    prompt_sha256: str
    model: str
    rubric_sha256: str
    scorer_type: str
    facts: Mapping[str, Any]
    evidence_sha256: str
    who: str
    created_at_us: int
    expires_at_us: int

    def fault(self, prompt_sha256: str, model: str, rubric_sha256: str, at_us: int) -> str | None:
        """Why it does not speak for this judge now; None when it does."""
        if self.prompt_sha256 != prompt_sha256:
            return "the judge's prompt changed since its calibration"
        if self.model != model:
            return f"the judge's model changed from {self.model} to {model} since its calibration"
        if self.rubric_sha256 != rubric_sha256:
            return "the rubric changed since the judge's calibration"
        return "the judge's calibration is too old" if self.expires_at_us <= at_us else None


def store(database: Database, card: JudgeCard) -> None:
    """Keeps a card, with its entry of the history."""
    names = [name.strip() for name in _COLUMNS.split(",")]
    facts = json.dumps(card.facts, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    values = [facts if name == "facts" else getattr(card, name) for name in names]
    with database.write() as connection:
        connection.execute(f"INSERT INTO judge_card ({_COLUMNS}) VALUES ({', '.join('?' for _ in names)})", values)
        history.append(
            connection,
            who=card.who,
            action="judge.calibrate",
            object=f"prompt:{card.judge}",
            detail={
                "card": card.id,
                "version": card.number,
                "model": card.model,
                "n": card.facts.get("n"),
                "evidence_sha256": card.evidence_sha256,
            },
        )


def get(database: Database, card_id: str) -> JudgeCard:
    """One card; raises NotFound."""
    with database.read() as connection:
        row = connection.execute(f"SELECT {_COLUMNS} FROM judge_card WHERE id = ?", (card_id[:100],)).fetchone()
    if row is None:
        raise NotFound(f"There is no judge card {shown(card_id)}.", code="card_missing", hint="headgate judge card")
    return _card(row)


def list_cards(database: Database, judge: str | None = None, limit: int = 200) -> list[JudgeCard]:
    """Cards, newest first, of one judge (the name of its prompt) or of all."""
    sql = f"""SELECT {_COLUMNS} FROM judge_card WHERE ?1 IS NULL OR judge = ?1
              ORDER BY created_at_us DESC, id DESC LIMIT ?2"""
    with database.read() as connection:
        return [_card(row) for row in connection.execute(sql, (judge, limit)).fetchall()]


def newest(database: Database, judge: str, scorer_type: str) -> list[JudgeCard]:
    """The cards of a judge for a type of scorer, newest first: the first that fits speaks for it."""
    return [card for card in list_cards(database, judge) if card.scorer_type == scorer_type]


def by_ids(connection: sqlite3.Connection, ids: Sequence[str]) -> list[JudgeCard]:
    """The cards with these ids."""
    marks = ", ".join("?" for _ in ids)
    sql = f"SELECT {_COLUMNS} FROM judge_card WHERE id IN ({marks})"
    return [_card(row) for row in connection.execute(sql, tuple(ids)).fetchall()]


def _card(row: Sequence[Any]) -> JudgeCard:
    values = dict(zip((name.strip() for name in _COLUMNS.split(",")), row, strict=True))
    return JudgeCard(**{**values, "facts": json.loads(values["facts"])})
