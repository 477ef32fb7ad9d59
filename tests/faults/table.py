"""The table of a run with faults: one line a phase."""

from dataclasses import dataclass, replace
from statistics import median

HEAD = (
    "| faults | injected | requests | acknowledged | lost | duplicated | wrong | seconds to recover | |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """What one kind of fault did."""

    fault: str
    injected: int
    requests: int
    acknowledged: int
    lost: int
    duplicated: int
    wrong: int
    recovery_s: tuple[float, ...] = ()
    note: str = ""

    @property
    def is_sound(self) -> bool:
        """Nothing lost, nothing twice, every row true."""
        return not (self.lost or self.duplicated or self.wrong)

    @classmethod
    def not_run(cls, fault: str, why: str) -> "Line":
        """A fault that this machine does not allow."""
        return cls(fault=fault, injected=0, requests=0, acknowledged=0, lost=0, duplicated=0, wrong=0, note=why)

    def with_note(self, note: str) -> "Line":
        """The same with more to say."""
        return replace(self, note=note)

    def __str__(self) -> str:
        recovery = ""
        if self.recovery_s:
            recovery = f"{median(self.recovery_s):.2f} (at most {max(self.recovery_s):.2f})"
        counts = (self.injected, self.requests, self.acknowledged, self.lost, self.duplicated, self.wrong)
        return f"| {self.fault} | {' | '.join(f'{count:,}' for count in counts)} | {recovery} | {self.note} |"
