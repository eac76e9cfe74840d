import gzip
import hashlib
import json
import lzma
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf
from absl import flags
from helpers.paths import GOLDEN, ROOT

from bert_tf import create_pretraining_data as script
from bert_tf.data import records, text_files
from bert_tf.errors import InputError
from bert_tf.tasks.pretraining import shards, task

DATA = GOLDEN
FOLDER = DATA / "create_pretraining_data"
RUNS = json.loads((FOLDER / "runs.json").read_text())


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The golden texts and vocabularies, unpacked: {name: path}."""
    folder = tmp_path_factory.mktemp("inputs")
    paths = {"tiny": DATA / "checkpoints" / "tiny" / "vocab.txt"}
    paths["odd"] = FOLDER / "odd_vocab.txt"
    paths["uncased"] = folder / "uncased.txt"
    vocab = DATA / "tokenization" / "vocab_uncased.txt.xz"
    paths["uncased"].write_bytes(lzma.decompress(vocab.read_bytes()))
    paths["corpus.txt"] = folder / "corpus.txt"
    corpus = gzip.decompress((FOLDER / "corpus.txt.gz").read_bytes())
    paths["corpus.txt"].write_bytes(corpus)
    return paths


def parse(**given):
    values = flags.FlagValues()
    script.define_flags(values)
    values(["script", *(f"--{name}={value}" for name, value in given.items())])
    return values


def run(**given):
    script.main(parse(**given))


def small(inputs, output, **more):
    """Flags of a run that takes a moment."""
    return {
        "input_file": FOLDER / "part-*.txt",
        "output_file": output,
        "vocab_file": inputs["tiny"],
        "max_seq_length": 32,
        "max_predictions_per_seq": 5,
        "dupe_factor": 2,
        **more,
    }


def read(path, compression=""):
    """Each record as {name: (kind, values)}, parsed by protobuf."""
    parsed = []
    dataset = tf.data.TFRecordDataset(str(path), compression)
    for serialized in dataset.as_numpy_iterator():
        entries = tf.train.Example.FromString(serialized).features.feature
        record = {}
        for name, entry in entries.items():
            kind = entry.WhichOneof("kind")
            record[name] = kind, list(getattr(entry, kind).value)
        parsed.append(record)
    return parsed


def digest(parsed):
    """The digest that the golden data's README describes."""
    total = hashlib.sha256()
    for record in parsed:
        for name in sorted(record):
            kind, values = record[name]
            form = float.hex if kind == "float_list" else str
            line = f"{name}|{kind}|{','.join(map(form, values))}\n"
            total.update(line.encode())
        total.update(b"--\n")
    return total.hexdigest()


# --------------------------------------------------------------------- golden


