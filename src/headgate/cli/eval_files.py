"""Suites and datasets as a command finds them: files of this directory, else the samples inside the package."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from headgate.client import Client
    from headgate.evals.dataset import Dataset
    from headgate.evals.suite import Suite

FOLDER = Path("evals")
DATASETS = "datasets"
_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True, kw_only=True)
class FoundSuite:
    """A suite and the file that it was read from."""

    suite: "Suite"
    path: Path


@contextmanager
def samples() -> Iterator[Path]:
    """The folder of the sample suites, as files."""
    with as_file(files("headgate") / "samples" / "evals") as folder:
        yield folder


def suite_names(folder: Path) -> list[str]:
    """The suites that lie in a folder."""
    return sorted({path.stem for path in folder.glob("*") if path.suffix in _ENDINGS}) if folder.is_dir() else []


def find_suite(named: str) -> FoundSuite:
    """The suite that ``named`` means: a file, a name in evals/, else a sample's name. UsageError, SuiteFault."""
    path = Path(named)
    if path.suffix in _ENDINGS:
        if not path.is_file():
            raise click.UsageError(f"There is no file {named}. Suites here: {_listed(FOLDER)}.")
        return _read(path)
    with samples() as sample_folder:
        for folder in (FOLDER, sample_folder):
            for ending in _ENDINGS:
                if (candidate := folder / f"{named}{ending}").is_file():
                    return _read(candidate)
        raise click.UsageError(
            f"There is no suite {named}: neither evals/{named}.yaml nor a sample. Suites in evals/: {_listed(FOLDER)}; "
            f"samples: {_listed(sample_folder)}. Make one: headgate eval init {named}"
        )


def is_suite(named: str) -> bool:
    """Whether a suite of that name, or such a file, is there."""
    try:
        find_suite(named)
    except click.UsageError:
        return False
    return True


def _read(path: Path) -> FoundSuite:
    from headgate.cli.prompt_files import read_text
    from headgate.evals.suite import load_suite

    return FoundSuite(suite=load_suite(read_text(path), str(path), folder=path.parent), path=path)


def dataset_file(found: FoundSuite) -> Path | None:
    """The local file of a suite's dataset; None when the suite asks for a stored version or there is no file."""
    if found.suite.dataset.version is not None:
        return None
    path = found.path.parent / DATASETS / f"{found.suite.dataset.name}.jsonl"
    if path.is_file():
        return path
    with samples() as folder:
        beside = folder.parent / DATASETS / f"{found.suite.dataset.name}.jsonl"
        inside = folder / DATASETS / f"{found.suite.dataset.name}.jsonl"
        return next((place for place in (inside, beside) if place.is_file()), None)


def read_dataset_file(path: Path) -> "Dataset":
    """The dataset in a file; DatasetFault with every faulty line, UsageError when it cannot be read."""
    from headgate.evals.dataset import read_dataset

    try:
        with path.open("rb") as file:
            return read_dataset(file, str(path), name=path.name.removesuffix(".jsonl"))
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror or error}.") from None


def local_dataset(found: FoundSuite) -> "Dataset | None":
    """The suite's own cases, from its file; None when they are stored only."""
    path = dataset_file(found)
    return None if path is None else read_dataset_file(path)


def push(client: "Client", found: FoundSuite) -> str:
    """Stores the suite and, when it lies here, its dataset (the same content is the same version); the suite's hash."""
    from headgate.evals.dataset import rows_jsonl

    dataset = local_dataset(found)
    if dataset is not None:
        client.push_dataset(dataset.name, rows_jsonl(dataset).decode())
    return str(client.push_suite(str(found.path), _with_policy(found))["sha256"])


def _with_policy(found: FoundSuite) -> str:
    """The suite's text, with the policy file that it names written out in it: the server has no such file."""
    from headgate.cli.prompt_files import read_text
    from headgate.core.protection import SHIPPED_POLICIES
    from headgate.prompts import yaml_text

    policy = found.suite.policy
    if policy is None or policy in SHIPPED_POLICIES or "\n" in policy:
        return found.suite.text
    # Beside the suite, or as it is written in headgate.toml: from where the command runs.
    places = (found.path.parent / policy, Path(policy))
    place = next((one for one in places if one.is_file()), None)
    if place is None:
        tried = " nor ".join(str(one) for one in dict.fromkeys(places))
        raise click.UsageError(
            f"{found.path}: its policy {policy} is none of {', '.join(SHIPPED_POLICIES)}, and there is no file {tried}."
        )
    return yaml_text.write({**yaml_text.read(found.suite.text).data, "policy": read_text(place)})


def stored_dataset(client: "Client", facts: Mapping[str, Any], split: str | None) -> "Dataset":
    """The rows that a run was started on: those of its dataset's version, and the suite's split of them."""
    from headgate.evals.dataset import read_dataset

    name = str(facts["name"])
    text = b"".join(client.dataset_rows(name, int(facts["number"])))
    return read_dataset(text.splitlines(), f"{name}@{facts['number']}", name=name).split(split)


def _listed(folder: Path) -> str:
    return ", ".join(suite_names(folder)) or "none"
