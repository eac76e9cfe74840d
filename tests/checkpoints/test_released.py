"""The registry of released models, and its downloads from a server in here."""

import base64
import csv
import dataclasses
import gzip
import hashlib
import http.server
import io
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
import zipfile
from pathlib import Path

import pytest
from helpers.paths import ROOT

from bert_tf import released_models as rm
from bert_tf.checkpoints import downloads, released
from bert_tf.checkpoints import names as checkpoints_names
from bert_tf.errors import InputError

CONFIG = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 32,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "type_vocab_size": 2,
    "vocab_size": 3000,
}
DATA = "bert_model.ckpt.data-00000-of-00001"


# What the registry says.


def indexed_variables(data):
    """Model -> {variable: shape}, as the released `.index` files have them."""
    models = {}
    path = data / "released_models" / "variables_of_released_indexes.tsv.gz"
    with gzip.open(path, "rt") as file:
        for model, name, shape in csv.reader(file, delimiter="\t"):
            shape = tuple(map(int, shape.split("x")))
            models.setdefault(model, {})[name] = shape
    return models


def registry_name(folder):
    """The indexes of 2020 stand in folders `2020_...`, each of them."""
    twin = "2020_uncased_L-12_H-768_A-12"
    return folder if folder == twin else folder.removeprefix("2020_")


def test_urls_are_those_of_the_original_readmes(data):
    text = (data / "released_models" / "urls_in_the_readme.txt").read_text()

    urls = [model.url for model in released.released_models()]

    assert sorted(urls) == sorted(text.split())
    assert len(set(urls)) == 33


def test_configs_agree_with_the_names():
    for model in released.released_models():
        layers, width, heads = map(
            int, re.search(r"_L-(\d+)_H-(\d+)_A-(\d+)$", model.name).groups()
        )
        assert model.config["num_hidden_layers"] == layers
        assert model.config["hidden_size"] == width
        assert model.config["intermediate_size"] == 4 * width
        assert model.config["num_attention_heads"] == heads
        assert model.config["vocab_size"] == model.vocab_tokens
        assert model.config["type_vocab_size"] == 2


def test_cased_models_are_the_cased_ones():
    cased = {m.name for m in released.released_models() if not m.do_lower_case}

    assert cased == {
        "cased_L-12_H-768_A-12",
        "cased_L-24_H-1024_A-16",
        "wwm_cased_L-24_H-1024_A-16",
        "multi_cased_L-12_H-768_A-12",
    }


def test_shapes_are_those_of_the_released_indexes(data):
    indexed = indexed_variables(data)

    assert len(indexed) == 11
    for folder, variables in indexed.items():
        assert released.find_model(registry_name(folder)).shapes == variables


@pytest.mark.parametrize(
    ("alias", "parameters"),
    [
        ("BERT-Base, Uncased", 109_482_240),
        ("BERT-Large, Uncased", 335_141_888),
        ("BERT-Base, Cased", 108_310_272),
        ("BERT-Base, Multilingual Cased", 177_853_440),
        ("BERT-Base, Chinese", 102_267_648),
        ("BERT-Tiny", 4_385_920),
    ],
)
def test_encoders_have_as_many_parameters_as_published(alias, parameters):
    assert released.find_model(alias).parameters == parameters


def test_data_size_is_that_of_the_released_file():
    for model in released.released_models():
        if DATA in model.files:
            assert model.data_bytes == model.files[DATA].bytes


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("uncased_L-12_H-768_A-12", "uncased_L-12_H-768_A-12"),
        ("12/768", "2020_uncased_L-12_H-768_A-12"),
        ("bert-base-uncased", "uncased_L-12_H-768_A-12"),
        (
            "bert-large-cased-whole-word-masking",
            "wwm_cased_L-24_H-1024_A-16",
        ),
        ("bert-base-multilingual-uncased", "multilingual_L-12_H-768_A-12"),
        ("4/512 (bert-small)", "uncased_L-4_H-512_A-8"),
    ],
)
def test_aliases_find_their_model(alias, name):
    assert released.find_model(alias).name == name


def test_no_alias_belongs_to_two_models():
    names = [
        n for m in released.released_models() for n in (m.name, *m.aliases)
    ]

    assert all(released.find_model(n).name != "" for n in names)
    keys = [re.sub(r"[^a-z0-9]+", "", n.lower()) for n in names]
    assert len(set(keys)) == len(keys)


