"""Folders of a checkpoint, its config and its vocabulary."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from helpers.golden import CHECKPOINTS, read_config

from bert_tf import checkpoints, models
from bert_tf.answer import Reader
from bert_tf.checkpoints import folders, inference, names
from bert_tf.checkpoints.folders import read_labels, write_labels
from bert_tf.checkpoints.names import LABELS_FILE
from bert_tf.errors import InputError
from bert_tf.modeling import BertConfig

TINY = CHECKPOINTS / "tiny"


@pytest.fixture
def given(tmp_path):
    """A config and a vocabulary in a folder, as paths that may be changed."""
    paths = {}
    for flag, name in (
        ("bert_config_file", "bert_config.json"),
        ("vocab_file", "vocab.txt"),
    ):
        paths[flag] = tmp_path / name
        paths[flag].write_bytes((TINY / name).read_bytes())
    return paths


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_config_and_vocabulary_are_copied_as_they_are(given, folder):
    folders.complete(folder, **given)
    for path in given.values():
        assert (folder / path.name).read_bytes() == path.read_bytes()
    assert sorted(os.listdir(folder)) == ["bert_config.json", "vocab.txt"]


def test_a_vocabulary_that_is_not_known_is_left_out(given, folder):
    folders.complete(folder, given["bert_config_file"])
    assert os.listdir(folder) == ["bert_config.json"]


def test_files_that_say_the_same_stay_as_they_are(given, folder):
    config = json.loads(given["bert_config_file"].read_text())
    (folder / "bert_config.json").write_text(json.dumps(config, indent=7))
    lines = given["vocab_file"].read_text().splitlines()
    (folder / "vocab.txt").write_bytes("\r\n".join(lines).encode())
    before = [path.read_bytes() for path in sorted(folder.iterdir())]

    folders.complete(folder, **given)

    assert [path.read_bytes() for path in sorted(folder.iterdir())] == before


def test_the_folders_own_files_may_be_given(given, folder):
    folders.complete(folder, **given)
    own = {flag: folder / path.name for flag, path in given.items()}
    folders.complete(folder, **own)
    for path in given.values():
        assert (folder / path.name).read_bytes() == path.read_bytes()


def test_another_config_is_refused_and_not_overwritten(given, folder):
    folders.complete(folder, **given)
    config = json.loads(given["bert_config_file"].read_text())
    config |= {"hidden_act": "relu", "hidden_dropout_prob": 0.5}
    given["bert_config_file"].write_text(json.dumps(config))
    before = (folder / "bert_config.json").read_bytes()
    with pytest.raises(
        InputError,
        match=r"out/bert_config.json must .* hidden_act, hidden_dropout_prob\.",
    ):
        folders.complete(folder, **given)
    assert (folder / "bert_config.json").read_bytes() == before


@pytest.mark.parametrize("line", [7, 2000])
def test_another_vocabulary_is_refused_and_not_overwritten(given, folder, line):
    folders.complete(folder, **given)
    lines = given["vocab_file"].read_text().splitlines()
    lines[line - 1 :] = ["another", *lines[line:]]
    found = min(line, len(lines))
    given["vocab_file"].write_text("\n".join(lines))
    with pytest.raises(
        InputError, match=f"out/vocab.txt must .* in line {found}\\."
    ):
        folders.complete(folder, **given)
    assert "another" not in (folder / "vocab.txt").read_text()


# Checking.


@pytest.mark.shared
def test_released_vocabularies_fit_their_configs(shared_folder):
    data = shared_folder / "data"
    for vocab, model in (
        ("uncased", "uncased_L-12_H-768_A-12"),
        ("cased", "cased_L-12_H-768_A-12"),
        ("chinese", "chinese_L-12_H-768_A-12"),
        ("multi_cased", "multi_cased_L-12_H-768_A-12"),
        ("multilingual_uncased", "multilingual_L-12_H-768_A-12"),
    ):
        config = BertConfig.from_json_file(
            data / "configs" / model / "bert_config.json"
        )
        folders.check_vocab(config.vocab_size, data / "vocabs" / f"{vocab}.txt")


def test_config_that_does_not_fit_names_keys_values_and_files(micro):
    config = BertConfig.from_json_file(micro / "bert_config.json")
    folders.check_config(config, micro)
    for key, stored in (
        ("vocab_size", 200),
        ("hidden_size", 32),
        ("type_vocab_size", 2),
        ("max_position_embeddings", 48),
        ("num_hidden_layers", 2),
        ("intermediate_size", 64),
    ):
        for wrong in (stored - 1, 2 * stored):
            other = BertConfig.from_dict(config.to_dict())
            setattr(other, key, wrong)
            with pytest.raises(
                InputError,
                match=rf"my\.json does not fit .*m/bert_model\.ckpt: {key}="
                rf"{wrong} where the checkpoint has {stored}\.",
            ):
                folders.check_config(other, micro, "my.json")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", 0),
        ("a", 1),
        ("a\n", 1),
        ("a\n\n", 2),
        ("a\r\nb", 2),
        ("a\u2028b\x0b\n", 1),
    ],
)
def test_vocabulary_lines_are_counted_as_the_tokenizer_does(
    tmp_path, text, lines
):
    path = tmp_path / "vocab.txt"
    path.write_bytes(text.encode())
    folders.check_vocab(lines, path)
    with pytest.raises(InputError, match=f"{lines} lines.*no embedding"):
        folders.check_vocab(lines - 1, path, "c.json")
    with pytest.raises(
        InputError, match=f"of c.json, {lines + 1}.*stand for no token"
    ):
        folders.check_vocab(lines + 1, path, "c.json")


def test_missing_vocabulary_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read: .*vocab\.txt"):
        folders.check_vocab(5, tmp_path / "vocab.txt")


# Finding.


@pytest.fixture
def index_reads(monkeypatch):
    """The prefixes of indexes, one for each time that one was read."""
    reads = []
    open_index = tf.compat.v1.train.NewCheckpointReader

    def noted(prefix):
        reads.append(prefix)
        return open_index(prefix)

    monkeypatch.setattr(tf.compat.v1.train, "NewCheckpointReader", noted)
    return reads


@pytest.mark.parametrize("trained", [False, True])
def test_a_model_folder_reads_the_index_once(tiny, index_reads, trained):
    if trained:
        for path in tiny.glob("bert_model.ckpt.*"):
            path.rename(tiny / path.name.replace("bert_model", "model"))
        for path in tiny.glob("model.ckpt.*"):
            path.rename(tiny / path.name.replace("ckpt", "ckpt-7"))
    opened = folders.find(tiny)
    assert opened.path == index_reads[0]
    model, missing = inference.load_model(
        lambda: models.span(opened.config),
        opened.config,
        opened.reader,
        names.SQUAD,
    )
    assert len(index_reads) == 1
    assert missing == ["cls/squad/output_weights", "cls/squad/output_bias"]
    stored = opened.reader.tensor("bert/pooler/dense/bias")
    weights = checkpoints.named_weights(model)
    assert np.array_equal(weights["bert/pooler/dense/bias"], stored)


def test_loading_a_model_by_its_path_reads_the_index_once(tiny, index_reads):
    config = read_config(tiny)
    inference.load_model(lambda: models.pretraining(config), config, tiny, ())
    assert len(index_reads) == 1


def test_a_reader_of_answers_reads_the_index_once(index_reads):
    span = CHECKPOINTS.parent / "squad" / "checkpoint" / "model.ckpt"
    Reader(span, TINY / "vocab.txt", TINY / "bert_config.json")
    assert len(index_reads) == 1


def test_config_and_vocabulary_lie_beside_the_checkpoint(tiny):
    want = (str(tiny / "vocab.txt"), str(tiny / "bert_config.json"))
    for checkpoint in (tiny, str(tiny), tiny / "bert_model.ckpt"):
        assert tuple(map(str, folders.find_files(checkpoint))) == want
    given = folders.find_files(tiny, "v", "c")
    assert given == ("v", "c")
    assert given == folders.find_files(None, "v", "c")


def test_a_folder_of_the_same_name_does_not_hide_a_prefix(tiny):
    (tiny / "bert_model.ckpt").mkdir()
    found = folders.find_files(tiny / "bert_model.ckpt")
    assert found.vocab_file == str(tiny / "vocab.txt")


@pytest.fixture
def trained(tmp_path, variables):
    """The folder of a run; only its best checkpoint has files beside it."""
    checkpoints.save(tmp_path / "run", 2, variables)
    checkpoints.save(tmp_path / "run" / "best", 1, variables)
    for name in ("vocab.txt", "bert_config.json"):
        copy = tmp_path / "run" / "best" / name
        copy.write_bytes((TINY / name).read_bytes())
    return tmp_path / "run"


def test_a_best_checkpoint_has_its_own_files(trained):
    best = trained / "best"
    for checkpoint in (best, best / "model.ckpt-1"):
        found = folders.find_files(checkpoint)
        assert {os.path.dirname(path) for path in found} == {str(best)}


def test_files_of_a_resumed_run_come_first(trained, tiny):
    best = trained / "best"
    for checkpoint in (tiny, None):
        found = folders.find_files(checkpoint, output_dir=best)
        assert found.vocab_file == str(best / "vocab.txt")
    # What it lacks is looked for beside the checkpoint.
    (best / "vocab.txt").unlink()
    found = folders.find_files(tiny, output_dir=best)
    assert found.vocab_file == str(tiny / "vocab.txt")
    assert found.config_file == str(best / "bert_config.json")


def test_files_of_a_folder_without_checkpoint_do_not_count(tiny, given):
    empty = given["vocab_file"].parent
    found = folders.find_files(tiny, output_dir=empty)
    assert found.vocab_file == str(tiny / "vocab.txt")
    with pytest.raises(InputError, match="--bert_config_file` must be given"):
        folders.find_files(None, "vocab.txt", output_dir=empty / "not there")


@pytest.mark.parametrize(
    ("name", "flag"),
    [("vocab.txt", "vocab_file"), ("bert_config.json", "bert_config_file")],
)
def test_a_file_that_is_missing_names_the_flag(tiny, name, flag, trained):
    (tiny / name).unlink()
    with pytest.raises(InputError, match=f"t/bert_model.* no {name}.*--{flag}"):
        folders.find_files(tiny)
    with pytest.raises(InputError, match=f"run has no .*--{flag}`"):
        folders.find_files(None, **{OTHER[flag]: "x"}, output_dir=trained)
    with pytest.raises(InputError, match=f"`--{flag}` must be given"):
        folders.find_files(None, **{OTHER[flag]: "x"})


OTHER = {"vocab_file": "bert_config_file", "bert_config_file": "vocab_file"}


def test_a_vocabulary_need_not_be_there_where_none_is_needed(tiny):
    (tiny / "vocab.txt").unlink()
    found = folders.find_files(tiny, needs_vocab=False)
    assert found == (None, str(tiny / "bert_config.json"))


def test_a_checkpoint_that_is_not_there_is_the_first_mistake(tmp_path):
    with pytest.raises(InputError, match=r"No checkpoint at .*nowhere"):
        folders.find_files(tmp_path / "nowhere" / "bert_model.ckpt")


# ---------------------------------------------------------------------- labels


def test_labels_are_read_back_in_their_order(tmp_path):
    path = str(tmp_path / LABELS_FILE)
    write_labels(path, ["9", "10", "größer"])
    assert read_labels(path) == ("9", "10", "größer")
    assert (tmp_path / LABELS_FILE).read_bytes() == "9\n10\ngrößer\n".encode()
    assert [file.name for file in tmp_path.iterdir()] == [LABELS_FILE]


def test_the_labels_of_a_model_are_not_overwritten_with_others(tmp_path):
    path = str(tmp_path / LABELS_FILE)
    write_labels(path, ["a", "b"])
    write_labels(path, ["a", "b"])
    with pytest.raises(InputError, match=r"'b', 'a'.*It has: 'a', 'b'"):
        write_labels(path, ["b", "a"])
    assert read_labels(path) == ("a", "b")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "0 labels"),
        (b"a\n", "1 label"),
        (b"a\n\nb\n", "a blank line 2"),
        (b"a\nb\na\n", "'a' more than once"),
        (b"a\n\xff\n", "must be UTF-8"),
    ],
)
def test_a_damaged_labels_file_is_refused(tmp_path, content, found):
    path = tmp_path / LABELS_FILE
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"labels.txt.*{found}"):
        read_labels(str(path))


def test_a_missing_labels_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"Cannot read .*labels.txt"):
        read_labels(str(tmp_path / LABELS_FILE))
