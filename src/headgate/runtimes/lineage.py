"""Where a model comes from: data sets by their version, by the files DVC writes, by address; read, never fetched."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from headgate.core.errors import ConfigurationError
from headgate.runtimes.bundle import hash_of

MAX_FILE_BYTES = 4 << 20
_VERSION = re.compile(r"(?P<name>[a-z0-9][a-z0-9._/-]*)@(?P<rev>[A-Za-z0-9._-]+)")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S+")
Entry = dict[str, Any]


def dataset_lineage(text: str, folder: Path) -> list[Entry]:
    """What ``--dataset`` names: `train@3` (a data set of the registry), a file, a file that DVC tracks or its `.dvc`,
    an address such as `lakefs://repo/ref/path` or `s3://…`. Raises ConfigurationError.
    """
    if _ADDRESS.fullmatch(text):
        return [_address(text)]
    path = Path(text) if Path(text).is_absolute() else folder / text
    if path.suffix == ".dvc" or path.with_name(path.name + ".dvc").is_file():
        return list(_dvc_file(path if path.suffix == ".dvc" else path.with_name(path.name + ".dvc")))
    if path.is_file():
        size_bytes = path.stat().st_size
        return [{"system": "sha256", "locator": text, "hash": hash_of(path), "size_bytes": size_bytes}]
    match = _VERSION.fullmatch(text)
    if match is not None:
        return [{"system": "dataset", "locator": match["name"], "rev": match["rev"]}]
    raise ConfigurationError(
        f"--dataset {text!r}: there is no such file, and it names no version of a data set.",
        hint="Write train@3, a file, a .dvc file, or an address such as s3://bucket/train.parquet.",
    )


def dvc_lock_lineage(model_file: Path) -> list[Entry]:
    """What the nearest `dvc.lock` says of the stage that wrote the model: its dependencies, with their hashes."""
    folder = next((parent for parent in model_file.absolute().parents if (parent / "dvc.lock").is_file()), None)
    if folder is None:
        return []
    lock = _yaml(folder / "dvc.lock")
    name = model_file.absolute().relative_to(folder).as_posix()
    found: list[Entry] = []
    for stage, facts in (lock.get("stages") or {}).items():
        outs = [str(out.get("path")) for out in _maps(facts, "outs")]
        if not any(name == out or name.startswith(out.rstrip("/") + "/") for out in outs):
            continue
        for dependency in _maps(facts, "deps"):
            found.append(_dvc_entry(dependency, f"dvc.lock, stage {stage}"))
    return found


def _dvc_file(path: Path) -> Iterator[Entry]:
    outs = list(_maps(_yaml(path), "outs"))
    if not outs:
        raise ConfigurationError(f"{path} lists no outputs.", hint="Is it a file of dvc add?")
    for out in outs:
        yield _dvc_entry(out, path.name)


def _dvc_entry(out: Mapping[str, Any], note: str) -> Entry:
    kind = str(out.get("hash") or "md5")
    digest = out.get(kind) or out.get("md5")
    entry: Entry = {"system": "dvc", "locator": str(out.get("path"))[:1000], "note": note[:300]}
    if digest:
        entry["hash"] = f"{kind}:{digest}"[:200]
    if isinstance(out.get("size"), int):
        entry["size_bytes"] = out["size"]
    if out.get("rev"):
        entry["rev"] = str(out["rev"])[:200]
    return entry


def _maps(value: object, name: str) -> Iterator[Mapping[str, Any]]:
    listed = value.get(name) if isinstance(value, Mapping) else None
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, Mapping):
            yield one


def _yaml(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError(f"{path} is over {MAX_FILE_BYTES >> 20} MB.")
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path} cannot be read: {str(error).splitlines()[0]}.") from error
    return found if isinstance(found, Mapping) else {}


def _address(text: str) -> Entry:
    scheme, _, rest = text.partition("://")
    if scheme == "lakefs" and rest.count("/") >= 1:
        repository, ref, *path = rest.split("/", 2)
        return {"system": "lakefs", "locator": f"lakefs://{repository}/{'/'.join(path)}", "rev": ref}
    return {"system": "uri", "locator": text[:1000]}
