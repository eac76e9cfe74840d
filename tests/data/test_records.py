import collections
import gzip
import hashlib
import json
import os
import socket
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from helpers import prepared

from bert_tf.data import grouping, records
from bert_tf.data.packing import PaddingInputExample
from bert_tf.data.records import (
    Feature,
    check_records,
    encode,
    evaluation_batches,
    naming_bad_records,
    training_batches,
    write_records,
)
from bert_tf.errors import InputError
from bert_tf.tasks.classification.datasets import find_dataset
from bert_tf.tasks.classification.rows import convert_examples
from bert_tf.tasks.classification.task import (
    classifier_schema,
    classifier_values,
)
from bert_tf.tasks.pretraining.task import pretraining_schema
from bert_tf.tokenization import FullTokenizer

ONE_NUMBER = {"number": Feature(())}


def write_numbers(path, count):
    write_records(
        str(path), ({"number": [n]} for n in range(count)), ONE_NUMBER
    )
    return [str(path)]


def classifier_record(length=4, **changed):
    row = [1] * length
    values = {"input_ids": row, "input_mask": row, "segment_ids": row}
    values |= {"label_ids": [0], "is_real_example": [1]}
    return values | changed


def plain_features(serialized):
    """What protobuf reads in a record, and nothing of ours."""
    features = tf.train.Example.FromString(serialized).features.feature
    return {
        name: list(getattr(entry, entry.WhichOneof("kind")).value)
        for name, entry in features.items()
    }


def read_plainly(path, compression=""):
    dataset = tf.data.TFRecordDataset(str(path), compression_type=compression)
    return [plain_features(one) for one in dataset.as_numpy_iterator()]


def canonical_texts(path):
    """As shared/golden/tfrecord_digests.json describes it."""
    for features in read_plainly(path):
        lines = [
            f"{name}|int64_list|{','.join(map(str, values))}\n"
            for name, values in sorted(features.items())
        ]
        yield "".join(lines) + "--\n"


def write_task(path, task, examples, tokenizer, max_seq_length):
    features = convert_examples(
        examples, task.get_labels(), max_seq_length, tokenizer
    )
    write_records(
        str(path),
        map(classifier_values, features),
        classifier_schema(max_seq_length),
    )


# ------------------------------------------------- records like the original's


@pytest.mark.parametrize(
    ("name", "part", "golden", "do_lower_case"),
    [
        ("cola", "train", "train", True),
        ("cola", "dev", "eval_init_ckpt/eval", True),
        ("cola", "test", "eval_init_ckpt/predict", True),
        ("mnli", "train", "train", True),
        ("mnli", "dev", "eval_init_ckpt/eval", True),
        ("mnli", "test", "eval_init_ckpt/predict", True),
        ("mnli", "dev", "eval_cased/eval", False),
        ("mnli", "test", "eval_cased/predict", False),
        ("mrpc", "train", "train", True),
        ("mrpc", "dev", "eval_init_ckpt/eval", True),
        ("mrpc", "test", "eval_init_ckpt/predict", True),
        ("xnli", "train", "train", True),
        ("xnli", "dev", "eval_init_ckpt/eval", True),
    ],
)
def test_records_are_those_of_the_original(
    data, tmp_path, name, part, golden, do_lower_case
):
    original = data / "classification" / name
    vocab_file = str(data / "checkpoints" / "tiny" / "vocab.txt")
    task = find_dataset(name)
    examples = getattr(task, f"get_{part}_examples")(str(original / "data"))

    path = tmp_path / "our.tf_record"
    tokenizer = FullTokenizer(vocab_file, do_lower_case=do_lower_case)
    write_task(path, task, examples, tokenizer, 40)

    wanted = read_plainly(original / f"{golden}.tf_record.gz", "GZIP")
    assert read_plainly(path) == wanted


@pytest.mark.parametrize(
    ("golden", "part", "taken"),
    [
        ("first5_plus_3_padding", "train", 5),
        ("eval_with_padding_examples", "dev", 45),
    ],
)
def test_padding_records_are_those_of_the_original(
    data, tmp_path, golden, part, taken
):
    original = data / "classification" / "mrpc"
    vocab_file = str(data / "checkpoints" / "tiny" / "vocab.txt")
    task = find_dataset("mrpc")
    read = getattr(task, f"get_{part}_examples")
    examples = read(str(original / "data"))[:taken]

    path = tmp_path / "our.tf_record"
    padded = [*examples, *(PaddingInputExample() for _ in range(3))]
    write_task(path, task, padded, FullTokenizer(vocab_file), 40)

    wanted = read_plainly(original / f"{golden}.tf_record.gz", "GZIP")
    assert len(wanted) == taken + 3
    assert read_plainly(path) == wanted


