"""Hostile configs, Hugging Face folders and exports; see `helpers.hostile`."""

import functools
import json
import shutil
import struct

from helpers.golden import CHECKPOINTS
from helpers.hostile import ODD_VALUES, damaged, odd_json
from helpers.hostile_checkpoints import read_checkpoints

# -------------------------------------------------------------------- configs

CONFIG = "bert_config.json"


def configs_cases(rng, count, folder):
    """A small model's folder with another config."""
    source = CHECKPOINTS / "small"
    content = (source / CONFIG).read_bytes()
    for number in range(count):
        place = folder / str(number)
        shutil.copytree(source, place)
        if number % 3:
            values = json.loads(content)
            for _ in range(rng.randrange(1, 3)):
                key = rng.choice((*sorted(values), "directionality", "to_dict"))
                fitting = (values.get(key), "gelu", "bidi", 0.1, 2.0, 4)
                values[key] = rng.choice(rng.choice((ODD_VALUES, fitting)))
            (place / CONFIG).write_text(json.dumps(values))
        else:
            (place / CONFIG).write_bytes(damaged(rng, content))
        yield str(place), None
        shutil.rmtree(place)


def read_configs(folder):
    """Opens the model and builds it, if its config is taken."""
    from bert_tf import models
    from bert_tf.checkpoints import folders, inference

    opened = folders.find(folder)
    with open(opened.config_file, encoding="utf-8") as file:
        said = json.load(file)
    for key, value in said.items():
        assert getattr(opened.config, key) == value, (key, value)
    model, _ = inference.load_model(
        lambda: models.pretraining(opened.config),
        opened.config,
        opened.reader,
        inference.ANY_NAME,
    )
    row = {"input_ids": [[1, 2]], "input_mask": [[1, 1]]}
    row |= {"segment_ids": [[0, 0]], "masked_lm_positions": [[1]]}
    inference.compile_forward(model)(row)


# --------------------------------------------------------- Hugging Face folders

TOKENIZER_KEYS = (
    "do_lower_case",
    "strip_accents",
    "tokenize_chinese_chars",
    "do_basic_tokenize",
    "never_split",
    "wordpieces_prefix",
    "tokenizer_class",
    "unk_token",
    "cls_token",
    "added_tokens_decoder",
    "model_max_length",
)


def hugging_face_cases(rng, count, folder):
    """Folders of four heads, of which the weights or another file is odd."""
    sources = sorted((CHECKPOINTS / "hugging_face").iterdir())
    for number in range(count):
        source = rng.choice(sources)
        place = folder / str(number)
        shutil.copytree(source, place)
        same = rng.choice(WAYS)(rng, place)
        yield str(place), Same(source if same else None)
        shutil.rmtree(place)


class Same:
    """Equal to the tensors that a good conversion gives for their names."""

    def __init__(self, source):
        self.source = source

    def __eq__(self, got):
        if self.source is None:
            return True
        want = _converted(self.source)
        return all(want.get(name) == value for name, value in got.items())


@functools.cache
def _converted(source):
    return read_hugging_face(str(source))


def _damage(rng, place):
    path = rng.choice([one for one in place.iterdir() if one.suffix != ".npz"])
    path.write_bytes(damaged(rng, path.read_bytes()))
    return path.suffix != ".safetensors"


def _odd_config(rng, place):
    path = place / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(odd_json(rng, values)))
    return True


def _odd_tokenizer_config(rng, place):
    values = {
        rng.choice(TOKENIZER_KEYS): rng.choice((*ODD_VALUES, "[UNK]", "##"))
        for _ in range(rng.randrange(1, 4))
    }
    (place / "tokenizer_config.json").write_text(json.dumps(values))
    return True


