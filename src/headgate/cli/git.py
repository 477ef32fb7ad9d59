"""Where files come from: the git commit and the author, when git knows; never a failure, never a long wait."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 3.0


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The commit of some files (``-dirty``: they differ from it) and who wrote them; None: unknown."""

    commit: str | None = None
    author: str | None = None


def origin_of(files: Sequence[Path]) -> Origin:
    """The newest commit that touched ``files`` and its author; of files with changes that are not committed, the
    checked-out commit and the one who works here.
    """
    if not files:
        return Origin()
    folder, names = files[0].absolute().parent, [str(file.absolute()) for file in files]
    head = _git(folder, "rev-parse", "--verify", "HEAD")
    if head is None:
        return Origin(author=_worker(folder) if _git(folder, "rev-parse", "--is-inside-work-tree") else None)
    changed = _git(folder, "status", "--porcelain", "--ignored", "--untracked-files=all", "--", *names)
    if changed is None:  # git answers no more, or a file lies outside of this work tree
        return Origin()
    if changed:
        return Origin(commit=f"{head}-dirty", author=_worker(folder))
    newest = _git(folder, "log", "-1", "--format=%H%n%aN <%aE>", "--", *names)
    commit, _, author = (newest or head).partition("\n")
    return Origin(commit=commit, author=author or None)


def _worker(folder: Path) -> str | None:
    name, mail = _git(folder, "config", "user.name"), _git(folder, "config", "user.email")
    return " ".join(part for part in (name, f"<{mail}>" if mail else None) if part) or None


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None when there is no git, no work tree, or no answer in time."""
    # A work tree's settings could make these commands wait for other programs.
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "log.showSignature=false", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            text=True,
            errors="replace",
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
