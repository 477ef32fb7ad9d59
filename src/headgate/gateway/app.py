"""What a worker answers beside the API calls it relays: health, readiness, and the way to the control process."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from headgate.core.errors import NotFound
from headgate.gateway.control_relay import ControlRelay
from headgate.gateway.worker import Worker
from headgate.wire.envelope import error_body


def create_app(worker: Worker) -> Starlette:
    """The ASGI application of one worker."""
    control = ControlRelay(worker)

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        is_ready = worker.spool.writable and not worker.is_draining
        body = {
            "status": "ready" if is_ready else "not ready",
            "store": worker.store_state(),
            "spool": "writable" if worker.spool.writable else "full",
        }
        return JSONResponse(body, status_code=200 if is_ready else 503)

    async def missing(request: Request, exc: Exception) -> Response:
        path = request.scope["path"][:200]
        error = NotFound(f'no such path: "{path}".', hint="API calls go to /v1/…, pages to /ui.")
        return Response(error_body(error, "openai", ""), status_code=404, media_type="application/json")

    app = Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            *(Mount(path, app=control) for path in ("/api", "/ui")),
            *(Route(path, endpoint=control) for path in ("/", "/api", "/ui", "/metrics")),
        ],
        exception_handlers={404: missing},
    )
    app.router.redirect_slashes = False  # it would build an address from the Host header
    return app
