"""Which requests are let in, over sockets."""

import logging

import pytest
from helpers import small_models
from helpers.running_server import Running, wait_until

from bert_tf.errors import InputError
from bert_tf.server import admission
from bert_tf.server.model import ServedModel

pytestmark = pytest.mark.slow

ABOUT = "/page/about.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "odd"
    small_models.save(small_models.Odd(), folder / "1")
    return folder


@pytest.fixture(scope="module")
def start(folder):
    running = []

    def make(**options):
        running.append(Running(folder, "odd", **options))
        return running[-1]

    yield make
    for server in running:
        server.stop()


@pytest.fixture(scope="module")
def local(start):
    return start()


@pytest.fixture(scope="module")
def behind_proxy(start):
    return start(allowed_hosts="Models.Example.org,192.0.2.7")


@pytest.fixture(scope="module")
def everywhere(start):
    return start(host="0.0.0.0")


def status(server, host, path=ABOUT, method="GET", extra=(), target=None):
    """The status of a request with these bytes as Host."""
    lines = [
        b"%s %s HTTP/1.1" % (method.encode(), (target or path).encode()),
        b"host: " + (host if isinstance(host, bytes) else host.encode()),
        b"connection: close",
        *(line.encode() for line in extra),
    ]
    answer = server.send(b"\r\n".join(lines) + b"\r\n\r\n")
    return int(answer.split()[1])


OWN = [
    "localhost",
    "LocalHost:8501",
    "localhost.",
    "model.localhost:1",
    "127.0.0.1",
    "127.9.9.9:80",
    "[::1]:8501",
    "[::ffff:127.0.0.1]",
]

FOREIGN = [
    "attacker.example",
    "attacker.example:8501",
    "localhost.attacker.example",
    "attackerlocalhost",
    "127.0.0.1.attacker.example",
    "127.0.0.1@attacker.example",
    "128.0.0.1",
    "[::2]",
    "[",
    "[]",
    "x:abc",
    "@@@",
    "localhost:8501:8501",
    "localhost, attacker.example",
    "localhost/attacker",
    "",
    b"\xff\xfe",
]


@pytest.mark.parametrize("host", OWN)
def test_a_server_of_this_machine_answers_for_its_names(local, host):
    assert status(local, host) == 200
    assert status(local, host, "/healthz") == 200


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("path", [ABOUT, "/", "/metrics", "/v1/models/odd"])
def test_and_for_no_others(local, behind_proxy, host, path):
    # Where the parser refuses it already, it is 400.
    assert status(local, host, path) in (400, 421)
    assert status(behind_proxy, host, path) in (400, 421)


def test_allowed_hosts_are_answered_for(behind_proxy, local):
    for host in ("models.example.org", "MODELS.example.org:443", "192.0.2.7:1"):
        assert status(behind_proxy, host) == 200
        assert status(local, host) == 421
    assert status(behind_proxy, "127.0.0.1") == 200


def test_what_others_can_reach_answers_for_any_name(everywhere, start):
    assert status(everywhere, "models.example.org") == 200
    # But pages of other sites are kept out.
    origin = ["origin: http://attacker.example"]
    assert status(everywhere, "models.example.org", extra=origin) == 403
    any_name = start(allowed_hosts="*")
    assert status(any_name, "models.example.org") == 200
    assert status(any_name, "models.example.org", extra=origin) == 403


@pytest.mark.parametrize(
    ("extra", "wanted"),
    [
        ([], 200),
        (["origin: http://localhost:8501"], 200),
        (["origin: https://localhost:8501"], 200),
        (["origin: http://localhost:8501", "sec-fetch-site: same-origin"], 200),
        (["sec-fetch-site: none"], 200),
        (["origin: null"], 403),
        (["origin: "], 403),
        (["origin: http://localhost:3000"], 403),
        (["origin: http://localhost"], 403),
        (["origin: http://attacker.example"], 403),
        (["origin: http://["], 403),
        (["origin: file://localhost:8501"], 403),
        (["origin: http://localhost:8501", "origin: http://x.example"], 403),
        (["sec-fetch-site: cross-site"], 403),
        (["sec-fetch-site: same-site"], 403),
        (["sec-fetch-site: cross-site", "sec-fetch-mode: navigate"], 403),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ABOUT), ("GET", "/metrics"), ("GET", "/v1/models/odd")],
)
def test_pages_of_other_sites_are_kept_out(local, extra, wanted, method, path):
    assert status(local, "localhost:8501", path, method, extra) == wanted


