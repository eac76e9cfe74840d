"""The recipe of the built-in model: from raw text to a tested checkpoint."""

import importlib.util
import json
import re
import subprocess

import numpy as np
import pytest
from helpers import prepared
from helpers.paths import ROOT

from bert_tf import checkpoints
from bert_tf.modeling import BertConfig

RECIPE = ROOT / "run_scripts" / "builtin"


def test_config_is_a_small_model_of_at_most_ten_megabytes():
    from bert_tf import models

    config = BertConfig.from_json_file(str(RECIPE / "bert_config.json"))
    weights = models.pretraining(config).count_params()
    assert 1_500_000 < weights < 10_000_000 / 4


def make_articles(rng, count):
    """Small talk in WikiExtractor's form."""
    words = ["river", "mountain", "village", "old", "green", "quiet", "north"]
    articles = []
    for number in range(count):
        sentences = [
            f"The {' '.join(rng.choice(words, 8))} lies near the road."
            for _ in range(24)
        ]
        articles.append(
            f'<doc id="{number}" url="u" title="T">\nT\n\n'
            f"{' '.join(sentences[:12])}\n{' '.join(sentences[12:])}\n</doc>\n"
        )
    return "".join(articles)


def run_recipe(folder, text, config):
    return subprocess.run(
        [RECIPE / "pretrain.sh", folder, text],
        env={
            **prepared.environment(),
            "PYTHON": prepared.python(),
            "CONFIG": str(config),
            "NUM_UNUSED": "2",
            "HOLD_OUT_EVERY": "5",
            "MAX_SEQ_LENGTH": "32",
            "MAX_PREDICTIONS": "5",
            "DUPE_FACTOR": "2",
            "NUM_SHARDS": "2",
            "STEPS": "60",
            "WARMUP_STEPS": "6",
            "BATCH_SIZE": "16",
            "EVAL_BATCH_SIZE": "4",
        },
        capture_output=True,
        text=True,
    )


@pytest.mark.exhaustive
@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_text") is None,
    reason="bert-tf[vocab] is not installed",
)
def test_recipe_makes_a_checkpoint_and_keeps_what_is_finished(tmp_path, rng):
    text, config = tmp_path / "wiki_00", tmp_path / "config.json"
    text.write_text(make_articles(rng, 20))
    small = {
        "vocab_size": 48,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 32,
        "type_vocab_size": 2,
    }
    config.write_text(json.dumps(small, indent=2))

    first = run_recipe(tmp_path / "out", text, config)
    assert first.returncode == 0, first.stderr
    assert re.findall(r"^(\d)\. ", first.stdout, re.MULTILINE) == list(
        "1234567"
    )
    # Among some twenty words, the most frequent one is easily beaten.
    accuracy, constant = (
        float(re.search(rf"{name}.*  ([0-9.]+)$", first.stdout, re.M)[1])
        for name in ("masked-LM accuracy", "always id")
    )
    assert accuracy > constant
    prefix = str(tmp_path / "out" / "checkpoint" / "bert_model.ckpt")
    reader = checkpoints.CheckpointReader(prefix)
    assert not checkpoints.optimizer_slots(reader.names)
    table = reader.tensor("bert/embeddings/word_embeddings")
    assert table.shape == (48, 32)
    assert np.isfinite(table).all()

    again = run_recipe(tmp_path / "out", text, config)
    assert again.returncode == 0, again.stderr
    assert not re.findall(r"^\d\. ", again.stdout, re.MULTILINE)
