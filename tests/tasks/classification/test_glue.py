"""GLUE's files, as they are published, become examples; traps of real files."""

import csv
import logging

import pytest

from bert_tf.errors import InputError
from bert_tf.tasks.classification import datasets
from bert_tf.tasks.classification.datasets import find_dataset

# For each task: the train row, the test row, text_a, text_b, label, as the
# archives of GLUE have them.
ROWS = {
    "cola": ("gj04\t0\t*\tHe sleep.", "0\tHe sleep.", "He sleep.", None, "0"),
    "sst-2": ("a fine film \t1", "0\ta fine film ", "a fine film ", None, "1"),
    "mrpc": ("1\t8\t9\tA b.\tA c.", "0\t8\t9\tA b.\tA c.", "A b.", "A c.", "1"),
    "qqp": ("7\t1\t2\tHow?\tWhy?\t0", "0\tHow?\tWhy?", "How?", "Why?", "0"),
    "sts-b": (
        "0\tmain\tMSR\t2012\t0001\tnone\tnone\tA man.\tA dog.\t3.800",
        "0\tmain\tMSR\t2012\t0001\tnone\tnone\tA man.\tA dog.",
        "A man.",
        "A dog.",
        3.8,
    ),
    "mnli": (
        "0\t1\t1n\tslate\t(\t(\t(\t(\tA b.\tA c.\tneutral\tneutral",
        "0\t1\t1n\tslate\t(\t(\t(\t(\tA b.\tA c.",
        "A b.",
        "A c.",
        "neutral",
    ),
    "qnli": (
        '0\tWho "is\tHe.\tnot_entailment',
        '0\tWho "is\tHe.',
        'Who "is',
        "He.",
        "not_entailment",
    ),
    "rte": ("0\tA.\tB.\tentailment", "0\tA.\tB.", "A.", "B.", "entailment"),
    "wnli": ("0\tA.\tB.\t1", "0\tA.\tB.", "A.", "B.", "1"),
}
DEV = {"mnli": "dev_matched"}
TEST = {"mnli": "test_matched"}
# MNLI's dev files have the labels of five people.
OF_FIVE = "\tneutral\tentailment\tneutral\tneutral\tneutral\tneutral"


def header_of(row):
    return "\t".join(f"c{at}" for at in range(len(row.split("\t")))) + "\n"


@pytest.fixture
def glue(tmp_path):
    """A function that writes a task's three files; returns their folder."""

    def write(name, train=None, dev=None, test=None, end="\n"):
        row, unlabelled, *_ = ROWS[name]
        dev_row = row.replace("\tneutral\tneutral", OF_FIVE)
        parts = {
            "train": ((train or row), row),
            DEV.get(name, "dev"): ((dev or dev_row), dev_row),
            TEST.get(name, "test"): ((test or unlabelled), unlabelled),
        }
        for part, (rows, first) in parts.items():
            has_header = name != "cola" or part == "test"
            text = has_header * header_of(first) + rows + "\n"
            (tmp_path / f"{part}.tsv").write_text(
                text.replace("\n", end), encoding="utf-8", newline=""
            )
        return str(tmp_path)

    return write


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ROWS)
def test_columns_are_those_of_the_archives(glue, name, end):
    _, _, text_a, text_b, label = ROWS[name]
    folder, dataset = glue(name, end=end), find_dataset(name)

    (train,) = dataset.get_train_examples(folder)
    (dev,) = dataset.get_dev_examples(folder)
    (test,) = dataset.get_test_examples(folder)

    for one in (train, dev, test):
        assert (one.text_a, one.text_b) == (text_a, text_b)
    assert train.label == dev.label == label
    assert test.label == dataset.target.blank
    assert dataset.find_submission(folder, "").indexes == ["0"]


LABELS = {
    "cola": ("0", "1"),
    "sst-2": ("0", "1"),
    "mrpc": ("0", "1"),
    "qqp": ("0", "1"),
    "sts-b": None,
    "mnli": ("contradiction", "entailment", "neutral"),
    "ax": ("contradiction", "entailment", "neutral"),
    "qnli": ("entailment", "not_entailment"),
    "rte": ("entailment", "not_entailment"),
    "wnli": ("0", "1"),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_have_the_order_of_their_ids(name):
    assert find_dataset(name).labels == LABELS[name]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("SST-2", "sst-2"),
        ("sst2", "sst-2"),
        ("SST_2", "sst-2"),
        ("STS-B", "sts-b"),
        ("stsb", "sts-b"),
        ("QnLi", "qnli"),
        ("MRPC", "mrpc"),
    ],
)
def test_names_may_be_written_in_several_ways(written, name):
    assert find_dataset(written) is datasets.DATASETS[name]


