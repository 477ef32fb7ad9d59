"""Registry objects against their hashes: what was pushed is what is there."""

from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path

from headgate.core.errors import HeadgateError
from headgate.registry import datasets
from headgate.registry.database import Database
from headgate.registry.history import verify_history
from headgate.retrieval import versions
from headgate.runtimes.bundle import BundleDamaged, verified


def object_faults(registry: Database, home: Path) -> Iterator[str]:
    """Blocking: what is not as it was pushed: history, prompts, data sets, knowledge bases, models."""
    history = verify_history(registry)
    if history.fault is not None:
        yield f"The history of changes is broken: {history.fault}."
    with registry.read() as connection:
        prompts = connection.execute("SELECT prompt, number, sha256, content FROM prompt_version").fetchall()
        kbs = connection.execute("SELECT kb, number, sha256 FROM kb_version").fetchall()
        models = connection.execute("SELECT model, number, sha256 FROM model_version").fetchall()
    for name, number, digest, content in prompts:
        if sha256(content.encode()).hexdigest() != digest:
            yield f"The prompt {name}@{number} is not what its hash says."
    for newest in datasets.list_datasets(registry):
        for version in datasets.versions(registry, newest.name):
            yield from _fault(f"{version.name}@{version.number}", partial(datasets.rows_of, home, version))
    for name, number, digest in kbs:
        yield from _fault(f"{name}@{number}", partial(versions.verify, home, digest))
    for name, number, digest in models:
        yield from _fault(f"{name}@{number}", partial(verified, home / "models" / digest, digest))


def _fault(name: str, check: Callable[[], object]) -> Iterator[str]:
    try:
        check()
    except HeadgateError as error:
        yield f"{name}: {error}"
    except BundleDamaged as error:
        yield f"{name}: {error}."
