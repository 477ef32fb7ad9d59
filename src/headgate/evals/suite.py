"""A suite: which prompt is judged on which cases by which scorers; `suite_file` reads it from its file."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from headgate.evals.canonical import digest
from headgate.evals.dataset import Row
from headgate.evals.faults import SuiteFault
from headgate.evals.scorer import Scorer, ScorerSpec, scorer_of

__all__ = [
    "Budget",
    "DatasetRef",
    "JudgeSpec",
    "RunSettings",
    "Suite",
    "SuiteFault",
    "Target",
    "cluster_of",
    "load_suite",
    "scorers_of",
]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What is judged: a prompt by name, and the knowledge base that it must read from, when the suite says which."""

    prompt: str
    kb: str | None = None


class DatasetRef(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset: by number, by ``sha256:…``, or the newest; ``split`` takes the rows with that tag `split`."""

    name: str
    version: int | str | None = None
    split: str | None = None


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the cases run: answers per case, what makes cases dependent, slices, order."""

    repeat: int = 1
    cluster_by: str | None = None
    slices: tuple[str, ...] = ()
    concurrency: int = 8
    seed: int = 0


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What a run may cost at most; None: no limit of the suite's own. ``usd`` covers judges too."""

    usd: Decimal | None = None
    judge_usd: Decimal | None = None
    wall_s: float | None = None


class JudgeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A judge: a stored prompt (`judge-rubric@production`); ``model``, when given, must be that version's."""

    prompt: str
    model: str | None = None


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    """A suite as loaded. ``text`` is the self-contained file: what it named by path is written out in it."""

    name: str
    description: str = ""
    target: Target
    dataset: DatasetRef
    run: RunSettings = RunSettings()
    budget: Budget = Budget()
    scorers: tuple[ScorerSpec, ...]
    judges: Mapping[str, JudgeSpec] = {}
    policy: str | None = None
    text: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """The hash of what decides results: not of description, policy, budget, concurrency or how it is written."""
        return digest(self.content())

    def content(self) -> dict[str, Any]:
        """What the hash covers, as JSON values; the version of every scorer is part of it."""
        run = msgspec.to_builtins(self.run)
        del run["concurrency"]
        versions = {scorer.spec.id: scorer.version for scorer in scorers_of(self)}
        return {
            "suite": self.name,
            "target": msgspec.to_builtins(self.target),
            "dataset": msgspec.to_builtins(self.dataset),
            "run": run,
            "scorers": [{**msgspec.to_builtins(one), "version": versions[one.id]} for one in self.scorers],
            "judges": {name: msgspec.to_builtins(judge) for name, judge in self.judges.items()},
        }


def scorers_of(suite: Suite) -> list[Scorer]:
    """The scorers of a suite, in its order, ready to use."""
    return [scorer_of(spec) for spec in suite.scorers]


def cluster_of(suite: Suite, row: Row) -> str | None:
    """The cluster that a row belongs to: the tag that ``cluster_by`` names, else the row's own."""
    by = suite.run.cluster_by
    if by is None or by == "cluster":
        return row.cluster
    return row.tags.get(by.removeprefix("tags."))


def load_suite(text: str, file: str, *, folder: Path | None = None) -> Suite:
    """The suite in ``text``; SuiteFault lists every fault as `file:line:column what`.

    ``folder`` is where files that the suite names (schemas, rubrics, own scorers) lie; None: it may name none, as when
    the self-contained text of a loaded suite is read again. ``file`` is for the texts of faults.
    """
    from headgate.evals.suite_file import read_suite

    return read_suite(text, file, folder)
