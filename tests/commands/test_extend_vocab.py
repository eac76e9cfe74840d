import json
import pathlib
import shutil

import numpy as np
import pytest
from absl import flags
from helpers.golden import CHECKPOINTS

from bert_tf import checkpoints, models
from bert_tf import extend_vocab as script
from bert_tf.checkpoints import writing
from bert_tf.errors import InputError
from bert_tf.layers import weights_to_come
from bert_tf.modeling import BertConfig
from bert_tf.tokenization import FullTokenizer

EMBEDDINGS = "bert/embeddings/word_embeddings"
OUTPUT_BIAS = "cls/predictions/output_bias"
TABLES = (EMBEDDINGS, OUTPUT_BIAS)

# None is in tiny's vocabulary. The last one is [UNK] so far.
WORDS = ["remdesivir", "tokamak", "βͻδ"]


@pytest.fixture
def tiny(tmp_path):
    """A copy of the tiny checkpoint's folder: two unused places, both heads."""
    return pathlib.Path(shutil.copytree(CHECKPOINTS / "tiny", tmp_path / "in"))


def parse(**given):
    values = flags.FlagValues()
    script.define_flags(values)
    values(["script", *(f"--{name}={value}" for name, value in given.items())])
    return values


def run(**given):
    script.main(parse(**given))


def stored(path):
    reader = checkpoints.CheckpointReader(path)
    return {name: reader.tensor(name) for name in reader.names}


def means(tokenizer, table, words):
    ids = [
        tokenizer.convert_tokens_to_ids(tokenizer.tokenize(w)) for w in words
    ]
    rows = [np.mean(table[i].astype(np.float64), axis=0) for i in ids]
    return np.stack(rows).astype(np.float32)


def vocab_lines(folder):
    return (folder / "vocab.txt").read_bytes().removesuffix(b"\n").split(b"\n")


def test_words_replace_unused_tokens_and_start_as_means(tiny, tmp_path):
    before, old = stored(tiny), FullTokenizer(tiny / "vocab.txt")
    words = WORDS[:2]

    run(
        init_checkpoint=tiny, output_dir=tmp_path / "out", words=",".join(words)
    )

    after, new = (
        stored(tmp_path / "out"),
        FullTokenizer(tmp_path / "out" / "vocab.txt"),
    )
    assert [new.tokenize(word) for word in words] == [[word] for word in words]
    assert new.convert_tokens_to_ids(words) == [1, 2]
    want = vocab_lines(tiny)
    want[1:3] = [word.encode() for word in words]
    assert vocab_lines(tmp_path / "out") == want
    for name in TABLES:
        rows = means(old, before[name], words)
        assert np.abs(rows - before[name][1:3]).max() > 1e-3
        np.testing.assert_array_equal(after[name][1:3], rows)
        after[name][1:3] = before[name][1:3]
    assert_same(after, before)
    config = (tiny / "bert_config.json").read_text()
    assert (tmp_path / "out" / "bert_config.json").read_text() == config


def assert_same(got, want):
    assert sorted(got) == sorted(want)
    for name, value in want.items():
        assert got[name].dtype == value.dtype
        assert got[name].tobytes() == value.tobytes(), name


def test_grown_words_get_rows_at_the_end(tiny, tmp_path):
    before, old = stored(tiny), FullTokenizer(tiny / "vocab.txt")
    assert old.tokenize(WORDS[2]) == ["[UNK]"]
    (tmp_path / "words.txt").write_text(f"{WORDS[1]}\n\n {WORDS[2]}\r\n")
    out = tmp_path / "deep" / "out"

    run(
        init_checkpoint=tiny / "bert_model.ckpt",
        output_dir=out,
        words=WORDS[0],
        words_file=tmp_path / "words.txt",
        grow=True,
    )

    after, new = stored(out), FullTokenizer(out / "vocab.txt")
    assert [new.tokenize(word) for word in WORDS] == [[word] for word in WORDS]
    assert new.convert_tokens_to_ids(WORDS) == [1027, 1028, 1029]
    assert vocab_lines(out)[:1027] == vocab_lines(tiny)
    for name in TABLES:
        rows = means(old, before[name], WORDS)
        np.testing.assert_array_equal(after[name][1027:], rows)
        after[name] = after[name][:1027]
    assert_same(after, before)
    config = json.loads((tiny / "bert_config.json").read_text())
    assert json.loads((out / "bert_config.json").read_text()) == {
        **config,
        "vocab_size": 1030,
    }


def test_rows_keep_their_values_without_mean_of_pieces(tiny, tmp_path):
    run(
        init_checkpoint=tiny,
        output_dir=tmp_path / "out",
        words=WORDS[0],
        mean_of_pieces=False,
    )
    assert_same(stored(tmp_path / "out"), stored(tiny))
    new = FullTokenizer(tmp_path / "out" / "vocab.txt")
    assert new.convert_tokens_to_ids(new.tokenize(WORDS[0])) == [1]


