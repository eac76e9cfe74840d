"""Downloads a large file over HTTP, resuming after interruptions.

Data that has arrived is kept beside the file as `<file>.part`, and the next
call resumes there. Only the given address is contacted (through the proxies
that `https_proxy` and the like name).
"""

import base64
import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rich.console
import rich.progress

from bert_tf.errors import InputError, printable
from bert_tf.support import liveness
from bert_tf.support.files import write_text

CHUNK = 1 << 18
LONGEST_WAIT = 60.0


def digest(path: Path, kind: str = "sha256") -> str:
    """The checksum of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Raises `InputError` if `folder`'s disk has fewer than `needed` bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{purpose} needs {needed:,} bytes in {folder}. Free: {free:,}. "
            "Make room, or choose another folder with --dir."
        )


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Holds a lock file, so that no two processes write the same file."""
    try:
        file = open(path, "w")  # noqa: SIM115 (closed by the next `with`)
    except OSError as error:
        raise InputError(f"Cannot write in {path.parent}: {error}") from error
    with file:
        # Some network disks have no locks; do without.
        if liveness.lock(file.fileno()) is False:
            raise InputError(
                f"Another process is downloading the same model: it holds "
                f"{path}. Wait until it ends."
            )
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


class PartialFile:
    """The part of a file that has arrived, and a note about the file.

    The note is JSON: `url`; `total` bytes, None while unknown; `validator`, a
    strong ETag or else the date of the last change, by which a changed file is
    recognized; `md5`, if the server sends it.
    """

    def __init__(self, path: Path):
        self.path = path
        self.bytes_path = path.with_name(path.name + ".part")
        self.note_path = path.with_name(path.name + ".part.json")

    @property
    def size(self) -> int:
        """Number of bytes that have arrived."""
        return self.bytes_path.stat().st_size if self.bytes_path.exists() else 0

    @property
    def note(self) -> dict[str, Any]:
        """The note; empty if there is none that can be read."""
        try:
            note = json.loads(self.note_path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return note if _is_note(note) else {}

    @note.setter
    def note(self, note: dict[str, Any]) -> None:
        # Without a whole note, what has arrived would be thrown away.
        write_text(str(self.note_path), json.dumps(note))

    def is_whole(self, url: str) -> bool:
        """Whether all of the file at `url` has arrived."""
        note = self.note
        return note.get("url") == url and note.get("total") == self.size

    def forget(self) -> None:
        """Deletes part and note."""
        self.bytes_path.unlink(missing_ok=True)
        self.note_path.unlink(missing_ok=True)

    def append(self, chunk: bytes) -> None:
        """Appends bytes, so that they survive the end of this process."""
        try:
            with open(self.bytes_path, "ab") as file:
                file.write(chunk)
        except OSError as error:
            raise InputError(
                f"Cannot write {self.bytes_path}: {error.strerror}. What has "
                "arrived is kept: mend this and run the same command again."
            ) from error

    def finish(self) -> None:
        """Gives the file its final name, if its checksum is right."""
        md5 = self.note.get("md5")
        if md5 and digest(self.bytes_path, "md5") != md5:
            url = self.note["url"]
            self.forget()
            raise InputError(
                f"{url} arrived damaged: its MD5 is not the {md5} that the "
                "server announced. It was removed: run the same command again."
            )
        with open(self.bytes_path, "rb") as file:
            os.fsync(file.fileno())
        os.replace(self.bytes_path, self.path)
        self.note_path.unlink(missing_ok=True)


def _is_note(note: Any) -> bool:
    """Whether JSON is a note, and not damaged."""
    if not isinstance(note, dict) or not isinstance(note.get("url"), str):
        return False
    texts = (note.get("validator"), note.get("md5"))
    return isinstance(note.get("total", ""), int | None) and all(
        text is None or (isinstance(text, str) and text.isprintable())
        for text in texts
    )


def fetch(
    url: str,
    path: Path,
    *,
    timeout: float = 60.0,
    retries: int = 5,
    wait: float = 1.0,
    reserve: int = 0,
    largest: int | None = None,
    quiet: bool = False,
) -> None:
    """Downloads `url` to `path`, resuming an earlier call.

    Args:
        url: an http or https address.
        path: the file to write; its folder exists.
        timeout: seconds without data after which an attempt has failed.
        retries: number of failures in a row, without new data, to tolerate.
        wait: seconds before the first retry; doubles each time, up to a minute.
        reserve: bytes that must stay free on the disk besides the file.
        largest: bytes that the file can have at most.
        quiet: no progress bar and no messages on standard error.

    Raises:
        InputError: says what failed, where the part is kept and what to do.
    """
    host = _require_address(url)
    partial = PartialFile(path)
    failures, farthest = 0, partial.size
    with _Display(path.name, quiet) as display:
        while not partial.is_whole(url):
            try:
                _attempt(url, partial, timeout, reserve, largest, display)
            except (OSError, http.client.HTTPException) as error:
                reason = _reason(error, host, timeout)
                if partial.size > farthest:
                    failures, farthest = 0, partial.size
                failures += 1
                if not _may_pass(error) or failures > retries:
                    raise InputError(_failed(url, partial, reason)) from error
                pause = min(wait * 2 ** (failures - 1), LONGEST_WAIT)
                display.say(
                    f"{reason}; going on in {pause:g} s "
                    f"(retry {failures} of {retries})"
                )
                time.sleep(pause)
    partial.finish()


def _require_address(url: str) -> str:
    """The host of an address that can be requested."""
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname
        parts.port  # noqa: B018 (reading it raises if it is no number)
    except ValueError:
        usable = False
    if not usable or not re.fullmatch(r"[!-~]+", url):
        raise InputError(
            "An address must look like https://host/file.zip, without spaces "
            f"and with other than ASCII letters as %XX. Received: {url!r}"
        )
    return parts.netloc


def _attempt(
    url: str,
    partial: PartialFile,
    timeout: float,
    reserve: int,
    largest: int | None,
    display: "_Display",
) -> None:
    """One request, which appends what it gets from the first missing byte."""
    headers = {"User-Agent": "bert_tf", "Accept-Encoding": "identity"}
    note, start = partial.note, 0
    if note.get("url") == url and note.get("validator"):
        start = partial.size
    if start:
        headers["Range"] = f"bytes={start}-"
        headers["If-Range"] = note["validator"]
    request = urllib.request.Request(url, headers=headers)
    try:
        response = _OPENER.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # By now it is shorter than our part.
            display.say("the file has changed: starting again")
            return partial.forget()
        raise
    except InputError:
        raise
    except ValueError as error:
        raise InputError(
            f"{url} leads to an address that cannot be requested: {error}"
        ) from error
    with response:
        offered = _describe(url, response)
        if start and response.status == 206:
            if not _goes_on(response, start, note, offered):
                display.say("the file has changed: starting again")
                return partial.forget()
            offered = note
        elif response.status == 200:
            if start:
                display.say(
                    "the file has changed, or the server cannot send the rest "
                    "alone: starting again"
                )
            start = 0
            # In this order: a new note must never describe the old part.
            partial.forget()
            partial.note = offered
        else:
            raise http.client.HTTPException(
                f"unexpected answer {response.status} {response.reason}"
            )
        total, received = offered["total"], start
        _require_size(url, partial, total or 0, largest)
        require_space(
            partial.path.parent,
            (total or 0) - start + reserve,
            f"Downloading and unpacking {partial.path.name}",
        )
        display.show(received, total)
        while chunk := response.read1(CHUNK):
            partial.append(chunk)
            received += len(chunk)
            _require_size(url, partial, received, largest)
            display.show(received, total)
    if total is None:  # The file ends with the response.
        partial.note = offered | {"total": received}
    elif received != total:
        raise ConnectionError(
            f"the connection ended after {received:,} of {total:,} bytes"
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to anything else.

    Whoever is on the way of a connection that is not encrypted could send other
    weights.
    """

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        scheme = urllib.parse.urlsplit(newurl).scheme
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if scheme not in allowed:
            raise InputError(
                f"{req.full_url} redirects to {newurl!r}, which is not "
                f"followed: only {' or '.join(allowed)} is. Another address "
                "can be given with --url."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_Redirects)


def _require_size(
    url: str, partial: PartialFile, size: int, largest: int | None
) -> None:
    if largest is not None and size > largest:
        partial.forget()
        raise InputError(
            f"{url} is not the file that is expected: it has {size:,} bytes "
            f"or more, instead of {largest:,} at most. Nothing of it was kept."
        )


def _describe(url: str, response: Any) -> dict[str, Any]:
    """The note for a `PartialFile`, from the headers of a response."""
    headers = response.headers
    etag, changed = headers.get("ETag"), headers.get("Last-Modified")
    length = headers.get("Content-Length", "")
    # Sent by Google's storage, where the released models are.
    hashes = ",".join(headers.get_all("x-goog-hash", ()))
    md5 = re.search(r"md5=([A-Za-z0-9+/]{22}==)", hashes)
    return {
        "url": url,
        "total": int(length) if re.fullmatch("[0-9]{1,18}", length) else None,
        # A weak ETag promises the same meaning, not the same bytes.
        "validator": etag if etag and not etag.startswith("W/") else changed,
        "md5": base64.b64decode(md5[1]).hex() if md5 else None,
    }


def _goes_on(response: Any, start: int, note: dict, offered: dict) -> bool:
    """Whether a 206 response continues our part of the same file."""
    span = response.headers.get("Content-Range", "")
    return span.endswith(f"/{note['total']}") and (
        span.startswith(f"bytes {start}-")
        and offered["validator"] in (None, note["validator"])
    )


def _may_pass(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in (408, 429)
    reason = getattr(error, "reason", error)
    return not isinstance(reason, ssl.SSLCertVerificationError)


def _reason(error: Exception, host: str, timeout: float) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"{host} answered {error.code} {error.reason}"
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return f"{host} sent nothing for {timeout:g} s (--timeout)"
    if isinstance(reason, ConnectionRefusedError):
        return f"{host} refuses connections"
    if isinstance(reason, socket.gaierror):
        return f"the name {host} cannot be looked up (is there a network?)"
    return str(reason) or type(reason).__name__


def _failed(url: str, partial: PartialFile, reason: str) -> str:
    kept = "Nothing was received."
    if partial.size:
        of = partial.note.get("total")
        kept = (
            f"{partial.size:,}{f' of {of:,}' if of else ''} bytes are kept in "
            f"{partial.bytes_path}: run the same command again to go on."
        )
    return (
        f"Could not download {url}: {reason}. {kept} Another address can be "
        f"given with --url, or the file put at {partial.path} by hand."
    )


class _Display:
    """A progress bar and messages on standard error, or nothing."""

    def __init__(self, name: str, quiet: bool):
        self._quiet = quiet
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.DownloadColumn(),
            rich.progress.TransferSpeedColumn(),
            rich.progress.TimeRemainingColumn(),
            console=rich.console.Console(stderr=True),
            disable=quiet,
        )
        self._task = self._bar.add_task(name, total=None)

    def __enter__(self) -> "_Display":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def show(self, received: int, total: int | None) -> None:
        self._bar.update(self._task, completed=received, total=total)

    def say(self, text: str) -> None:
        if not self._quiet:
            self._bar.console.print(
                printable(text), markup=False, soft_wrap=True
            )
