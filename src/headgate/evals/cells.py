"""The calls of a run and their keys: equal content, equal key, so that the log itself is the cache."""

import hashlib
from typing import Any

import msgspec

from headgate.evals.canonical import digest
from headgate.evals.dataset import Dataset, Row
from headgate.evals.scorer import Ask
from headgate.evals.suite import Suite


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One answer that a run needs: a row, the how-manieth answer to it, and its place in the order of the run."""

    item: str
    repeat: int
    order: int
    key: str
    row: Row


def cell_key(content_sha256: str, kb_sha256: str | None, row: Row, repeat: int) -> str:
    """The key of an answer: what the prompt's content, knowledge and inputs decide, and which of several it is."""
    return digest(
        {
            "kind": "cell",
            "prompt": content_sha256,
            "kb": kb_sha256,
            "variables": row.variables,
            "messages": row.messages,
            "repeat": repeat,
        }
    )


def ask_key(ask: Ask, prompt_sha256: str | None) -> str:
    """The key of a scorer's call; ``prompt_sha256``: the content of the judge's version, None for embeddings."""
    if ask.kind == "embedding":
        return digest({"kind": "embedding", "model": ask.model, "input": list(ask.input)})
    what: dict[str, Any] = {"kind": "ask", "prompt": prompt_sha256, "variables": ask.variables}
    return digest(what)


def cells_of(suite: Suite, dataset: Dataset, content_sha256: str, kb_sha256: str | None = None) -> list[Cell]:
    """The cells of a run over ``dataset`` (already the wanted split), in an order that only the seed decides.

    Rows with equal inputs have equal keys: one call answers them all.
    """
    found = [
        (_rank(suite.run.seed, row.id, repeat), row, repeat)
        for row in dataset.rows
        for repeat in range(suite.run.repeat)
    ]
    found.sort(key=lambda one: one[0])
    return [
        Cell(item=row.id, repeat=repeat, order=order, key=cell_key(content_sha256, kb_sha256, row, repeat), row=row)
        for order, (_, row, repeat) in enumerate(found)
    ]


def _rank(seed: int, item: str, repeat: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{repeat}\0{item}".encode()).digest()
