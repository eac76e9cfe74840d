"""Sends made-up and damaged HTTP requests to a server, with fixed seeds.

python -m helpers.hostile_http HOST:PORT MODEL COUNT prints what is wrong with
any answer, and how many answers had which status.
"""

import base64
import collections
import contextlib
import gzip
import http.client
import json
import random
import socket
import sys

from helpers.hostile import damaged

SECONDS = 120

ALLOWED = {200, 400, 403, 404, 405, 408, 413, 415, 421, 503}


def _field(number, content):
    """A field of a protocol buffer, shorter than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def example_of(features):
    """A serialized `tf.train.Example` of small integers, as base64."""
    entries = b""
    for name, values in features.items():
        numbers = _field(3, _field(1, bytes(values)))
        entries += _field(1, _field(1, name.encode()) + _field(2, numbers))
    return base64.b64encode(_field(1, entries)).decode()


# Two rows of [CLS] and [SEP], of which each is one for models without choices.
ROW = {"input_ids": [4, 5], "input_mask": [1, 1], "segment_ids": [0, 0]}
EXAMPLE = example_of(ROW)
TEXTS = {
    "text": "a [MASK] museum",
    "text_b": "a book",
    "words": ["a", "museum"],
    "choices": ["a museum", "Très bien"],
}
POSITIONS = "masked_lm_positions"


def value_of(name, rank):
    """A value of one instance, for an input of a signature.

    Args:
        name: of the input.
        rank: of the input, whose first axis is that of instances.
    """
    if name == "examples":
        return {"b64": EXAMPLE}
    value = {**ROW, POSITIONS: [1], **TEXTS}.get(name, "a museum")
    # Choices have rows of their own.
    return [value, value] if rank == 3 else value


def bodies_of(signatures):
    """Requests that are right, to each signature.

    Args:
        signatures: {name: {input: rank}}.
    """
    found = [(":tokenize", {"instances": ["a museum", "Très bien"]})]
    for name, inputs in sorted(signatures.items()):
        row = {key: value_of(key, rank) for key, rank in inputs.items()}
        if "examples" in row and {POSITIONS: 2}.items() <= union(signatures):
            row["examples"] = {"b64": example_of({**ROW, POSITIONS: [1]})}
        found += [
            (":predict", {"signature_name": name, "instances": [row, row]}),
            (
                ":predict",
                {
                    "signature_name": name,
                    "inputs": {key: [x] * 2 for key, x in row.items()},
                },
            ),
        ]
    return found


def union(signatures):
    """All inputs with their ranks."""
    return {pair for inputs in signatures.values() for pair in inputs.items()}


def signatures_of(address, name):
    """{signature: {input: rank}} of a served model."""
    sent = f"GET /v1/models/{name}/metadata HTTP/1.1\r\nhost: localhost\r\n\r\n"
    status, content = answer_to(address, sent.encode())
    assert status == 200, content
    found = json.loads(content)["metadata"]["signature_def"]["signature_def"]
    return {
        name: {
            key: len(tensor["tensor_shape"]["dim"])
            for key, tensor in signature["inputs"].items()
        }
        for name, signature in found.items()
        # __saved_model_init_op has none.
        if signature["inputs"]
    }


ODD_VALUES = [
    None,
    True,
    0,
    -1,
    1.5,
    2**31,
    2**63,
    -(2**31) - 1,
    10**400,
    1e999,
    float("nan"),
    "",
    "a" * 30_000,
    "\ud800",
    "\0",
    "\u202e\x1b[2K",
    "[MASK] " * 50,
    [],
    [[]],
    [[1, 2], [3]],
    {},
    {"b64": "%%%"},
    {"b64": "////"},
    {"b64": ""},
    {"b64": 5},
    {"b64": EXAMPLE[:-9] + "="},
    [0] * 600,
    ["a"] * 200,
]

ODD_HEADERS = [
    b"host: attacker.example",
    b"host: localhost",
    b"host: \xff\xfe",
    b"origin: null",
    b"sec-fetch-site: cross-site",
    b"transfer-encoding: chunked",
    b"transfer-encoding: gzip, chunked",
    b"transfer-encoding: identity",
    b"content-length: 0",
    b"content-length: -1",
    b"content-length: 99999999999",
    b"content-length: 1, 2",
    b"content-encoding: gzip",
    b"content-encoding: br",
    b"expect: 100-continue",
    b"connection: close",
    b"connection: upgrade",
    b"upgrade: websocket",
    b"x: " + b"a" * 17_000,
    b"x\0: a",
    b"no colon",
    b" folded: a",
    b"content-type: \x00",
    b"te: trailers",
    b"range: bytes=0-1",
]

ODD_TARGETS = [
    b"/",
    b"*",
    b"",
    b"//",
    b"/page/../serve.py",
    b"/page/%2e%2e",
    b"/v1/models",
    b"/v1/models/%0d%0a:predict",
    b"/v1/models/NAME/versions/" + b"9" * 4000,
    b"/v1/models/NAME/versions/1/metadata",
    b"/v1/models/NAME/labels/x:predict",
    b"http://localhost/v1/models/NAME",
    b"http://attacker.example/",
    b"http://[",
    b"/v1/models/NAME:classify",
    b"/v1/models/NAME:regress",
    b"/\xff",
    b"/ /",
    b"/healthz?" + b"a" * 9000,
    b"/metrics",
    b"/page/about.json",
    b"/readyz",
]

METHODS = [
    b"GET",
    b"POST",
    b"HEAD",
    b"OPTIONS",
    b"PUT",
    b"DELETE",
    b"CONNECT",
    b"TRACE",
    b"PATCH",
    b"\xff",
    b"get",
    b"P" * 9000,
]


def places(value, path=()):
    """The paths of all values in lists and objects."""
    yield path
    inside = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    for key, each in inside:
        yield from places(each, (*path, key))


def with_odd_value(rng, body):
    """A copy with an odd value, a key, or one less, at any place."""
    body = json.loads(json.dumps(body))
    path = rng.choice(list(places(body))[1:])
    inner = body
    for key in path[:-1]:
        inner = inner[key]
    way = rng.randrange(4)
    if way == 0:
        del inner[path[-1]]
    elif way == 1 and isinstance(inner, dict):
        inner[rng.choice(("x", "instances", "inputs", "text_a", "b64"))] = 1
    elif way == 2 and isinstance(inner, list):
        inner *= rng.choice((2, 100, 1000))
    else:
        inner[path[-1]] = rng.choice(ODD_VALUES)
    return body


def chunked(rng, body):
    """A body in chunks, some with extensions and trailers."""
    parts = []
    while body:
        size = rng.randrange(1, 1 + len(body))
        more = rng.choice((b"", b"", b";a=b", b'; a="\\""'))
        parts.append(b"%x%s\r\n%s\r\n" % (size, more, body[:size]))
        body = body[size:]
    return b"".join(parts) + b"0\r\n" + rng.choice((b"", b"a: b\r\n")) + b"\r\n"


def make_request(rng, name, bodies):
    """The bytes of a request, and whether nothing is wrong with it."""
    verb, body = rng.choice(bodies)
    method, target = b"POST", f"/v1/models/{name}{verb}".encode()
    headers, way = [b"host: localhost"], rng.randrange(9)
    if way in (1, 2, 3):
        body = with_odd_value(rng, body)
    content = json.dumps(body).encode("utf-8", "surrogatepass")
    if way == 4:
        content = damaged(rng, content)
    if way == 5 or rng.randrange(8) == 0:
        headers.append(b"content-encoding: gzip")
        content = gzip.compress(content, mtime=0)
        if way == 5:
            content = damaged(rng, content)
    if way == 6:
        method = rng.choice(METHODS)
        target = rng.choice((target, rng.choice(ODD_TARGETS)))
        target = target.replace(b"NAME", name.encode())
    if rng.randrange(3) == 0:
        headers.append(b"transfer-encoding: chunked")
        content = chunked(rng, content)
    else:
        headers.append(b"content-length: %d" % len(content))
    if way == 7:
        place = rng.randrange(len(headers) + 1)
        headers[place : place + rng.randrange(2)] = [rng.choice(ODD_HEADERS)]
    sent = b"\r\n".join([b"%s %s HTTP/1.1" % (method, target), *headers, b""])
    sent += b"\r\n" + content
    if way == 8:
        sent = damaged(rng, sent)
    return sent, way == 0


def answer_to(address, sent):
    """Status and body of the first answer; None if there is none."""
    with socket.create_connection(address, timeout=SECONDS) as sock:
        # A server may hang up before it has read all.
        with contextlib.suppress(ConnectionError):
            sock.sendall(sent)
        method = sent.partition(b" ")[0].decode("latin-1")
        response = http.client.HTTPResponse(sock, method=method)
        try:
            response.begin()
            return response.status, response.read()
        except (ConnectionError, http.client.BadStatusLine):
            return None
        finally:
            response.close()


def what_is_wrong(sent, is_fine, answer):
    """What is wrong with an answer, or None."""
    if answer is None:
        return "no answer"
    status, content = answer
    if status not in ALLOWED:
        return f"status {status}"
    if is_fine and status != 200:
        return f"status {status} for a request that is right"
    if b"Traceback" in content:
        return "a traceback in the answer"
    if status != 200 and not sent.startswith(b"HEAD"):
        try:
            is_error = list(json.loads(content)) == ["error"]
        except ValueError:
            is_error = False
        if not is_error:
            return "an error that is not JSON"
    return None


def probe(address, name, body=None):
    """The answer to a request that is right."""
    body = body or {"signature_name": "serve_text", "instances": ["a museum"]}
    body = json.dumps(body).encode()
    head = b"POST /v1/models/%s:predict HTTP/1.1\r\nhost: localhost\r\n"
    head += b"content-length: %d\r\n\r\n"
    return answer_to(address, head % (name.encode(), len(body)) + body)


def run(address, name, count, seed=21):
    """Sends requests; a list of what was wrong, and a `Counter` of statuses."""
    rng = random.Random(seed)
    bodies = bodies_of(signatures_of(address, name))
    asked = next(
        x for _, x in bodies if x.get("signature_name") == "serve_text"
    )
    wanted = probe(address, name, asked)
    assert wanted[0] == 200, wanted
    wrong, statuses = [], collections.Counter()
    for number in range(count):
        sent, is_fine = make_request(rng, name, bodies)
        answer = answer_to(address, sent)
        statuses[answer[0] if answer else None] += 1
        if found := what_is_wrong(sent, is_fine, answer):
            wrong.append(f"{number}: {found}: {sent[:300]!r} -> {answer}")
        if number % 20 == 0 and probe(address, name, asked) != wanted:
            wrong.append(f"{number}: other answers afterwards")
    if probe(address, name, asked) != wanted:
        wrong.append("other answers in the end")
    return wrong, statuses


def main(address, name, count):
    """Prints what is wrong, and the statuses."""
    host, _, port = address.rpartition(":")
    wrong, statuses = run((host, int(port)), name, int(count))
    print(*wrong, sep="\n")
    print(f"{len(wrong)} of {count} wrong; statuses: {dict(statuses)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
