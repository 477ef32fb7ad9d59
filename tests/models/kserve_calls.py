"""What the kserve REST client says of a server, as JSON; its interpreter runs this with a URL and rows."""

import asyncio
import json
import sys

import kserve
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferOutput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

OUTPUTS = ("label", "probabilities")


def request_of(rows: "np.ndarray", *, binary: bool) -> InferRequest:
    tensor = InferInput(name="X", shape=list(rows.shape), datatype="FP32")
    tensor.set_data_from_numpy(rows, binary_data=binary)
    wanted = [RequestedOutput(name, parameters={"binary_data": binary}) for name in OUTPUTS]
    return InferRequest(model_name="tumour", infer_inputs=[tensor], request_outputs=wanted)


def plain(output: InferOutput) -> list[float]:
    found: list[float] = output.as_numpy().ravel().tolist()
    return found


async def main(url: str, rows: "np.ndarray") -> dict[str, object]:
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        found: dict[str, object] = {
            "version": kserve.__version__ if hasattr(kserve, "__version__") else "",
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model_ready": await client.is_model_ready(url, "tumour"),
        }
        for binary in (False, True):
            answer = await client.infer(url, request_of(rows, binary=binary), model_name="tumour")
            name = "binary" if binary else "json"
            found[name] = {output.name: plain(output) for output in answer.outputs}
        try:
            await client.infer(url, request_of(rows[:, :29].copy(), binary=True), model_name="tumour")
        except Exception as error:  # border: whatever the client makes of a refusal is what is asked here
            found["refused"] = str(error)
    return found


if __name__ == "__main__":
    given = np.array(json.loads(sys.argv[2]), dtype=np.float32)
    print(json.dumps(asyncio.run(main(sys.argv[1], given))))