def test_pages_of_other_sites_cannot_make_it_compute(local):
    headers = {"content-type": "text/plain"}
    body = {"instances": ["a"]}
    for verb in ("predict", "tokenize"):
        path = f"/v1/models/odd:{verb}"
        for name, value in (
            ("Sec-Fetch-Site", "cross-site"),
            ("Origin", "http://attacker.example"),
            ("Host", "attacker.example"),
        ):
            got, _, content = local.ask(
                "POST", path, body, {**headers, name: value}
            )
            assert got in (403, 421)
            assert value in content["error"]
    assert local.predict(body) == {"predictions": ["a and more"]}


def test_a_link_opens_the_page(local):
    extra = ["sec-fetch-site: cross-site", "sec-fetch-mode: navigate"]
    assert status(local, "localhost", "/", extra=extra) == 200
    assert status(local, "localhost", "/", "POST", extra) == 403
    assert status(local, "localhost", "/", extra=extra[:1]) == 403


def test_a_proxy_may_replace_the_host(behind_proxy):
    extra = ["origin: https://models.example.org"]
    assert status(behind_proxy, "127.0.0.1:8501", extra=extra) == 200
    assert status(behind_proxy, "models.example.org", extra=extra) == 200
    assert status(behind_proxy, "models.example.org:443", extra=extra) == 200
    extra = ["origin: https://other.example.org"]
    assert status(behind_proxy, "127.0.0.1:8501", extra=extra) == 403


def test_targets_may_be_urls(local):
    url = "http://localhost:8501"
    assert status(local, "localhost", target=url + ABOUT) == 200
    assert (
        status(local, "localhost", target=f"HTTP://LOCALHOST{ABOUT}?a") == 200
    )
    assert status(local, "localhost", target=url) == 200
    assert status(local, "localhost", target=url + "/none") == 404
    # The URL's host counts.
    assert status(local, "a.example", target=url + ABOUT) == 200
    foreign = "http://attacker.example" + ABOUT
    assert status(local, "localhost", target=foreign) == 421
    assert status(local, "localhost", target="http://[" + ABOUT) == 400
    assert status(local, "localhost", target="http://a@localhost/") == 421
    assert status(local, "localhost", target="*", method="OPTIONS") == 404
    assert status(local, "localhost", target="a:1", method="CONNECT") == 404


def test_two_lengths_of_a_body_close_the_connection(local):
    body = b'{"instances": ["a"]}'
    first = (
        b"POST /v1/models/odd:predict HTTP/1.1\r\nhost: localhost\r\n"
        b"content-length: %d\r\ntransfer-encoding: chunked\r\n\r\n"
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), len(body), body)
    )
    smuggled = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    answer = local.send(first + smuggled)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in answer
    assert answer.count(b"HTTP/1.1") == 1


