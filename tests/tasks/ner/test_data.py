"""Files of words and labels; one thing wrong each."""

import dataclasses
import logging
import zipfile

import pytest

from bert_tf.errors import InputError
from bert_tf.tasks.ner import data, schemes
from bert_tf.tasks.ner.data import FileSettings

TRAIN = """-DOCSTART- -X- -X- O

Ann NNP B-NP B-PER
Lee NNP I-NP I-PER
ran VBD B-VP O

-DOCSTART- -X- -X- O
In IN B-PP O
New NNP B-NP B-LOC
York NNP I-NP I-LOC
\x20
by IN B-PP O
Bo NNP B-NP B-PER"""
LABELS = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return FileSettings(str(tmp_path))

    return write


def words_of(examples):
    return [" ".join(example.words) for example in examples]


def labels_of(examples):
    return [" ".join(example.targets) for example in examples]


@pytest.mark.parametrize(
    "name", ["train.txt", "train.conll", "train.bio", "eng.train"]
)
def test_sentences_documents_and_labels_of_a_file(write, name):
    examples, labels = data.read_train(write(name, TRAIN))

    assert words_of(examples) == ["Ann Lee ran", "In New York", "by Bo"]
    assert labels_of(examples) == ["B-PER I-PER O", "O B-LOC I-LOC", "O B-PER"]
    assert labels == LABELS
    assert [len(example.document) for example in examples] == [1, 2, 2]
    assert [example.number for example in examples] == [0, 0, 1]
    assert [example.line for example in examples] == [3, 8, 12]


@pytest.mark.parametrize("name", ["dev.txt", "valid.conll", "eng.testa"])
def test_names_of_the_dev_file(write, name):
    settings = write(name, TRAIN)

    assert len(data.read_part(settings, "dev", LABELS)) == 3


@pytest.mark.parametrize("name", ["test.txt", "testb.bio", "eng.testb"])
def test_names_of_the_test_file(write, name):
    settings = write(name, TRAIN)

    assert len(data.read_part(settings, "test", LABELS)) == 3


@pytest.mark.parametrize(
    "text",
    [
        "Ann\tB-PER\r\nLee\tI-PER\r\n\r\nran\tO\r\n",
        "\ufeffAnn B-PER\nLee  I-PER\n\n\n\t\nran O",
        " Ann B-PER \n Lee I-PER \n\n ran O \n",
    ],
)
def test_line_ends_tabs_and_blanks(write, text):
    examples, _ = data.read_train(write("train.txt", text))

    assert words_of(examples) == ["Ann Lee", "ran"]
    assert labels_of(examples) == ["B-PER I-PER", "O"]


def test_columns_may_be_given(write):
    settings = write("train.txt", "1 Ann B-PER x\n2 ran O x\n")
    settings = FileSettings(settings.data_dir, word_col=1, label_col=-2)
    examples, labels = data.read_train(settings)

    assert words_of(examples) == ["Ann ran"]
    assert labels == ("B-PER", "O")


def test_rows_joined_by_a_control_character(write):
    settings = write(
        "train.tsv",
        "text_a\tlabel\n中\x02国\x02人\tB-LOC\x02I-LOC\x02O\n好\tO\n",
    )
    examples, labels = data.read_train(settings)

    assert words_of(examples) == ["中 国 人", "好"]
    assert labels == ("B-LOC", "I-LOC", "O")


def test_a_tsv_file_may_have_a_word_on_each_line(write):
    examples, _ = data.read_train(write("train.tsv", "Ann\tB-PER\nran\tO\n"))

    assert words_of(examples) == ["Ann ran"]


def test_iob1_is_found_and_trained_as_iob2(write, caplog):
    caplog.set_level(logging.INFO)
    settings = write("train.txt", "a I-A\nb B-A\nc O\nd I-B\n")
    (example,), labels = data.read_train(settings)

    assert example.scheme == "IOB1"
    assert example.labels == ["I-A", "B-A", "O", "I-B"]
    assert example.targets == ["B-A", "B-A", "O", "B-B"]
    assert labels == ("B-A", "B-B", "O")
    assert "IOB1, found by reading" in caplog.text