@pytest.mark.shared
@pytest.mark.parametrize(
    ("folder", "task", "part", "vocab", "do_lower_case", "count"),
    [
        ("mrpc_uncased", "mrpc", "train", "uncased", True, 3668),
        ("mrpc_uncased", "mrpc", "eval", "uncased", True, 408),
        ("reviews_cased", "cola", "train", "cased", False, 2766),
        ("reviews_cased", "cola", "eval", "cased", False, 2766),
    ],
)
def test_records_are_those_of_published_runs(
    shared_folder, tmp_path, folder, task, part, vocab, do_lower_case, count
):
    shared = shared_folder / "data"
    data_dir = shared / ("glue/MRPC" if task == "mrpc" else f"golden/{folder}")
    task = find_dataset(task)
    read = {"train": task.get_train_examples, "eval": task.get_dev_examples}
    vocab_file = str(shared / "vocabs" / f"{vocab}.txt")

    path = tmp_path / "our.tf_record"
    tokenizer = FullTokenizer(vocab_file, do_lower_case=do_lower_case)
    write_task(path, task, read[part](str(data_dir)), tokenizer, 128)

    wanted = read_plainly(shared / "golden" / folder / f"{part}.tf_record")
    assert len(wanted) == count
    assert read_plainly(path) == wanted


@pytest.mark.shared
@pytest.mark.parametrize(
    "item",
    [
        *(f"CoLA_{part}_uncased_128" for part in ("train", "dev", "test")),
        *(f"MRPC_{part}_uncased_128" for part in ("train", "dev", "test")),
        *(f"MRPC_{part}_cased_64" for part in ("train", "dev", "test")),
    ],
)
def test_records_of_glue_have_the_digests_of_the_original(
    shared_folder, tmp_path, item
):
    digests = "golden/real_data_digests/real_data_digests.json"
    items = json.loads((shared_folder / digests).read_text())["items"]
    wanted = items[f"classifier_{item}"]
    name, part, _, _ = item.split("_")
    task = find_dataset(name)
    data_dir = str((shared_folder / wanted["input"]).parent)

    path = tmp_path / "our.tf_record"
    examples = getattr(task, f"get_{part}_examples")(data_dir)
    tokenizer = FullTokenizer(
        str(shared_folder / wanted["vocab"]),
        do_lower_case=wanted["do_lower_case"],
    )
    write_task(path, task, examples, tokenizer, wanted["max_seq_length"])

    texts = list(canonical_texts(path))
    assert len(texts) == wanted["records"]
    digest = hashlib.sha256("".join(texts).encode()).hexdigest()
    assert digest == wanted["canonical_sha256"]


# -------------------------------------------------------------------- writing


def test_a_record_has_its_features_in_the_order_of_their_names():
    values, schema = classifier_record(2), classifier_schema(2)
    backwards = dict(reversed(values.items()))
    entries = [
        # A key, and a list of int64; each with its length before it.
        b"\x0a\x13\x0a\x09input_ids\x12\x06\x1a\x04\x0a\x02\x01\x01",
        b"\x0a\x14\x0a\x0ainput_mask\x12\x06\x1a\x04\x0a\x02\x01\x01",
        b"\x0a\x18\x0a\x0fis_real_example\x12\x05\x1a\x03\x0a\x01\x01",
        b"\x0a\x12\x0a\x09label_ids\x12\x05\x1a\x03\x0a\x01\x00",
        b"\x0a\x15\x0a\x0bsegment_ids\x12\x06\x1a\x04\x0a\x02\x01\x01",
    ]
    wanted = b"\x0a\x70" + b"".join(entries)
    assert encode(values, schema) == wanted
    assert encode(backwards, dict(reversed(schema.items()))) == wanted


def test_float_features_are_stored_as_floats():
    schema = {"weights": Feature((2,), "float32")}
    features = tf.train.Example.FromString(
        encode({"weights": [1.0, 0.5]}, schema)
    ).features.feature
    assert list(features["weights"].float_list.value) == [1.0, 0.5]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"number": [1, 2]}, "number must have 1 values. Received: 2"),
        ({"other": [1]}, r"features \['number'\]. Received: \['other'\]"),
    ],
)
def test_values_that_do_not_fit_the_schema_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        encode(values, ONE_NUMBER)


