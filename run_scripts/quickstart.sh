#!/usr/bin/env bash
# Installs what is needed, then fine-tunes, evaluates and predicts on built-in
# sample data from the small built-in checkpoint.
#
# usage: run_scripts/quickstart.sh [OUTPUT_FOLDER]     (default: outputs/quickstart)
set -euo pipefail
cd "$(dirname "$0")/.."
source run_scripts/setup.sh

output="${1:-outputs/quickstart}"
data=run_scripts/sample_data/reviews
bert=checkpoints/builtin

echo "Fine-tuning $bert on $data; results go to $output."
"$PYTHON" -m bert_tf.run_classifier \
    --task_name=tsv --data_dir="$data" --text_a_col=text --label_col=label \
    --do_train --do_eval --do_predict \
    --vocab_file="$bert/vocab.txt" \
    --bert_config_file="$bert/bert_config.json" \
    --init_checkpoint="$bert/bert_model.ckpt" \
    --max_seq_length=64 --train_batch_size=32 --learning_rate=1e-3 \
    --num_train_epochs=8 --seed=1 --output_dir="$output"

cat <<TXT

Evaluation on the 100 reviews of $data/dev.tsv ($output/eval_results.txt):
$(cat "$output/eval_results.txt")

The first of the 20 reviews of $data/test.tsv and what was predicted
($output/test_predictions.txt; probabilities: $output/test_results.tsv):
$(paste "$output/test_predictions.txt" \
    <(tail -n +2 "$data/test.tsv" | cut -f 1) | head -n 3)

Next: the same with data of your own and a released checkpoint:
  source $venv/bin/activate
  python -m bert_tf.released_models list
  python -m bert_tf.run_classifier --help
TXT
