import json
import pathlib
import shutil

import numpy as np
import pytest
from absl import flags
from helpers.golden import CHECKPOINTS, read_variables
from helpers.numpy_bert import NumpyBert

from bert_tf import checkpoints, models
from bert_tf import extend_positions as script
from bert_tf.cli import command_line
from bert_tf.errors import InputError
from bert_tf.layers import weights_to_come
from bert_tf.modeling import BertConfig

POSITIONS = "bert/embeddings/position_embeddings"


@pytest.fixture
def tiny(tmp_path):
    """A copy of the tiny checkpoint's folder: 128 positions, width 64."""
    return pathlib.Path(shutil.copytree(CHECKPOINTS / "tiny", tmp_path / "in"))


def run(**given):
    values = flags.FlagValues()
    script.define_flags(values)
    arguments = [f"--{name}={value}" for name, value in given.items()]
    command_line.parse(values, ["script", *arguments])
    script.main(values)


def assert_same_but_positions(got, want):
    assert sorted(got) == sorted(want)
    for name in want.keys() - {POSITIONS}:
        assert got[name].dtype == want[name].dtype
        assert got[name].tobytes() == want[name].tobytes(), name


# ---------------------------------------------------------------------- folders


def test_writes_a_folder_that_differs_only_in_its_positions(tiny, tmp_path):
    (tiny / "labels.txt").write_text("yes\nno\n")
    out = tmp_path / "deep" / "out"

    run(
        init_checkpoint=tiny / "bert_model.ckpt",
        output_dir=out,
        max_position_embeddings=300,
    )

    before = read_variables(tiny / "bert_model.ckpt")
    after = read_variables(out / "bert_model.ckpt")
    assert_same_but_positions(after, before)
    old = before[POSITIONS]
    want = np.concatenate([old, old, old[: 300 - 256]])
    np.testing.assert_array_equal(after[POSITIONS], want)
    assert after[POSITIONS].dtype == np.float32
    for name in ("vocab.txt", "labels.txt"):
        assert (out / name).read_bytes() == (tiny / name).read_bytes()
    config = json.loads((tiny / "bert_config.json").read_text())
    assert json.loads((out / "bert_config.json").read_text()) == {
        **config,
        "max_position_embeddings": 300,
    }
    assert sorted(path.name for path in out.iterdir()) == [
        "bert_config.json",
        "bert_model.ckpt.data-00000-of-00001",
        "bert_model.ckpt.index",
        "labels.txt",
        "vocab.txt",
    ]


def test_slots_and_step_are_left_out_and_files_may_be_elsewhere(
    tmp_path, caplog
):
    source = CHECKPOINTS / "toy"
    toy = pathlib.Path(shutil.copytree(source, tmp_path / "toy"))
    for name in ("vocab.txt", "bert_config.json"):
        (toy / name).rename(tmp_path / name)
    prefix = checkpoints.find(toy)
    before = read_variables(prefix)
    rows = len(before[POSITIONS])

    with caplog.at_level("INFO", logger="absl"):
        run(
            init_checkpoint=toy,
            output_dir=tmp_path / "out",
            max_position_embeddings=rows + 1,
            vocab_file=tmp_path / "vocab.txt",
            bert_config_file=tmp_path / "bert_config.json",
        )

    weights = {
        name: value
        for name, value in before.items()
        if not name.endswith(("/adam_m", "/adam_v")) and name != "global_step"
    }
    assert len(weights) < len(before)
    after = read_variables(tmp_path / "out" / "bert_model.ckpt")
    assert_same_but_positions(after, weights)
    assert f"Left out: {len(before) - len(weights)} values" in caplog.text
    assert f"{rows + 1} positions, {rows} before" in caplog.text


def test_the_longer_model_takes_texts_too_long_for_the_original(tiny, tmp_path):
    out = tmp_path / "out"
    run(init_checkpoint=tiny, output_dir=out, max_position_embeddings=200)
    config = BertConfig.from_json_file(out / "bert_config.json")
    with weights_to_come():
        model = models.pretraining(config)
    named = checkpoints.named_weights(model)
    assert checkpoints.load(named, out, expect=named).unused == []
    ids = np.arange(150)[None] % 100 + 10

    got = model(
        {
            "input_ids": ids,
            "input_mask": np.ones_like(ids),
            "segment_ids": np.zeros_like(ids),
            "masked_lm_positions": np.array([[140]]),
        }
    )["next_sentence_logits"]

    # Independent of what the script wrote: the table is put together here.
    values = read_variables(tiny / "bert_model.ckpt")
    values[POSITIONS] = np.tile(values[POSITIONS], (2, 1))
    bert = NumpyBert(values, config.num_attention_heads)
    want = bert.next_sentence_log_probs(ids[0], [0] * 150)
    shifted = np.asarray(got)[0] - np.logaddexp.reduce(np.asarray(got)[0])
    np.testing.assert_allclose(shifted, want, atol=1e-5)


