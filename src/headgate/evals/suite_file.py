"""Reads `evals/<suite>.yaml`: every fault with its line and the nearest key, named files written into the text."""

import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec

from headgate.core.durations import BadTime, parse_duration
from headgate.core.settings_file import nearest
from headgate.evals.dataset import NAME as DATASET_NAME
from headgate.evals.faults import SuiteFault
from headgate.evals.named_files import NamedFileFault, written_out
from headgate.evals.scorer import BaseScorer, ScorerFault, ScorerSpec, scorer_class, scorer_of
from headgate.evals.suite import Budget, DatasetRef, JudgeSpec, RunSettings, Suite, Target
from headgate.prompts import yaml_text
from headgate.prompts.faults import ReferenceFault, quoted
from headgate.prompts.reference import NAME as PROMPT_NAME
from headgate.prompts.reference import parse_reference

SCHEMA = "headgate/eval-suite@1"
MAX_FILE_BYTES = 2 << 20
MOST_SCORERS = 50
MOST_REPEATS = 100
MOST_CONCURRENT = 256
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}", re.ASCII)
_SCORER_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{12,64}", re.ASCII)
_TOP_KEYS = (
    "schema", "suite", "description", "target", "dataset", "run", "budget", "scorers", "judges", "policy",
)  # fmt: skip
_SCORER_KEYS = ("id", "type", "must_pass", "role", "direction", "judge")


def read_suite(text: str, file: str, folder: Path | None) -> Suite:
    """The suite in ``text``; see `headgate.evals.suite.load_suite`."""
    return _Reading(text, file, folder).suite()