@pytest.mark.parametrize("golden", RUNS, ids=lambda golden: golden["run"])
def test_records_are_those_that_the_original_made(golden, inputs, tmp_path):
    patterns = golden["input_file"].split(",")
    files = [str(inputs.get(name, FOLDER / name)) for name in patterns]
    outputs = [
        str(tmp_path / one["file"].removesuffix(".gz"))
        for one in golden["output_files"]
    ]
    run(
        input_file=",".join(files),
        output_file=",".join(outputs),
        vocab_file=inputs[golden["vocab"]],
        **golden["flags"],
    )
    for one, output in zip(golden["output_files"], outputs):
        got = read(output)
        if (FOLDER / one["file"]).exists():
            assert got == read(FOLDER / one["file"], "GZIP")
        assert len(got) == one["records"]
        assert digest(got) == one["canonical_sha256"]
        schema = task.pretraining_schema(
            golden["flags"]["max_seq_length"],
            golden["flags"]["max_predictions_per_seq"],
        )
        records.check_records([output], schema, whole=True)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_sample_text_gives_the_records_that_others_made(
    shared_folder, inputs, tmp_path, name
):
    sample = shared_folder / "data" / "golden" / "pretraining_sample_text"
    run(
        input_file=sample / "sample_text.txt",
        output_file=tmp_path / "x",
        vocab_file=inputs["uncased"],
        dupe_factor=5,
    )
    got = read(tmp_path / "x")
    assert len(got) == 60
    assert got == read(sample / f"tf_examples_{name}.tfrecord")


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        ["pretraining_gutenberg_defaults_0"],
        ["pretraining_gutenberg_whole_word_cased_512_0"],
        ["pretraining_wiki_two_outputs_0", "pretraining_wiki_two_outputs_1"],
    ],
    ids=lambda names: names[0],
)
def test_real_text_gives_the_original_s_records(shared_folder, tmp_path, names):
    golden = shared_folder / "golden" / "real_data_digests"
    items = json.loads((golden / "real_data_digests.json").read_text())["items"]
    item = items[names[0]]
    corpus = shared_folder / "data" / "corpus"
    if "wiki" in names[0]:
        packed = corpus / "wiki_featured_00-09_sentences.txt.xz"
        lines = lzma.decompress(packed.read_bytes()).split(b"\n")[:12000]
        (tmp_path / "wiki.txt").write_bytes(b"\n".join(lines) + b"\n")
        inputs = [tmp_path / "wiki.txt"]
    else:
        inputs = []
        for part in item["input_file"].split(","):
            name = part.removesuffix(" (unpacked)").split("/")[-1]
            [packed] = (corpus / "gutenberg").glob(name + "*")
            inputs.append(tmp_path / name)
            content = packed.read_bytes()
            if packed.suffix == ".xz":
                content = lzma.decompress(content)
            elif packed.suffix == ".gz":
                content = gzip.decompress(content)
            inputs[-1].write_bytes(content)
    outputs = [tmp_path / name for name in names]
    run(
        input_file=",".join(map(str, inputs)),
        output_file=",".join(map(str, outputs)),
        vocab_file=shared_folder / item["vocab"],
        **item["flags"],
    )
    for name, output in zip(names, outputs):
        got = read(output)
        assert len(got) == items[name]["records"]
        assert digest(got) == items[name]["canonical_sha256"]


def test_flags_are_the_originals():
    values = flags.FlagValues()
    script.define_flags(values)
    originals = {
        "input_file": None,
        "output_file": None,
        "vocab_file": None,
        "do_lower_case": True,
        "do_whole_word_mask": False,
        "max_seq_length": 128,
        "max_predictions_per_seq": 20,
        "random_seed": 12345,
        "dupe_factor": 10,
        "masked_lm_prob": 0.15,
        "short_seq_prob": 0.1,
    }
    assert {name: values[name].default for name in originals} == originals
    added = {"num_workers", "num_shards", "word_segmenter"}
    added |= {"strip_accents", "ignore_folder_settings"}
    assert set(values) - set(originals) == added


# ----------------------------------------------------------------- exact mode


def test_compressed_text_gives_the_same_file(inputs, tmp_path):
    for number in (1, 2):
        text = (FOLDER / f"part-{number}.txt").read_bytes()
        path = tmp_path / f"part-{number}.txt.gz"
        path.write_bytes(gzip.compress(text))
    run(**small(inputs, tmp_path / "plain"))
    packed = {"input_file": tmp_path / "part-*.txt.gz"}
    run(**small(inputs, tmp_path / "gz", **packed))
    plain = (tmp_path / "plain").read_bytes()
    assert plain
    assert (tmp_path / "gz").read_bytes() == plain


def test_the_output_folder_is_created(inputs, tmp_path):
    run(**small(inputs, tmp_path / "new" / "folder" / "x"))
    assert os.listdir(tmp_path / "new" / "folder") == ["x"]


