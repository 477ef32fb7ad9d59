"""A call of a classic model: read against its signature, sent to its runner, answered in the caller's protocol.

A model that no registry entry names goes to the upstream its route names, as a relay.
"""

from collections.abc import Sequence

import msgspec

from headgate import __version__
from headgate.core.errors import HeadgateError, MalformedRequest, NotFound, RequestError, UpstreamTimeout
from headgate.core.ids import monotonic_ns, monotonic_s
from headgate.core.runner_states import read_states
from headgate.core.served_models import FoundModel, no_model
from headgate.core.settings import route_for
from headgate.gateway import record
from headgate.gateway.attempts import Attempts
from headgate.gateway.auth import check_model, principal_of
from headgate.gateway.intake import describe
from headgate.gateway.model_path import MethodNotAllowed, ModelPath, allowed_methods, read_path
from headgate.gateway.relay import Relay
from headgate.gateway.runner_link import RunnerLink
from headgate.spool.record import Outcome, Prediction, TensorRecord
from headgate.wire.decode import BodyDecoder
from headgate.wire.frames import REFUSED, Frame, Tensor
from headgate.wire.inference import Call, answer, metadata, read_call
from headgate.wire.tensor_json import bad_input

_GRACE_S = 1.0
_JSON = b"application/json"
_BINARY = b"application/octet-stream"


