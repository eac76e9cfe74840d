"""Downloads of a released model from a server in this process."""

import base64
import errno
import hashlib
import io
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import time
import types
import urllib.request
import zipfile

import pytest
from absl.testing import flagsaver
from helpers import download_server
from helpers.download_server import assert_whole, zip_of
from helpers.paths import ROOT

from bert_tf import released_models
from bert_tf.checkpoints import downloads, released, zips
from bert_tf.errors import InputError

DATA = "bert_model.ckpt.data-00000-of-00001"


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


def test_a_download_killed_at_its_end_leaves_nothing(get, model):
    get()
    before = sorted(get.folder.iterdir())
    lock = get.folder / f".{model.name}.lock"
    zipped = get.folder / f"{model.name}.zip"
    for path in (lock, zipped):
        path.touch()

    get()

    assert sorted(get.folder.iterdir()) == before
    zipped.touch()  # Without the lock it is one that was to be kept.
    get()
    assert zipped.exists()


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
    assert "error: Could not download http" in ended.stderr
    assert "answered 403 Forbidden" in ended.stderr
    assert "Traceback" not in ended.stderr


def redirect(server, url):
    server.statuses, server.headers = [302], {"Location": url}


def send_redirect(handler, code, *args, **kwargs):
    handler.send_response(code)
    handler.send_header("Location", handler.server.headers["Location"])
    handler.send_header("Content-Length", "0")
    handler.end_headers()


@pytest.mark.parametrize(
    ("before", "after", "followed"),
    [
        ("https", "http", False),
        ("https", "https", True),
        ("https", "ftp", False),
        ("http", "ftp", False),
        ("http", "http", True),
        ("http", "https", True),
    ],
)
def test_https_stays_https_over_redirects(before, after, followed):
    request = urllib.request.Request(f"{before}://host/a.zip")
    new = f"{after}://other/b.zip"
    follow = downloads._Redirects().redirect_request
    arguments = (request, None, 302, "Found", {}, new)
    if followed:
        assert follow(*arguments).full_url == new
    else:
        with pytest.raises(InputError, match=f"redirects to .{new}."):
            follow(*arguments)


def test_a_redirect_is_followed_by_the_handler_above(get, server, monkeypatch):
    monkeypatch.setattr(download_server.Handler, "send_error", send_redirect)
    redirect(server, "ftp://127.0.0.1/model.zip")
    with pytest.raises(InputError, match=r"redirects to 'ftp:.*--url"):
        get()
    redirect(server, "http://[")
    with pytest.raises(InputError, match="cannot be requested"):
        get()
    redirect(server, server.url)
    assert get() == get.target


def test_a_zip_larger_than_the_model_is_not_downloaded(get, server, model):
    for tells_length in (True, False):
        server.tells_length = tells_length
        server.content = bytes(model.largest_zip + 1)
        with pytest.raises(
            InputError, match=r"at most\. Nothing of it was kept"
        ):
            get()
        assert not get.part.exists() and not get.zip.exists()


def bomb(name, size):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("bert_config.json", "{}")
        with zipped.open(name, "w") as entry:
            for _ in range(size >> 20):
                entry.write(bytes(1 << 20))
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["vocab.txt", DATA, "bert_config.json.meta"])
def test_a_zip_is_bounded_by_what_the_model_can_have(get, server, name):
    server.content = bomb(name, 30 << 20)
    named = name if name != "bert_config.json.meta" else "vocab.txt is missing"
    with pytest.raises(InputError, match=rf"{named}.*put aside"):
        get()
    assert [path.suffix for path in get.folder.iterdir()] == [".refused"]


def test_a_zip_of_many_entries_is_refused(get, server, model_files):
    more = {f"more{n}": b"" for n in range(200)}
    server.content = zip_of({**model_files, **more})
    with pytest.raises(InputError, match=r"204 entries.*put aside"):
        get()


def test_only_files_of_the_model_are_unpacked(get, server, model_files):
    server.content = zip_of({**model_files, "README": b"x", "a/vocab.txt": b""})
    get()
    assert_whole(get.target, model_files)