def _odd_tokenizer(rng, place):
    tokens = (place / "vocab.txt").read_text(encoding="utf-8").splitlines()
    content = {
        "version": "1.0",
        "added_tokens": [{"id": 1, "content": tokens[1], "special": True}],
        "normalizer": {"type": "BertNormalizer", "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "BertProcessing",
            "sep": ["[SEP]", tokens.index("[SEP]")],
            "cls": ["[CLS]", tokens.index("[CLS]")],
        },
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "vocab": {token: n for n, token in enumerate(tokens)},
        },
    }
    content = odd_json(rng, content)
    (place / "tokenizer.json").write_text(json.dumps(content))
    if rng.randrange(2):
        (place / "vocab.txt").unlink()
    return True


def _odd_small_file(rng, place):
    name = rng.choice(
        ("added_tokens.json", "special_tokens_map.json", "modules.json")
    )
    value = rng.choice(({"[E1]": 3}, {"cls_token": "[CLS]"}, [{"path": "x"}]))
    (place / name).write_text(json.dumps(odd_json(rng, value)))
    return True


def _odd_header(rng, place):
    """Another header of the weights; their bytes are the same."""
    path = place / "model.safetensors"
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    header = json.dumps(odd_json(rng, header)).encode()
    length = rng.choice((len(header), len(header), 2**40, 2**64 - 1, 0))
    path.write_bytes(struct.pack("<Q", length) + header + content[8 + size :])
    return False


WAYS = (
    _damage,
    _damage,
    _odd_config,
    _odd_config,
    _odd_tokenizer_config,
    _odd_tokenizer,
    _odd_small_file,
    _odd_header,
)


def read_hugging_face(folder):
    """Converts it; the tensors by name."""
    import tempfile

    from bert_tf.checkpoints.from_hugging_face import from_hf

    with tempfile.TemporaryDirectory() as output:
        from_hf(folder, output)
        return read_checkpoints(output)


# ------------------------------------------------------------------- versions


def versions_cases(rng, count, folder):
    """Damaged copies of two exported versions: any of their files.

    Half of them have checksums of their files, as exports do.
    """
    from helpers import small_models

    small_models.save(small_models.Reviews(0.5), folder / "one" / "1")
    small_models.save(small_models.Counts("multi"), folder / "many" / "1")
    yield from _damaged_versions(rng, count, folder)


def plain_versions_cases(rng, count, folder):
    """The same of ONNX exports, one of which is a small BERT."""
    from helpers import exported, small_plain

    small_plain.save(folder / "one" / "1", 0.5)
    shutil.copytree(
        exported.folder("classifier", format="onnx"), folder / "many"
    )
    yield from _damaged_versions(rng, count, folder)


def _damaged_versions(rng, count, folder):
    from bert_tf.exports.folder import write_checksums

    names = ("many", "one")
    wanted = {name: read_versions(str(folder / name)) for name in names}
    for number in range(count):
        place = folder / str(number)
        name = rng.choice(names)
        shutil.copytree(folder / name, place)
        shutil.rmtree(place / "1" / "assets.extra", ignore_errors=True)
        if has_checksums := number % 2 == 0:
            (place / "1" / "assets.extra").mkdir()
            write_checksums(str(place / "1"))
        files = sorted(one for one in place.rglob("*") if one.is_file())
        path = rng.choice(files)
        is_json = path.suffix == ".json" and rng.randrange(2)
        path.write_bytes(
            json.dumps(odd_json(rng, json.loads(path.read_text()))).encode()
            if is_json
            else damaged(rng, path.read_bytes())
        )
        is_known = has_checksums or "variables" in path.parts
        yield str(place), wanted[name] if is_known else None
        shutil.rmtree(place)


def read_plain_versions(folder):
    """As `read_versions`, which knows a version by its files."""
    return read_versions(folder)


def read_versions(folder):
    """Loads a version as Predictor and as the server do."""
    import numpy as np

    import bert_tf
    from bert_tf.server import trial
    from bert_tf.server.protocol import RequestError

    bert_tf.Predictor(folder)
    version = f"{folder}/1"
    served = trial.find(trial.by_format(version))(version, 1)
    try:
        out = served.run("serve_text", {"text_a": np.array([b"good"], object)})
        return {
            name: out[name].tolist()
            for name in ("scores", "probabilities")
            if name in out
        }
    except RequestError as error:
        return str(error)
