"""Why a request has no cost, as far as that decides how totals count it."""

from typing import Literal

NOT_SENT = "not sent: no upstream was reached"
"""Nobody who could charge got to see the request."""
FAILED = "failed at the upstream: status "
"""How the reason begins where an upstream refused or failed: it charged nothing, as far as anyone knows."""
NOT_PRICED = "not a priced endpoint"
"""Lists of models, counts of tokens and the like: there is no usage that could be priced."""

Group = Literal["not_sent", "failed", "not_priced", "unpriced"]


def group_of(cost_reason: str | None) -> Group:
    """How totals count a request without a cost; only ``unpriced`` means that money may be missing."""
    if cost_reason == NOT_SENT:
        return "not_sent"
    if cost_reason == NOT_PRICED:
        return "not_priced"
    return "failed" if cost_reason is not None and cost_reason.startswith(FAILED) else "unpriced"
