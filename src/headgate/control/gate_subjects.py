"""What a gate judged: the prompt version, the version of a knowledge base, or both when a pin is all that changed."""

from dataclasses import dataclass
from typing import Literal

import msgspec

from headgate.control.run_knowledge import KbRead, reads_of
from headgate.core.errors import MalformedRequest
from headgate.prompts.model import PromptContent, decode_content
from headgate.registry import prompts
from headgate.registry.database import Database
from headgate.registry.runs import Run


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A version that a pass is evidence for, and what it was compared with (None: nothing)."""

    kind: Literal["prompt", "kb"]
    name: str
    number: int
    sha256: str
    baseline_sha256: str | None


def subjects_of(registry: Database, candidate: Run, baseline: Run | None) -> tuple[Subject, ...]:
    """What passing would be evidence for, what the run is about first; empty for imported results, and where the two
    sides differ in more than a receipt could say.
    """
    if candidate.prompt is None or (baseline is not None and baseline.prompt is None):
        return ()
    about_prompt = _prompt_subject(candidate, baseline)
    about_kb = _kb_subject(registry, candidate, baseline)
    return tuple(one for one in (about_prompt, about_kb) if one is not None)


def chosen_subject(subjects: tuple[Subject, ...], kind: str | None) -> Subject | None:
    """The subject whose rule decides: the one of the kind asked for, else the first. Raises MalformedRequest."""
    if kind is None:
        return subjects[0] if subjects else None
    found = next((one for one in subjects if one.kind == kind), None)
    if found is None:
        raise MalformedRequest(
            f"These runs are no evidence about a {kind}.",
            code="not_about_it",
            hint="A knowledge base is judged by runs that differ in its version alone.",
        )
    return found


def _prompt_subject(candidate: Run, baseline: Run | None) -> Subject | None:
    # A run that reads another version than the pin shows nothing about the prompt as callers get it.
    if candidate.kb is not None or (baseline is not None and baseline.kb is not None):
        return None
    assert candidate.prompt and candidate.number and candidate.prompt_sha256
    return Subject(
        kind="prompt",
        name=candidate.prompt,
        number=candidate.number,
        sha256=candidate.prompt_sha256,
        baseline_sha256=None if baseline is None else baseline.prompt_sha256,
    )


def _kb_subject(registry: Database, candidate: Run, baseline: Run | None) -> Subject | None:
    read = reads_of(registry, candidate)
    if read is None:
        return None
    before = None
    if baseline is not None:
        before = reads_of(registry, baseline) if baseline.kind == "eval" else None
        if before is None or not _differ_in_version(before, read):
            return None
        if _without_pin(registry, candidate) != _without_pin(registry, baseline):
            return None
    return Subject(
        kind="kb",
        name=read.name,
        number=read.number,
        sha256=read.sha256,
        baseline_sha256=None if before is None else before.sha256,
    )


def _differ_in_version(one: KbRead, other: KbRead) -> bool:
    return one.name == other.name and one.sha256 != other.sha256


def _without_pin(registry: Database, run: Run) -> PromptContent:
    """What a prompt version is apart from the version of the knowledge base it reads."""
    assert run.prompt is not None and run.number is not None
    content = decode_content(prompts.get_version(registry, run.prompt, run.number).content_json)
    assert content.knowledge is not None
    return msgspec.structs.replace(content, knowledge=msgspec.structs.replace(content.knowledge, kb=""))
