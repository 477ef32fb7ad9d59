"""The part of the client that classic models need: upload, register, aliases, labels, performance."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from headgate.client.wire import Wire, given

PIECE_BYTES = 4 << 20
_REGISTER_TIMEOUT_S = 180.0
_GATE_TIMEOUT_S = 1300.0  # two sides, each within the server's limit


class ModelCalls(Wire):
    """Models are named `name`, their versions by number or alias."""

    def models(self, as_of: str | None = None) -> dict[str, Any]:
        """All models with their aliases, now or as of a time: ``models``."""
        return self._json("GET", "/api/models", query=given(as_of=as_of))

    def model(self, name: str) -> dict[str, Any]:
        """One model with its ``versions``, newest first, and ``moves``."""
        return self._json("GET", _path(name))

    def model_version(self, name: str, ref: int | str) -> dict[str, Any]:
        """One version with ``signature``, ``metrics``, ``lineage``, ``evidence``, ``approvals`` and ``runner``."""
        which = {"version": str(ref)} if isinstance(ref, int) else {"alias": ref}
        return self._json("GET", _path(name), query=which)

    def register_model_file(self, name: str, file: Path | BinaryIO, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Uploads an ``.onnx`` file or an archive with one, and has it registered: ``version``, ``is_new``,
        ``signature_changes``, ``report``. The server checks it and runs it once; raises GatewayRefused."""
        upload = self._json("POST", "/api/models/uploads", body={})["upload"]
        if isinstance(file, Path):
            with file.open("rb") as opened:
                self._upload(upload, opened)
        else:
            self._upload(upload, file)
        body = {"name": name, "upload": upload, **facts}
        return self._json("POST", "/api/models/register", body=body, timeout_s=_REGISTER_TIMEOUT_S)

    def _upload(self, upload: str, file: BinaryIO) -> None:
        offset = 0
        while piece := file.read(PIECE_BYTES):
            self._json(
                "POST",
                f"/api/models/uploads/{upload}",
                query={"offset": str(offset)},
                content=piece,
                content_type="application/octet-stream",
            )
            offset += len(piece)

    def test_model(self, name: str, ref: int | str) -> dict[str, Any]:
        """Runs the stored sample of a version again, row for row: ``version``, ``passed``, ``report``."""
        return self._json("POST", f"{_path(name)}/test", body={"version": ref}, timeout_s=_REGISTER_TIMEOUT_S)

    def gate_model(
        self,
        name: str,
        ref: int | str,
        dataset: str,
        *,
        alias: str = "champion",
        against: str | None = None,
        policy: str | None = None,
    ) -> dict[str, Any]:
        """Judges a version on a labelled dataset (`name` or `name@3`), run and scored by the server: ``verdict``,
        ``receipt``, ``metrics``, ``dataset``. ``policy``: a name that ships, or a policy's text."""
        body = {"version": ref, "dataset": dataset, "alias": alias, **given(against=against, policy=policy)}
        return self._json("POST", f"{_path(name)}/gate", body=body, timeout_s=_GATE_TIMEOUT_S)

    def model_rule(self, name: str, ref: int | str, alias: str = "champion") -> dict[str, Any]:
        """What a version needs to become ``alias``: ``rule``, ``policy``, ``receipts``, ``missing``."""
        return self._json("GET", f"{_path(name)}/rule", query={"version": str(ref), "alias": alias})

    def move_model_alias(
        self, name: str, alias: str, version: int | str, *, reason: str | None = None, override: bool = False
    ) -> dict[str, Any]:
        """Points an alias to a version whose runner is ready: ``move`` (None when it stood there) and ``aliases``.
        A refused move raises GatewayRefused with the code ``move_refused``."""
        body = {"alias": alias, "version": version, "reason": reason, "override": override}
        return self._json("POST", f"{_path(name)}/aliases", body=body)

    def remove_model_alias(
        self, name: str, alias: str, *, reason: str | None = None, override: bool = False
    ) -> dict[str, Any]:
        """Ends an alias of a model."""
        body = {"alias": alias, "reason": reason, "override": override}
        return self._json("POST", f"{_path(name)}/aliases/remove", body=body)

    def rollback_model(self, name: str, alias: str = "champion", *, reason: str | None = None) -> dict[str, Any]:
        """Points an alias of a model back to the version it meant before."""
        return self._json("POST", f"{_path(name)}/rollback", body={"alias": alias, "reason": reason})

    def approve_model(
        self, name: str, version: int | str, alias: str = "champion", *, reason: str | None = None
    ) -> dict[str, Any]:
        """A second person's yes to a version becoming ``alias``: ``approval``."""
        body = {"alias": alias, "version": version, "reason": reason}
        return self._json("POST", f"{_path(name)}/approve", body=body)

    def archive_model(
        self, name: str, version: int, *, archived: bool = True, reason: str | None = None
    ) -> dict[str, Any]:
        """Takes a version out of service, or back."""
        body = {"version": version, "archived": archived, "reason": reason}
        return self._json("POST", f"{_path(name)}/archive", body=body)

    def model_performance(self, name: str, *, window: str = "7d", alias: str | None = None) -> dict[str, Any]:
        """Realised metrics by version with label coverage and intervals."""
        return self._json("GET", f"{_path(name)}/performance", query=given(window=window, alias=alias))

    def push_labels(self, labels: Sequence[Mapping[str, Any]] | Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """Stores ground truth, by request and row or by model and entity: ``stored``, ``known``, ``waiting``."""
        return self._json("POST", "/api/labels", body={"labels": list(labels)})


def _path(name: str) -> str:
    return f"/api/models/{quote(name, safe='')}"
