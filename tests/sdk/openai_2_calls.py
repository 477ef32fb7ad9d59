"""Run by `test_openai_2.py` in an environment that has openai 2.x: the calls people make, and the ids they got."""

import asyncio
import json
import sys
from typing import Any

import openai

QUESTION: Any = [{"role": "user", "content": "What is 17 * 23?"}]
MODEL = "gpt-4o-mini"


def main(base_url: str) -> None:
    """Call everything once and print the request ids as JSON."""
    ids: dict[str, str] = {}
    client: Any  # one script for all of 2.x
    with openai.OpenAI(base_url=base_url, api_key="sk-anything", max_retries=0) as client:
        chat = client.chat.completions.with_raw_response.create(model=MODEL, messages=QUESTION)
        assert "391" in chat.parse().choices[0].message.content
        ids["chat"] = chat.headers["x-headgate-request-id"]
        with client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True) as stream:
            assert "391" in "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            ids["stream"] = stream.response.headers["x-headgate-request-id"]
        with client.responses.create(model=MODEL, input="What is 17 * 23?", stream=True) as stream:
            assert list(stream)[-1].type == "response.completed"
            ids["responses"] = stream.response.headers["x-headgate-request-id"]
        coded = client.embeddings.with_raw_response.create(model="text-embedding-3-small", input="x")
        assert isinstance(coded.parse().data[0].embedding[0], float)
        ids["embeddings"] = coded.headers["x-headgate-request-id"]
        assert any(model.id == "demo-chat" for model in client.models.list())
        try:
            client.chat.completions.create(model="o5-mini", messages=QUESTION)
        except openai.NotFoundError as error:
            ids["refused"] = error.response.headers["x-headgate-request-id"]
    ids["async"] = asyncio.run(call_async(base_url))
    print(json.dumps({"version": openai.__version__, "ids": ids}))


async def call_async(base_url: str) -> str:
    """One streamed call of the asynchronous client."""
    client: Any
    async with openai.AsyncOpenAI(base_url=base_url, api_key="sk-anything", max_retries=0) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert "391" in text
        return str(stream.response.headers["x-headgate-request-id"])


if __name__ == "__main__":
    main(sys.argv[1])