def test_metrics_are_glues_own():
    def of(name):
        return set(find_dataset(name).target.results) - {"eval_loss", "loss"}

    assert of("cola") == {"eval_accuracy", "eval_matthews_correlation"}
    f1 = {"eval_accuracy", "eval_f1", "eval_f1_and_accuracy"}
    assert of("mrpc") == of("qqp") == f1
    both = {"eval_pearson", "eval_spearman", "eval_pearson_and_spearman"}
    assert of("sts-b") == both | {"eval_mse", "eval_mae"}
    for name in ("sst-2", "mnli", "qnli", "rte", "wnli"):
        assert of(name) == {"eval_accuracy"}


def test_short_rows_of_qqp_are_skipped_and_counted(glue, caplog):
    rows = "1\t2\t3\tbroken\n7\t1\t2\tHow?\tWhy?\t0\nrest of it\t1"
    folder = glue("qqp", train=rows, dev=rows)

    assert len(find_dataset("qqp").get_train_examples(folder)) == 1
    (record,) = caplog.records
    assert "skipped 2 rows" in record.getMessage()
    assert "line 2" in record.getMessage()
    with pytest.raises(InputError, match=r"dev\.tsv has 2 bad rows"):
        find_dataset("qqp").get_dev_examples(folder)


def test_the_first_version_of_qnli_is_told(glue, caplog):
    row = ROWS["qnli"][0]
    folder = glue("qnli", dev="\n".join([row] * 5732))
    assert len(find_dataset("qnli").get_dev_examples(folder)) == 5732
    assert "first version of QNLI" in caplog.text
    caplog.clear()
    folder = glue("qnli", dev="\n".join([row] * 5463))
    find_dataset("qnli").get_dev_examples(folder)
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "row", "facts"),
    [
        ("mnli", ROWS["mnli"][0][:-7] + "-", ("'-'", "annotators", "neutral")),
        ("rte", "0\tA.\tB.\tneutral", ("'neutral'", "not_entailment")),
        ("rte", "0\tA.\tB.", ("3 columns", "at least 4")),
        ("sst-2", "a text without a label", ("1 column", "at least 2")),
        ("sst-2", "a text\tgood", ("'good'", "0, 1")),
        ("qnli", "0\tWho?\tHe.\tEntailment", ("'Entailment'", "entailment")),
        ("wnli", "0\tA.\tB.\t2", ("'2'", "0, 1")),
        ("sts-b", ROWS["sts-b"][0][:-5] + "3,8", ("'3,8'", "decimal number")),
        ("sts-b", ROWS["sts-b"][0][:-5] + "5.2", ("5.2", "from 0 to 5")),
        ("sts-b", ROWS["sts-b"][0][:-5], ("an empty cell", "decimal number")),
        ("sts-b", ROWS["sts-b"][0][:-6], ("9 columns", "at least 10")),
    ],
)
def test_a_bad_row_is_named_with_file_and_line(glue, name, row, facts):
    folder = glue(name, train=f"{ROWS[name][0]}\n{row}")
    with pytest.raises(InputError) as caught:
        find_dataset(name).get_train_examples(folder)
    for fact in ("train.tsv, line 3: found", *facts):
        assert fact in str(caught.value)


@pytest.mark.parametrize("part", ["train", "dev"])
def test_ax_is_only_predicted(tmp_path, part):
    read = getattr(find_dataset("ax"), f"get_{part}_examples")
    with pytest.raises(InputError, match=r"ax has no .* set.*do_"):
        read(str(tmp_path))


@pytest.mark.parametrize("name", ["diagnostic.tsv", "AX.tsv"])
def test_ax_may_have_either_name(tmp_path, name):
    text = "index\tsentence1\tsentence2\n0\tA cat.\tA dog."
    (tmp_path / name).write_text(text)
    (example,) = find_dataset("ax").get_test_examples(str(tmp_path))
    assert (example.text_a, example.text_b) == ("A cat.", "A dog.")


