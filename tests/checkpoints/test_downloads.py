"""Downloads of a released model from a server in this process."""

import base64
import hashlib
import io
import os
import shutil
import socket
import subprocess
import sys
import time
import types
import zipfile

import pytest
from helpers.download_server import assert_whole, zip_of
from helpers.paths import ROOT

from bert_tf.checkpoints import downloads, released
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
