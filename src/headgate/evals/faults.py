"""What can be wrong with the files of an evaluation: suites, datasets, results, policies."""

from collections.abc import Sequence

from headgate.core.errors import HeadgateError

MOST_FAULTS = 20


class EvaluationFault(HeadgateError):
    """Something of an evaluation that cannot be used as it is."""

    code, status = "evaluation_invalid", 400


class FileFault(EvaluationFault):
    """A file that cannot be used; ``faults`` holds every reason found, each a line of its own: `file:line what`."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        more = len(self.faults) - MOST_FAULTS
        shown = self.faults if more <= 0 else (*self.faults[:MOST_FAULTS], f"… and {more} more")
        super().__init__("\n".join(shown))


class SuiteFault(FileFault):
    """A suite that cannot be run."""

    code = "suite_invalid"


class DatasetFault(FileFault):
    """A dataset whose rows do not fit."""

    code = "dataset_invalid"


class ResultsFault(FileFault):
    """A results file with rows that cannot be read."""

    code = "results_invalid"


class PolicyFault(FileFault):
    """A policy whose rules cannot be read."""

    code = "policy_invalid"