@pytest.mark.parametrize("bad_id", [30, -1])
def test_an_id_without_an_embedding_is_refused_before_it_is_written(
    tmp_path, bad_id
):
    path = tmp_path / "train.tf_record"
    bad = [classifier_record(), classifier_record(input_ids=[1, bad_id, 2, 0])]
    with pytest.raises(
        InputError,
        match=rf"record 2: input_ids .* from 0 to 29, .*holds {bad_id}:",
    ):
        write_records(str(path), bad, classifier_schema(4), vocab_size=30)
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_an_input_error(tmp_path):
    path = str(tmp_path / "no" / "such" / "folder" / "x")
    with pytest.raises(InputError, match=f"Cannot write {path}"):
        write_records(path, [], ONE_NUMBER)


def test_an_interrupted_file_leaves_the_old_one(tmp_path):
    path = tmp_path / "train.tf_record"
    write_numbers(path, 2)

    def interrupted():
        yield {"number": [7]}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_records(str(path), interrupted(), ONE_NUMBER)
    assert [record["number"] for record in read_plainly(path)] == [[0], [1]]
    assert list(tmp_path.iterdir()) == [path]


def test_file_has_no_name_before_it_is_complete(tmp_path):
    path = tmp_path / "train.tf_record"
    there = []

    def records():
        yield {"number": [7]}
        there.extend(file.name for file in tmp_path.iterdir())

    write_records(str(path), records(), ONE_NUMBER)
    (name,) = there
    assert name.startswith("train.tf_record.")
    assert name.endswith(".incomplete")
    assert list(tmp_path.iterdir()) == [path]


def test_incomplete_files_of_killed_processes_are_removed(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    host = socket.gethostname()
    for name in (f"{host}-{gone.pid}", f"{host}-{os.getppid()}", "other-1"):
        (tmp_path / f"x.tf_record.{name}.incomplete").touch()

    write_numbers(tmp_path / "x.tf_record", 1)

    assert {file.name for file in tmp_path.iterdir()} == {
        "x.tf_record",
        f"x.tf_record.{host}-{os.getppid()}.incomplete",
        "x.tf_record.other-1.incomplete",
    }


# ------------------------------------------------------------------- checking


@pytest.fixture
def eight(tmp_path):
    """A file of two records of eight tokens."""
    path = str(tmp_path / "eight.tf_record")
    records = [classifier_record(8), classifier_record(8)]
    write_records(path, records, classifier_schema(8))
    return path


def test_sound_records_pass(eight):
    check_records([eight], classifier_schema(8), vocab_size=2, whole=True)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            classifier_schema(16),
            r"record 1: input_ids must have length 16, as max_seq_length=16 "
            r"requires. It has length 8: give the max_seq_length that",
        ),
        (
            {"masked_lm_ids": Feature((2,))},
            r"record 1: must have the feature masked_lm_ids. It has input_ids, "
            r"input_mask, is_real_example, label_ids, segment_ids",
        ),
        (
            {"input_ids": Feature((8,), "float32")},
            r"record 1: input_ids must be a float_list, is a int64_list",
        ),
        (
            {"label_ids": Feature((2,))},
            r"record 1: label_ids must have length 2. It has length 1",
        ),
    ],
)
def test_records_of_another_schema_are_named(eight, schema, message):
    with pytest.raises(InputError, match=f"^{eight}, {message}"):
        check_records([eight], schema)


def test_records_with_ids_of_another_vocabulary_are_named(eight):
    with pytest.raises(InputError, match=r"record 1: input_ids.*holds 1:"):
        check_records([eight], classifier_schema(8), vocab_size=1)