def load(folder):
    config = BertConfig.from_json_file(folder / "bert_config.json")
    with weights_to_come():
        model = models.pretraining(config)
    named = checkpoints.named_weights(model)
    report = checkpoints.load(named, folder, expect=named)
    assert report.unused == []
    return model


def test_a_grown_model_gives_the_same_outputs_for_old_text(tiny, tmp_path):
    out = tmp_path / "out"
    run(init_checkpoint=tiny, output_dir=out, words=WORDS[0], grow=True)
    before, after = load(tiny), load(out)

    def outputs(model, ids):
        ids = np.array([ids])
        features = {
            "input_ids": ids,
            "input_mask": np.ones_like(ids),
            "segment_ids": np.zeros_like(ids),
            "masked_lm_positions": np.array([[1, 2]]),
        }
        return {k: np.asarray(v) for k, v in model(features).items()}

    old, new = outputs(before, [4, 60, 61, 5]), outputs(after, [4, 60, 61, 5])
    np.testing.assert_allclose(
        new["masked_lm_logits"][..., :1027], old["masked_lm_logits"], atol=1e-5
    )
    np.testing.assert_allclose(
        new["next_sentence_logits"], old["next_sentence_logits"], atol=1e-5
    )
    # Logits are linear in the row and the bias: those of a mean are the mean.
    tokenizer = FullTokenizer(tiny / "vocab.txt")
    ids = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(WORDS[0]))
    np.testing.assert_allclose(
        new["masked_lm_logits"][..., 1027],
        old["masked_lm_logits"][..., ids].mean(-1),
        atol=1e-5,
    )
    # The id of the new word is read as well.
    assert np.isfinite(
        outputs(after, [4, 1027, 61, 5])["masked_lm_logits"]
    ).all()


def test_slots_and_step_are_left_out_of_a_trained_checkpoint(tmp_path, caplog):
    toy = pathlib.Path(shutil.copytree(CHECKPOINTS / "toy", tmp_path / "toy"))
    assert not (toy / "vocab.txt").read_bytes().endswith(b"\n")
    before = stored(toy)
    with caplog.at_level("INFO", logger="absl"):
        run(
            init_checkpoint=toy,
            output_dir=tmp_path / "out",
            words="workshop",
            grow=True,
        )
    after = stored(tmp_path / "out")
    for name in TABLES:
        assert len(after[name]) == 16
        after[name] = after[name][:15]
    weights = {
        name: value
        for name, value in before.items()
        if not name.endswith(("/adam_m", "/adam_v")) and name != "global_step"
    }
    assert_same(after, weights)
    assert f"Left out: {len(before) - len(weights)} values" in caplog.text
    assert vocab_lines(tmp_path / "out")[-2:] == [b"boy", b"workshop"]
    config = json.loads((tmp_path / "out" / "bert_config.json").read_text())
    assert (config["vocab_size"], config["pooler_fc_size"]) == (16, 4)


def test_a_checkpoint_without_masked_lm_head_and_its_labels(tiny, tmp_path):
    weights = stored(tiny)
    kept = {k: v for k, v in weights.items() if k.startswith("bert/")}
    checkpoints.write(str(tiny / "bert_model.ckpt"), kept)
    (tiny / "labels.txt").write_text("yes\nno\n")
    run(init_checkpoint=tiny, output_dir=tmp_path / "out", words=WORDS[0])
    assert sorted(stored(tmp_path / "out")) == sorted(kept)
    assert (tmp_path / "out" / "labels.txt").read_text() == "yes\nno\n"


def test_files_elsewhere_can_be_given_by_flag(tiny, tmp_path):
    for name in ("vocab.txt", "bert_config.json"):
        (tiny / name).rename(tmp_path / name)
    run(
        init_checkpoint=tiny,
        output_dir=tmp_path / "out",
        words=WORDS[0],
        vocab_file=tmp_path / "vocab.txt",
        bert_config_file=tmp_path / "bert_config.json",
    )
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [
        "bert_config.json",
        "bert_model.ckpt.data-00000-of-00001",
        "bert_model.ckpt.index",
        "vocab.txt",
    ]


def test_only_the_first_of_many_words_are_logged(tiny, tmp_path, caplog):
    words = ",".join(f"word{n}x" for n in range(25))
    with caplog.at_level("INFO", logger="absl"):
        run(
            init_checkpoint=tiny,
            output_dir=tmp_path / "out",
            words=words,
            grow=True,
        )
    assert "word19x: id 1046, was " in caplog.text
    assert "word20x: id" not in caplog.text
    assert "and 5 more" in caplog.text


