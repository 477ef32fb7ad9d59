"""The API of judge cards: calibrate a judge on logged verdicts and people's labels, and read the cards."""

from starlette.requests import Request
from starlette.responses import Response

from headgate.control.access import Principal
from headgate.control.eval_json import card_json
from headgate.control.eval_shapes import CreateCard, schema_of
from headgate.control.filters import single_values
from headgate.control.routes import ControlRoute, JSONResponse, Parameter, read_json
from headgate.control.state import ControlApp
from headgate.registry import judge_cards

_MAX_BYTES = 4 << 20


async def create(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"card": card}`; every label names a logged request of purpose judge, or nothing is kept."""
    from headgate.control.calibration import create_card

    wanted = await read_json(request, CreateCard, _MAX_BYTES)
    return JSONResponse({"card": card_json(await control.evaluate(create_card, control, who, wanted))})


async def list_cards(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"cards": [card]}`, newest first."""
    values = single_values(request.query_params.multi_items(), ["judge"])
    found = await control.read(judge_cards.list_cards, control.publisher.registry, values.get("judge"))
    return JSONResponse({"cards": [card_json(card) for card in found]})


ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="GET",
        path="/api/judges/cards",
        role="developer",
        handler=list_cards,
        summary="Judge cards, newest first",
        parameters=(Parameter(name="judge", help="Only cards of this judge: the name of its prompt."),),
    ),
    ControlRoute(
        method="POST",
        path="/api/judges/cards",
        role="developer",
        handler=create,
        summary="Calibrate a judge on its logged verdicts and people's labels",
        body=schema_of(CreateCard),
        errors=(400, 404),
    ),
)