RANGED = pretraining_schema(4, 2, type_vocab_size=2)
GOOD = {
    "input_ids": [1, 2, 3, 0],
    "input_mask": [1, 1, 1, 0],
    "segment_ids": [0, 0, 1, 0],
    "masked_lm_positions": [1, 3],
    "masked_lm_ids": [5, 6],
    "masked_lm_weights": [1.0, 0.0],
    "next_sentence_labels": [1],
}


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"input_ids": [1, 2, 50, 0]}, ["input_ids", "49", "50"]),
        ({"input_mask": [1, 1, 2, 0]}, ["input_mask", "0 to 1", "2"]),
        ({"segment_ids": [0, 0, -7, 0]}, ["segment_ids", "-7", "type_vocab"]),
        ({"masked_lm_positions": [1, 4]}, ["masked_lm_positions", "0 to 3"]),
        ({"masked_lm_ids": [-1, 4]}, ["masked_lm_ids", "0 to 49", "-1"]),
        ({"next_sentence_labels": [3]}, ["next_sentence_labels", "0 to 1"]),
    ],
)
def test_a_number_out_of_range_is_named_wherever_the_record_is(
    tmp_path, changes, facts
):
    path = str(tmp_path / "x.tfrecord")
    unchecked = pretraining_schema(4, 2)
    write_records(path, [GOOD, GOOD, GOOD | changes], unchecked)

    check_records([path], RANGED, 50)
    with (
        pytest.raises(InputError) as raised,
        naming_bad_records([path], RANGED, 50),
    ):
        list(evaluation_batches([path], RANGED, 2, 50))

    for fact in (path, "record 3", *facts):
        assert fact in str(raised.value)
    if not any("ids" in name for name in changes if "segment" not in name):
        assert "--check_records=false" in str(raised.value)
        list(evaluation_batches([path], unchecked, 2, 50))


def test_a_masked_word_at_padding_is_named_where_padding_is_skipped(tmp_path):
    path = str(tmp_path / "x.tfrecord")
    padded, packed = (
        pretraining_schema(4, 2, skip_padding=skips) for skips in (False, True)
    )
    write_records(path, [GOOD, GOOD], packed)
    assert len(list(evaluation_batches([path], packed, 2))) == 1
    write_records(path, [GOOD, GOOD | {"masked_lm_weights": [1, 1]}], padded)

    with (
        pytest.raises(InputError) as raised,
        naming_bad_records([path], packed),
    ):
        list(evaluation_batches([path], packed, 2))

    for fact in (path, "record 2", "masked_lm_positions", "3", "input_mask"):
        assert fact in str(raised.value)
    assert "--skip_padding=false" in str(raised.value)
    assert len(list(evaluation_batches([path], padded, 2))) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no file"),
        (b"", "must hold records. It has none"),
        (b"this is text, and not a TFRecord file", "is it a TFRecord file"),
        (gzip.compress(b"x" * 100, mtime=0), "is it a TFRecord file"),
    ],
)
def test_other_files_than_records_are_named(tmp_path, content, message):
    path = tmp_path / "eval.tf_record"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path}.*{message}|{message} {path}"):
        check_records([str(path)], ONE_NUMBER)


def test_one_empty_file_among_others_is_a_warning(tmp_path, caplog):
    (tmp_path / "empty").write_bytes(b"")
    files = [str(tmp_path / "empty"), *write_numbers(tmp_path / "a", 3)]

    check_records(files, ONE_NUMBER)

    assert f"{tmp_path}/empty holds no records" in caplog.text


def test_the_list_of_shards_is_no_record_file(tmp_path):
    path = tmp_path / "examples.tfrecord.json"
    path.write_text('{"shards": [{"documents": 3, "sentences": 8}]}')

    with pytest.raises(InputError, match=r"list of the shards .* leave it"):
        check_records([str(path)], ONE_NUMBER)


def test_a_folder_is_no_record_file(tmp_path):
    with pytest.raises(InputError, match="must be a file of records, but is"):
        check_records([str(tmp_path)], ONE_NUMBER)


def test_truncated_file_is_named(eight):
    with open(eight, "r+b") as file:
        file.truncate(os.path.getsize(eight) - 1)
    with pytest.raises(InputError, match="after record 1: it is truncated"):
        check_records([eight], classifier_schema(8))


@pytest.mark.parametrize("files_at_once", [1, 2])
def test_a_file_too_large_to_check_ahead_is_checked_when_opened(
    eight, monkeypatch, files_at_once
):
    monkeypatch.setattr(records, "CHECKED_AHEAD", 10)
    with open(eight, "r+b") as file:
        file.truncate(os.path.getsize(eight) - 1)
    schema = classifier_schema(8)
    check_records([eight], schema)
    batches = training_batches([eight], schema, 1, 1, 0, 50, files_at_once)
    with (
        pytest.raises(InputError, match="after record 1: it is truncated"),
        naming_bad_records([eight], schema),
    ):
        list(batches.take(3))