def test_training_on_iobes(write):
    settings = write("train.txt", TRAIN)
    settings = FileSettings(settings.data_dir, train_scheme="IOBES")
    examples, labels = data.read_train(settings)

    assert labels_of(examples) == ["B-PER E-PER O", "O B-LOC E-LOC", "O S-PER"]
    # The dev file is read in the scheme of the labels, without any flag.
    plain = write("dev.txt", TRAIN)
    dev = data.read_part(plain, "dev", labels)
    assert labels_of(dev) == labels_of(examples)


def test_ill_formed_labels_are_repaired_and_counted(write, caplog):
    settings = write("train.txt", "a B-A\nb I-B\nc O\nd I-A\n\ne B-A\nf B-A\n")
    examples, _ = data.read_train(settings)

    assert labels_of(examples) == ["B-A B-B O B-A", "B-A B-A"]
    assert examples[0].labels == ["B-A", "I-B", "O", "I-A"]
    assert "has 2 labels that are ill-formed in IOB2" in caplog.text


def test_labels_without_a_scheme(write):
    settings = write("train.txt", "a DT\nb NN\n\nc VB\n")
    examples, labels = data.read_train(settings)

    assert labels == ("DT", "NN", "VB")
    assert examples[0].scheme == "none"
    write("dev.txt", "c VB\n")
    assert labels_of(data.read_part(settings, "dev", labels)) == ["VB"]


def test_classes_of_which_one_looks_like_an_entity(write):
    text = "a E-mail\nb PHONE\nc O\nd URL\n"
    with pytest.raises(InputError, match=r"'PHONE'.*--label_scheme=none"):
        data.read_train(write("train.txt", text))
    settings = dataclasses.replace(
        write("train.txt", text), label_scheme="none"
    )
    _, labels = data.read_train(settings)
    assert schemes.scheme_of_model(labels) == "none"
    write("dev.txt", text)
    (example,) = data.read_part(settings, "dev", labels)
    assert example.targets == ["E-mail", "PHONE", "O", "URL"]


def test_entities_are_no_classes(write):
    settings = write("train.txt", TRAIN)
    settings = dataclasses.replace(settings, label_scheme="none")
    with pytest.raises(InputError, match=r"--label_scheme=none.*'B-LOC'"):
        data.read_train(settings)


def test_labels_are_as_labels_txt_holds_them(write):
    # White space that divides no columns: an ideographic space.
    settings = write("train.txt", "a DT\u3000\nb NN\n")
    examples, labels = data.read_train(settings)

    assert labels == ("DT", "NN")
    assert examples[0].labels == ["DT", "NN"]


def test_labels_that_are_not_used_may_be_empty(write):
    settings = write("test.tsv", "text_a\tlabel\na\x02b\t\x02\n")

    assert data.read_part(settings, "test", LABELS)[0].labels is None


def test_a_test_file_may_have_only_words(write):
    settings = write("test.txt", "Ann\nran\n\nBo\n")
    examples = data.read_part(settings, "test", LABELS)

    assert words_of(examples) == ["Ann ran", "Bo"]
    assert [example.labels for example in examples] == [None, None]
    assert examples[0].scheme == "IOB2"


def test_one_label_for_all_words_of_a_test_file_is_none(write, caplog):
    caplog.set_level(logging.INFO)
    settings = write("test.txt", "Ann O\nran O\n")

    assert data.read_part(settings, "test", LABELS)[0].labels is None
    assert "the same label for all words, 'O'" in caplog.text


def test_labels_of_a_test_file_can_be_left_out(write):
    settings = write("test.txt", "Ann X\nran O\n")
    settings = FileSettings(settings.data_dir, test_labels=False)

    assert data.read_part(settings, "test", LABELS)[0].labels is None
    # The column need not be there.
    settings = dataclasses.replace(settings, label_col=3)
    assert data.read_part(settings, "test", LABELS)[0].words == ["Ann", "ran"]


