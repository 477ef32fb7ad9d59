"""The tries of one request at its targets: whose turn it is, whether another may follow, what each came to."""

from headgate.core.ids import monotonic_ns
from headgate.core.settings import Target
from headgate.gateway.route import Plan
from headgate.spool.record import Attempt


class Attempts:
    """Walks a plan. ``request_started_ns``, ``model``: of the request, for the notes."""

    __slots__ = ("_model", "_plan", "_request_started_ns", "_started_ns", "_turn", "made")

    def __init__(self, plan: Plan, request_started_ns: int, model: str | None) -> None:
        self._plan = plan
        self._request_started_ns = request_started_ns
        self._model = model
        self._turn = 0
        self._started_ns = 0
        self.made: list[Attempt] = []

    @property
    def target(self) -> Target:
        """Whose turn it is."""
        return self._plan.targets[self._turn]

    def begin(self) -> None:
        """The target is tried now."""
        self._started_ns = monotonic_ns()

    def may_go_on_after(self, kind: int | str) -> bool:
        """Whether another target may be tried after this one ended with ``kind``: connect, timeout or a status."""
        plan = self._plan
        return kind in plan.fallback_on and self._turn + 1 < min(len(plan.targets), plan.max_attempts)

    def go_on(self) -> None:
        """The next target."""
        self._turn += 1

    def note(self, status: int | None, error_type: str | None) -> None:
        """What this try came to."""
        target = self.target
        self.made.append(
            Attempt(
                upstream=target.upstream,
                model=target.model or self._model,
                status=status,
                error_type=error_type,
                started_us=(self._started_ns - self._request_started_ns) // 1000,
                latency_us=(monotonic_ns() - self._started_ns) // 1000,
            )
        )
