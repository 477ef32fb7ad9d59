"""What can be wrong with a stored prompt or with a call of one."""

import json
from collections.abc import Sequence

from headgate.core.errors import BodyTooLarge, HeadgateError, MalformedRequest

MOST_FAULTS = 20
_SHOWN_CHARS = 60


def quoted(name: object) -> str:
    """A name that a stranger chose, as it may stand in a sentence: in double quotes, escaped, cut."""
    text = str(name)
    cut = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
    return json.dumps(cut, ensure_ascii=not cut.isprintable())


class PromptFault(HeadgateError):
    """A prompt that cannot become a version; ``faults`` holds every reason, each a line of its own."""

    code, status = "prompt_invalid", 400

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        more = len(self.faults) - MOST_FAULTS
        shown = self.faults if more <= 0 else (*self.faults[:MOST_FAULTS], f"… and {more} more")
        super().__init__("\n".join(shown))


class VariablesFault(MalformedRequest):
    """Variables that do not fit a prompt's inputs; ``faults`` names each of them."""

    code = "prompt_variables"

    def __init__(self, label: str, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        more = len(self.faults) - MOST_FAULTS
        shown = "; ".join(self.faults[:MOST_FAULTS]) + (f"; and {more} more" if more > 0 else "")
        super().__init__(f"{label} cannot be rendered: {shown}.")


class PromptConflict(MalformedRequest):
    """A field of the request that says something else than the prompt version."""

    code = "prompt_conflict"


class PromptTooLarge(BodyTooLarge):
    """Variables or rendered messages above what a render may cost."""

    code = "prompt_too_large"


class ReferenceFault(MalformedRequest):
    """A text that names no prompt."""

    code = "prompt_reference"
