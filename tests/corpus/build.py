"""Writes the corpus of raw exchanges, `exchanges.jsonl`: what a client sends, what the upstream must see of it, what
it answers, what the client must see of that. Run it after a change: `python tests/corpus/build.py`.

The expectations are written by hand from the rules (RFC 9110 and 9112, and the promise that nothing else is touched),
never made by the code under test. Texts stand for bytes, one character a byte (latin-1).
"""

import gzip
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("exchanges.jsonl")
ALIAS, REAL = '"fast"', '"real-model-1"'  # the route of the worker under test: fast means real-model-1
ASKED = ',"stream_options":{"include_usage":true}'
JSON = ("Content-Type", "application/json")
OK = '{"id":"x","object":"thing"}'
Headers = list[tuple[str, str]]


def request(line: str, headers: Headers, body: str = "", *, framed: bool = True) -> str:
    """A client's bytes."""
    length = [("Content-Length", str(len(body)))] if framed and body else []
    lines = [f"{line} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in [*headers, *length])]
    return "\r\n".join(lines) + "\r\n\r\n" + body


def answer(body: str = OK, *, status: str = "200 OK", headers: Headers | None = None, length: bool = True) -> str:
    """An upstream's bytes."""
    fields = [("Content-Type", "application/json")] if headers is None else headers
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields)]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines) + "\r\n\r\n" + body


def exchange(name: str, sent: str, **expected: Any) -> dict[str, Any]:
    """One line of the corpus; what is not given is the plain case."""
    head, _, body = sent.partition("\r\n\r\n")
    lines = head.split("\r\n")
    fields = [line.partition(": ")[::2] for line in lines[1:]]
    passing = [[n, v] for n, v in fields if n.lower() not in ("host", "content-length")]
    whole = {
        "name": name,
        "request": sent,
        "upstream_line": lines[0],
        "upstream_headers": passing,
        "upstream_body": body,
        "answer": [answer()],
        "status": 200,
        "headers": [["Content-Type", "application/json"]],
        "body": OK,
        "outcome": "ok",
    }
    assert set(expected) <= set(whole), expected
    return whole | expected


def targets() -> Iterator[dict[str, Any]]:
    """Request targets: every escape and every character of a query as it came."""
    paths = [
        *(
            "/v1/files",
            "/v1/files/",
            "/v1//files",
            "/v1/files/file-abc123/content",
            "/v1/files/a%2Fb",
            "/v1/files/a%2fb",
        ),
        *("/v1/models/org%2Fname%3Atag", "/v1/files/%E6%9D%B1%E4%BA%AC", "/v1/files/%c3%a9", "/v1/files/%7Euser"),
        *("/v1/files/~user", "/v1/files/a:b", "/v1/files/!$&'()*+,;=", "/v1/files/a@b", "/v1/files/a;v=1"),
        *("/v1/files/a%20b", "/v1/files/a+b", "/v1/files/%25", "/v1/files/%2525", "/v1/files/...", "/v1/files/a..b"),
        *("/v1/files?", "/v1/files??", "/v1/files?a=1?b=2", "/v1/files?a=%20b+c", "/v1/files?empty=", "/v1/files?flag"),
        *("/v1/files?a=1&a=2&a=1", "/v1/files?a[]=1&a[]=2", "/v1/files?m[k][]=v", "/v1/files?a=%5B%5D", "/v1/files?&&"),
        *(
            "/v1/files?q=%E6%9D%B1",
            "/v1/files?q=%00",
            "/v1/files?q=a/../b",
            "/v1/files?q=http://x/y?z",
            "/v1/files?q=#",
        ),
        *("/v1/files?after=file-1&limit=100&order=desc", "/v1/files?q=" + "x" * 4000, "/v1/files?q=\"'<>`|^{}"),
        *(
            "/v1/models/gemini:generateContent?alt=sse",
            "/v1/unheard/of/path",
            "/v1/a",
            "/v1/messages/batches/b_1/results",
        ),
    ]
    for number, path in enumerate(paths):
        method = ("GET", "DELETE", "GET", "POST")[number % 4]
        line = f"{method} {path}"
        yield exchange(
            f"target {method} {path[:60]}", request(line, [("Accept", "*/*")]), upstream_line=f"{line} HTTP/1.1"
        )
    for method in ("PUT", "PATCH", "OPTIONS"):
        yield exchange(f"method {method}", request(f"{method} /v1/files/f", [JSON], "{}"))


