"""What can be wrong with the files of an evaluation."""

from collections.abc import Sequence

from headgate.core.errors import HeadgateError

MOST_FAULTS = 20


class EvaluationFault(HeadgateError):
    """A suite, dataset, policy or results file that cannot be used as it is."""

    code, status = "evaluation_invalid", 400


class FileFault(EvaluationFault):
    """A file with faults; ``faults`` holds every one, each a line `file:line what`."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        more = len(self.faults) - MOST_FAULTS
        shown = self.faults if more <= 0 else (*self.faults[:MOST_FAULTS], f"… and {more} more")
        super().__init__("\n".join(shown))


class SuiteFault(FileFault):
    """A suite file that cannot be run."""

    code = "suite_invalid"


class DatasetFault(FileFault):
    """A dataset with rows that do not fit."""

    code = "dataset_invalid"