def test_a_word_segmenter_decides_what_a_word_is(inputs, tmp_path, monkeypatch):
    (tmp_path / "my_words.py").write_text(
        "def triples(text):\n"
        "    text = text.replace(' ', '')\n"
        "    return [text[i:i + 3] for i in range(0, len(text), 3)]\n"
    )
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"天地玄黄宇宙"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens), "utf-8")
    (tmp_path / "text.txt").write_text(
        "天地玄黄宇宙\n\n宇宙天地玄黄\n", "utf-8"
    )
    monkeypatch.chdir(tmp_path)
    run(
        **small(
            inputs,
            tmp_path / "x",
            input_file="text.txt",
            vocab_file="vocab.txt",
            word_segmenter="my_words:triples",
            do_whole_word_mask=True,
            short_seq_prob=0.0,
            masked_lm_prob=0.2,
        )
    )
    found = read(tmp_path / "x")
    assert len(found) == 4
    for record in found:
        assert record["masked_lm_positions"][1][:3] in (
            [1, 2, 3],
            [4, 5, 6],
            [8, 9, 10],
            [11, 12, 13],
        )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input_file": "/none/*.txt"}, "Nothing matches '/none/"),
        ({"vocab_file": "/none"}, "`--vocab_file`: the file /none does not"),
        ({"output_file": "a,a"}, "must not name a file twice"),
        ({"output_file": "a,"}, "must name files on this machine"),
        ({"output_file": "gs://b/x"}, "must name files on this machine"),
        ({"output_file": "{tmp}"}, "must name files on this machine"),
        ({"output_file": "{tmp}/text/x"}, "Cannot make the folder"),
        ({"output_file": "a,b", "num_workers": 2}, "it must be one"),
        ({"num_workers": 0}, "`--num_workers` must be above 0"),
        ({"num_shards": -1}, "`--num_shards` must be above 0"),
        ({"max_predictions_per_seq": 30}, "from 1 to 29: max_seq_length=32"),
        ({"masked_lm_prob": 15}, "`masked_lm_prob` must be in"),
        ({"word_segmenter": "a:b"}, "needs --do_whole_word_mask"),
        (
            {"word_segmenter": "a", "do_whole_word_mask": True},
            "must be module:function. Received: --word_segmenter=a",
        ),
        (
            {"word_segmenter": "no_such:f", "do_whole_word_mask": True},
            "cannot import no_such:f",
        ),
        ({"vocab_file": "{tmp}/text"}, "lacks \\[UNK\\]"),
        ({"input_file": "{tmp}/blank"}, "not one token in .*blank"),
        ({"input_file": "{tmp}/latin1"}, "latin1, line 2: must be UTF-8"),
        (
            {"input_file": "{tmp}/latin1", "num_shards": 2, "num_workers": 1},
            "latin1, line 2: must be UTF-8",
        ),
        ({"input_file": "{tmp}/empty", "num_shards": 2}, "are empty"),
    ],
)
def test_an_error_names_the_cause_and_nothing_is_written(
    inputs, tmp_path, wrong, message
):
    (tmp_path / "text").write_text("some text\n")
    (tmp_path / "blank").write_text("\n \n\u200b\n", "utf-8")
    (tmp_path / "empty").touch()
    (tmp_path / "latin1").write_bytes(b"fine\nf\xe9e\n")
    before = set(os.listdir(tmp_path))
    wrong = {
        name: str(value).replace("{tmp}", str(tmp_path))
        for name, value in wrong.items()
    }
    with pytest.raises(InputError, match=message):
        run(**small(inputs, tmp_path / "x", **wrong))
    assert set(os.listdir(tmp_path)) - before <= {"x.json"}


# --------------------------------------------------------------------- shards


def sharded(inputs, output, **more):
    return small(
        inputs,
        output,
        input_file=f"{inputs['corpus.txt']},{FOLDER}/part-*.txt",
        **{"num_workers": 2, "num_shards": 4, "do_whole_word_mask": True},
        **more,
    )


def content(folder, start="x-"):
    return {path.name: path.read_bytes() for path in folder.glob(f"{start}*")}


@pytest.fixture(scope="module")
def four_shards(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("four")
    run(**sharded(inputs, folder / "x"))
    return folder


def test_every_shard_is_what_the_exact_mode_makes_of_its_text(
    four_shards, inputs, tmp_path
):
    given = sharded(inputs, four_shards / "x")
    paths = text_files.find_files(given["input_file"])
    planned = shards.plan_shards(
        text_files.whole_files(paths), str(four_shards / "x"), 12345, 4
    )
    assert sorted(content(four_shards)) == [
        f"x-0000{number}-of-00004" for number in range(4)
    ]
    text = b""
    for shard in planned:
        parts = []
        for number, (path, start, end) in enumerate(shard.ranges):
            part = tmp_path / f"text-{shard.number}-{number}"
            part.write_bytes(pathlib.Path(path).read_bytes()[start:end])
            text += part.read_bytes()
            parts.append(str(part))
        alone = {"input_file": ",".join(parts), "random_seed": shard.seed}
        given = sharded(inputs, tmp_path / "alone") | alone
        del given["num_workers"], given["num_shards"]
        run(**given)
        got = read(shard.path)
        assert len(got) > 100
        assert got == read(tmp_path / "alone")
    assert len(planned[3].ranges) == 3
    assert text == b"".join(pathlib.Path(path).read_bytes() for path in paths)


def test_shards_of_a_single_document_are_warned_of(inputs, tmp_path, caplog):
    given = small(inputs, tmp_path / "x", num_workers=1)
    (tmp_path / "two").write_text("a b .\nc d .\n\ne f .\ng h .\n")
    given["input_file"] = tmp_path / "two"
    run(**given)
    assert "one document" not in caplog.text
    run(**given | {"num_shards": 2, "output_file": tmp_path / "y"})
    assert "2 shards hold one document each" in caplog.text


def test_the_number_of_workers_changes_nothing(four_shards, inputs, tmp_path):
    run(**sharded(inputs, tmp_path / "x") | {"num_workers": 1})
    assert content(tmp_path) == content(four_shards)


def test_only_missing_shards_are_made_again(inputs, tmp_path):
    given = sharded(inputs, tmp_path / "x")
    run(**given)
    whole = content(tmp_path)
    notes = (tmp_path / "x.json").read_text()
    old = {name: os.stat(tmp_path / name).st_mtime_ns for name in whole}
    (tmp_path / "x-00002-of-00004").unlink()
    (tmp_path / "x-00003-of-00004").write_bytes(b"cut off")

    run(**given)

    assert content(tmp_path) == whole
    new = {name: os.stat(tmp_path / name).st_mtime_ns for name in whole}
    same = [name for name in sorted(whole) if old[name] == new[name]]
    assert same == ["x-00000-of-00004", "x-00001-of-00004"]
    assert json.loads((tmp_path / "x.json").read_text()) == json.loads(notes)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"max_seq_length": 40}, "`max_seq_length`"),
        ({"random_seed": 6, "num_shards": 3}, "`random_seed` and `num_shards`"),
        ({"input_file": FOLDER / "part-*.txt"}, "`input_file`"),
    ],
)
def test_shards_of_other_settings_are_an_error_and_stay(
    four_shards, inputs, change, named
):
    before = content(four_shards, "x")
    with pytest.raises(InputError, match=f"another {named}. .*remove that"):
        run(**sharded(inputs, four_shards / "x") | change)
    assert content(four_shards, "x") == before


def test_an_error_names_unreadable_notes(inputs, tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InputError, match=r"x\.json must hold the notes"):
        run(**sharded(inputs, tmp_path / "x"))


def start(given):
    """Starts the script in a process of its own."""
    command = [sys.executable, "-m", "bert_tf.create_pretraining_data"]
    return subprocess.Popen(
        [*command, *(f"--{name}={value}" for name, value in given.items())],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_shards(folder, process, count):
    notes = folder / "x.json"  # A shard counts as soon as it is noted.
    while (
        not notes.exists()
        or len(json.loads(notes.read_text())["finished"]) < count
    ):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_run_is_resumed_to_the_same_files(inputs, tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    more = {"num_shards": 12, "dupe_factor": 8}
    process = start(sharded(inputs, killed / "x") | more)
    wait_for_shards(killed, process, 2)
    process.kill()
    process.communicate()
    time.sleep(0.1)
    finished = json.loads((killed / "x.json").read_text())["finished"]
    assert 0 < len(finished) < 12

    again = start(sharded(inputs, killed / "x") | more)
    _, said = again.communicate()
    assert again.returncode == 0, said
    assert "of 12 shards are finished already" in said
    run(**sharded(inputs, undisturbed / "x") | more)

    assert content(killed) == content(undisturbed)
    assert len(content(killed)) == 12


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_after_a_signal_shards_are_whole_and_the_message_says_how_to_resume(
    inputs, tmp_path, number, code
):
    given = sharded(inputs, tmp_path / "x", dupe_factor=20)
    process = start(given | {"num_shards": 12})
    wait_for_shards(tmp_path, process, 1)
    process.send_signal(number)
    _, said = process.communicate()

    assert process.returncode == code
    assert said.splitlines()[-1].endswith("the same command makes the others.")
    assert "Traceback" not in said
    names = [path.name for path in tmp_path.iterdir()]
    assert [name for name in names if "incomplete" in name] == []


def test_no_process_loads_tensorflow(inputs, tmp_path):
    text = (
        "import sys, bert_tf.create_pretraining_data\n"
        "import bert_tf.support.processes\n"
        "heavy = {'tensorflow', 'keras'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", text], check=True, cwd=ROOT)


def test_text_that_is_cut_off_is_told(inputs, tmp_path, caplog):
    (tmp_path / "long.txt").write_text(
        "the park is old . " * 200 + "\n\n" + "the park .\n" * 3
    )
    run(**small(inputs, tmp_path / "x", input_file=tmp_path / "long.txt"))
    # Of 1,800 and 15 tokens; [CLS] and two [SEP] leave room for 29.
    [message] = [m for m in caplog.messages if "cut off" in m]
    assert message.startswith("At least 1,771 of 1,815 tokens")
    assert "1 line is longer than max_seq_length" in message


def test_text_of_unknown_words_is_told_with_its_share(inputs, tmp_path, caplog):
    for text, warnings in (
        ("the park is old .\n", 0),
        ("☃ ೞ ☃ .\n", 1),
    ):
        caplog.clear()
        (tmp_path / "x.txt").write_text(text * 4, encoding="utf-8")
        run(**small(inputs, tmp_path / "x", input_file=tmp_path / "x.txt"))
        found = [m for m in caplog.messages if "of the text are [UNK]" in m]
        assert len(found) == warnings
    assert "75 %" in found[0]


def test_casing_is_that_of_the_vocabulary_and_what_lies_beside_it(
    inputs, tmp_path
):
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "é", "É", "e", "a"]
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("\n".join(tokens), encoding="utf-8")
    (tmp_path / "in.txt").write_text("É a\na É\n", encoding="utf-8")
    flags = {"input_file": tmp_path / "in.txt", "vocab_file": vocab}

    def ids(**more):
        run(**small(inputs, tmp_path / "x", **flags, **more))
        record = read(tmp_path / "x")[0]
        found = record["masked_lm_ids"][1] + record["input_ids"][1]
        return set(found) & {5, 6, 7}

    # A quarter of its words are capitals: a cased vocabulary.
    assert ids() == {6}
    with pytest.raises(InputError, match=r"vocab\.txt.*--do_lower_case=false"):
        ids(do_lower_case=True)
    both = {"do_lower_case": True, "ignore_folder_settings": True}
    assert ids(**both) == {7}
    assert ids(**both, strip_accents=False) == {5}
    noted = '{"do_lower_case": true, "strip_accents": false}'
    (tmp_path / "bert_tf.json").write_text(noted)
    assert ids() == {5}
    with pytest.raises(InputError, match=r"strip_accents=true.*bert_tf\.json"):
        ids(strip_accents=True)
