#!/usr/bin/env bash
# Pretrains a small BERT from raw text, as the one in checkpoints/builtin was.
#
# usage: run_scripts/builtin/pretrain.sh FOLDER WIKIPEDIA [BOOKS [DOCUMENTS]]
#   FOLDER     everything is written here; the model ends in FOLDER/checkpoint
#   WIKIPEDIA  output of WikiExtractor: an archive, a folder or files
#   BOOKS      plain text books: the same; '' for none
#   DOCUMENTS  text with a document in each line, such as reviews: the same
#
# Stopped, it goes on with the same command: what is finished is kept, and the
# training continues from its last checkpoint. Remove FOLDER, or the part that
# is to be made anew, after a change of the settings.
set -euo pipefail

# The settings; each can be given in the environment, as STEPS=1000 pretrain.sh
CONFIG="${CONFIG:-$(dirname "$0")/bert_config.json}"
NUM_UNUSED="${NUM_UNUSED:-16}"
HOLD_OUT_EVERY="${HOLD_OUT_EVERY:-40}"
MAX_SEQ_LENGTH="${MAX_SEQ_LENGTH:-128}"
MAX_PREDICTIONS="${MAX_PREDICTIONS:-20}"
DUPE_FACTOR="${DUPE_FACTOR:-2}"
NUM_SHARDS="${NUM_SHARDS:-16}"
STEPS="${STEPS:-34500}"
WARMUP_STEPS="${WARMUP_STEPS:-300}"
BATCH_SIZE="${BATCH_SIZE:-16}"
LEARNING_RATE="${LEARNING_RATE:-1e-3}"
SEED="${SEED:-12345}"                    # of text and records
TRAINING_SEED="${TRAINING_SEED:-1}"      # of weights and the order of records
JIT_COMPILE="${JIT_COMPILE:-true}"
EVAL_BATCH_SIZE="${EVAL_BATCH_SIZE:-8}"

if [ $# -lt 2 ] || [ $# -gt 4 ]; then
    sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0" >&2
    exit 1
fi
# Paths are the caller's; $PYTHON comes from setup.sh unless it is given.
folder="$1" wikipedia="$2" books="${3:-}" documents="${4:-}"
here="$(cd "$(dirname "$0")" && pwd)"
if [ -z "${PYTHON:-}" ]; then
    source "$here/../setup.sh"
fi
mkdir -p "$folder/records" "$folder/checkpoint"
prefix="$folder/checkpoint/bert_model.ckpt"
last="$folder/training/model.ckpt-$STEPS"

if [ ! -e "$folder/heldout.txt" ]; then
    echo "1. Text: one sentence in each line, some articles held out."
    "$PYTHON" "$here/prepare_text.py" \
        --wikipedia="$wikipedia" --books="$books" --documents="$documents" \
        --train_file="$folder/train.txt" \
        --heldout_file="$folder/heldout.txt" \
        --hold_out_every="$HOLD_OUT_EVERY" --random_seed="$SEED"
fi

if [ ! -e "$folder/checkpoint/vocab.txt" ]; then
    echo "2. Vocabulary: from the text to train on."
    vocab_size="$(sed -n 's/.*"vocab_size": *\([0-9]*\).*/\1/p' "$CONFIG")"
    "$PYTHON" -m bert_tf.learn_vocab \
        --input_file="$folder/train.txt" \
        --output_file="$folder/checkpoint/vocab.txt" \
        --vocab_size="$vocab_size" --num_unused="$NUM_UNUSED" \
        --do_lower_case=true
fi
if [ -e "$folder/checkpoint/bert_config.json" ] &&
    ! cmp "$CONFIG" "$folder/checkpoint/bert_config.json"; then
    echo "$folder has a model of another config: use another folder." >&2
    exit 1
fi
cp "$CONFIG" "$folder/checkpoint/bert_config.json"

create=(
    "$PYTHON" -m bert_tf.create_pretraining_data
    --vocab_file="$folder/checkpoint/vocab.txt" --do_lower_case=true
    --max_seq_length="$MAX_SEQ_LENGTH"
    --max_predictions_per_seq="$MAX_PREDICTIONS"
    --masked_lm_prob=0.15 --random_seed="$SEED"
)
if [ ! -e "$folder/records/heldout.tfrecord" ]; then
    echo "3. Records: sentence pairs with masks, $DUPE_FACTOR times each."
    # Goes on by itself where it was stopped.
    "${create[@]}" --dupe_factor="$DUPE_FACTOR" --num_shards="$NUM_SHARDS" \
        --input_file="$folder/train.txt" \
        --output_file="$folder/records/train.tfrecord"
    "${create[@]}" --dupe_factor=1 \
        --input_file="$folder/heldout.txt" \
        --output_file="$folder/records/heldout.tfrecord"
fi

pretrain=(
    "$PYTHON" -m bert_tf.run_pretraining
    --bert_config_file="$folder/checkpoint/bert_config.json"
    --max_seq_length="$MAX_SEQ_LENGTH"
    --max_predictions_per_seq="$MAX_PREDICTIONS" --seed="$TRAINING_SEED"
)
if [ ! -e "$folder/initial/model.ckpt.index" ]; then
    echo "4. Initial weights: heads that look at neighbours, the rest random."
    "$PYTHON" "$here/initial_weights.py" --seed="$TRAINING_SEED" \
        --bert_config_file="$folder/checkpoint/bert_config.json" \
        --output="$folder/initial/model.ckpt"
fi

if [ ! -e "$last.index" ]; then
    echo "5. Training: $STEPS steps of $BATCH_SIZE."
    "${pretrain[@]}" --do_train=true --jit_compile="$JIT_COMPILE" \
        --init_checkpoint="$folder/initial/model.ckpt" \
        --input_file="$folder/records/train.tfrecord-*" \
        --output_dir="$folder/training" \
        --train_batch_size="$BATCH_SIZE" --learning_rate="$LEARNING_RATE" \
        --num_train_steps="$STEPS" --num_warmup_steps="$WARMUP_STEPS" \
        --save_checkpoints_steps=500
fi

if [ ! "$prefix.index" -nt "$last.index" ]; then
    echo "6. Weights alone, without the optimizer's state."
    "$PYTHON" -m bert_tf.convert_checkpoint strip "$last" --output "$prefix" \
        --overwrite
    rm -rf "$folder/heldout"
fi

if [ ! -e "$folder/heldout/eval_results.txt" ]; then
    echo "7. Evaluation on the articles that were held out."
    # As many whole batches as there are records.
    count='import bert_tf, sys, tensorflow as tf
print(sum(1 for _ in tf.data.TFRecordDataset(sys.argv[1])))'
    records="$("$PYTHON" -c "$count" "$folder/records/heldout.tfrecord")"
    "${pretrain[@]}" --do_eval=true \
        --input_file="$folder/records/heldout.tfrecord" \
        --output_dir="$folder/heldout" --init_checkpoint="$prefix" \
        --eval_batch_size="$EVAL_BATCH_SIZE" \
        --max_eval_steps="$((records / EVAL_BATCH_SIZE))"
fi
"$PYTHON" "$here/heldout.py" \
    --records="$folder/records/heldout.tfrecord" \
    --results="$folder/heldout/eval_results.txt"
echo "The model: $folder/checkpoint"