class _Reading:
    def __init__(self, text: str, file: str, folder: Path | None) -> None:
        self._file = file
        self._folder = folder
        self._faults: list[tuple[int, int, str]] = []
        self._warnings: list[str] = []
        self._is_changed = False
        if len(text) > MAX_FILE_BYTES:
            raise SuiteFault([f"{file}:1:1 a suite file has at most 2 MB"])
        self._text = text
        self._document = yaml_text.read(text)
        for place, what in self._document.faults:
            self._faults.append((place.line, place.column, what))

    def suite(self) -> Suite:
        """The suite, or SuiteFault."""
        data = self._document.data
        if not isinstance(data, dict):
            if not self._faults:
                self._fault((), "a suite file is a mapping with suite, target, dataset and scorers")
            raise self._refusal()
        self._check_keys((), data, _TOP_KEYS, required=("suite", "target", "dataset", "scorers"))
        if data.get("schema") not in (None, SCHEMA):
            self._fault(("schema",), f"the schema of a suite is {SCHEMA}")
        judges = self._judges(data)
        found = Suite(
            name=self._named(data, "suite", _NAME, "a suite's name: small letters, digits and . _ -"),
            description=self._text_at(data, "description"),
            target=self._target(data),
            dataset=self._dataset(data),
            run=self._run(data),
            budget=self._budget(data),
            scorers=self._scorers(data, judges),
            judges=judges,
            policy=self._text_at(data, "policy") or None,
            text=self._text if not self._is_changed else yaml_text.write(data),
            warnings=(),
        )
        if self._faults:
            raise self._refusal()
        return self._with_warnings(found)

    def _with_warnings(self, found: Suite) -> Suite:
        used = {scorer.judge for scorer in found.scorers}
        for name in found.judges:
            if name not in used:
                self._warn(("judges", name), f"judge {quoted(name)} is used by no scorer")
        if not any(scorer.role == "primary" for scorer in found.scorers):
            self._warn(("scorers",), "no scorer has the role primary: a gate has no quality to compare")
        return msgspec.structs.replace(found, warnings=tuple(self._warnings))

    # Faults

    def _fault(self, path: yaml_text.Path, what: str) -> None:
        place = self._document.place(path)
        self._faults.append((place.line, place.column, what))

    def _warn(self, path: yaml_text.Path, what: str) -> None:
        place = self._document.place(path)
        self._warnings.append(f"{self._file}:{place.line}:{place.column} {what}")

    def _refusal(self) -> SuiteFault:
        return SuiteFault([f"{self._file}:{line}:{column} {what}" for line, column, what in sorted(set(self._faults))])

    def _check_keys(
        self, path: yaml_text.Path, data: dict[str, Any], known: tuple[str, ...], required: tuple[str, ...] = ()
    ) -> None:
        for key in data:
            if key not in known:
                close = nearest(key, list(known))
                meant = f"; did you mean {close}?" if close else f"; known: {', '.join(known)}"
                self._fault((*path, key, "\0key"), f"unknown key {quoted(key)}{meant}")
        for key in required:
            if data.get(key) is None:
                self._fault(path, f"{key} is missing")

    # Values

    def _text_at(self, data: dict[str, Any], key: str, path: yaml_text.Path = ()) -> str:
        value = data.get(key)
        if value is None or isinstance(value, str):
            return value or ""
        self._fault((*path, key), f"{key} is text, not {_shown(value)}")
        return ""

    def _mapping_at(self, data: dict[str, Any], key: str, path: yaml_text.Path = ()) -> dict[str, Any]:
        value = data.get(key)
        if value is None or isinstance(value, dict):
            return value or {}
        self._fault((*path, key), f"{key} is a mapping, not {_shown(value)}")
        return {}

    def _whole(self, data: dict[str, Any], key: str, default: int, least: int, most: int) -> int:
        value = data.get(key, default)
        if type(value) is int and least <= value <= most:
            return value
        self._fault(("run", key), f"{key} is a whole number from {least} to {most}, not {_shown(value)}")
        return default

    def _named(self, data: dict[str, Any], key: str, pattern: re.Pattern[str], what: str) -> str:
        name = self._text_at(data, key)
        if name and not pattern.fullmatch(name):
            self._fault((key,), f"{quoted(name)} is not {what}")
        return name

    def _target(self, data: dict[str, Any]) -> Target:
        value = data.get("target")
        if isinstance(value, str):
            value = {"prompt": value}
        elif not isinstance(value, dict):
            if value is not None:
                self._fault(("target",), f"target is a prompt's name or a mapping, not {_shown(value)}")
            return Target(prompt="")
        self._check_keys(("target",), value, ("prompt", "kb"), required=("prompt",))
        prompt = self._text_at(value, "prompt", ("target",))
        if "@" in prompt:
            self._fault(("target",), "a suite names a prompt without its version; the version is given to the run")
        elif prompt and not PROMPT_NAME.fullmatch(prompt):
            self._fault(("target",), f"{quoted(prompt)} is not a prompt's name")
        kb = self._text_at(value, "kb", ("target",))
        if "@" in kb:
            what = "a suite names a knowledge base without its version; the version is given to the run: --kb"
            self._fault(("target", "kb"), what)
        return Target(prompt=prompt, kb=kb or None)

    def _dataset(self, data: dict[str, Any]) -> DatasetRef:
        value = data.get("dataset")
        if isinstance(value, str):
            value = {"name": value}
        elif not isinstance(value, dict):
            if value is not None:
                self._fault(("dataset",), f"dataset is a name or a mapping, not {_shown(value)}")
            return DatasetRef(name="")
        path: yaml_text.Path = ("dataset",)
        self._check_keys(path, value, ("name", "version", "split"), required=("name",))
        name, version = self._text_at(value, "name", path), value.get("version")
        if name and not DATASET_NAME.fullmatch(name):
            self._fault(path, f"{quoted(name)} is not a dataset's name; write its version as version: 3")
        is_number = type(version) is int and version > 0
        if version is not None and not is_number and not (isinstance(version, str) and _DIGEST.fullmatch(version)):
            self._fault((*path, "version"), f"a version is a number or sha256:…, not {quoted(version)}")
            version = None
        return DatasetRef(name=name, version=version, split=self._text_at(value, "split", path) or None)

    def _run(self, data: dict[str, Any]) -> RunSettings:
        value, path = self._mapping_at(data, "run"), ("run",)
        self._check_keys(path, value, RunSettings.__struct_fields__)
        slices = value.get("slices") or []
        if not isinstance(slices, list) or not all(isinstance(one, str) for one in slices):
            self._fault((*path, "slices"), "slices is a list of tags, like [tags.lang]")
            slices = []
        return RunSettings(
            repeat=self._whole(value, "repeat", 1, 1, MOST_REPEATS),
            cluster_by=self._text_at(value, "cluster_by", path) or None,
            slices=tuple(slices),
            concurrency=self._whole(value, "concurrency", 8, 1, MOST_CONCURRENT),
            seed=self._whole(value, "seed", 0, 0, 1 << 53),
        )

    def _budget(self, data: dict[str, Any]) -> Budget:
        value, path = self._mapping_at(data, "budget"), ("budget",)
        self._check_keys(path, value, ("usd", "judge_usd", "wall"))
        wall = None
        if value.get("wall") is not None:
            try:
                wall = parse_duration(str(value["wall"]))
            except BadTime as error:
                self._fault((*path, "wall"), error.sentence)
        return Budget(usd=self._money(value, "usd"), judge_usd=self._money(value, "judge_usd"), wall_s=wall)

    def _money(self, data: dict[str, Any], key: str) -> Decimal | None:
        value = data.get(key)
        if value is None:
            return None
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            amount = Decimal(-1)
        if isinstance(value, bool) or not amount.is_finite() or amount < 0:
            self._fault(("budget", key), f"{key} is an amount of US dollars, not {_shown(value)}")
            return None
        return amount

    def _judges(self, data: dict[str, Any]) -> dict[str, JudgeSpec]:
        found: dict[str, JudgeSpec] = {}
        for name, value in self._mapping_at(data, "judges").items():
            path: yaml_text.Path = ("judges", name)
            entry = {"prompt": value} if isinstance(value, str) else value
            if not isinstance(entry, dict):
                self._fault(path, f"a judge is a prompt's reference or a mapping, not {_shown(value)}")
                continue
            self._check_keys(path, entry, ("prompt", "model"), required=("prompt",))
            prompt = self._text_at(entry, "prompt", path)
            self._check_reference(prompt, (*path, "prompt"))
            found[name] = JudgeSpec(prompt=prompt, model=self._text_at(entry, "model", path) or None)
        return found

    def _check_reference(self, prompt: str, path: yaml_text.Path) -> None:
        try:
            if prompt:
                parse_reference(prompt)
        except ReferenceFault as error:
            self._fault(path, error.sentence)

    # Scorers

    def _scorers(self, data: dict[str, Any], judges: dict[str, JudgeSpec]) -> tuple[ScorerSpec, ...]:
        entries = data.get("scorers")
        if not isinstance(entries, list) or not entries:
            if entries is not None:
                self._fault(("scorers",), "scorers is a list of at least one scorer")
            return ()
        if len(entries) > MOST_SCORERS:
            self._fault(("scorers",), f"a suite has at most {MOST_SCORERS} scorers")
        found: list[ScorerSpec] = []
        for index, entry in enumerate(entries[:MOST_SCORERS]):
            if not isinstance(entry, dict):
                self._fault(("scorers", index), f"a scorer is a mapping of id, type and more, not {_shown(entry)}")
            elif (spec := self._scorer(entry, ("scorers", index), judges)) is not None:
                if any(spec.id == other.id for other in found):
                    self._fault(("scorers", index, "id"), f"the id {quoted(spec.id)} is here twice")
                found.append(spec)
        return tuple(found)

    def _scorer(self, entry: dict[str, Any], path: yaml_text.Path, judges: dict[str, JudgeSpec]) -> ScorerSpec | None:
        for key in ("id", "type"):
            if not isinstance(entry.get(key), str):
                self._fault((*path, key), f"a scorer's {key} is text" if entry.get(key) else f"{key} is missing")
                return None
        if not _SCORER_ID.fullmatch(entry["id"]):
            self._fault((*path, "id"), f"{quoted(entry['id'])} is not a scorer's id: small letters, digits and . _ -")
        try:
            kind = scorer_class(entry["type"])
        except ScorerFault as error:
            self._fault((*path, "type"), str(error))
            return None
        params = self._params(entry, kind, path)
        judge = self._judge(entry, kind, path, judges)
        try:
            made = scorer_of(ScorerSpec(id=entry["id"], type=entry["type"], judge=judge, params=params))
        except ScorerFault as error:
            where = (*path, *error.path)
            is_unknown = bool(error.path) and error.path[-1] in entry and "unknown key" in str(error)
            self._fault((*where, "\0key") if is_unknown else where, str(error))
            return None
        must_pass = self._flag(entry, "must_pass", path)
        if must_pass and made.range != (0.0, 1.0):
            what = "give it a limit, or write a rule in a policy" if kind.role == "info" else "it compares two answers"
            self._fault((*path, "must_pass"), f"{entry['type']} has no pass or fail as it is: {what}")
        default_role = "guard" if must_pass else made.role
        return msgspec.structs.replace(
            made.spec,
            must_pass=must_pass,
            role=self._one_of(entry, "role", ("primary", "guard", "info"), default_role, path),
            direction=self._one_of(entry, "direction", ("higher", "lower"), made.direction, path),
        )

    def _params(self, entry: dict[str, Any], kind: type[BaseScorer], path: yaml_text.Path) -> dict[str, Any]:
        params = {key: value for key, value in entry.items() if key not in _SCORER_KEYS}
        try:
            out = written_out(kind.named_files, params, self._folder)
        except NamedFileFault as error:
            self._fault((*path, error.key), str(error))
            return params
        if out is None:
            return params
        self._is_changed = True
        for key in params:
            del entry[key]
        entry.update(out)
        return out

    def _flag(self, entry: dict[str, Any], key: str, path: yaml_text.Path) -> bool:
        value = entry.get(key, False)
        if isinstance(value, bool):
            return value
        self._fault((*path, key), f"{key} is true or false, not {_shown(value)}")
        return False

    def _one_of(
        self, entry: dict[str, Any], key: str, known: tuple[str, ...], default: str, path: yaml_text.Path
    ) -> Any:
        value = entry.get(key, default)
        if value in known:
            return value
        self._fault((*path, key), f"{key} is {' or '.join(known)}, not {quoted(value)}")
        return default

    def _judge(
        self, entry: dict[str, Any], kind: type[BaseScorer], path: yaml_text.Path, judges: dict[str, JudgeSpec]
    ) -> str | None:
        name, where = self._text_at(entry, "judge", path), (*path, "judge")
        if not kind.needs_judge:
            if name:
                self._fault(where, f"{entry['type']} asks no judge")
            return None
        if not name and len(judges) == 1:
            return next(iter(judges))
        if not name:
            self._fault(path, f"{entry['type']} needs a judge: name one of judges, or a prompt")
            return None
        if name in judges:
            return name
        if judges and "@" not in name:
            close = nearest(name, list(judges))
            meant = f"did you mean {close}?" if close else f"judges has {', '.join(map(quoted, judges))}"
            self._fault(where, f"there is no judge {quoted(name)}; {meant}")
            return None
        self._check_reference(name, where)
        judges[name] = JudgeSpec(prompt=name)
        return name


_NAMES: dict[type, str] = {
    str: "text", bool: "true or false", int: "a number", float: "a number", dict: "a mapping", list: "a list",
}  # fmt: skip


def _shown(value: Any) -> str:
    return "nothing" if value is None else quoted(value) if isinstance(value, str) else _NAMES.get(type(value), "that")
