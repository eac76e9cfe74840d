#!/usr/bin/env bash
# Installs what is needed, then does once what BERT is for, on sample data and
# from the small built-in checkpoint: makes pretraining data, pretrains a few
# steps, fine-tunes a classifier, evaluates it, predicts; then looks inside.
#
# usage: run_scripts/quickstart.sh [OUTPUT_FOLDER]     (default: outputs/quickstart)
set -euo pipefail
cd "$(dirname "$0")/.."
source run_scripts/setup.sh

output="${1:-outputs/quickstart}"
samples=run_scripts/sample_data
bert=checkpoints/builtin
mkdir -p "$output"
SECONDS=0

say() { printf '\n=== %s\n' "$*"; }

say "1. Pretraining data: sentences of $samples/text become masked pairs."
"$PYTHON" -m bert_tf.create_pretraining_data \
    --input_file="$samples/text/*.txt" --output_file="$output/text.tfrecord" \
    --vocab_file="$bert/vocab.txt" --max_seq_length=64 \
    --max_predictions_per_seq=10 --dupe_factor=10

say "2. Pretraining: $bert reads on for 50 steps."
"$PYTHON" -m bert_tf.run_pretraining \
    --input_file="$output/text.tfrecord" --output_dir="$output/pretraining" \
    --do_train --do_eval --bert_config_file="$bert/bert_config.json" \
    --init_checkpoint="$bert/bert_model.ckpt" --max_seq_length=64 \
    --max_predictions_per_seq=10 --train_batch_size=16 --learning_rate=1e-4 \
    --num_train_steps=50 --num_warmup_steps=5 --max_eval_steps=10 --seed=1

say "3. Fine-tuning: a classifier of reviews, from what was pretrained."
"$PYTHON" -m bert_tf.run_classifier \
    --task_name=tsv --data_dir="$samples/reviews" \
    --text_a_col=text --label_col=label --do_train --do_eval --do_predict \
    --vocab_file="$bert/vocab.txt" \
    --bert_config_file="$bert/bert_config.json" \
    --init_checkpoint="$output/pretraining" \
    --max_seq_length=64 --train_batch_size=32 --learning_rate=5e-4 \
    --num_train_epochs=4 --seed=1 --output_dir="$output/reviews"

say "4. Looking inside: \"bank\", by the water (8 lines) and with money (8 lines)."
"$PYTHON" - "$samples/bank.txt" <<'PY'
import sys

from bert_tf.support import startup

startup.prepare()  # Without the notices of TensorFlow.
import bert_tf
from bert_tf import neighbours

with open(sys.argv[1]) as file:
    lines = file.read().splitlines()
model = bert_tf.load("builtin")
print("Share of lines whose nearest other line has the same sense:")
for layer in range(model.config.num_hidden_layers + 1):
    found = neighbours.find_neighbours(model, "bank", lines, layer, top_k=1)
    same = [
        (one.line < 8) == (nearest.word.line < 8)
        for one, [nearest] in zip(found.occurrences, found.nearest)
    ]
    name = f"layer {layer}" if layer else "embeddings"
    print(f"  {name:10}  {sum(same) / len(same):.2f}")
PY
"$PYTHON" -m bert_tf.attention --checkpoint=builtin \
    --text='We sat on the river bank. ||| He has money in the bank.' \
    --output="$output/attention.html"

cat <<TXT

Done in $SECONDS seconds. What there is now:

$output/text.tfrecord        pretraining data
$output/pretraining/         checkpoints; eval_results.txt:
$(sed 's/^/    /' "$output/pretraining/eval_results.txt")
$output/reviews/             the classifier; eval_results.txt, of the $(($(wc -l < "$samples/reviews/dev.tsv") - 1)) reviews in dev.tsv:
$(sed 's/^/    /' "$output/reviews/eval_results.txt")
$output/reviews/test_predictions.txt, the first 3 of the reviews in test.tsv:
$(paste "$output/reviews/test_predictions.txt" \
    <(tail -n +2 "$samples/reviews/test.tsv" | cut -f 1) | head -n 3 |
    sed 's/^/    /')
$output/attention.html       what each token attends to: open it in a browser

Next: the same with data of your own and a released checkpoint:
  source $venv/bin/activate
  python -m bert_tf.neighbours --checkpoint=builtin --word=bank \\
    --input_file=$samples/bank.txt --top_k=2
  python -m bert_tf.released_models list
  python -m bert_tf.run_classifier --help
TXT