def test_control_characters_alone_on_a_line_are_words(write):
    settings = write("test.txt", "a\n\x1f\n\x85\n\u3000\nb\n")
    examples = data.read_part(settings, "test", LABELS)
    assert [e.words for e in examples] == [["a", "\x1f", "\x85"], ["b"]]


def test_white_space_alone_on_a_line_ends_a_sentence(write):
    examples, _ = data.read_train(
        write("train.txt", "a B-X\n\f\nb O\n\u2028\n\u3000\nc O\n")
    )
    assert words_of(examples) == ["a", "b", "c"]


def test_a_model_with_bilou_labels_reads_files_of_other_schemes(write):
    labels = ["B-PER", "I-PER", "L-PER", "O", "U-PER", "X"]
    settings = write("dev.txt", "Ann B-PER\nLee I-PER\nran O\nBo B-PER\n")
    (example,) = data.read_part(settings, "dev", labels)
    assert example.targets == ["B-PER", "L-PER", "O", "U-PER"]
    assert example.labels == ["B-PER", "I-PER", "O", "B-PER"]


def test_documents_begin_in_the_column_of_the_word(write):
    settings = write("train.txt", "1 -DOCSTART- O\n\n1 Ann B-PER\n2 ran O\n")
    settings = dataclasses.replace(settings, word_col=1, document_context=True)
    (example,), _ = data.read_train(settings)
    assert example.words == ["Ann", "ran"]


def test_joined_rows_may_end_in_blank_lines(write):
    text = "text_a\tlabel\nAnn\x02ran\tB-PER\x02O\n"
    examples, _ = data.read_train(write("train.tsv", f"{text}\n\n"))
    assert words_of(examples) == ["Ann ran"]
    with pytest.raises(InputError, match=r"line 3: found a blank line"):
        data.read_train(write("train.tsv", f"{text}\nBo\tB-PER\n"))


BAD = {
    "width": (
        "train.txt",
        "Ann B-PER\nran VBD O\n",
        ["train.txt, line 2", "3 columns", "2 as in line 1"],
    ),
    "no label": (
        "train.txt",
        "Ann B-PER\nran\n",
        ["line 2", "1 column", "'ran'"],
    ),
    "words to train on": (
        "train.txt",
        "Ann\nran\n",
        ["train.txt, line 1", "one column", "a word and its label"],
    ),
    "a strange tag": (
        "train.txt",
        "Ann B-PER\nLee L-PER\nran O\n",
        ["line 2", "'L-PER'", "B- or I- and a type"],
    ),
    "a type without a tag": (
        "train.txt",
        "Ann B-PER\nLee PER\n",
        ["line 2", "'PER'"],
    ),
    "a tag without a type": (
        "train.txt",
        "Ann B-PER\nLee I-\n",
        ["line 2", "'I-'"],
    ),
    "one label": ("train.txt", "Ann O\n", ["two different labels", "'O'"]),
    "no words": ("train.txt", "\n\n-DOCSTART- O\n\n", ["no words"]),
    "empty": ("train.txt", "", ["train.txt is empty"]),
    "UTF-16": ("train.txt", "", ["UTF-16"]),
    "not UTF-8": ("train.txt", "", ["line 1", "0xe9", "UTF-8"]),
    "carriage return": (
        "train.txt",
        "Ann B-PER\nra\rn O\n",
        ["line 2", "carriage return", "'ra\\rn O'"],
    ),
    "NUL": ("train.txt", "Ann\x00 B-PER\nran O\n", ["line 1", "NUL"]),
    "header": (
        "train.tsv",
        "text_a\ttag\na\x02b\tO\x02O\n",
        ["line 1", "'text_a\\ttag'", "label"],
    ),
    "joined columns": (
        "train.tsv",
        "text_a\tlabel\na\x02b\tB-X\x02O\nc\n",
        ["line 3", "1 column", "2 as in line 1"],
    ),
    "joined lengths": (
        "train.tsv",
        "text_a\tlabel\na\x02b\tB-X\n",
        ["line 2", "2 words and 1 label"],
    ),
    "joined empty label": (
        "train.tsv",
        "text_a\tlabel\na\x02b\tDT\x02NN\na\x02b\tNN\x02\n",
        ["line 3", "an empty label"],
    ),
    "a label of white space": (
        "train.txt",
        "Ann NN\nran \u3000\n",
        ["line 2", "an empty label"],
    ),
    "a label of two lines": (
        "train.txt",
        "Ann NN\nran V\u2028B\n",
        ["line 2", "'V\\u2028B'", "one line"],
    ),
    "two files": (
        "train.conll",
        "Ann B-PER\nran O\n",
        ["train.txt and train.conll"],
    ),
}


