"""Makes checkpoints/builtin: a small BERT in the format of the released ones.

Its weights are random: it shows that everything works, and it learns the sample
data, but it knows no English. The vocabulary is every word of the sample data
and every letter, so that any English text can be written with it.

  python run_scripts/make_builtin_checkpoint.py
"""

import collections
import pathlib
import string

import keras

from bert_tf import checkpoints, files, models
from bert_tf.modeling import BertConfig
from bert_tf.tokenization import BasicTokenizer

ROOT = pathlib.Path(__file__).parent.parent
SAMPLE_DATA = ROOT / "run_scripts" / "sample_data"
TARGET = ROOT / "checkpoints" / "builtin"

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def make_vocabulary():
    """Special tokens, characters, their continuations, words by frequency."""
    characters = [*string.punctuation, *string.digits, *string.ascii_lowercase]
    continued = [f"##{c}" for c in characters if c not in string.punctuation]
    tokenizer = BasicTokenizer(do_lower_case=True)
    words = collections.Counter()
    for path in sorted(SAMPLE_DATA.glob("*/*.tsv")):
        words.update(tokenizer.tokenize(path.read_text(encoding="utf-8")))
    ranked = sorted(words, key=lambda word: (-words[word], word))
    return list(dict.fromkeys([*SPECIAL, *characters, *continued, *ranked]))


def main():
    """Writes vocab.txt, bert_config.json and bert_model.ckpt.*."""
    vocabulary = make_vocabulary()
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
        max_position_embeddings=128,
        type_vocab_size=2,
    )
    keras.utils.set_random_seed(20181011)
    model = models.pretraining(config)
    TARGET.mkdir(parents=True, exist_ok=True)
    files.write_text(TARGET / "vocab.txt", "\n".join([*vocabulary, ""]))
    files.write_text(TARGET / "bert_config.json", config.to_json_string())
    checkpoints.write(
        str(TARGET / "bert_model.ckpt"), checkpoints.named_weights(model)
    )
    print(f"{TARGET}: {model.count_params():,} weights")


if __name__ == "__main__":
    main()