def test_unknown_name_suggests_the_nearest_and_lists_all():
    with pytest.raises(InputError, match=r"'BERT-Tni'.*'BERT-Tiny'") as caught:
        released.find_model("BERT-Tni")

    assert all(m.name in str(caught.value) for m in released.released_models())


def test_registry_is_found_in_a_wheel(tmp_path):
    package = tmp_path / "bert_tf"
    package.mkdir()
    for name in ("__init__", "errors", "downloads", "released_models"):
        shutil.copy(ROOT / "bert_tf" / f"{name}.py", package)
    shutil.copytree(ROOT / "checkpoints", package / "_checkpoints")

    listed = subprocess.run(
        [sys.executable, "-m", "bert_tf.released_models", "list"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert len(listed.splitlines()) == 1 + 33


def test_list_shows_every_model_and_its_size(capsys):
    assert rm.main(["list"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 33
    tiny = next(line for line in lines if "BERT-Tiny" in line)
    assert tiny.split()[:5] == [
        "uncased_L-2_H-128_A-2",
        "4.4M",
        "uncased",
        "30522",
        "2020-02-20",
    ]


def test_list_of_one_model_has_its_address_and_checksums(capsys):
    assert rm.main(["list", "BERT-Base, Chinese"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["url"].endswith("/2018_11_03/chinese_L-12_H-768_A-12.zip")
    assert told["files"]["vocab.txt"]["sha256"].startswith("45bbac6b341c319a")


# A small model, and a server that has its zip.


@pytest.fixture(scope="session")
def model_files():
    """The files of a small model, written by TensorFlow itself."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(1)
    shapes = checkpoints_names.checkpoint_shapes(CONFIG)
    values = [rng.normal(size=s).astype("float32") for s in shapes.values()]
    with tempfile.TemporaryDirectory() as folder:
        tf.raw_ops.SaveV2(
            prefix=f"{folder}/bert_model.ckpt",
            tensor_names=list(shapes),
            shape_and_slices=[""] * len(shapes),
            tensors=values,
        )
        files = {p.name: p.read_bytes() for p in Path(folder).iterdir()}
    tokens = "".join(f"token{i}\n" for i in range(CONFIG["vocab_size"]))
    files["vocab.txt"] = tokens.encode()
    files["bert_config.json"] = json.dumps(CONFIG).encode()
    return files


@pytest.fixture
def model(model_files):
    """Registered as BERT-Tiny is, but so small that tests can download it."""
    known = {
        name: released.KnownFile(len(c), hashlib.sha256(c).hexdigest(), True)
        for name, c in model_files.items()
    }
    return dataclasses.replace(
        released.find_model("BERT-Tiny"),
        config=CONFIG,
        vocab_tokens=CONFIG["vocab_size"],
        files=known,
    )


def zip_of(files, folder="uncased_L-2_H-128_A-2/"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(folder + name, content)
    return buffer.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Serves `content`; the attributes say how well."""

    daemon_threads = True

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/model.zip"
        self.content = content
        self.etag = '"first"'
        self.headers = {}  # Further ones, sent with every answer.
        self.statuses = []  # Answers to give before any other, in turn.
        self.cuts = []  # After how many bytes to hang up, in turn.
        self.stalls = []  # After how many bytes to fall silent, in turn.
        self.ranges = True
        self.checks_if_range = True
        self.tells_length = True
        self.pause = 0.0  # Seconds between two pieces of 4 KiB.
        self.asked = []  # The Range of every request.
        self.conditions = []  # The If-Range of every request.
        self.ended = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        server.conditions.append(self.headers.get("If-Range"))
        if server.statuses:
            return self.send_error(server.statuses.pop(0))
        start, status = 0, 200
        same = self.headers.get("If-Range") == server.etag
        if asked and server.ranges and (same or not server.checks_if_range):
            start, status = int(asked[6:].rstrip("-")), 206
        if start >= len(server.content):
            return self.send_error(416)
        body = server.content[start:]
        self.send_response(status)
        if server.tells_length:
            self.send_header("Content-Length", str(len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        if status == 206:
            end, total = len(server.content) - 1, len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{end}/{total}")
        for name, value in server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if server.cuts:
            body = body[: server.cuts.pop(0)]
        if server.stalls:
            self.wfile.write(body[: server.stalls.pop(0)])
            self.wfile.flush()
            server.ended.wait(10)
            return
        try:
            for at in range(0, len(body), 4096):
                self.wfile.write(body[at : at + 4096])
                if server.pause and server.ended.wait(server.pause):
                    return
        except OSError:
            pass  # The one who asked has hung up.


@pytest.fixture
def server(model_files, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(zip_of(model_files)) as server:
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.02}
        ).start()
        yield server
        server.ended.set()
        server.shutdown()


@pytest.fixture
def get(server, model, tmp_path):
    """Downloads the small model with no time lost between attempts."""

    def get(**options):
        options = {"url": server.url, "wait": 0.0, "quiet": True} | options
        return released.download(model, tmp_path / "models", **options)

    get.folder = tmp_path / "models"
    get.target = get.folder / model.name
    get.zip = get.folder / f"{model.name}.zip"
    get.part = get.folder / f"{model.name}.zip.part"
    return get


def assert_whole(target, model_files):
    found = {p.name: p.read_bytes() for p in target.iterdir()}
    assert found == model_files


# Downloads that end well.


@pytest.mark.parametrize("inner", ["uncased_L-2_H-128_A-2/", ""])
def test_download_brings_the_released_files(get, server, model_files, inner):
    server.content = zip_of(model_files, inner)

    assert get() == get.target

    assert_whole(get.target, model_files)
    left = sorted(path.name for path in get.folder.iterdir())
    assert left == [get.target.name, f"{get.zip.name}.sha256"]
    recorded = (get.folder / f"{get.zip.name}.sha256").read_text().split()
    assert recorded == [
        hashlib.sha256(server.content).hexdigest(),
        get.zip.name,
    ]


def test_zip_is_kept_on_request(get, server):
    get(keep_zip=True)

    assert get.zip.read_bytes() == server.content


def test_cut_connection_is_resumed_where_it_ended(get, server, model_files):
    server.cuts = [50_000, 70_000]

    get(retries=1)

    assert server.asked == [None, "bytes=50000-", "bytes=120000-"]
    assert_whole(get.target, model_files)


def test_later_call_resumes_what_an_earlier_one_left(get, server, model_files):
    server.cuts = [50_000]
    total = f"{len(server.content):,}"
    with pytest.raises(
        InputError,
        match=rf"connection ended after 50,000 of {total} bytes\. 50,000 of "
        rf"{total} bytes are kept in .*\.zip\.part: run the same command again",
    ):
        get(retries=0)
    assert get.part.read_bytes() == server.content[:50_000]
    assert not get.target.exists()

    get()

    assert server.asked == [None, "bytes=50000-"]
    assert_whole(get.target, model_files)


def test_killed_process_is_resumed(get, server, model_files):
    server.pause = 0.005
    command = [sys.executable, "-m", "bert_tf.released_models", "download"]
    command += ["BERT-Tiny", "--url", server.url, "--dir", str(get.folder)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not get.part.exists() or get.part.stat().st_size < 30_000:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -9
    arrived = get.part.stat().st_size
    assert 0 < arrived < len(server.content)

    server.pause = 0.0
    get()

    assert server.asked == [None, f"bytes={arrived}-"]
    assert_whole(get.target, model_files)


def test_interrupted_download_can_go_on(get, server, model_files, monkeypatch):
    append = downloads.PartialFile.append

    def interrupted(self, chunk):
        append(self, chunk[:1000])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(downloads.PartialFile, "append", interrupted)
        get()

    get()

    assert server.asked == [None, "bytes=1000-"]
    assert_whole(get.target, model_files)


def test_server_without_ranges_sends_all_again(get, server, model_files):
    server.ranges, server.cuts = False, [50_000]

    get(retries=1)

    assert server.asked == [None, "bytes=50000-"]
    assert_whole(get.target, model_files)


@pytest.mark.parametrize("checks_if_range", [True, False])
def test_changed_file_is_not_mixed_with_the_old_one(
    get, server, model_files, checks_if_range
):
    new = server.content
    server.content, server.cuts = os.urandom(len(new)), [50_000]
    with pytest.raises(InputError):
        get(retries=0)
    server.content, server.etag = new, '"second"'
    server.checks_if_range = checks_if_range

    get()

    assert server.asked[:2] == [None, "bytes=50000-"]
    assert_whole(get.target, model_files)


def test_file_shorter_than_our_part_is_fetched_anew(get, server, model_files):
    new, server.cuts = server.content, [len(server.content) + 1000]
    server.content = os.urandom(len(new) + 5000)
    with pytest.raises(InputError):
        get(retries=0)
    server.content, server.checks_if_range = new, False

    get()

    assert server.asked == [None, f"bytes={len(new) + 1000}-", None]
    assert_whole(get.target, model_files)


def test_part_of_another_address_is_not_resumed(get, server, model_files):
    server.cuts = [50_000]
    with pytest.raises(InputError):
        get(retries=0)

    get(url=server.url + "?mirror")

    assert server.asked == [None, None]
    assert_whole(get.target, model_files)


def test_without_a_validator_nothing_is_resumed(get, server, model_files):
    server.etag, server.cuts = "", [50_000]

    get(retries=1)

    assert server.asked == [None, None]
    assert_whole(get.target, model_files)


def test_date_of_change_serves_where_the_etag_is_weak(get, server, model_files):
    server.etag, server.cuts = 'W/"weak"', [50_000]
    date = "Thu, 18 Oct 2018 00:00:00 GMT"
    server.headers = {"Last-Modified": date}
    server.checks_if_range = False

    get(retries=1)

    assert server.asked == [None, "bytes=50000-"]
    assert server.conditions == [None, date]
    assert_whole(get.target, model_files)


def test_unknown_length_is_no_obstacle(get, server, model_files):
    server.tells_length = False

    get()

    assert_whole(get.target, model_files)


def test_passing_failures_are_retried(get, server, model_files):
    server.statuses = [503, 500, 429]

    get(retries=3)

    assert len(server.asked) == 4
    assert_whole(get.target, model_files)


def test_silent_server_is_given_up_and_asked_again(get, server, model_files):
    server.stalls = [50_000]

    get(retries=1, timeout=0.2)

    assert server.asked == [None, "bytes=50000-"]
    assert_whole(get.target, model_files)


def test_whole_zip_put_there_by_hand_is_used(get, server, model_files):
    get.folder.mkdir()
    get.zip.write_bytes(server.content)

    get()

    assert server.asked == []
    assert_whole(get.target, model_files)


def test_model_already_there_is_not_downloaded_again(get, server):
    get()

    get()

    assert len(server.asked) == 1


def test_unfinished_unpacking_of_a_killed_process_is_swept_away(
    get, model_files
):
    unfinished = get.folder / f".{get.target.name}.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "vocab.txt").write_text("half")

    get()

    assert not unfinished.exists()
    assert_whole(get.target, model_files)


# Downloads that cannot.


def test_missing_file_is_final(get, server):
    server.statuses = [404]

    with pytest.raises(
        InputError, match=r"answered 404 Not Found. Nothing was received.*--url"
    ):
        get()

    assert len(server.asked) == 1


def test_refused_connection_says_what_to_do(get, server, tmp_path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/model.zip"

        with pytest.raises(
            InputError, match=r"127.0.0.1:\d+ refuses connections.*by hand"
        ):
            get(url=url, retries=1)


def test_silence_names_the_timeout(get, server):
    server.stalls = [0]

    with pytest.raises(InputError, match=r"nothing for 0.2 s \(--timeout\)"):
        get(retries=0, timeout=0.2)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "model.zip", "http://[", "http://a b/c.zip"]
)
def test_unusable_address_is_refused(get, url):
    with pytest.raises(InputError, match=r"https://host/file.zip.*Received"):
        get(url=url)


def test_damage_on_the_way_is_noticed_by_the_announced_md5(
    get, server, model_files
):
    md5 = base64.b64encode(hashlib.md5(server.content).digest()).decode()
    server.headers = {"x-goog-hash": f"crc32c=AAAAAA==,md5={md5}"}
    good = server.content
    server.content = good[:1000] + b"?" + good[1001:]
    with pytest.raises(InputError, match="arrived damaged: its MD5"):
        get()
    assert not get.part.exists()
    server.content = good

    get()

    assert_whole(get.target, model_files)


def damaged(content):
    return content[:100_000] + b"?" * 100 + content[100_100:]


def truncated(content):
    return content[: len(content) // 2]


def other(content):
    return b"<html>Sign in to the network</html>"


@pytest.mark.parametrize("harm", [damaged, truncated, other])
def test_broken_zip_is_put_aside(get, server, model_files, harm):
    good = server.content
    server.content = harm(good)
    with pytest.raises(
        InputError, match=r"not a whole zip.*put aside as .*\.zip\.refused"
    ):
        get()
    assert not get.target.exists() and not get.zip.exists()
    server.content = good

    get()

    assert_whole(get.target, model_files)


LINK = zipfile.ZipInfo("link")
LINK.external_attr = 0o120777 << 16


@pytest.mark.parametrize(
    "entry",
    [
        "../evil",
        "model/../../evil",
        "/tmp/evil",
        "..\\evil",
        "C:\\evil",
        "C:evil",
        "\\\\host\\share\\evil",
        LINK,
    ],
)
def test_zip_that_would_leave_its_folder_is_refused(
    get, server, model_files, tmp_path, entry
):
    buffer = io.BytesIO(zip_of(model_files, ""))
    with zipfile.ZipFile(buffer, "a") as zipped:
        zipped.writestr(entry, "../../evil")
    server.content = buffer.getvalue()

    with pytest.raises(InputError, match="refused and nothing was unpacked"):
        get()

    left = {path.name for path in tmp_path.rglob("*")}
    assert left == {"models", f"{get.zip.name}.refused"}


def test_encrypted_zip_is_refused(get, server):
    content = bytearray(server.content)
    content[content.index(b"PK\x01\x02") + 8] |= 1
    server.content = bytes(content)

    with pytest.raises(InputError, match="is encrypted"):
        get()


def test_zip_of_many_models_is_refused(get, server, model_files):
    twice = {f"{n}/{name}": c for n in "ab" for name, c in model_files.items()}
    server.content = zip_of(twice, "")

    with pytest.raises(InputError, match=r"must hold one bert_config.json.*2"):
        get()


def test_zip_of_another_model_does_not_become_this_one(
    get, server, model_files
):
    files = dict(model_files)
    files["vocab.txt"] = files["vocab.txt"].replace(b"token7\n", b"token8\n")
    server.content = zip_of(files)

    with pytest.raises(InputError, match=r"vocab.txt: its SHA-256 is not"):
        get()

    assert not get.target.exists()


def test_later_download_must_be_the_same_zip(get, server, model_files):
    get()
    shutil.rmtree(get.target)
    server.content = zip_of(model_files, "another_folder/")

    with pytest.raises(InputError, match=r"SHA-256 .* not the one .* earlier"):
        get()


def test_incomplete_folder_is_neither_used_nor_overwritten(get):
    get()
    (get.target / "vocab.txt").unlink()

    with pytest.raises(InputError, match=r"not a whole .*vocab.txt is missing"):
        get()


def test_full_disk_is_noticed_before_the_first_byte(get, monkeypatch):
    usage = types.SimpleNamespace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    with pytest.raises(InputError, match=r"needs .* bytes.*Free: 1,000"):
        get()

    assert not get.part.exists() or get.part.stat().st_size == 0


def test_two_processes_do_not_write_one_file(get, model):
    get.folder.mkdir()

    with (
        downloads.alone(get.folder / f".{model.name}.lock"),
        pytest.raises(InputError, match="Another process is downloading"),
    ):
        get()


def test_folder_that_cannot_be_made_is_named(model, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(InputError, match=r"Cannot make the folder .*file"):
        released.download(model, tmp_path / "file" / "models")


def test_command_prints_what_failed_and_no_traceback(server, tmp_path):
    server.statuses = [403]
    command = [sys.executable, "-m", "bert_tf.released_models", "download"]
    command += ["BERT-Tiny", "--url", server.url, "--dir", str(tmp_path)]

    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert ended.returncode == 1
    assert "Error: Could not download http" in ended.stderr
    assert "answered 403 Forbidden" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_ctrl_c_ends_the_command_with_a_hint(monkeypatch, capsys):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(released, "download", interrupted)
    monkeypatch.setattr(sys, "argv", ["", "download", "BERT-Tiny"])

    with pytest.raises(SystemExit) as ended:
        rm.cli()

    assert ended.value.code == 130
    assert "the same command goes on" in capsys.readouterr().err


# Verifying.


@pytest.fixture
def folder(model, model_files, tmp_path):
    folder = tmp_path / model.name
    folder.mkdir()
    for name, content in model_files.items():
        (folder / name).write_bytes(content)
    return folder


def unknown_checksums(model):
    return dataclasses.replace(model, files={})


def test_verify_accepts_the_released_files(model, folder):
    report = released.verify(folder, model)

    assert report.ok and not report.notes
    assert len(report.facts) == len(model.files) + 4


def test_verify_finds_a_model_by_name(folder, model, monkeypatch):
    monkeypatch.setattr(released, "released_models", lambda: (model,))

    assert released.verify("bert-tiny", folder=folder.parent).ok
    assert released.verify(folder).ok


def test_verify_tells_an_unproven_checksum_from_a_proven_one(model, folder):
    known = dataclasses.replace(model.files["vocab.txt"], confirmed=False)
    model = dataclasses.replace(model, files={"vocab.txt": known})
    content = (folder / "vocab.txt").read_bytes()
    (folder / "vocab.txt").write_bytes(content.replace(b"n7\n", b"n8\n"))

    report = released.verify(folder, model)

    assert report.ok
    assert "vocab.txt: differs from the one copy" in report.notes[0]


def change(name, old, new):
    def spoil(folder):
        content = (folder / name).read_bytes()
        assert old in content
        (folder / name).write_bytes(content.replace(old, new))

    return spoil


def shorten(name):
    def spoil(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return spoil


def flip_a_weight(folder):
    content = bytearray((folder / DATA).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / DATA).write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (
            change("bert_config.json", b"gelu", b"relu"),
            "bert_config.json: hidden_act must be 'gelu'. Found: 'relu'",
        ),
        (shorten("bert_config.json"), "bert_config.json: not valid JSON"),
        (
            change("vocab.txt", b"token7\n", b""),
            "vocab.txt: must have 3,000 lines. Found: 2,999",
        ),
        (shorten("bert_model.ckpt.index"), "index: cannot be read"),
        (shorten(DATA), "00001: must have .* bytes. Found"),
        (flip_a_weight, "00001: .* is damaged"),
    ],
)
def test_verify_finds_what_is_wrong(model, folder, spoil, problem):
    spoil(folder)

    report = released.verify(folder, unknown_checksums(model))

    assert not report.ok
    assert re.search(problem, "\n".join(report.problems))


def test_guessed_config_value_does_not_condemn_a_model(model, folder):
    model = dataclasses.replace(
        unknown_checksums(model), config_source="derived"
    )
    change("bert_config.json", b"gelu", b"relu")(folder)

    report = released.verify(folder, model)

    assert report.ok
    assert "hidden_act must be 'gelu'. Found: 'relu'" in report.notes[0]


def test_verify_compares_the_index_with_the_config(model, folder):
    deeper = CONFIG | {"num_hidden_layers": 3, "max_position_embeddings": 65}
    (folder / "bert_config.json").write_text(json.dumps(deeper))
    model = dataclasses.replace(unknown_checksums(model), config=deeper)

    (problem,) = released.verify(folder, model).problems

    assert "17 variables differ" in problem
    assert "layer_2/attention/output/LayerNorm/beta is missing" in problem


def test_verify_asks_which_model_a_folder_holds(folder):
    unnamed = folder.rename(folder.parent / "my_bert")

    with pytest.raises(InputError, match=r"model is in .*my_bert.*--model"):
        released.verify(unnamed)


def test_verify_of_what_is_not_there_says_how_to_get_it(tmp_path):
    with pytest.raises(
        InputError, match="download uncased_L-2_H-128_A-2 --dir"
    ):
        released.verify("BERT-Tiny", folder=tmp_path)


def test_verify_command_fails_for_a_broken_model(folder, capsys):
    assert rm.main(["verify", str(folder), "--model", "BERT-Tiny"]) == 1

    told = capsys.readouterr().out
    assert "WRONG    vocab.txt: must have 30,522 lines. Found: 3,000" in told


@pytest.mark.shared
def test_real_indexes_configs_and_vocabularies_pass(shared_folder, tmp_path):
    real = shared_folder / "data"
    folders = [p for p in (real / "ckpt_index").iterdir() if p.is_dir()]
    assert len(folders) == 11
    for index in folders:
        model = released.find_model(registry_name(index.name))
        folder = tmp_path / model.name
        folder.mkdir()
        shutil.copy(real / "configs" / index.name / "bert_config.json", folder)
        shutil.copy(index / "bert_model.ckpt.index", folder)
        vocab = real / "vocabs" / f"{model.vocabulary}.txt"
        shutil.copy(vocab, folder / "vocab.txt")
        with open(
            folder / DATA, "wb"
        ) as file:  # Holes where weights should be.
            file.truncate(4 * sum(map(math.prod, model.shapes.values())))

        report = released.verify(folder, model)

        assert not report.notes or DATA in report.notes[0]
        assert all(problem.startswith(DATA) for problem in report.problems)
        assert "LayerNorm/beta is damaged" in report.problems[-1]
        (folder / DATA).unlink()