@pytest.mark.parametrize("tried", BAD)
def test_a_bad_training_file_is_named_with_the_line(write, tmp_path, tried):
    name, text, named = BAD[tried]
    settings = write(name, text)
    if tried == "UTF-16":
        (tmp_path / name).write_bytes("Ann B-PER\n".encode("utf-16"))
    if tried == "not UTF-8":
        (tmp_path / name).write_bytes(b"Ren\xe9 B-PER\nran O\n")
    if tried == "two files":
        write("train.txt", text)

    with pytest.raises(InputError) as caught:
        data.read_train(settings)

    for fact in named:
        assert fact in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"word_col": 4}, ["--word_col=4", "4 columns", "line 3"]),
        ({"label_col": -5}, ["--label_col=-5", "4 columns"]),
        ({"word_col": 3}, ["--word_col=3", "different columns"]),
        ({"label_scheme": "IOBES", "label_col": 1}, ["IOBES", "'NNP'"]),
        ({"label_scheme": "IOB2", "label_col": 0}, ["'Ann'", "--label_scheme"]),
    ],
)
def test_settings_that_do_not_fit_a_file_are_named(write, settings, named):
    folder = write("train.txt", TRAIN).data_dir
    if settings.get("label_col") == 0:
        settings["word_col"] = 1

    with pytest.raises(InputError) as caught:
        data.read_train(FileSettings(folder, **settings))

    for fact in named:
        assert fact in str(caught.value)


def test_context_needs_documents(write):
    folder = write("train.txt", "Ann B-PER\nran O\n").data_dir

    with pytest.raises(InputError, match=r"(?s)document_context.*-DOCSTART-"):
        data.read_train(FileSettings(folder, document_context=True))


@pytest.mark.parametrize(
    ("part", "named"),
    [("dev", "one of the training file's"), ("test", "--test_labels=false")],
)
def test_a_label_that_only_another_file_has_is_named(write, part, named):
    settings = write(f"{part}.txt", "Ann B-PER\n\nIt O\nRome B-GPE\n")

    with pytest.raises(InputError) as caught:
        data.read_part(settings, part, LABELS)

    for fact in (f"{part}.txt, line 4", "'B-GPE'", "'Rome'", named):
        assert fact in str(caught.value)


def test_a_missing_file_is_named_with_what_is_there(write):
    settings = write("dev.txt", TRAIN)

    with pytest.raises(InputError, match=r"train\.txt.*eng\.train.*dev\.txt"):
        data.read_train(settings)


def counts(examples):
    documents = {id(example.document) for example in examples}
    words = sum(len(example.words) for example in examples)
    return len(examples), words, len(documents)


@pytest.mark.shared
def test_conll_2003_is_read_whole(shared_folder):
    settings = FileSettings(str(shared_folder / "data/ner/conll2003"))
    train, labels = data.read_train(settings)
    dev = data.read_part(settings, "dev", labels)

    assert counts(train) == (14041, 203621, 946)
    assert counts(dev) == (3250, 51362, 216)
    assert len(labels) == 9


@pytest.mark.shared
def test_peoples_daily_is_read_whole(shared_folder, tmp_path, caplog):
    archive = shared_folder / "data" / "ner" / "peopledaily_zh.zip"
    zipfile.ZipFile(archive).extractall(tmp_path)
    settings = FileSettings(str(tmp_path))
    train, labels = data.read_train(settings)
    dev = data.read_part(settings, "dev", labels)

    assert len(train) == 50658
    assert counts(dev)[:2] == (4631, 172601)
    assert "train.txt has 6 labels" in caplog.text
    assert "dev.txt has 11 labels" in caplog.text