def test_predictions_called_as_the_input_are_no_input(tmp_path):
    text = "index\tsentence1\tsentence2\n0\tA cat.\tA dog."
    (tmp_path / "diagnostic.tsv").write_text(text)
    (tmp_path / "AX.tsv").write_text("index\tprediction\n0\tneutral\n")
    (example,) = find_dataset("ax").get_test_examples(str(tmp_path))
    assert example.text_a == "A cat."


def test_further_sets_of_mnli_may_be_missing(glue, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    folder, dataset = glue("mnli"), find_dataset("mnli")
    assert dataset.get_extra_dev_examples(folder, "mm") is None
    assert "dev_mismatched.tsv" in caplog.text
    assert caplog.records[0].levelno == logging.INFO


def test_ax_is_also_found_beside_the_folder_of_mnli(tmp_path):
    for folder in ("MNLI", "diagnostic"):
        (tmp_path / folder).mkdir()
    text = "index\tsentence1\tsentence2\n5\tA cat.\tA dog."
    (tmp_path / "diagnostic" / "diagnostic.tsv").write_text(text)
    dataset, folder = find_dataset("mnli"), str(tmp_path / "MNLI")
    (example,) = dataset.get_extra_test_examples(folder, "ax")
    assert example.text_b == "A dog."
    submission = dataset.find_submission(folder, "ax")
    assert submission == ("AX.tsv", ["5"])


def test_a_test_file_without_an_index_gives_no_submission(glue, caplog):
    folder = glue("rte", test="first\tA.\tB.")
    assert find_dataset("rte").find_submission(folder, "") is None
    assert "RTE.tsv" in caplog.text and "'first'" in caplog.text


def test_a_low_result_of_wnli_is_explained():
    wnli = find_dataset("wnli")
    assert "0.563" in wnli.remark({"eval_accuracy": 0.4})
    assert wnli.remark({"eval_accuracy": 40 / 71}) is None
    assert find_dataset("rte").remark({"eval_accuracy": 0.4}) is None


# --------------------------------------------------------- the archives' own

FOLDERS = {
    "cola": ("CoLA", 8551, 1043, 1063),
    "sst-2": ("SST-2", 67349, 872, 1821),
    "mrpc": ("MRPC", 3668, 408, 1725),
    "qnli": ("QNLI", None, 5463, 5463),
    "wnli": ("WNLI", 635, 71, 146),
    "mnli": ("MNLI_sample", 6, 5, 5),
    "qqp": ("QQP_sample", 9, 9, 9),
    "ax": ("diagnostic", None, None, 1104),
}


@pytest.mark.shared
@pytest.mark.parametrize("name", FOLDERS)
def test_real_files_are_read_whole(shared_folder, name, caplog):
    folder, *counts = FOLDERS[name]
    folder = shared_folder / "data" / "glue" / folder
    dataset = find_dataset(name)
    for part, count in zip(("train", "dev", "test"), counts):
        if count is None:
            continue
        read = getattr(dataset, f"get_{part}_examples")
        examples = read(str(folder))
        assert len(examples) == count
        layout = getattr(dataset, part)
        (path,) = (
            folder / file for file in layout.files if (folder / file).exists()
        )
        # An independent reader, without quoting.
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            rows = list(
                csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            )
        texts = [row[layout.text_a] for row in rows[layout.has_header :]]
        assert [one.text_a for one in examples] == texts
    indexes = dataset.find_submission(str(folder), "").indexes
    assert indexes == [str(at) for at in range(counts[-1])]
    assert not caplog.records


@pytest.mark.shared
def test_real_rows_of_mnli_mismatched_and_of_cr_lf_files(
    shared_folder, tmp_path
):
    folder = shared_folder / "data" / "glue"
    mnli = find_dataset("mnli")
    found = mnli.get_extra_dev_examples(str(folder / "MNLI_sample"), "mm")
    assert len(found) == 5
    # Beside it, as in GLUE's archive.
    ax = mnli.get_extra_test_examples(str(folder / "MNLI_sample"), "ax")
    assert len(ax) == 1104
    source = (folder / "QQP_sample" / "dev_crlf.tsv").read_bytes()
    (tmp_path / "dev.tsv").write_bytes(source)
    qqp = find_dataset("qqp")
    want = qqp.get_dev_examples(str(folder / "QQP_sample"))
    assert qqp.get_dev_examples(str(tmp_path)) == want
