"""How a prompt is named: `name@7`, `name@production`, `name`."""

import re
from dataclasses import dataclass

from headgate.prompts.faults import ReferenceFault, quoted

NAME = re.compile(r"(?!.*(?://|\.\.|/$))[a-z0-9][a-z0-9._/-]{0,127}", re.ASCII)
ALIAS = re.compile(r"[a-z][a-z0-9._-]{0,63}", re.ASCII)
_NUMBER = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_HINT = "Write name@production, name@7 or name."


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A prompt and which of its versions; neither number nor alias: what the bare name stands for."""

    name: str
    number: int | None = None
    alias: str | None = None

    def __str__(self) -> str:
        which = self.alias if self.number is None else self.number
        return self.name if which is None else f"{self.name}@{which}"


def parse_reference(text: str) -> Reference:
    """The reference that ``text`` writes; raises ReferenceFault (400)."""
    name, at, which = text.partition("@")
    if at and not which:
        raise ReferenceFault(f"{quoted(text)} is not a prompt reference: nothing follows the @.", hint=_HINT)
    return reference_of(name, which or None)


def reference_of(name: str, which: str | int | None) -> Reference:
    """The reference of a name (or `hg:name`) and an alias or number given apart, as in the body's `prompt` object."""
    name = name.removeprefix("hg:")
    if not NAME.fullmatch(name):
        raise ReferenceFault(
            f"{quoted(name)} is not a prompt's name: small letters, digits and . _ / - after the first character.",
            hint=_HINT,
        )
    if which is None or which == "":
        return Reference(name=name)
    text = str(which)
    if _NUMBER.fullmatch(text):
        return Reference(name=name, number=int(text))
    if not ALIAS.fullmatch(text):
        raise ReferenceFault(
            f"{quoted(text)} is neither an alias nor a version number of prompt {quoted(name)}.", hint=_HINT
        )
    return Reference(name=name, alias=text)
