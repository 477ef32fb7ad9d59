"""Runs of suites: begun from what the registry has, loaded again to be judged."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from headgate.control.access import Principal
from headgate.control.eval_shapes import StartRun
from headgate.control.publish import name_of
from headgate.control.run_knowledge import NOTHING, Read, check_reads, judge_reads, read_instead, reads_of
from headgate.control.state import ControlApp
from headgate.core.errors import MalformedRequest, NotFound
from headgate.core.ids import now_us, uuid7
from headgate.core.protection import LATEST, PRODUCTION
from headgate.evals.cells import Cell, cells_of
from headgate.evals.dataset import Dataset, read_dataset
from headgate.evals.scorer import Scorer
from headgate.evals.suite import Suite, load_suite, scorers_of
from headgate.prompts.reference import parse_reference
from headgate.registry import datasets, prompts, runs, suites
from headgate.registry.database import Database
from headgate.registry.prompts import PromptVersion
from headgate.registry.runs import Run
from headgate.registry.suites import SuiteText
from headgate.registry.targets import shown

MAX_CELLS = 50_000
_WHICH = re.compile(r"[1-9][0-9]{0,8}|[a-z][a-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A run with everything it is made of; ``dataset`` is the split that the suite names."""

    run: Run
    suite: Suite
    dataset: Dataset
    cells: tuple[Cell, ...]
    scorers: tuple[Scorer, ...]
    reads: Read  # the knowledge base that every answer must rest on
    judge_reads: Mapping[str, Read]


def new_id(prefix: str) -> str:
    """An id that sorts by time: `run_0198f2c4…`."""
    return f"{prefix}_{uuid7(now_us()).replace('-', '')}"


def start(control: ControlApp, who: Principal, wanted: StartRun) -> tuple[Run, bool]:
    """Blocking: a run of a stored suite, or the unfinished one of the same caller; and whether it is that.

    Raises NotFound, MalformedRequest, SuiteFault, DatasetFault.
    """
    registry = control.publisher.registry
    kept = suites.get(registry, wanted.suite_sha256)
    suite = load_suite(kept.text, kept.file)
    version = _version(registry, suite.target.prompt, wanted.prompt)
    check_reads(version, suite.target.kb)
    kb = read_instead(registry, control.settings, version, wanted.kb)
    stored = datasets.get(registry, suite.dataset.name, suite.dataset.version)
    dataset = _rows(control, stored).split(suite.dataset.split)
    count = len(dataset.rows) * suite.run.repeat
    if count > MAX_CELLS:
        raise MalformedRequest(f"The run would have {count} cells; at most {MAX_CELLS}.", hint="Use fewer rows.")
    run = Run(
        id=new_id("run"),
        kind="eval",
        name="",
        system=f"{version.name}@{version.number}{'' if kb is None else f' with {kb.ref}'}",
        suite=suite.name,
        suite_sha256=kept.sha256,
        text_sha256=kept.text_sha256,
        prompt=version.name,
        number=version.number,
        prompt_sha256=version.sha256,
        kb=None if kb is None else kb.ref,
        kb_sha256=None if kb is None else kb.sha256,
        dataset=stored.name,
        dataset_number=stored.number,
        dataset_sha256=stored.sha256,
        judges=pinned_judges(registry, suite),
        baseline_run=_baseline(registry, wanted.baseline_run, kept, stored.sha256),
        cells=count,
        totals={},
        scorers={},
        who=name_of(who),
        created_at_us=now_us(),
    )
    run = replace(run, name=run.id)
    if wanted.resume and (old := runs.unfinished(registry, run)) is not None:
        return old, True
    runs.create(registry, run)
    return run, False


def load(control: ControlApp, run: Run) -> Loaded:
    """Blocking: what a run is made of; raises NotFound, HomeError when the rows are gone or changed."""
    registry = control.publisher.registry
    kept = None if run.text_sha256 is None else suites.by_text(registry, run.text_sha256)
    if kept is None or run.dataset is None or run.prompt_sha256 is None:
        raise MalformedRequest(
            f"{run.id} holds imported results; it has no cases of its own.",
            code="run_imported",
            hint="Gate it as it is.",
        )
    suite = load_suite(kept.text, kept.file)
    dataset = _rows(control, datasets.get(registry, run.dataset, run.dataset_number)).split(suite.dataset.split)
    reads = reads_of(registry, run)
    return Loaded(
        run=run,
        suite=suite,
        dataset=dataset,
        cells=tuple(cells_of(suite, dataset, run.prompt_sha256, run.kb_sha256)),
        scorers=tuple(scorers_of(suite)),
        reads=NOTHING if reads is None else (reads.name, reads.number),
        judge_reads=judge_reads(registry, run),
    )


def resolved(registry: Database, text: str) -> PromptVersion:
    """The version that `name@8`, `name@alias` or a bare name means; raises NotFound, MalformedRequest."""
    reference = parse_reference(text)
    which: int | str | None = reference.number or reference.alias
    if which is None:
        stands = prompts.get_prompt(registry, reference.name).aliases
        which = PRODUCTION if PRODUCTION in stands else LATEST
    return prompts.get_version(registry, reference.name, which)


def _version(registry: Database, target: str, text: str) -> PromptVersion:
    wanted = text if "@" in text or not _WHICH.fullmatch(text) else f"{target}@{text}"
    if text == target:
        wanted = target
    version = resolved(registry, wanted)
    if version.name != target:
        raise MalformedRequest(
            f"The suite judges {target}, not {version.name}.", hint=f"Name a version of it: {target}@NUMBER"
        )
    if version.is_archived():
        raise MalformedRequest(
            f"{version.name}@{version.number} is archived and answers no calls.",
            code="prompt_version_archived",
            hint="Bring it back first.",
        )
    return version


def pinned_judges(registry: Database, suite: Suite) -> Mapping[str, Any]:
    """Every judge by the suite's name for it, pinned to a version now."""
    found = {}
    for name, judge in suite.judges.items():
        try:
            version = resolved(registry, judge.prompt)
        except NotFound as error:
            raise NotFound(
                f"The judge {name} of suite {suite.name}: {error}", code=error.code, hint=error.hint
            ) from None
        if judge.model is not None and judge.model != version.model:
            raise MalformedRequest(
                f"The judge {name} asks for model {shown(judge.model)}, but {version.name}@{version.number} runs on "
                f"{version.model}.",
                hint="Leave the model out, or name a version that runs on it.",
            )
        ref = f"{version.name}@{version.number}"
        found[name] = {"ref": ref, "sha256": version.sha256, "model": version.model}
    return found


def _baseline(registry: Database, run_id: str | None, kept: SuiteText, dataset_sha256: str) -> str | None:
    if run_id is None:
        return None
    baseline = runs.get(registry, run_id)
    if baseline.dataset_sha256 != dataset_sha256 or baseline.suite_sha256 != kept.sha256:
        raise MalformedRequest(
            f"{run_id} ran other cases (suite {baseline.suite}, dataset {baseline.dataset}@{baseline.dataset_number}).",
            code="baseline_differs",
            hint="Run the baseline on this suite and dataset first; what is in the log is not asked again.",
        )
    return run_id


def _rows(control: ControlApp, stored: datasets.DatasetVersion) -> Dataset:
    data = datasets.rows_of(control.home.path, stored)
    return read_dataset(data.splitlines(), f"{stored.name}@{stored.number}", name=stored.name)