def odd_names():
    """Zips that `zipfile` answers with other errors than its own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        zipped.writestr("n\xe4me", "x")
        zipped.writestr("bert_config.json", "x")
    whole = buffer.getvalue()
    place = whole.index(b"PK\x01\x02")
    name = "n\xe4me".encode()
    yield whole[:place] + whole[place:].replace(name, b"n\xff\xfeme"[:5], 1)
    yield whole.replace(name, b"n\xff\xfeme"[:5])
    changed = bytearray(whole)
    changed[place + 42 : place + 46] = b"\xff\xff\xff\x7f"  # Its offset.
    yield bytes(changed)


@pytest.mark.parametrize(
    "content", odd_names(), ids=["listed name", "both names", "offset"]
)
def test_whatever_is_wrong_with_a_zip_it_is_put_aside(
    get, server, model_files, content
):
    good, server.content = server.content, content
    with pytest.raises(InputError, match=r"\.zip .*put aside as .*\.refused"):
        get()
    server.content = good
    get()
    assert_whole(get.target, model_files)


def other_packing(files):
    """The vocabulary packed as no released model is."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        for name, content in files.items():
            kind = zipfile.ZIP_BZIP2 if name == "vocab.txt" else 0
            zipped.writestr(name, content, kind)
    return buffer.getvalue()


def entry_twice(files):
    buffer = io.BytesIO(zip_of(files, ""))
    with (
        zipfile.ZipFile(buffer, "a") as zipped,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        zipped.writestr("vocab.txt", "another")
    return buffer.getvalue()


def smaller_than_it_is(files):
    """The list of entries says that the vocabulary has one byte."""
    content = bytearray(zip_of(files, ""))
    listed = content.rindex(b"vocab.txt") - 46
    content[listed + 24 : listed + 28] = struct.pack("<I", 1)
    return bytes(content)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (other_packing, "vocab.txt.*packed in another way"),
        (entry_twice, "vocab.txt' twice"),
        (smaller_than_it_is, "Bad CRC-32.*vocab.txt"),
    ],
)
def test_odd_zips_are_put_aside(get, server, model_files, make, reason):
    good, server.content = server.content, make(model_files)
    with pytest.raises(InputError, match=rf"{reason}.*put aside"):
        get()
    assert [path.suffix for path in get.folder.iterdir()] == [".refused"]
    server.content = good
    get()
    assert_whole(get.target, model_files)


def test_a_zip_with_sizes_of_64_bits_is_unpacked(get, server, model_files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in model_files.items():
            with zipped.open(name, "w", force_zip64=True) as entry:
                entry.write(content)
    server.content = buffer.getvalue()
    get()
    assert_whole(get.target, model_files)


def test_random_damage_to_a_zip_is_reported(tmp_path, model_files):
    draw = random.Random(7)
    small = {"bert_config.json": b"{}", "vocab.txt": b"a\nb\n" * 50}
    whole = zip_of(small)
    for number in range(400):
        content = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path = tmp_path / f"{number}.zip"
        path.write_bytes(content)
        try:
            zips.unpack(path, tmp_path / "out", "bert_config.json")
        except InputError as error:
            assert str(path) in str(error)


def test_a_good_zip_is_kept_where_the_disk_is_full(get, server, monkeypatch):
    real = shutil.copyfileobj

    def full(source, target, *length):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        with pytest.raises(InputError, match=r"Cannot unpack .*No space left"):
            get()
    assert shutil.copyfileobj is real and get.zip.exists()
    get()
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "note", [[], {"url": "x"}, {"validator": 1}, {"total": "5"}, {"md5": 3}]
)
def test_a_damaged_note_is_no_note(get, server, model_files, note):
    server.cuts = [50_000]
    with pytest.raises(InputError):
        get(retries=0)
    path = get.part.with_name(get.part.name + ".json")
    if isinstance(note, dict):
        note = {**json.loads(path.read_text()), **note}
    path.write_text(json.dumps(note))
    get()
    assert_whole(get.target, model_files)


def test_control_characters_of_a_server_do_not_reach_the_terminal(
    server, tmp_path, monkeypatch, capsys
):
    def send(handler, code, *args, **kwargs):
        handler.send_response(code, "no\x1b[2J\u202e".encode().decode("latin1"))
        handler.end_headers()

    monkeypatch.setattr(download_server.Handler, "send_error", send)
    server.statuses = [403]
    words = ["x", "download", "BERT-Tiny", "--url", server.url]
    monkeypatch.setattr(sys, "argv", [*words, "--dir", str(tmp_path)])
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as end:
        released_models.cli()
    assert end.value.code == 1
    printed = capsys.readouterr().err
    assert "answered 403 no\\x1b[2J" in printed
    assert "\x1b" not in printed
