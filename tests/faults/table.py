"""The table of a run with faults: one line a phase."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

HEAD = (
    "| faults | injected | requests | acknowledged | lost | duplicated | wrong | seconds to recover | |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def seconds(values: Sequence[float]) -> str:
    """Their median and the most, as in "0.25 (at most 1.10)"."""
    return f"{median(values):.2f} (at most {max(values):.2f})"


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
        recovery = seconds(self.recovery_s) if self.recovery_s else ""
        counts = (self.injected, self.requests, self.acknowledged, self.lost, self.duplicated, self.wrong)
        return f"| {self.fault} | {' | '.join(f'{count:,}' for count in counts)} | {recovery} | {self.note} |"