def test_http_1_0_has_no_chunks(local):
    answer = local.send(
        b"POST /v1/models/odd:predict HTTP/1.0\r\nhost: localhost\r\n"
        b"connection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1


PATHS = ("/", "/page/about.json", "/healthz", "/metrics", "/v1/models/odd")


@pytest.mark.parametrize("path", [*PATHS, "/v1/models/odd/metadata"])
def test_head_is_get_without_the_body(local, path):
    connection = local.connect()
    connection.request("HEAD", path)
    head = connection.getresponse()
    assert head.status == 200 and head.read() == b""
    # The connection goes on: what follows is the next answer.
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200
    if path != "/metrics":
        length = int(head.getheader("content-length"))
        assert len(answer.read()) == length
    connection.close()


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "TRACE", "ODD"])
def test_other_methods_name_those_that_there_are(local, method):
    for path, allowed in (
        ("/v1/models/odd", "GET, HEAD"),
        ("/v1/models/odd:predict", "POST"),
        ("/healthz", "GET, HEAD"),
    ):
        got, headers, content = local.ask(method, path)
        assert got == 405 and list(content) == ["error"]
        assert ", ".join(sorted(headers["allow"].split(", "))) == allowed
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("parts", [1, 3])
def test_heads_have_a_limit_however_they_arrive(local, parts):
    def ask(size):
        sent = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n"
        sent += b"connection: close\r\nx: " + b"a" * size + b"\r\n\r\n"
        step = -(-len(sent) // parts)
        return local.send(
            *(sent[i : i + step] for i in range(0, len(sent), step)), pause=0.05
        )

    assert ask(16_000).startswith(b"HTTP/1.1 200 ")
    for size in (16_500, 60_000):
        answer = ask(size)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"longer than 16 KiB" in answer
    many = b"a: b\r\n" * 3000
    answer = local.send(
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n" + many + b"\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "name", ["a:80", "http://a", "a/b", "a b", "[::1]:80", "a:"]
)
def test_allowed_hosts_are_names_only(name):
    with pytest.raises(InputError, match=r"allowed_hosts.*without ports"):
        admission.make_hosts([name], "127.0.0.1")


def test_hosts_of_addresses():
    hosts = admission.make_hosts(["a.example,::1", "B.example."], "127.0.0.1")
    assert hosts == (frozenset({"a.example", "::1", "b.example"}), False)
    assert admission.make_hosts([], "::1") == (frozenset(), False)
    assert admission.make_hosts([], "::") == (frozenset(), True)
    assert admission.make_hosts(["a"], "::") == (frozenset({"a"}), False)


# ------------------------------------------------------------- names and logs

FORGED = "x%0D%1b[2K12-00-00%20ERROR%20FAKE%20LINE"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/odd/versions/" + "9" * 5000,
        "/v1/models/odd/versions/" + "9" * 20,
        "/v1/models/odd/versions/" + "9" * 19,
        f"/v1/models/{FORGED}/versions/" + "9" * 4400,
        # Digits of other scripts.
        "/v1/models/odd/versions/%D9%A1",
        f"/v1/models/{FORGED}",
        f"/{FORGED}",
        f"/page/{FORGED}",
    ],
)
def test_numbers_and_names_of_any_length_are_404(local, caplog, path):
    with caplog.at_level(logging.INFO):
        got, _, content = local.ask("GET", path)
    assert got == 404 and len(content["error"]) < 300
    assert not caplog.records


def test_version_zero_and_leading_zeros_are_numbers(local):
    zeros = "0" * 3000
    path = f"/v1/models/odd/versions/{zeros}1"
    assert local.ask("GET", path)[0] == 200
    assert local.ask("GET", f"/v1/models/odd/versions/{zeros}")[0] == 404


def test_numbers_of_thousands_of_digits_in_a_body_are_400(local):
    for number in ("9" * 5000, "-" + "9" * 5000, "1e" + "9" * 5000):
        body = f'{{"signature_name": "total", "inputs": [{number}]}}'
        got, _, _ = local.ask("POST", "/v1/models/odd:predict", body)
        # The last one is infinity, as it is for TensorFlow Serving.
        assert got == (200 if "e" in number else 400)


def test_nothing_of_a_request_stands_unquoted_in_the_log(
    local, caplog, monkeypatch
):
    def fail(model, name, inputs):
        raise KeyError(inputs["a"][0].decode())

    class Raw(Exception):
        pass

    def fail_with_text(model, name, inputs):
        raise Raw(inputs["a"][0].decode())

    evil = "\r\x1b[2K\n12:00:00 ERROR: fake\u2028line" + "y" * 5000
    for failing in (fail, fail_with_text):
        caplog.clear()
        monkeypatch.setattr(ServedModel, "kind", failing)
        got, _, _ = local.ask(
            "POST", "/v1/Models/odd:predict", {"instances": [evil]}
        )
        assert got == 500
        wait_until(lambda: caplog.records)
        (record,) = caplog.records
        lines = record.getMessage().split("\n")
        assert all(len(line) < 300 and line.isprintable() for line in lines)
        assert not any(line.startswith("12:00") for line in lines)
        assert "'/v1/Models/odd:predict'" in lines[0]
