"""Calls of the API that prove, copy and make anew."""

from typing import Any

from headgate.client.wire import GatewayBroke, Wire

_WAIT_S = 15


class UpkeepCalls(Wire):
    """What ``headgate verify`` and ``headgate backup`` ask for."""

    def verify(self, *, rebuild: bool = False) -> dict[str, Any]:
        """The proof that nothing is lost: ``proven``, ``faults``, ``notes``, ``totals``, ``spools``; waits for it."""
        return self._awaited(self._json("POST", "/api/verify", body={"rebuild": rebuild}))

    def backup(self, directory: str, token: str) -> dict[str, Any]:
        """Copy the server's home to a directory on its machine, which holds a file ``.headgate-backup-<token>`` and
        nothing else: ``directory``, ``files``, ``bytes``, ``linked``; waits for it."""
        return self._awaited(self._json("POST", "/api/backup", body={"directory": directory, "token": token}))

    def _awaited(self, task: dict[str, Any]) -> dict[str, Any]:
        while task.get("state") == "running":
            path = f"/api/tasks/{task['task']}"
            task = self._json("GET", path, query={"wait_s": str(_WAIT_S)}, timeout_s=_WAIT_S + 30.0)
        answer: dict[str, Any] | None = task.get("answer")
        if answer is None:
            error = task.get("error") or {}
            raise GatewayBroke(
                str(error.get("message") or "The task failed."),
                code=str(error.get("code") or "task_failed"),
                hint=str(error.get("hint") or "The server's own output has the details."),
            )
        return answer
