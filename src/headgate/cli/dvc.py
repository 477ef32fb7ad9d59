"""Which DVC revision a folder is at: from its `.dvc` file, or from `dvc.lock`; never a failure."""

from pathlib import Path
from typing import Any

_MAX_BYTES = 1 << 20
_LEVELS = 5


def revision_of(folder: Path) -> str | None:
    """The hash that DVC has for ``folder``, as ``md5:…``; None where DVC does not know it."""
    folder = folder.absolute()
    own = _read(folder.with_name(folder.name + ".dvc"))
    for out in _outs(own):
        if out.get("path") == folder.name:
            return _hash(out)
    for parent in [folder.parent, *folder.parents[1:_LEVELS]]:
        lock = _read(parent / "dvc.lock")
        wanted = folder.relative_to(parent).as_posix()
        stages = lock.get("stages")
        for stage in stages.values() if isinstance(stages, dict) else ():
            for out in _outs(stage if isinstance(stage, dict) else {}):
                if out.get("path") == wanted:
                    return _hash(out)
    return None


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        if path.stat().st_size > _MAX_BYTES:
            return {}
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _outs(holder: dict[str, Any]) -> list[dict[str, Any]]:
    outs = holder.get("outs")
    return [out for out in outs if isinstance(out, dict)] if isinstance(outs, list) else []


def _hash(out: dict[str, Any]) -> str | None:
    kind = str(out.get("hash") or "md5")
    value = out.get(kind)
    return f"{kind}:{value}" if isinstance(value, str) else None