def test_a_file_is_read_whatever_bytes_its_name_has(tmp_path):
    write_records(
        str(tmp_path / "x"), [{"number": [i]} for i in range(4)], ONE_NUMBER
    )
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe9, x.tf_record")
    os.rename(tmp_path / "x", path)

    check_records([path], ONE_NUMBER, whole=True)
    (batch,) = evaluation_batches([path], ONE_NUMBER, 9)
    assert batch["number"].numpy().tolist() == [0, 1, 2, 3]
    for at_once in (1, 2):
        endless = training_batches(
            [path], ONE_NUMBER, 2, 1, files_at_once=at_once
        )
        assert len(list(endless.take(3))) == 3
    batches = evaluation_batches([path], ONE_NUMBER, 9)
    os.rename(path, tmp_path / "x")
    with (
        pytest.raises(InputError, match="There is no file"),
        naming_bad_records([path], ONE_NUMBER),
    ):
        list(batches)
    # TensorFlow's writer takes UTF-8 only.
    with pytest.raises(InputError, match=r"UTF-8.*udcff"):
        write_records(path, [], ONE_NUMBER)


def test_files_in_a_bucket_are_read_and_checked_as_others_are():
    path = "ram://bucket/x.tf_record"
    write_records(path, [{"number": [i]} for i in range(4)], ONE_NUMBER)
    check_records([path], ONE_NUMBER, whole=True)
    (batch,) = evaluation_batches([path], ONE_NUMBER, 9)
    assert batch["number"].numpy().tolist() == [0, 1, 2, 3]
    with tf.io.gfile.GFile(path, "rb") as file:
        content = file.read()
    cut = "ram://bucket/cut.tf_record"
    with tf.io.gfile.GFile(cut, "wb") as file:
        file.write(content[: len(content) // 2 + 5])  # Inside of a header.
    with pytest.raises(InputError, match="after record 2: it is truncated"):
        check_records([cut], ONE_NUMBER)


def test_something_else_in_a_record_is_named(tmp_path):
    path = str(tmp_path / "x.tf_record")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(b"\xff\xff not an example")
    with pytest.raises(InputError, match=r"record 1: must be a tf.train.Exam"):
        check_records([path], ONE_NUMBER)


def test_bad_record_during_training_is_named(tmp_path):
    path = str(tmp_path / "train.tf_record")
    schema = classifier_schema(4)
    records = [encode(classifier_record(), schema) for _ in range(9)]
    longer = classifier_record(length=5)
    records[6] = encode(longer, classifier_schema(5))
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record)

    check_records([path], schema)
    with (
        pytest.raises(InputError, match=r"record 7: input_ids.* has length 5"),
        naming_bad_records([path], schema),
    ):
        list(training_batches([path], schema, 2, seed=1).take(50))


def test_id_of_another_vocabulary_in_a_batch_is_named(tmp_path):
    path = str(tmp_path / "train.tf_record")
    records = [classifier_record() for _ in range(9)]
    records[5] = classifier_record(input_ids=[1, 2, 99, 0])
    write_records(path, records, classifier_schema(4))
    batches = evaluation_batches([path], classifier_schema(4), 4, 50)
    with (
        pytest.raises(InputError, match=r"record 6: input_ids.* holds 99:"),
        naming_bad_records([path], classifier_schema(4), vocab_size=50),
    ):
        list(batches)


def test_errors_that_records_did_not_cause_are_passed_on(eight):
    with (
        pytest.raises(tf.errors.InvalidArgumentError, match="elsewhere"),
        naming_bad_records([eight], classifier_schema(8)),
    ):
        raise tf.errors.InvalidArgumentError(None, None, "elsewhere")


# -------------------------------------------------------------------- reading


def numbers(batches, count):
    return [
        batch["number"].tolist()
        for batch in batches.take(count).as_numpy_iterator()
    ]


def test_evaluation_reads_everything_in_order(tmp_path):
    files = write_numbers(tmp_path / "a", 5) + write_numbers(tmp_path / "b", 2)
    batches = evaluation_batches(files, ONE_NUMBER, 3)
    assert numbers(batches, 99) == [[0, 1, 2], [3, 4, 0], [1]]


def test_evaluation_drops_the_remainder_where_sizes_must_be_equal(tmp_path):
    files = write_numbers(tmp_path / "a", 5)
    batches = evaluation_batches(files, ONE_NUMBER, 2, drop_remainder=True)
    assert numbers(batches, 99) == [[0, 1], [2, 3]]
    assert batches.element_spec["number"].shape == (2,)


def test_batches_have_the_shapes_and_types_of_the_schema(eight):
    schema = classifier_schema(8)
    (batch,) = evaluation_batches([eight], schema, 2).as_numpy_iterator()
    assert {name: value.shape for name, value in batch.items()} == {
        "input_ids": (2, 8),
        "input_mask": (2, 8),
        "segment_ids": (2, 8),
        "label_ids": (2,),
        "is_real_example": (2,),
    }
    assert {value.dtype for value in batch.values()} == {np.dtype("int32")}


def test_training_repeats_all_records(tmp_path):
    files = write_numbers(tmp_path / "a", 30)
    batches = numbers(training_batches(files, ONE_NUMBER, 8, seed=3), 200)
    assert {len(batch) for batch in batches} == {8}
    seen = collections.Counter(number for batch in batches for number in batch)
    assert len(seen) == 30
    assert sum(seen.values()) == 1600


def test_training_shuffles_in_a_buffer_of_a_hundred_records(tmp_path):
    files = write_numbers(tmp_path / "a", 1000)
    (order,) = numbers(training_batches(files, ONE_NUMBER, 900, seed=3), 1)
    ahead = [number - place for place, number in enumerate(order)]
    assert order[:50] != sorted(order[:50])
    assert max(ahead) == 99


def test_the_seed_decides_the_order(tmp_path):
    files = write_numbers(tmp_path / "a", 50)

    def order(seed):
        return numbers(training_batches(files, ONE_NUMBER, 10, seed), 10)

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_one_dataset_gives_the_same_stream_twice(tmp_path):
    files = write_numbers(tmp_path / "a", 50)
    batches = training_batches(files, ONE_NUMBER, 10, seed=1)
    assert numbers(batches, 10) == numbers(batches, 10)


@pytest.mark.parametrize("files_at_once", [1, 4])
@pytest.mark.parametrize("start_step", [1, 7, 40])
def test_training_resumes_where_it_would_have_been(
    tmp_path, start_step, files_at_once
):
    files = write_six_files(tmp_path)

    def batches(step):
        return training_batches(
            files, ONE_NUMBER, 8, 3, step, files_at_once=files_at_once
        )

    whole = numbers(batches(0), 50)
    assert numbers(batches(start_step), 50 - start_step) == whole[start_step:]


def write_six_files(folder):
    """Of 10, 20, ... 60 records, numbers from 1000, 2000, ... 6000 on."""
    files = []
    for number in range(1, 7):
        path = str(folder / f"{number}.tfrecord")
        rows = range(1000 * number, 1010 * number)
        write_records(path, ({"number": [n]} for n in rows), ONE_NUMBER)
        files.append(path)
    return files


def test_interleaved_files_mix_all_records_of_an_epoch(tmp_path):
    files = write_six_files(tmp_path)
    batches = training_batches(files, ONE_NUMBER, 10, 3, files_at_once=4)

    order = [n for batch in numbers(batches, 210) for n in batch]

    # 2,100 draws are ten epochs of 210, but for what the turns have ahead and
    # the buffer of 100 still holds.
    counts = collections.Counter(order)
    assert len(counts) == 210
    assert set(counts.values()) <= {8, 9, 10, 11, 12}
    # Not one file after the other: the first batches have several.
    assert len({n // 1000 for n in order[:30]}) >= 3


@pytest.mark.slow
def test_another_process_resumes_the_same_stream(tmp_path):
    files = write_numbers(tmp_path / "a", 30)
    program = (
        "import sys, tensorflow as tf; from bert_tf.data.records import *\n"
        "tf.random.set_seed(5)\n"
        "schema = {'number': Feature(())}\n"
        "batches = training_batches(sys.argv[1:], schema, 8, 3, 20)\n"
        "for batch in batches.take(5): print(*batch['number'].numpy())"
    )
    other = prepared.run(
        ["-c", program, *files], capture_output=True, check=True, text=True
    )

    tf.random.set_seed(5)
    whole = numbers(training_batches(files, ONE_NUMBER, 8, seed=3), 25)
    lines = [
        [int(n) for n in line.split()] for line in other.stdout.splitlines()
    ]
    assert lines == whole[20:]


def test_workers_take_shares_of_the_same_batches(tmp_path):
    files = write_numbers(tmp_path / "a", 30) + write_numbers(tmp_path / "b", 9)
    for batches in (
        training_batches(files, ONE_NUMBER, 8, seed=3),
        evaluation_batches(files, ONE_NUMBER, 8),
    ):
        policy = batches.options().experimental_distribute.auto_shard_policy
        assert policy == tf.data.experimental.AutoShardPolicy.DATA


# --------------------------------------------------------- of about one length


@pytest.fixture
def lengths(rng):
    return rng.integers(2, 41, size=150).tolist()


@pytest.fixture
def long_and_short(tmp_path, lengths, monkeypatch):
    """A file of records of those lengths, told apart by their label."""
    monkeypatch.setattr(grouping, "BATCHES_AHEAD", 4)
    path = str(tmp_path / "mixed.tf_record")
    rows = (
        classifier_record(
            length=40,
            input_ids=[7] * n + [0] * (40 - n),
            input_mask=[1] * n + [0] * (40 - n),
            label_ids=[number],
        )
        for number, n in enumerate(lengths)
    )
    write_records(path, rows, classifier_schema(40))
    return path


def assert_fits(batch, lengths):
    """Each row has all of its tokens, and no batch has more than it needs."""
    of_rows = [lengths[label] for label in batch["label_ids"]]
    padded = grouping.padded_length(max(of_rows), 40)
    for name in ("input_ids", "input_mask", "segment_ids"):
        assert batch[name].shape == (len(of_rows), padded)
    assert batch["input_mask"].sum(axis=1).tolist() == of_rows
    assert (batch["input_ids"] == 7 * batch["input_mask"]).all()


def test_evaluation_by_length_reads_everything_once_with_its_place(
    long_and_short, lengths
):
    batches = list(
        evaluation_batches(
            [long_and_short], classifier_schema(40), 8, group_by_length=True
        ).as_numpy_iterator()
    )

    assert max(len(batch["place"]) for batch in batches) == 8
    for batch in batches:
        assert_fits(batch, lengths)
        np.testing.assert_array_equal(batch["place"], batch["label_ids"])
    places = np.concatenate([batch["place"] for batch in batches])
    assert sorted(places) == list(range(150))
    # Four batches at a time, the longest rows first, cut by one rule.
    first = [lengths[place] for place in places[:32]]
    assert first == sorted(lengths[:32], reverse=True)
    sizes = grouping.cut(first, 8)
    assert [len(batch["place"]) for batch in batches[: len(sizes)]] == sizes
    assert len({batch["input_ids"].shape[1] for batch in batches}) == 9


def test_batch_of_padding_only_keeps_some_columns(tmp_path):
    path = str(tmp_path / "empty.tf_record")
    nothing = classifier_record(
        length=40, input_ids=[0] * 40, input_mask=[0] * 40
    )
    write_records(path, [nothing], classifier_schema(40))
    (batch,) = evaluation_batches(
        [path], classifier_schema(40), 1, group_by_length=True
    ).as_numpy_iterator()
    assert batch["input_ids"].shape == (1, 4)


def bucketed(path, seed=3, start_step=0):
    return training_batches(
        [path],
        classifier_schema(40),
        8,
        seed,
        start_step,
        bucket_by_length=True,
    )


def test_buckets_have_the_records_of_the_plain_stream_by_length(
    long_and_short, lengths
):
    plain = training_batches([long_and_short], classifier_schema(40), 8, 3)
    batches = list(bucketed(long_and_short).take(20).as_numpy_iterator())

    for batch in batches:
        assert_fits(batch, lengths)
    labels = np.array([batch["label_ids"] for batch in batches])
    want = [batch["label_ids"] for batch in plain.take(20).as_numpy_iterator()]
    np.testing.assert_array_equal(
        np.sort(labels.reshape(5, 32)), np.sort(np.reshape(want, (5, 32)))
    )
    longest = [max(lengths[label] for label in batch) for batch in labels]
    assert any(longest[i] < longest[i + 1] for i in range(3))  # Not sorted.


@pytest.mark.parametrize("start_step", [1, 3, 4, 9])
def test_buckets_resume_where_they_would_have_been(long_and_short, start_step):
    def stream(step, count, seed=3):
        batches = bucketed(long_and_short, seed, step).take(count)
        return [b["label_ids"].tolist() for b in batches.as_numpy_iterator()]

    whole = stream(0, 14)
    assert stream(start_step, 14 - start_step) == whole[start_step:]
    assert stream(0, 14, seed=4) != whole


def test_buckets_work_with_other_features_of_the_same_length_flag(tmp_path):
    schema = pretraining_schema(40, 3)
    values = {name: [1] * schema[name].length for name in schema}
    values["input_mask"] = [1] * 5 + [0] * 35
    path = str(tmp_path / "pretraining.tf_record")
    write_records(path, [values] * 4, schema)
    batches = training_batches([path], schema, 2, 3, bucket_by_length=True)
    (batch,) = batches.take(1).as_numpy_iterator()
    assert batch["segment_ids"].shape == (2, 8)
    assert batch["masked_lm_positions"].shape == (2, 3)


def trimmed(path, schema, values):
    """The one record of a file, as it is trained on."""
    write_records(path, [values], schema)
    batches = evaluation_batches([path], schema, 1)
    (batch,) = records.trim_batches(batches, schema).as_numpy_iterator()
    return batch


@pytest.mark.parametrize("sign", [1, -1])
def test_tokens_behind_padding_are_not_trimmed(tmp_path, sign):
    mask = [sign, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    values = classifier_record(length=10, input_mask=mask)
    schema = classifier_schema(10)
    path = str(tmp_path / "holes.tf_record")

    batch = trimmed(path, schema, values)

    assert batch["input_mask"].tolist() == [mask[:8]]
    assert batch["input_ids"].shape == batch["segment_ids"].shape == (1, 8)
    (grouped,) = evaluation_batches(
        [path], schema, 1, group_by_length=True
    ).as_numpy_iterator()
    assert grouped["input_mask"].tolist() == [mask[:8]]


def test_a_prediction_behind_the_tokens_is_not_trimmed(tmp_path):
    schema = pretraining_schema(40, 3)
    values = {name: [1] * schema[name].length for name in schema}
    values["input_mask"] = [1] * 5 + [0] * 35
    values["masked_lm_positions"] = [4, 16, 0]

    batch = trimmed(str(tmp_path / "pretraining.tf_record"), schema, values)

    assert batch["input_ids"].shape == (1, 20)


# ------------------------------------------- several rows of tokens in a record


@pytest.fixture
def choices(tmp_path, lengths):
    """A schema, and a file of records of three rows of tokens each."""
    schema = {
        name: Feature((3, 40), length_flag="max_seq_length")
        for name in ("input_ids", "input_mask", "segment_ids")
    }
    schema["label_ids"] = Feature(())
    path = str(tmp_path / "choices.tf_record")
    rows = np.reshape(lengths, (50, 3))
    mask = (np.arange(40) < rows[..., None]).astype(int)
    write_records(
        path,
        (
            {
                "input_ids": (mask[number] * (number + 1)).ravel().tolist(),
                "input_mask": mask[number].ravel().tolist(),
                "segment_ids": [0] * 120,
                "label_ids": [number],
            }
            for number in range(50)
        ),
        schema,
    )
    return schema, path, rows


def test_rows_of_a_record_stay_together_and_are_trimmed_together(choices):
    schema, path, lengths = choices
    grouped = evaluation_batches([path], schema, 4, group_by_length=True)
    bucketed = training_batches([path], schema, 4, 3, bucket_by_length=True)

    batches = [*grouped.as_numpy_iterator()]
    seen = np.concatenate([batch["label_ids"] for batch in batches])
    assert sorted(seen) == list(range(50))
    assert len({batch["input_ids"].shape for batch in batches}) > 3
    for batch in [*batches, *bucketed.take(70).as_numpy_iterator()]:
        labels = batch["label_ids"]
        padded = grouping.padded_length(lengths[labels].max(), 40)
        for name in ("input_ids", "input_mask", "segment_ids"):
            assert batch[name].shape == (len(labels), 3, padded)
        np.testing.assert_array_equal(
            batch["input_mask"].sum(axis=-1), lengths[labels]
        )
        of_its_own = batch["input_mask"] * (labels + 1)[:, None, None]
        np.testing.assert_array_equal(batch["input_ids"], of_its_own)


def test_of_several_rows_the_last_column_in_use_counts(tmp_path):
    schema = {"input_mask": Feature((2, 10), length_flag="max_seq_length")}
    mask = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    path = str(tmp_path / "holes.tf_record")

    batch = trimmed(path, schema, {"input_mask": [*mask[0], *mask[1]]})

    assert batch["input_mask"].tolist() == [[mask[0][:8], mask[1][:8]]]


def test_message_about_a_length_counts_the_rows_of_a_record(choices):
    _, path, _ = choices
    tokens = Feature((4, 40), length_flag="max_seq_length")
    with pytest.raises(InputError, match=r"160.*4 rows of max_seq_length=40"):
        check_records([path], {"input_ids": tokens})
