"""The models that google-research/bert released: registry, download, checks."""

import contextlib
import dataclasses
import difflib
import functools
import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bert_tf
from bert_tf.checkpoints import downloads, zips
from bert_tf.checkpoints.names import (
    CONFIG,
    DATA,
    INDEX,
    PREFIX,
    VOCAB,
    checkpoint_shapes,
)
from bert_tf.errors import InputError, printable
from bert_tf.support.files import write_text

INDEX_FILE, DATA_FILE = PREFIX + INDEX, PREFIX + DATA

COMMAND = "python -m bert_tf.released_models"

_REGISTRY = "released_models.json"


@dataclasses.dataclass(frozen=True)
class KnownFile:
    """Size and checksum of one file of a model.

    `confirmed` is false if only one public copy of the file is known: a
    difference from it is then reported, but proves nothing.
    """

    bytes: int
    sha256: str
    confirmed: bool


@dataclasses.dataclass(frozen=True)
class ReleasedModel:
    """One model of the original's README.

    Attributes:
        name: the name of its zip and of its folder; with `2020_` in front for
            the one that shares its name with an older model.
        aliases: its names in the original's README, and others.
        released: the date in its address.
        url: address of its zip.
        do_lower_case: whether its vocabulary is for lower-cased text.
        vocabulary: which of the five vocabularies it has.
        vocab_tokens: the number of lines of its `vocab.txt`.
        config: the content of its `bert_config.json`.
        config_source: "released file", or "derived" if the values were derived
            from the name and the README.
        files: what is known of its files, by file name.
    """

    name: str
    aliases: tuple[str, ...]
    released: str
    url: str
    do_lower_case: bool
    vocabulary: str
    vocab_tokens: int
    config: Mapping[str, Any]
    config_source: str
    files: Mapping[str, KnownFile]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The variables of its checkpoint, by name."""
        return checkpoint_shapes(self.config)

    @property
    def parameters(self) -> int:
        """The number of parameters of the encoder, pooler included."""
        shapes = self.shapes.items()
        return sum(math.prod(s) for name, s in shapes if name[:5] == "bert/")

    @property
    def data_bytes(self) -> int:
        """The size of its weights: float32, and nothing else in the file."""
        return 4 * sum(map(math.prod, self.shapes.values()))

    @property
    def largest_files(self) -> dict[str, int]:
        """The files of its zip, and bytes that each can have at most.

        With room for other copies of files of which only one is known.
        """
        return {
            CONFIG: 1 << 16,
            VOCAB: 2 * self.files[VOCAB].bytes,
            INDEX_FILE: 1 << 20,
            DATA_FILE: self.data_bytes + (1 << 20),
            f"{PREFIX}.meta": 1 << 24,
        }

    @property
    def largest_zip(self) -> int:
        """Bytes that its zip can have at most."""
        # What cannot be compressed grows by less than a thousandth.
        return int(1.01 * sum(self.largest_files.values()))


@functools.cache
def registry_folder() -> Path:
    """The folder of the registry and of the built-in model."""
    package = Path(bert_tf.__file__).resolve().parent
    # A wheel has the repository's folder `checkpoints/` as a package.
    places = (package / "_checkpoints", package.parent / "checkpoints")
    for place in places:
        if (place / _REGISTRY).exists():
            return place
    raise InputError(
        "The registry of released models is missing; it should be at "
        f"{' or '.join(str(place / _REGISTRY) for place in places)}. Install "
        "bert_tf again."
    )


@functools.cache
def released_models() -> tuple[ReleasedModel, ...]:
    """All of them, in the order of the registry."""
    path = registry_folder() / _REGISTRY
    registry = json.loads(path.read_text(encoding="utf-8"))
    models = []
    for entry in registry["models"]:
        vocab = dict(registry["vocabularies"][entry["vocabulary"]])
        entry["vocab_tokens"] = vocab.pop("tokens")
        entry["aliases"] = tuple(entry["aliases"])
        files = {VOCAB: vocab, **entry["files"]}
        entry["files"] = {name: KnownFile(**f) for name, f in files.items()}
        models.append(ReleasedModel(**entry))
    return tuple(models)


def find_model(name: str) -> ReleasedModel:
    """The model of this name or alias; case and punctuation do not matter.

    Raises:
        InputError: with the nearest names, and all of them.
    """
    models, aliases = {}, {}
    for model in released_models():
        for alias in (model.name, *model.aliases):
            models[_key(alias)], aliases[_key(alias)] = model, alias
    if _key(name) in models:
        return models[_key(name)]
    near = difflib.get_close_matches(_key(name), aliases, cutoff=0.5)
    hint = " or ".join(repr(aliases[key]) for key in near)
    raise InputError(
        f"No released model is called {name!r}."
        f"{f' Did you mean {hint}?' if hint else ''} There are: "
        f"{', '.join(model.name for model in released_models())}. "
        f"`{COMMAND} list` tells what else they are called."
    )


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


@dataclasses.dataclass
class Report:
    """What `verify` found: passed checks, notes and problems."""

    model: ReleasedModel
    folder: Path
    facts: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __str__(self) -> str:
        lines = [f"{self.folder}: {self.model.name}"]
        lines += [f"  ok       {fact}" for fact in self.facts]
        lines += [f"  note     {note}" for note in self.notes]
        lines += [f"  WRONG    {problem}" for problem in self.problems]
        return "\n".join(map(printable, lines))


def verify(
    name_or_folder: str | os.PathLike,
    model: str | ReleasedModel | None = None,
    folder: str | os.PathLike = "checkpoints",
) -> Report:
    """Compares a downloaded model with everything that is known of it.

    Args:
        name_or_folder: the folder of a model, or the name of one that was
            downloaded to `folder`.
        model: the expected model; by default the one whose name the folder has.
        folder: where `download` puts models.

    Returns:
        A `Report` on known checksums, the config, the number of lines of the
        vocabulary, the variables in the index, the size of the weights, and
        the checksum of each tensor.

    Raises:
        InputError: no such folder, or no model of its name.
    """
    path = Path(name_or_folder)
    if not path.is_dir():
        found = find_model(str(name_or_folder))
        path = Path(folder) / found.name
        if not path.is_dir():
            raise InputError(
                f"{found.name} is not in {folder}. Get it with "
                f"`{COMMAND} download {found.name} --dir {folder}`."
            )
    elif isinstance(model, ReleasedModel):
        found = model
    else:
        try:
            found = find_model(model or path.resolve().name)
        except InputError as error:
            raise InputError(
                f"Which released model is in {path}? Say so with --model. "
                f"{error}"
            ) from error
    return _examine(found, path)


def _examine(model: ReleasedModel, folder: Path) -> Report:
    report = Report(model, folder)
    missing = [
        name
        for name in (CONFIG, VOCAB, INDEX_FILE, DATA_FILE)
        if not (folder / name).is_file()
    ]
    report.problems += [f"{name} is missing" for name in missing]
    for name, known in model.files.items():
        if not (folder / name).is_file():
            continue
        if downloads.digest(folder / name) == known.sha256:
            report.facts.append(f"{name}: SHA-256 as released")
        elif known.confirmed:
            report.problems.append(
                f"{name}: its SHA-256 is not the released file's {known.sha256}"
            )
        else:
            report.notes.append(
                f"{name}: differs from the one copy of it that is known"
            )
    if not missing:
        _examine_config(report)
        _examine_vocab(report)
        _examine_weights(report)
    return report


def _examine_config(report: Report) -> None:
    try:
        config = json.loads((report.folder / CONFIG).read_text("utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it is not an object {...}")
    except (ValueError, RecursionError) as error:
        report.problems.append(f"{CONFIG}: not valid JSON: {error}")
        return
    wanted = report.model.config
    wrong = {key: v for key, v in wanted.items() if config.get(key) != v}
    for key, value in wrong.items():
        text = f"{CONFIG}: {key} must be {value!r}. Found: {config.get(key)!r}"
        # Values that do not affect the weights (dropout, ...) are guesses for
        # a model with a derived config.
        guessed = report.model.config_source == "derived" and not (
            key.startswith("num_") or key.endswith(("_size", "_embeddings"))
        )
        (report.notes if guessed else report.problems).append(text)
    if not wrong:
        report.facts.append(f"{CONFIG}: the {len(wanted)} values of this model")
    if more := sorted(set(config) - set(wanted)):
        report.notes.append(f"{CONFIG}: has also {', '.join(more)}")


def _examine_vocab(report: Report) -> None:
    content = (report.folder / VOCAB).read_bytes()
    lines = content.count(b"\n") + (not content.endswith(b"\n"))
    wanted = report.model.vocab_tokens
    if lines == wanted:
        report.facts.append(f"{VOCAB}: {lines:,} tokens")
    else:
        report.problems.append(
            f"{VOCAB}: must have {wanted:,} lines. Found: {lines:,}"
        )


def _examine_weights(report: Report) -> None:
    import tensorflow as tf  # Takes seconds; only needed here.

    from bert_tf.checkpoints import storage

    failures = (
        tf.errors.OpError,
        RuntimeError,
        ValueError,
        IndexError,
        TypeError,
    )
    wanted = report.model.shapes
    try:
        storage.check_index(str(report.folder / PREFIX))
        reader = tf.train.load_checkpoint(str(report.folder / PREFIX))
        shapes = reader.get_variable_to_shape_map()
        types = reader.get_variable_to_dtype_map()
    except failures as error:
        report.problems.append(f"{INDEX_FILE}: cannot be read: {_line(error)}")
        return
    found = {name: tuple(shape) for name, shape in shapes.items()}
    wrong = [f"{name} is missing" for name in sorted(set(wanted) - set(found))]
    wrong += [f"{n} does not belong" for n in sorted(set(found) - set(wanted))]
    for name in sorted(set(wanted) & set(found)):
        if (found[name], types[name]) != (wanted[name], tf.float32):
            wrong.append(
                f"{name} must be float32 {wanted[name]}. Found: "
                f"{types[name].name} {found[name]}"
            )
    size = (report.folder / DATA_FILE).stat().st_size
    demanded = sum(types[n].size * math.prod(s) for n, s in found.items())
    if wrong:
        report.problems.append(
            f"{INDEX_FILE}: {len(wrong)} variables differ from what the config "
            f"demands: {'; '.join(wrong[:3])}{'; ...' if wrong[3:] else ''}"
        )
    else:
        report.facts.append(
            f"{INDEX_FILE}: the {len(wanted)} variables of its kind"
        )
    if size != demanded:
        report.problems.append(
            f"{DATA_FILE}: must have {demanded:,} bytes. Found: {size:,}"
        )
        return
    for name in sorted(found):
        try:
            reader.get_tensor(name)  # Checks the CRC-32C of the index.
        except failures as error:
            report.problems.append(
                f"{DATA_FILE}: {name} is damaged: {_line(error)}"
            )
            return
    report.facts.append(f"{DATA_FILE}: {size:,} bytes, CRC-32C of every tensor")


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def download(
    model: str | ReleasedModel,
    folder: str | os.PathLike = "checkpoints",
    url: str | None = None,
    keep_zip: bool = False,
    **fetching: Any,
) -> Path:
    """Downloads, unpacks and verifies a model, unless it is there already.

    After an interruption (Ctrl-C, kill -9, a lost network) the same call
    resumes the download. The model's folder appears only whole and verified.
    The zip's SHA-256 is recorded in `<folder>/<name>.zip.sha256`, and a later
    download must have the same.

    Args:
        model: a name or alias.
        folder: parent of the model's folder; created if it does not exist.
        url: another address of the same zip.
        keep_zip: keep the zip beside the folder.
        **fetching: `timeout`, `retries`, `wait`, `quiet` of `downloads.fetch`.

    Returns:
        The model's folder, `<folder>/<name>`.

    Raises:
        InputError: says what failed, what is kept and what to do.
    """
    found = model if isinstance(model, ReleasedModel) else find_model(model)
    parent = Path(folder)
    target, zipped = parent / found.name, parent / f"{found.name}.zip"
    if target.exists():
        report = _examine(found, target)
        if report.ok:
            _clear(found, parent, keep_zip)
            return target
        raise InputError(
            f"{target} exists but is not a whole {found.name}: "
            f"{'; '.join(report.problems)}. Move it away or remove it, then "
            "run the same command again."
        )
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make the folder {parent}: {error}") from error
    with downloads.alone(_lock_of(found, parent)):
        if not zipped.exists():
            downloads.fetch(
                url or found.url,
                zipped,
                reserve=found.data_bytes,
                largest=found.largest_zip,
                **fetching,
            )
        _unpack_verified(found, zipped, target)
        if not keep_zip:
            zipped.unlink()
    return target


def _lock_of(model: ReleasedModel, parent: Path) -> Path:
    return parent / f".{model.name}.lock"


def _clear(model: ReleasedModel, parent: Path, keep_zip: bool) -> None:
    """Removes what a download left that was killed once all was unpacked."""
    lock = _lock_of(model, parent)
    if lock.exists():
        # Another process may be about to do so.
        with contextlib.suppress(InputError), downloads.alone(lock):
            if not keep_zip:
                (parent / f"{model.name}.zip").unlink(missing_ok=True)


def _unpack_verified(model: ReleasedModel, zipped: Path, target: Path) -> None:
    """Unpacks a zip to `target`; one that fails is put aside."""
    unfinished = target.with_name(f".{model.name}.unfinished")
    record = zipped.with_name(zipped.name + ".sha256")
    try:
        sha256 = downloads.digest(zipped)
        if record.exists() and record.read_text("utf-8").split()[:1] != [
            sha256
        ]:
            raise zips.BadZip(
                f"The SHA-256 of {zipped} is {sha256}, not the one that "
                f"{record} has from an earlier download. If that is right, "
                "remove the record."
            )
        zips.unpack(zipped, unfinished, CONFIG, model.largest_files)
        report = _examine(model, unfinished)
        if not report.ok:
            raise zips.BadZip(
                f"{zipped} does not hold {model.name}: "
                f"{'; '.join(report.problems)}."
            )
    except zips.BadZip as error:
        aside = zipped.with_name(zipped.name + ".refused")
        os.replace(zipped, aside)
        shutil.rmtree(unfinished, ignore_errors=True)
        raise InputError(
            f"{error} The zip was put aside as {aside.name}; the same command "
            "would download it anew."
        ) from error
    write_text(str(record), f"{sha256}  {zipped.name}\n")
    os.replace(unfinished, target)
