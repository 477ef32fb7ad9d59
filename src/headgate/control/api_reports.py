"""The API of reports: one model of a run as JSON, from which commands and pages make everything else."""

from starlette.requests import Request
from starlette.responses import Response

from headgate.control.access import Principal
from headgate.control.filters import single_values
from headgate.control.routes import ControlRoute, Parameter
from headgate.control.run_reports import Wanted, report_of
from headgate.control.state import ControlApp


async def show_report(control: ControlApp, request: Request, who: Principal) -> Response:
    """The report as JSON; the same runs and decisions give the same bytes."""
    values = single_values(request.query_params.multi_items(), ["against", "decision", "system", "against_system"])
    run, wanted = request.path_params["run"], Wanted(**values)
    return Response(
        await control.evaluate(_report, control, run, who.sees_project, wanted), media_type="application/json"
    )


def _report(control: ControlApp, run: str, project: str | None, wanted: Wanted) -> bytes:
    from headgate.evals.report import json_bytes

    return json_bytes(report_of(control, run, project, wanted))


ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="GET",
        path="/api/evals/runs/{run}/report",
        role="developer",
        handler=show_report,
        summary="The report of a run, compared with another where there is one",
        parameters=(
            Parameter(name="run", help="Id of the run.", where="path"),
            Parameter(name="against", help="The run it is compared with; that of its last gate unless told."),
            Parameter(name="decision", help="An earlier decision about the run, by its id."),
            Parameter(name="system", help="Of imported results that hold several systems, the one that is meant."),
            Parameter(name="against_system", help="The same of the other run, which is this one unless named."),
        ),
        errors=(400, 404),
    ),
)
