"""Files that a suite names: read from the suite's folder only, bounded, and written out in the suite's text."""

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headgate.evals.faults import EvaluationFault
from headgate.evals.scorer import NamedFile
from headgate.prompts import yaml_text
from headgate.prompts.faults import quoted

MAX_NAMED_BYTES = 256 << 10


class NamedFileFault(EvaluationFault):
    """A named file that cannot be read; ``key`` is the key of the suite that names it."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


def written_out(files: Mapping[str, NamedFile], given: Mapping[str, Any], folder: Path | None) -> dict[str, Any] | None:
    """``given`` with the contents of the files that it names; None when it names none. Raises NamedFileFault."""
    out = dict(given)
    for key, file in files.items():
        name = given.get(key)
        if not isinstance(name, str) or (file.into != key and given.get(file.into) is not None):
            continue
        content = _content(name, key, file, folder)
        if not file.is_kept:
            del out[key]
        out[file.into] = content
    return None if out == given else out


def _content(name: str, key: str, file: NamedFile, folder: Path | None) -> Any:
    if folder is None:
        raise NamedFileFault(f"{key} names the file {quoted(name)}, which is not read here; write it out", key)
    text = _text(name, key, folder)
    if file.kind == "text":
        return text
    return _mapping(text, name, key)


def _mapping(text: str, name: str, key: str) -> Any:
    if name.endswith((".yaml", ".yml")):
        document = yaml_text.read(text)
        if document.faults:
            place, what = document.faults[0]
            raise NamedFileFault(f"{name}:{place.line}:{place.column} {what}", key)
        found = document.data
    else:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise NamedFileFault(f"{quoted(name)} is not JSON: {str(error)[:200]}", key) from None
    if not isinstance(found, dict):
        raise NamedFileFault(f"{quoted(name)} holds no mapping", key)
    return found


def _text(name: str, key: str, folder: Path) -> str:
    root = folder.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise NamedFileFault(f"{quoted(name)} is outside of the suite's folder; move it there", key)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise NamedFileFault(f"{quoted(name)} cannot be read: {error.strerror}", key) from None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise NamedFileFault(f"{quoted(name)} is no file", key)
        data = file.read(MAX_NAMED_BYTES + 1)
    if len(data) > MAX_NAMED_BYTES:
        raise NamedFileFault(f"{quoted(name)} has more than {MAX_NAMED_BYTES >> 10} KB", key)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise NamedFileFault(f"{quoted(name)} is not UTF-8", key) from None