# --------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "given, message",
    [
        ({"words": "a1b,a2b,a3b"}, r"3 words need .* has 2 .*--grow=True"),
        ({"words": "Tokamak"}, "'Tokamak' becomes 'tokamak'"),
        ({"words": "a1b,,c"}, "'' becomes nothing"),
        ({"words": "a"}, r"'a' is a token already, id \d+"),
        ({"words": ""}, "must give at least one word"),
        ({"words_file": "nowhere"}, "`--words_file`: .* does not exist"),
        (
            {"grow": True, "mean_of_pieces": False},
            "`--mean_of_pieces` must be true with --grow=True",
        ),
        ({"output_dir": "gs://bucket/x"}, "must be a folder on this machine"),
        ({"output_dir": "in"}, "not there yet or is empty.*=in"),
        ({"output_dir": "in/vocab.txt"}, "not there yet or is empty"),
        ({"output_dir": "in/vocab.txt/x"}, "`--output_dir`: .* be made"),
        ({"vocab_file": "nowhere"}, "cannot be read: nowhere"),
        ({"init_checkpoint": "nowhere"}, "No checkpoint at nowhere"),
    ],
)
def test_errors_are_reported_before_anything_is_written(
    given, message, tiny, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given = {
        "init_checkpoint": "in",
        "output_dir": "out",
        "words": WORDS[0],
        **given,
    }
    with pytest.raises(InputError, match=message):
        run(**given)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_vocabulary_of_another_length_is_refused(tiny, tmp_path):
    with open(tiny / "vocab.txt", "a") as file:
        file.write("more\n")
    with pytest.raises(InputError, match=r"1027\. Received: 1028 lines"):
        run(init_checkpoint=tiny, output_dir=tmp_path / "out", words=WORDS[0])


def test_a_config_of_another_size_is_refused(tiny, tmp_path):
    with open(tiny / "vocab.txt", "a") as file:
        file.write("more\n")
    path = tiny / "bert_config.json"
    path.write_text(path.read_text().replace("1027", "1028"))
    with pytest.raises(
        InputError, match="vocab_size=1028 where the checkpoint has 1027"
    ):
        run(init_checkpoint=tiny, output_dir=tmp_path / "out", words=WORDS[0])


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda w: w.pop(EMBEDDINGS), r"word_embeddings` .* It has none\."),
        (
            lambda w: w.update({OUTPUT_BIAS: w[OUTPUT_BIAS][:-1]}),
            r"output_bias` of the shape \[1027\]\. It has \[1026\]\.",
        ),
    ],
)
def test_tables_without_a_row_for_each_token_are_refused(
    edit, message, tiny, tmp_path
):
    weights = stored(tiny)
    edit(weights)
    checkpoints.write(str(tiny / "bert_model.ckpt"), weights)
    with pytest.raises(InputError, match=message):
        run(init_checkpoint=tiny, output_dir=tmp_path / "out", words=WORDS[0])


def test_a_known_cased_model_needs_its_casing(tiny, tmp_path):
    name = "cased_L-12_H-768_A-12"
    folder = tiny.rename(tmp_path / name)
    with pytest.raises(InputError, match=f"{name} needs --do_lower_case=False"):
        run(init_checkpoint=folder, output_dir=tmp_path / "out", words="xyz")
    run(
        init_checkpoint=folder,
        output_dir=tmp_path / "out",
        words="Tokamak",
        do_lower_case=False,
    )
    new = FullTokenizer(tmp_path / "out" / "vocab.txt", do_lower_case=False)
    assert new.tokenize("Tokamak") == ["Tokamak"]


def test_a_failed_write_leaves_nothing(tiny, tmp_path, monkeypatch):
    def full(prefix, values):
        pathlib.Path(f"{prefix}.half").write_text("x")
        raise InputError("disk full")

    monkeypatch.setattr(writing, "write", full)
    with pytest.raises(InputError, match="disk full"):
        run(init_checkpoint=tiny, output_dir=tmp_path / "out", words=WORDS[0])
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_empty_folder_can_be_the_output(tiny, tmp_path):
    (tmp_path / "out").mkdir()
    run(init_checkpoint=tiny, output_dir=tmp_path / "out", words=WORDS[0])
    assert sorted(stored(tmp_path / "out")) == sorted(stored(tiny))


def test_what_the_folder_notes_is_carried_over(tiny, tmp_path):
    noted = '{"do_lower_case": false, "max_seq_length": 32, "new": 1}'
    (tiny / "bert_tf.json").write_text(noted)

    with pytest.raises(InputError, match=r"_case=true.*bert_tf\.json"):
        script.extend(tiny, str(tmp_path / "out"), ["x"], do_lower_case=True)
    script.extend(tiny, str(tmp_path / "out"), ["Coronavirus"])

    got = json.loads((tmp_path / "out" / "bert_tf.json").read_text())
    assert got == {**json.loads(noted), "strip_accents": None}