def request_headers() -> Iterator[dict[str, Any]]:
    """Headers of requests: order, duplicates, spelling; without the hop-by-hop ones and our own."""
    cases: dict[str, tuple[Headers, Headers]] = {
        "order": (f := [("B", "2"), ("A", "1"), ("C", "3"), ("a", "4")], f),
        "duplicates": (f := [("X-A", "1"), ("X-B", "1"), ("X-A", "2"), ("x-a", "1")], f),
        "spelling of names": (
            f := [("X-UPPER", "1"), ("x-lower", "1"), ("X-MiXeD_name.1~", "1"), ("!#$%&'*+", "1")],
            f,
        ),
        "empty values": (f := [("X-Empty", ""), ("X-Full", "1")], f),
        "commas, colons, quotes": (f := [("X-List", 'a, b;q=0.5, "c:d"'), ("X-Url", "https://a/b?c=d:e")], f),
        "blanks and tabs within": (f := [("X-Blank", "a  b\tc")], f),
        "latin-1 in a value": (f := [("X-Name", "Gr\xfc\xdfe \xff\x80")], f),
        "utf-8 in a value": (f := [("X-Name", "東京".encode().decode("latin-1"))], f),
        "a long value": (f := [("X-Long", "v" * 8000)], f),
        "a hundred headers": (f := [(f"X-{n}", str(n)) for n in range(100)], f),
        "no agent, no accept added": (f := [], f),
        "accept and encodings": (
            f := [("Accept", "text/event-stream"), ("Accept-Encoding", "gzip, br, zstd;q=0.1")],
            f,
        ),
        "identity refused": (f := [("Accept-Encoding", "identity;q=0")], f),
        "the openai sdk": (
            f := [
                ("Accept", "application/json"),
                ("User-Agent", "OpenAI/Python 3.54.0"),
                ("X-Stainless-Lang", "python"),
                ("x-stainless-retry-count", "0"),
                ("OpenAI-Organization", "org-1"),
                ("OpenAI-Project", "proj_1"),
                ("OpenAI-Beta", "assistants=v2"),
                ("Authorization", "Bearer sk-caller-key-1"),
            ],
            f,
        ),
        "betas of anthropic": (
            f := [
                ("anthropic-version", "2023-06-01"),
                ("anthropic-beta", "a-2025-01-01,b-2025-02-02"),
                ("anthropic-beta", "c-2025-03-03"),
                ("X-Api-Key", "sk-ant-caller-1"),
            ],
            f,
        ),
        "trace context": (
            f := [
                ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                ("tracestate", "a=1,b=2"),
                ("baggage", "k=v;p"),
            ],
            f,
        ),
        "helicone, portkey and cloudflare": (
            f := [("Helicone-Session-Id", "s"), ("x-portkey-metadata", '{"a":1}'), ("cf-aig-metadata", '{"b":2}')],
            f,
        ),
        "forwarding headers": (
            f := [("X-Forwarded-For", "10.0.0.1, 10.0.0.2"), ("Forwarded", "for=x"), ("Via", "1.1 p")],
            f,
        ),
        "conditions and ranges": (
            f := [("If-None-Match", 'W/"e"'), ("Range", "bytes=0-99,200-"), ("If-Range", '"e"')],
            f,
        ),
        "cookies": (f := [("Cookie", "a=1; b=2"), ("Cookie", "c=3")], f),
        "idempotency": (f := [("Idempotency-Key", "8e03978e-40d5"), ("X-Client-Request-Id", "r-1")], f),
        "keep-alive is ours": (
            [("Connection", "keep-alive"), ("Keep-Alive", "timeout=5"), ("X-A", "1")],
            [("X-A", "1")],
        ),
        "what connection lists": (
            [("Connection", "X-Private, x-other"), ("X-Private", "1"), ("X-A", "1"), ("X-Other", "2")],
            [("X-A", "1")],
        ),
        "te and trailer": ([("TE", "trailers"), ("Trailer", "X-T"), ("X-A", "1")], [("X-A", "1")]),
        "proxy headers": (
            [("Proxy-Connection", "keep-alive"), ("Proxy-Authorization", "Basic eA=="), ("X-A", "1")],
            [("X-A", "1")],
        ),
        "an offer of http/2": (
            [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMA"), ("X-A", "1")],
            [("X-A", "1")],
        ),
        "headers of our own": (
            [("X-Headgate-Session", "s"), ("X-A", "1"), ("x-headgate-tag-team", "t"), ("x-headgate-user", "u")],
            [("X-A", "1")],
        ),
        "names like ours": (f := [("X-Headgate", "1"), ("X-Headgates-A", "1"), ("Headgate-X", "1")], f),
    }
    for name, (given, passing) in cases.items():
        sent = request("GET /v1/files", given)
        yield exchange(f"request headers: {name}", sent, upstream_headers=[list(field) for field in passing])


def bodies() -> Iterator[dict[str, Any]]:
    """JSON bodies: not a byte changes, but for the model of a route and the request for usage."""
    members = {
        "unknown keys": '"new_parameter":{"deep":[1,{"a":null}]},"tensorzero::tags":{"a":"b"}',
        "keys given twice": '"temperature":0.1,"temperature":0.2,"seed":1,"seed":null',
        "1e400": '"logit_bias":{"1":1e400,"2":-1e400}',
        "spelling of numbers": '"a":1.0,"b":1,"c":1.50,"d":1E+2,"e":1e-7,"f":-0,"g":-0.0,"h":0.10000000000000000555',
        "integers of twenty digits": '"seed":12345678901234567890,"n":-99999999999999999999,"m":18446744073709551616',
        "escapes": '"user":"\\u0041\\/\\b\\f\\n\\r\\t\\"\\\\\\u00e9"',
        "surrogate pairs": '"user":"\\ud83d\\ude00"',
        "half a surrogate pair": '"user":"\\ud83d"',
        "escaped keys": '"\\u0075ser":"x","\\u006dessages_":1',
        "utf-8": '"user":"東京 Grüße 👩‍👩‍👧 \u2028"'.encode().decode("latin-1"),
        "blanks everywhere": ' "user" : [ 1 , 2 ,\t3 ] ,\n"x" :\r\n{ } ',
        "nested deeply": '"x":' + "[" * 200 + "]" * 200,
        "a long text": '"x":"' + "lorem ipsum " * 2000 + '"',
        "braces and quotes in texts": '"x":"}\\",\\"model\\":\\"y\\",{[","y":"\\"model\\":\\"z\\""',
        "a nested model": '"tools":[{"model":"fast","function":{"model":"fast"}}],"metadata":{"model":"fast"}',
        "empty names": '"":1,"":{"":""}',
        "null and booleans": '"a":null,"b":true,"c":false,"stream":false',
        "not a number": '"a":NaN,"b":Infinity,"c":-Infinity',
        "not utf-8": '"user":"\xff\xfe"',
    }
    ends = {"": "", " ended by a newline": "\n", " ended by blanks": " \t\r\n \n"}
    for number, (name, member) in enumerate(members.items()):
        path = ("/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions")[number % 4]
        end = list(ends.values())[number % 3]
        plain = f'{{"model":"m",{member}}}{end}'
        yield exchange(f"body: {name}", request(f"POST {path}", [JSON], plain))
        first, last = f'{{"model":%s,{member}}}{end}', f'{{{member},"model": %s }}{end}'
        for place, text in (("first", first), ("last", last)):
            yield exchange(
                f"body with another model {place}: {name}",
                request(f"POST {path}", [JSON], text.replace("%s", ALIAS)),
                upstream_body=text.replace("%s", REAL),
            )
        if path == "/v1/chat/completions":
            other = member.replace('"stream"', '"s"')
            text = f'{{"model":"m","stream":true,{other}%s}}{end}'
            yield exchange(
                f"body that streams: {name}",
                request(f"POST {path}", [JSON], text.replace("%s", "")),
                upstream_body=text.replace("%s", ASKED),
            )
    twice = '{"model":%s,"x":1,"model":%s}'
    yield exchange(
        "body with the model twice",
        request("POST /v1/chat/completions", [JSON], twice.replace("%s", ALIAS)),
        upstream_body=twice.replace("%s", REAL),
    )
    for options, sent in (
        ('"stream_options":{"include_usage":false}', '"stream_options":{"include_usage":false}'),
        ('"stream_options":{"include_usage":true}', '"stream_options":{"include_usage":true}'),
        ('"stream_options":null', '"stream_options":{"include_usage":true}'),
        ('"stream_options":{"a":1 }', '"stream_options":{"a":1 ,"include_usage":true}'),
        ('"stream_options": {}', '"stream_options": {"include_usage":true}'),
        ('"stream_options":"x"', '"stream_options":"x"'),
    ):
        text = '{"model":"m","stream":true,%s,"z":1.0}'
        yield exchange(
            f"body that streams with {options}",
            request("POST /v1/chat/completions", [JSON], text.replace("%s", options)),
            upstream_body=text.replace("%s", sent),
        )


def chunked(*pieces: str, last: str = "0\r\n\r\n") -> str:
    return "".join(f"{len(piece):x}\r\n{piece}\r\n" for piece in pieces) + last


def request_framing() -> Iterator[dict[str, Any]]:
    """Bodies that come in chunks, in parts, in other types, or not at all."""
    chat = '{"model":"m","x":"' + "y" * 50 + '"}'
    coded = [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")]
    for name, body in {
        "one chunk": chunked(chat),
        "a chunk a byte": chunked(*chat),
        "with an extension": f"{len(chat):x};a=b\r\n{chat}\r\n0;c\r\n\r\n",
        "with a trailer": chunked(chat, last="0\r\nX-Sum: 1\r\n\r\n"),
        "sizes in capitals and zeros": f"000{len(chat):X}\r\n{chat}\r\n00\r\n\r\n",
    }.items():
        yield exchange(
            f"request in chunks: {name}",
            request("POST /v1/chat/completions", coded, body, framed=False),
            upstream_headers=[list(JSON)],
            upstream_body=chat,
        )
    bound = "----x7f"
    part = (
        f'--{bound}\r\nContent-Disposition: form-data; name="file"; filename="a\xe4.bin"\r\n\r\n\x00\xff\r\n\r\n--\r\n'
    )
    form = f'{part}--{bound}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--{bound}--\r\n'
    types = {
        "multipart": (f"multipart/form-data; boundary={bound}", form),
        "multipart with a quoted boundary": (f'multipart/form-data; boundary="{bound}"', form),
        "audio": ("audio/wav", "RIFF\x24\x00\x00\x00WAVEfmt " + "".join(map(chr, range(256)))),
        "sdp": ("application/sdp", "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\n"),
        "json lines": ("application/jsonl", '{"a":1}\n{"a":2}\n'),
        "a form": ("application/x-www-form-urlencoded", "a=1&b=%20+"),
        "no json after all": ("application/json", "not json"),
        "json of no object": ("application/json", "[1, 2.0]"),
    }
    for name, (media, body) in types.items():
        yield exchange(f"request body: {name}", request("POST /v1/files", [("Content-Type", media)], body))
        in_chunks = request("POST /v1/files", [("Content-Type", media), ("Transfer-Encoding", "chunked")], framed=False)
        yield exchange(
            f"request body in chunks: {name}",
            in_chunks + chunked(body[:5], body[5:]),
            upstream_headers=[["Content-Type", media]],
            upstream_body=body,
        )
    zipped = gzip.compress(b'{"a":1}', mtime=0).decode("latin-1")
    yield exchange("request body: coded", request("POST /v1/files", [JSON, ("Content-Encoding", "gzip")], zipped))
    yield exchange("no body: post", request("POST /v1/files/f/cancel", [("Content-Length", "0")]))
    yield exchange("no body: post without a length", request("POST /v1/batches/b/cancel", []))
    yield exchange("a body with get", request("GET /v1/files", [JSON], '{"a":1}'))
    yield exchange("a body with delete", request("DELETE /v1/files/f", [JSON], '{"a":1}'))


def answers() -> Iterator[dict[str, Any]]:
    """Answers: status, headers and encoded bytes as they came."""
    for status in (200, 201, 202, 203, 206, 207, 226, 299, 300, 301, 302, 303, 307, 308):
        fields = [*[JSON], ("Location", "https://elsewhere.example/a?b=%20"), ("ETag", 'W/"x"')]
        yield got(f"status {status}", answer(status=f"{status} Reason", headers=fields), status, fields, OK)
    errors = {
        "openai": '{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}',
        "anthropic": '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}',
        "fastapi": '{"detail":[{"loc":["body"],"msg":"extra"}]}',
        "a list": '[{"error":{"code":400,"message":"no","status":"INVALID"}}]',
        "a text": '"no"',
        "no json": "<html><body>502</body></html>",
        "half of it": '{"error":{"mess',
        "empty": "",
        "blanks": "  \n",
    }
    limits = [
        ("Retry-After", "7"),
        ("retry-after-ms", "7000"),
        ("x-should-retry", "true"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("anthropic-ratelimit-requests-reset", "2026-01-01T00:00:00Z"),
    ]
    for number, status in enumerate((400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 415, 418, 422, 424, 429, 451)):
        name, body = list(errors.items())[number % len(errors)]
        fields = [JSON, *limits]
        yield got(f"error {status}: {name}", answer(body, status=f"{status} X", headers=fields), status, fields, body)
    for number, status in enumerate((500, 501, 502, 503, 504, 507, 520, 529, 530, 599)):
        name, body = list(errors.items())[(number + 3) % len(errors)]
        fields = [("content-type", "text/plain"), *limits[:2]]
        yield got(f"error {status}: {name}", answer(body, status=f"{status} X", headers=fields), status, fields, body)
    many = {
        "cookies": [JSON, ("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2"), ("set-cookie", "a=1; Path=/")],
        "spelling and order": [("ZZ", "1"), JSON, ("aA", "2"), ("X-EMPTY", ""), ("zz", "3")],
        "latin-1": [JSON, ("X-Name", "Gr\xfc\xdfe")],
        "no content type": [("X-A", "1")],
        "odd content type": [("Content-Type", 'APPLICATION/JSON;Charset=UTF-8; x="y;z"')],
        "dates and servers": [JSON, ("Date", "Mon, 23 Nov 2026 06:00:00 GMT"), ("Server", "x"), ("CF-RAY", "x-FRA")],
        "caching": [JSON, ("Cache-Control", "no-store"), ("Vary", "Accept, Origin"), ("Age", "1"), ("Via", "1.1 x")],
        "its request id": [JSON, ("x-request-id", "req_1"), ("request-id", "req_2"), ("openai-processing-ms", "12")],
        "hsts and cors": [JSON, ("Strict-Transport-Security", "max-age=1"), ("Access-Control-Allow-Origin", "*")],
        "ninety headers": [JSON, *((f"X-{n}", str(n)) for n in range(90))],
    }
    for name, fields in many.items():
        yield got(f"answer headers: {name}", answer(headers=fields), 200, fields, OK)
    gone = [JSON, ("Connection", "X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "timeout=9"), ("Proxy-Authenticate", "Basic")]
    yield got("answer headers: hop by hop", answer(headers=gone), 200, [JSON], OK)
    ours = [JSON, ("X-Headgate-Request-Id", "theirs"), ("X-A", "1")]
    yield got("answer headers: of another gateway", answer(headers=ours), 200, [JSON, ("X-A", "1")], OK)


def coded_answers() -> Iterator[dict[str, Any]]:
    """Encoded bytes pass as they are, whole or damaged."""
    plain = b'{"id":"x","usage":{"prompt_tokens":1,"completion_tokens":2}}'
    raw = zlib.compressobj(wbits=-15)
    codings = {
        "gzip": ("gzip", gzip.compress(plain, mtime=0)),
        "gzip in two members": ("gzip", gzip.compress(plain[:9], mtime=0) + gzip.compress(plain[9:], mtime=0)),
        "x-gzip": ("x-gzip", gzip.compress(plain, mtime=0)),
        "deflate": ("deflate", zlib.compress(plain)),
        "raw deflate": ("deflate", raw.compress(plain) + raw.flush()),
        "brotli": ("br", b"\x0b\x1d\x80" + plain + b"\x03"),
        "zstandard": ("zstd", b"(\xb5/\xfd\x04\x58\xe1\x01\x00" + plain + b"\x00\x00\x00\x00"),
        "two codings": ("deflate, gzip", gzip.compress(zlib.compress(plain), mtime=0)),
        "identity": ("identity", plain),
        "one unheard of": ("x-secret", plain[::-1]),
        "gzip that is none": ("gzip", plain),
        "gzip cut short": ("gzip", gzip.compress(plain, mtime=0)[:-9]),
    }
    for name, (coding, data) in codings.items():
        fields, body = [JSON, ("Content-Encoding", coding)], data.decode("latin-1")
        yield got(f"answer coded: {name}", answer(body, headers=fields), 200, fields, body)
        pieces = answer("", headers=[*fields, ("Transfer-Encoding", "chunked")], length=False) + chunked(
            body[:7], body[7:]
        )
        yield got(f"answer coded and in chunks: {name}", pieces, 200, fields, body)


def answer_framing() -> Iterator[dict[str, Any]]:
    """Chunks, connections that end, answers without a body."""
    binary = "".join(map(chr, range(256))) * 4
    types = {
        "audio/mpeg": binary,
        "application/octet-stream": binary,
        "text/vtt": "WEBVTT\n\n1\n",
        "image/png": "\x89PNG" + binary,
    }
    for media, body in types.items():
        fields = [("Content-Type", media)]
        yield got(f"answer of {media}", answer(body, headers=fields), 200, fields, body)
        head = answer("", headers=[*fields, ("Transfer-Encoding", "chunked")], length=False)
        yield got(f"answer of {media} in chunks", head + chunked(body[:1], body[1:300], body[300:]), 200, fields, body)
        ended = [answer(body, headers=fields, length=False), "close"]
        yield got(f"answer of {media} ended by its connection", ended, 200, fields, body)
    plain: Headers = [JSON]
    in_chunks = answer("", headers=[*plain, ("Transfer-Encoding", "chunked")], length=False)
    yield got("chunks with extensions", in_chunks + f"{len(OK):x};n=v\r\n{OK}\r\n0\r\n\r\n", 200, plain, OK)
    yield got("chunks with a trailer", in_chunks + chunked(OK, last="0\r\nX-T: 1\r\n\r\n"), 200, plain, OK)
    yield got("a chunk a byte", in_chunks + chunked(*OK), 200, plain, OK)
    yield got("early hints before it", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer(), 200, plain, OK)
    yield got("continue before it", "HTTP/1.1 100 Continue\r\n\r\n" + answer(), 200, plain, OK)
    yield got("an answer of http/1.0", [answer().replace("HTTP/1.1", "HTTP/1.0", 1), "close"], 200, plain, OK)
    yield got("an empty answer", answer(""), 200, plain, "")
    for status in (204, 304):
        bare = [("ETag", '"e"'), ("X-A", "1")]
        yield got(f"no body: {status}", answer("", status=f"{status} X", headers=bare, length=False), status, bare, "")
    sized = [JSON, ("X-A", "1"), ("Content-Length", "1234")]
    given = [answer("", headers=sized, length=False)]
    sent = request("HEAD /v1/files/f", [])
    yield exchange("no body: head", sent, answer=given, headers=[list(field) for field in sized], body="")
    late = request("POST /v1/files", [("Content-Type", "text/plain"), ("Expect", "100-continue")], "waited for")
    yield exchange("a body sent only after 100 continue", late, upstream_headers=[["Content-Type", "text/plain"]])


def streams() -> Iterator[dict[str, Any]]:
    """Event streams of every dialect and every bad habit: the bytes are the upstream's."""
    chunk = '{"id":"c","model":"mx","choices":[{"index":0,"delta":{"content":"Hi"}}]}'
    sound = f"data: {chunk}\n\ndata: [DONE]\n\n"
    utf8 = 'data: {"choices":[{"delta":{"content":"東京👩‍👧"}}]}\n\ndata: [DONE]\n\n'.encode().decode("latin-1")
    error = 'data: {"error":{"message":"late","type":"server_error"}}\n\n'
    message = (
        'event: message_start\ndata: {"type":"message_start","message":{"id":"m","usage":{"input_tokens":1}}}\n\n'
        'event: ping\ndata: {"type":"ping"}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
    )
    response = (
        'event: response.completed\ndata: {"type":"response.completed","response":{"id":"r","model":"m",'
        '"status":"completed","usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}}\n\n'
    )
    cases = {
        "lines ended by lf": ("/v1/chat/completions", sound, "ok"),
        "lines ended by crlf": ("/v1/chat/completions", sound.replace("\n", "\r\n"), "ok"),
        "lines ended by cr": ("/v1/chat/completions", sound.replace("\n", "\r"), "ok"),
        "no blank after the colon": ("/v1/chat/completions", sound.replace("data: ", "data:"), "ok"),
        "comments, ids and retries": ("/v1/chat/completions", f": keep-alive\n\nid: 1\nretry: 5\n{sound}", "ok"),
        "data over two lines": ("/v1/chat/completions", sound.replace(',"choices"', ',\ndata: "choices"'), "ok"),
        "a byte order mark": ("/v1/chat/completions", "\xef\xbb\xbf" + sound, "ok"),
        "signs of four bytes": ("/v1/chat/completions", utf8, "ok"),
        "an error within": ("/v1/chat/completions", sound.removesuffix("data: [DONE]\n\n") + error, "upstream_error"),
        "done and more after it": ("/v1/chat/completions", sound + "data: x\n\n", "ok"),
        "messages": ("/v1/messages", message, "ok"),
        "responses": ("/v1/responses", response, "ok"),
        "events of an unknown kind": ("/v1/other", "event: x\ndata: {}\n\nevent: y\n\n", "ok"),
        "no event at all": ("/v1/other", "garbage without an end", "ok"),
    }
    fields = [("Content-Type", "text/event-stream; charset=utf-8"), ("Cache-Control", "no-cache")]
    head = answer("", headers=[*fields, ("Transfer-Encoding", "chunked")], length=False)
    for name, (path, body, outcome) in cases.items():
        sent = request(f"POST {path}", [JSON], '{"model":"m","stream":true,"stream_options":{"include_usage":true}}')
        given = {"status": 200, "headers": [list(field) for field in fields], "body": body, "outcome": outcome}
        yield exchange(f"stream: {name}", sent, answer=[head + chunked(body)], **given)
        yield exchange(f"stream, a chunk a byte: {name}", sent, answer=[head + chunked(*body)], **given)


def got(name: str, sent: str | list[str], status: int, headers: Headers, body: str) -> dict[str, Any]:
    """An exchange that is about its answer."""
    return exchange(
        name,
        request("POST /v1/chat/completions", [JSON], '{"model":"m"}'),
        answer=[sent] if isinstance(sent, str) else sent,
        status=status,
        headers=[list(field) for field in headers],
        body=body,
        outcome="ok" if status < 400 else "upstream_error",
    )


def corpus() -> list[dict[str, Any]]:
    """All exchanges, each with a name of its own."""
    parts = (targets, request_headers, bodies, request_framing, answers, coded_answers, answer_framing, streams)
    found = [one for part in parts for one in part()]
    assert len({one["name"] for one in found}) == len(found)
    return found


def text() -> str:
    """The file."""
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in corpus())


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8", newline="\n")
    sys.stdout.write(f"{len(corpus())} exchanges\n")