class ModelCall(Relay):
    """One request to `/v2` or `/models/…/invocations`."""

    _path: ModelPath
    _found: FoundModel | None = None
    _call: Call | None = None
    _link: RunnerLink | None = None
    _frame_id = 0

    def fault_of_key(self) -> HeadgateError | None:
        """Probes need no key."""
        if self.target.startswith(b"/v2/health/"):
            return None
        return super().fault_of_key()

    def admit(self) -> None:
        """Read the path, the key and, for a model of our own, the body. Raises RequestError."""
        worker, head, asked = self.worker, self.head, self.asked
        path = self._path = read_path(self.target.partition(b"?")[0], self.method)
        if path.is_probe:
            return
        self.check_load()
        principal = self.principal = principal_of(head, worker.snapshot)
        asked.model = path.name or None
        describe(asked, head, principal)
        if not path.name:
            return
        check_model(principal, path.name)
        asked.identity["model_requested"] = path.name + _reference_text(path)
        entry = worker.snapshot.models.get(path.name)
        if entry is None:
            self._plan_remote(path.name)
            return
        found = self._found = entry.resolve(path.number, path.alias)
        asked.identity["model"] = found.name
        self.prompt_line = b"x-headgate-model: %b\r\n" % str(found).encode()
        if path.what in ("infer", "score"):
            self._read_call(found, path)

    def _plan_remote(self, name: str) -> None:
        """A model that is not ours: its route's upstream, if one speaks the protocol."""
        route = route_for(self.worker.settings, name)
        upstreams = self.worker.settings.upstreams
        speakers = route is not None and any(upstreams[one.upstream].speaks("inference") for one in route.targets)
        if not speakers or self._path.what == "score":
            raise no_model(name, self.worker.snapshot.models)
        plan = self.worker.plan("inference", name)
        self.asked.identity["route"] = plan.route
        self.attempts = Attempts(plan, self.started_ns, name)

    def _read_call(self, found: FoundModel, path: ModelPath) -> None:
        body = self._decoded_body()
        if path.what == "infer":
            length = self.head.noted.get(b"inference-header-content-length")
            if length is not None and (not length.isdigit() or len(length) > 12):
                raise bad_input("Inference-Header-Content-Length is no number of bytes.")
            json_bytes = None if length is None else int(length)
            self._call = read_call(body, json_bytes, found.version.signature)
        else:
            from headgate.wire.scoring import read_scoring

            kind = self.head.text(b"content-type") or ""
            self._call = read_scoring(body, kind, found.version.signature)

    def _decoded_body(self) -> bytes:
        coding = self.head.text(b"content-encoding")
        if coding is None or coding == "identity":
            return self.body
        decoder = BodyDecoder(coding, self.worker.max_body_bytes)
        body = decoder.feed(self.body)
        if decoder.note is not None:
            raise MalformedRequest(f"{decoder.note}.", code="bad_encoding", hint="gzip and deflate are read.")
        return body

    # To the runner.

    def _try_next(self) -> None:
        if self.attempts is not None:
            super()._try_next()
        elif self._call is None:
            self._tell()
        else:
            found = self._found
            assert found is not None
            version = found.version
            self._link = self.worker.runners().link(version.sha256, str(found))
            self.asked.identity["upstream"] = "models"
            self.upstream_started_ns = monotonic_ns()
            self._phase = "model"
            self.deadline_s = monotonic_s() + self.worker.settings.models.timeout_s + _GRACE_S
            self._frame_id = self._link.call(self._call.tensors, self)

    def model_answered(self, frame: Frame) -> None:
        """The runner's answer (Answered)."""
        if self.is_recorded:
            return
        found, call = self._found, self._call
        assert found is not None and call is not None
        self._link = None
        signature = found.version.signature
        if frame.kind == REFUSED:
            expected = "; ".join(map(str, signature.inputs[:20]))
            self.refuse(bad_input(f"the model cannot take this input: {frame.text} Expected: {expected}."))
            return
        try:
            if call.style == "v2":
                body, json_bytes = answer(call, frame.tensors, signature, found.name, found.version.number)
            else:
                from headgate.wire.scoring import scoring_answer

                body, json_bytes = scoring_answer(call, frame.tensors, signature), 0
        except (IndexError, ValueError):
            self.refuse(HeadgateError("the model's answer is not what its signature says.", code="bad_model_answer"))
            return
        self.status = 200
        self.last_byte_ns = monotonic_ns()
        self.asked.identity["prediction"] = self._prediction(found, call, frame.tensors)
        record.write(self, "ok", own_body=body)
        length = b"inference-header-content-length: %d\r\n" % json_bytes if json_bytes else b""
        lines = (b"x-headgate-request-id: %b\r\n" % self.asked.request_id.encode(), self.prompt_line, length)
        self.deadline_s = float("inf")
        self.worker.spool.when_durable(lambda: self._release_whole(body, _BINARY if json_bytes else _JSON, lines))

    def _release_whole(self, body: bytes, media_type: bytes, lines: tuple[bytes, ...]) -> None:
        if not self.is_finished:
            self.reply.whole(200, media_type, body, lines)
            self._finish()

    def _prediction(self, found: FoundModel, call: Call, outputs: Sequence[Tensor]) -> Prediction:
        """What the log keeps of it: features and entities are content, the answer is not."""
        capture, limit = self.asked.capture, self.worker.capture_bytes
        is_kept = capture == "full" and sum(len(tensor.data) for tensor in call.tensors) <= limit
        fits = sum(len(tensor.data) for tensor in outputs) <= limit
        return Prediction(
            model=found.name,
            version=found.version.number,
            alias=found.alias,
            rows=call.rows,
            entities=list(call.entities) if call.entities and capture != "none" else None,
            inputs=_kept(call.tensors) if is_kept else None,
            outputs=_kept(outputs) if fits else [],
        )

    def model_failed(self, error: RequestError, retry_after_s: int) -> None:
        """There is no answer (Answered)."""
        self._link = None
        self._retry_after_s = retry_after_s
        self.refuse(error, outcome="upstream_error")

    # Endings.

    def _forget_call(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.cancel(self._frame_id)

    def client_gone(self) -> None:
        """The client has closed its connection."""
        self._forget_call()
        super().client_gone()

    def stop(self) -> None:
        """The gateway stops and can wait no longer."""
        self._forget_call()
        super().stop()

    def deadline_passed(self) -> None:
        """The deadline of the current phase has passed."""
        if self._phase != "model":
            super().deadline_passed()
            return
        self._forget_call()
        limit_s = self.worker.settings.models.timeout_s
        self._retry_after_s = 1
        self.refuse(
            UpstreamTimeout(f"model {self._found} did not answer within {limit_s:g} s.", code="model_timeout"),
            outcome="timeout",
        )

    def refuse(self, error: HeadgateError, *, outcome: Outcome = "refused") -> None:
        """Answer with `{"error": …}`, and record it."""
        if isinstance(error, MethodNotAllowed) and not self.is_recorded:
            self._allow(error)
        else:
            super().refuse(error, outcome=outcome)

    def _allow(self, error: MethodNotAllowed) -> None:
        methods = allowed_methods(self.target.partition(b"?")[0]) or "GET"
        self._answer_unrecorded(405, {"error": error.sentence}, b"allow: %b\r\n" % methods.encode())

    def _say(self, status: int, body: bytes, *, retry: bool = True) -> None:
        lines = [b"x-headgate-request-id: %b\r\n" % self.asked.request_id.encode()]
        if self._retry_after_s is not None:
            lines.append(b"retry-after: %d\r\n" % self._retry_after_s)
        self.reply.whole(status, _JSON, body, tuple(lines))
        self._finish()

    # What is told about models, and not recorded.

    def _tell(self) -> None:
        path = self._path
        if path.what in ("live", "ready"):
            is_ready = self.worker.spool.writable and not self.worker.is_draining
            status = 200 if path.what == "live" or is_ready else 503
            self._answer_unrecorded(status, {"live": True, "ready": is_ready})
        elif path.what == "server":
            extensions = ["binary_tensor_data", "model_repository"]
            self._answer_unrecorded(200, {"name": "headgate", "version": __version__, "extensions": extensions})
        elif path.what == "index":
            self._answer_unrecorded(200, self._index())
        else:
            self._tell_model(path)

    def _tell_model(self, path: ModelPath) -> None:
        found = self._found
        if found is None:
            raise NotFound("no such model.")
        version = found.version
        if path.what == "metadata":
            entry = self.worker.snapshot.models[found.name]
            self._answer_unrecorded(200, metadata(found.name, sorted(entry.versions), version.signature))
            return
        state = read_states(self.worker.home).get(version.sha256)
        # One that is not running is started by the first call, so it is ready for that.
        is_ready = state is None or state.state not in ("backoff", "quarantined")
        self._answer_unrecorded(200 if is_ready else 503, {"name": found.name, "ready": is_ready})

    def _index(self) -> list[dict[str, str]]:
        """Every version that can be called, with the state of its runner (Triton's repository extension)."""
        try:
            wanted = msgspec.json.decode(self._decoded_body() or b"{}", type=_IndexWish)
        except msgspec.DecodeError as error:
            raise bad_input(f'the request does not fit: {error}. Expected {{"ready": true}} or {{}}.') from None
        states = read_states(self.worker.home)
        principal = self.principal
        found: list[dict[str, str]] = []
        for model in self.worker.snapshot.models.values():
            for number, version in model.versions.items():
                state = states.get(version.sha256)
                is_ready = state is not None and state.state == "ready"
                if wanted.ready and not is_ready or not _may_call(principal, model.name):
                    continue
                reason = "" if is_ready or state is None else state.reason or state.state
                shown = "READY" if is_ready else "UNAVAILABLE"
                found.append({"name": model.name, "version": str(number), "state": shown, "reason": reason})
        return found

    def _answer_unrecorded(self, status: int, content: object, *lines: bytes) -> None:
        self.is_recorded = True
        if not self.has_body:
            self.reply.keep_alive = False
        self.reply.whole(status, _JSON, msgspec.json.encode(content), lines)
        self._finish()


class _IndexWish(msgspec.Struct):
    ready: bool = False


def _may_call(principal: object, name: str) -> bool:
    try:
        check_model(principal, name)  # type: ignore[arg-type]
    except RequestError:
        return False
    return True


def _kept(tensors: Sequence[Tensor]) -> list[TensorRecord]:
    return [TensorRecord(tensor.code, tensor.shape, tensor.data) for tensor in tensors]


def _reference_text(path: ModelPath) -> str:
    ref = path.number if path.number is not None else path.alias
    return "" if ref is None else f"@{ref}"[:200]
