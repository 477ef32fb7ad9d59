"""The samples of the demo, a knowledge base, prompts and a model: in force where the registry does not have them."""

import logging
import shutil
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path

from headgate.control import kb_build, kb_pins
from headgate.control.kb_build import Making
from headgate.control.kb_settings import read_kb_file
from headgate.control.model_files import place, stage
from headgate.control.model_runs import replay
from headgate.control.policies import guard_of_return
from headgate.control.prompt_push import checked_files
from headgate.core.errors import HeadgateError
from headgate.core.protection import PRODUCTION
from headgate.core.served_models import CHAMPION
from headgate.core.settings import Settings
from headgate.registry import datasets, kbs, models, prompts
from headgate.registry.aliases import Wish
from headgate.registry.database import Database
from headgate.registry.datasets import PushedDataset
from headgate.retrieval.model import Origin
from headgate.retrieval.sources import read_folder

WHO = "server"
MESSAGE = "A sample that comes with Headgate."
KB = "handbook"
MODEL, MODEL_DATASET = "iris", "iris-holdout"
MODEL_FEATURES = ("sepal_length_cm", "sepal_width_cm", "petal_length_cm", "petal_width_cm")
_logger = logging.getLogger("headgate.control")


def sample_files() -> list[tuple[str, str]]:
    """The sample prompts inside the package: names of files and their texts."""
    folder = files("headgate") / "samples" / "prompts"
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    return sorted((entry.name, entry.read_text(encoding="utf-8")) for entry in found)


def push_missing(home: Path, registry: Database, settings: Settings) -> list[str]:
    """Blocking: stores the samples whose names the registry does not have, as production; returns those names.

    What exists is left alone, whatever became of it. What cannot be stored is a warning: the demo runs on.
    """
    found: list[str] = []
    try:
        found += [*_push_kb(home, registry, settings), *_push_prompts(registry, settings)]
        found += _push_model(home, registry, settings)
    except HeadgateError as error:
        _logger.warning("The samples are not all there: %s", error.sentence)
    return found


def _push_model(home: Path, registry: Database, settings: Settings) -> list[str]:
    """The model with its labelled rows, checked and run as any other; nothing where no model can be run."""
    if find_spec("onnxruntime") is None or any(one.name == MODEL for one in models.list_models(registry)):
        return []
    from headgate.evals.dataset import read_dataset, rows_jsonl

    folder = files("headgate") / "samples" / "models"
    with as_file(folder / f"{MODEL}.onnx") as file:
        staged = stage(home, file, {"features": MODEL_FEATURES}, limit_bytes=1 << 20)
    try:
        report = replay(staged.directory, settings.models)
        place(staged, home)
    finally:
        shutil.rmtree(staged.directory, ignore_errors=True)
    new = models.NewVersion(
        name=MODEL,
        sha256=staged.manifest.sha256,
        manifest=staged.manifest.canonical().decode(),
        signature=staged.manifest.signature,
        size_bytes=staged.size_bytes,
        joins=report["joins"],
        metadata={},
        metrics={},
        lineage=[{"system": "uri", "locator": "sklearn.datasets.load_iris", "note": "every other row"}],
        description="Tells three irises apart by the sizes of their petals and sepals.",
        message=MESSAGE,
        author=None,
        git_commit=None,
    )
    made = models.register(registry, new, [("replay", True, report)], who=WHO)
    guard = guard_of_return(settings, "model", MODEL, CHAMPION)
    models.move_alias(registry, MODEL, CHAMPION, made.version.number, _wish(), guard)
    rows = read_dataset(
        (folder / f"{MODEL_DATASET}.jsonl").read_bytes().splitlines(), MODEL_DATASET, name=MODEL_DATASET
    )
    pushed = PushedDataset(name=rows.name, sha256=rows.sha256, rows=len(rows.rows), data=rows_jsonl(rows))
    datasets.push(registry, home, pushed, who=WHO, message=MESSAGE)
    return [MODEL]


def _push_kb(home: Path, registry: Database, settings: Settings) -> list[str]:
    if KB in kb_pins.kbs_by_name(registry):
        return []
    with as_file(files("headgate") / "samples" / "kb") as folder:
        text = (folder / f"{KB}.yaml").read_text(encoding="utf-8")
        file = read_kb_file(KB, text, f"{KB}.yaml", settings)
        found = read_folder(folder / KB)
    made = kb_build.cut(found.texts, file.settings)
    making = Making(name=KB, settings=file.settings, made=made, origin=Origin(), kb=None)
    sha256 = kb_build.build(home, making)
    version, _ = kb_build.register(
        registry, home, making, sha256, description=file.description, message=MESSAGE, who=WHO
    )
    guard = guard_of_return(settings, "kb", KB, PRODUCTION)
    kbs.move_alias(registry, KB, PRODUCTION, version.number, _wish(), guard)
    return [KB]


def _push_prompts(registry: Database, settings: Settings) -> list[str]:
    known = {prompt.name for prompt in prompts.list_prompts(registry)}
    checked = checked_files(sample_files(), settings, kb_pins.kbs_by_name(registry))
    missing = [one.pushed for one in checked if one.pushed.name not in known]
    if not missing:
        return []
    for one in prompts.push(registry, missing, who=WHO, message=MESSAGE):
        guard = guard_of_return(settings, "prompt", one.name, PRODUCTION)
        prompts.move_alias(registry, one.name, PRODUCTION, one.number, _wish(), guard)
    return [one.name for one in missing]


def _wish() -> Wish:
    return Wish(who=WHO, role="admin", reason=MESSAGE, override=True)