# --------------------------------------------------------------------- new rows


@pytest.mark.parametrize(
    ("method", "size", "rows"),
    [
        ("repeat", 5, [[0, 6], [2, 0], [0, 6], [2, 0], [0, 6]]),
        # u = [[0, 6], [10/3, -4]]; then 0.4 u[1] + 0.6 u[0], then u[1].
        ("hierarchical", 4, [[0, 6], [2, 0], [4 / 3, 2], [10 / 3, -4]]),
        ("interpolate", 5, [[0, 6], [0.5, 4.5], [1, 3], [1.5, 1.5], [2, 0]]),
        ("interpolate", 3, [[0, 6], [1, 3], [2, 0]]),
    ],
)
def test_new_rows_follow_their_formula(method, size, rows):
    table = np.array([[0.0, 6.0], [2.0, 0.0]])
    got = script.METHODS[method](table, size)
    np.testing.assert_allclose(got, rows, atol=1e-12)


def test_interpolation_agrees_with_numpys(rng):
    table = rng.normal(size=(7, 3))
    got = script.interpolate(table, 20)
    at = np.arange(20) * 6 / 19
    want = [np.interp(at, np.arange(7), column) for column in table.T]
    np.testing.assert_allclose(got, np.transpose(want), atol=1e-12)


def test_a_single_position_is_stretched_to_equal_ones():
    got = script.interpolate(np.array([[3.0, 4.0]]), 3)
    np.testing.assert_array_equal(got, [[3, 4]] * 3)


def test_hierarchical_rows_all_differ_and_the_first_are_unchanged(
    tiny, tmp_path
):
    run(
        init_checkpoint=tiny,
        output_dir=tmp_path / "out",
        max_position_embeddings=512,
        new_positions="hierarchical",
    )
    before = read_variables(tiny / "bert_model.ckpt")[POSITIONS]
    after = read_variables(tmp_path / "out" / "bert_model.ckpt")[POSITIONS]
    assert after.shape == (512, 64)
    assert after[:128].tobytes() == before.tobytes()
    assert len(np.unique(after, axis=0)) == 512


# --------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_position_embeddings": 128}, r"must be above 128.*=128"),
        ({"max_position_embeddings": -1}, r"must be above 128.*=-1"),
        (
            {
                "max_position_embeddings": 16385,
                "new_positions": "hierarchical",
            },
            r"above 128.*at most 16384.*=hierarchical.*=16385",
        ),
        ({"output_dir": "in"}, "not there yet or is empty.*=in"),
        ({"output_dir": "gs://bucket/x"}, "must be a folder on this machine"),
        ({"init_checkpoint": "nowhere"}, "No checkpoint at nowhere"),
        ({"vocab_file": "nowhere"}, "cannot be read: nowhere"),
    ],
)
def test_errors_are_reported_before_anything_is_written(
    given, message, tiny, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given = {
        "init_checkpoint": "in",
        "output_dir": "out",
        "max_position_embeddings": 256,
        **given,
    }
    with pytest.raises(InputError, match=message):
        run(**given)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_checkpoint_without_positions_is_refused(tiny, tmp_path):
    weights = read_variables(tiny / "bert_model.ckpt")
    del weights[POSITIONS]
    checkpoints.write(str(tiny / "bert_model.ckpt"), weights)
    with pytest.raises(InputError, match=r"position_embeddings` .* has none"):
        run(
            init_checkpoint=tiny,
            output_dir=tmp_path / "out",
            max_position_embeddings=256,
        )


def test_an_unknown_method_lists_the_known_ones(tiny, tmp_path):
    with pytest.raises(InputError, match=r"repeat.*interpolate.*'mirror'"):
        script.extend(tiny, str(tmp_path / "out"), 256, new_positions="mirror")


def test_what_the_folder_notes_is_carried_over(tiny, tmp_path):
    noted = '{"do_lower_case": false, "max_seq_length": 32, "new": 1}'
    (tiny / "bert_tf.json").write_text(noted)
    out = tmp_path / "out"
    script.extend(tiny, str(out), 200)
    got = json.loads((out / "bert_tf.json").read_text())
    assert got == json.loads(noted)
