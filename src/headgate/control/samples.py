"""The samples of the demo, a knowledge base and prompts: made production where the registry does not have them."""

import logging
from importlib.resources import as_file, files
from pathlib import Path

from headgate.control import kb_build, kb_pins
from headgate.control.kb_build import Making
from headgate.control.kb_settings import read_kb_file
from headgate.control.policies import guard_of_return
from headgate.control.prompt_push import checked_files
from headgate.core.errors import HeadgateError
from headgate.core.protection import PRODUCTION
from headgate.core.settings import Settings
from headgate.registry import kbs, prompts
from headgate.registry.aliases import Wish
from headgate.registry.database import Database
from headgate.retrieval.model import Origin
from headgate.retrieval.sources import read_folder

WHO = "server"
MESSAGE = "A sample that comes with Headgate."
KB = "handbook"
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
    try:
        return [*_push_kb(home, registry, settings), *_push_prompts(registry, settings)]
    except HeadgateError as error:
        _logger.warning("The samples are not all there: %s", error.sentence)
        return []


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
