"""Unpacks a released model's zip, and nothing that such a zip does not have."""

import errno
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

from bert_tf.checkpoints.downloads import CHUNK, require_space
from bert_tf.errors import InputError

# What `zipfile` raises for truncated, damaged and odd files.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    IndexError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
)
# What the system answers to names and places that only a bad zip has.
BAD_NAMES = (
    errno.EEXIST,
    errno.EINVAL,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
)
# A released model has five files, and a folder around them.
MOST_ENTRIES = 100


class BadZip(InputError):
    """A zip is damaged, or holds something else than it should."""


def unpack(
    archive: Path,
    folder: Path,
    marker: str,
    limits: Mapping[str, int] | None = None,
) -> None:
    """Unpacks that folder of a zip which holds the file `marker`.

    All entries are checked before the first is written: if one would leave the
    folder (absolute, `..`, a drive letter, a link), the zip is refused.

    Args:
        archive: the zip.
        folder: where the files go; what is there is removed first.
        marker: a file name that occurs once. Files beside and below it are
            unpacked, whether the zip has a top folder or not.
        limits: {file to unpack: bytes that it can have at most}; others are
            left out. None for all files of any size.

    Raises:
        BadZip: names the zip, the entry, and what is wrong with it.
        InputError: the files cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            chosen = _choose_entries(archive, opened.infolist(), marker, limits)
            size = sum(entry.file_size for entry in chosen.values())
            require_space(archive.parent, size, f"Unpacking {archive}")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name, entry in chosen.items():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(entry) as source, open(target, "xb") as file:
                    shutil.copyfileobj(source, file, CHUNK)
    except InputError:
        raise
    except DAMAGED as error:
        reason = str(error) or type(error).__name__
        raise BadZip(f"{archive} is not a whole zip ({reason}).") from error
    except OSError as error:
        kind = BadZip if error.errno in BAD_NAMES else InputError
        raise kind(f"Cannot unpack {archive}: {error}.") from error


def _choose_entries(
    archive: Path,
    entries: list[zipfile.ZipInfo],
    marker: str,
    limits: Mapping[str, int] | None,
) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The entries to unpack by their path in the folder.

    Raises:
        BadZip: there are too many or too large ones, or harmful ones.
    """
    if limits is not None and len(entries) > MOST_ENTRIES:
        raise BadZip(
            f"{archive} is refused and nothing was unpacked: it has "
            f"{len(entries):,} entries, and a released model has 5 files."
        )
    for entry in entries:
        _require_harmless(archive, entry)
    names = [PurePosixPath(entry.filename) for entry in entries]
    roots = [name.parent for name in names if name.name == marker]
    if len(roots) != 1:
        raise BadZip(
            f"{archive} must hold one {marker}. It holds {len(roots)}, "
            f"among {len(names)} entries: "
            f"{', '.join(map(str, names[:8]))}"
        )
    chosen: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for entry, path in zip(entries, names):
        if entry.is_dir() or not path.is_relative_to(roots[0]):
            continue
        name = path.relative_to(roots[0])
        if limits is not None:
            if str(name) not in limits:
                continue
            largest = limits[str(name)]
            if entry.file_size > largest:
                raise BadZip(
                    f"{archive} is refused and nothing was unpacked: its "
                    f"entry {entry.orig_filename!r} has {entry.file_size:,} "
                    f"bytes, instead of {largest:,} at most."
                )
        if name in chosen:
            raise BadZip(
                f"{archive} is refused and nothing was unpacked: it has the "
                f"entry {entry.orig_filename!r} twice."
            )
        chosen[name] = entry
    return chosen


def _require_harmless(archive: Path, entry: zipfile.ZipInfo) -> None:
    # Windows' reading of a path knows every separator, root and drive.
    path = PureWindowsPath(entry.orig_filename)
    mode = stat.S_IFMT(entry.external_attr >> 16)
    if path.anchor or ".." in path.parts or ":" in entry.orig_filename:
        wrong = "would leave the folder it is unpacked to"
    elif mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        wrong = "is a link or a special file"
    elif entry.flag_bits & 1:
        wrong = "is encrypted"
    elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        wrong = "is packed in another way than the released models are"
    else:
        return
    raise BadZip(
        f"{archive} is refused and nothing was unpacked: its entry "
        f"{entry.orig_filename!r} {wrong}."
    )
