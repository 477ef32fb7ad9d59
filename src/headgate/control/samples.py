"""The sample prompts of the demo: pushed and made production where the registry does not have them."""

import logging
from importlib.resources import files

from headgate.control.policies import guard_of_return
from headgate.control.prompt_push import checked_files
from headgate.core.errors import HeadgateError
from headgate.core.protection import PRODUCTION
from headgate.core.settings import Settings
from headgate.registry import prompts
from headgate.registry.aliases import Wish
from headgate.registry.database import Database

WHO = "server"
MESSAGE = "A sample that comes with Headgate."
_logger = logging.getLogger("headgate.control")


def sample_files() -> list[tuple[str, str]]:
    """The samples inside the package: names of files and their texts."""
    folder = files("headgate") / "samples" / "prompts"
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    return sorted((entry.name, entry.read_text(encoding="utf-8")) for entry in found)


def push_missing(registry: Database, settings: Settings) -> list[str]:
    """Blocking: stores the samples whose names no prompt has yet, as production; returns those names.

    A prompt that exists is left alone, whatever became of it. What cannot be stored is a warning: the demo runs on.
    """
    try:
        return _push_missing(registry, settings)
    except HeadgateError as error:
        _logger.warning("The sample prompts are not all there: %s", error.sentence)
        return []


def _push_missing(registry: Database, settings: Settings) -> list[str]:
    known = {prompt.name for prompt in prompts.list_prompts(registry)}
    missing = [one.pushed for one in checked_files(sample_files(), settings) if one.pushed.name not in known]
    if not missing:
        return []
    pushed = prompts.push(registry, missing, who=WHO, message=MESSAGE)
    wish = Wish(who=WHO, role="admin", reason=MESSAGE, override=True)
    for one in pushed:
        guard = guard_of_return(settings, "prompt", one.name, PRODUCTION)
        prompts.move_alias(registry, one.name, PRODUCTION, one.number, wish, guard)
    return [one.name for one in pushed]
