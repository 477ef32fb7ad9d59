"""What ``--kb`` adds to the commands that run suites: the version of a knowledge base that is judged, and the one that
it is compared with.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.eval_sides import Side
from headgate.cli.output import note
from headgate.core.protection import LATEST, PRODUCTION

if TYPE_CHECKING:
    from headgate.client import Client

KB = click.option(
    "--kb", metavar="NAME@REF", help="The knowledge base to read, instead of the version the prompt is pinned to."
)


def kb_side(client: "Client", prompt: str, kb: str) -> tuple[Side, Mapping[str, Any]]:
    """A prompt on a version of its knowledge base (`handbook@4`, or just what follows the @), both by number; and the
    knowledge base. UsageError when the prompt does not read from it, or there is no such version.
    """
    from headgate.cli.prompt_text import version_of
    from headgate.prompts.reference import parse_reference

    version = version_of(client, prompt)
    ref, knowledge = str(version["ref"]), version["content"].get("knowledge")
    if not knowledge:
        raise click.UsageError(f"{ref} reads from no knowledge base: leave --kb out.")
    name = str(knowledge["kb"]).partition("@")[0]
    wanted = parse_reference(kb if kb == name or "@" in kb else f"{name}@{kb}")
    if wanted.name != name:
        raise click.UsageError(f"{ref} reads from {name}, not from {wanted.name}.")
    found = client.kb(name)
    return Side(prompt=ref, kb=f"{name}@{_number(found, wanted.number or wanted.alias, str(wanted))}"), found


def kb_sides(client: "Client", prompt: str, kb: str, against: str) -> tuple[Side, Side | None]:
    """The same prompt on two versions of its knowledge base: the candidate, and what ``against`` means now (None: the
    alias means nothing yet). UsageError when both are one version.
    """
    from headgate.prompts.reference import parse_reference

    candidate, found = kb_side(client, prompt, kb)
    name = str(found["name"])
    stands = parse_reference(against if "@" in against else f"{name}@{against}")
    if stands.alias == PRODUCTION and PRODUCTION not in found["aliases"]:
        note(f"{name} has no production yet: there is nothing to compare with, the absolute rules decide.")
        return candidate, None
    before = Side(prompt=candidate.prompt, kb=f"{name}@{_number(found, stands.number or stands.alias, str(stands))}")
    if before == candidate:
        raise click.UsageError(
            f"{candidate.kb} is {against} already: there is nothing to judge. Push a new version, or name another: "
            f"--kb {name}@NUMBER"
        )
    return candidate, before


def _number(found: Mapping[str, Any], which: int | str | None, written: str) -> int:
    """The number of a version of a knowledge base; UsageError with what there is."""
    numbers = [int(version["number"]) for version in found["versions"]]
    number: Any = which
    if which is None:
        number = (found.get("current") or {}).get("number")
    elif which == LATEST:
        number = found.get("latest")
    elif isinstance(which, str):
        number = found["aliases"].get(which)
    if number not in numbers:
        aliases = ", ".join(found["aliases"]) or "none"
        raise click.UsageError(
            f"There is no {written}. Versions: {', '.join(map(str, numbers[:20]))}; aliases: {aliases}."
        )
    return int(number)
