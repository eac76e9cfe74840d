#!/usr/bin/env bash
# Teaches a small model what a large one has learnt, and exports it in 8 bits.
#
# usage: run_scripts/distillation/distil.sh FOLDER DATA [TRANSFER_FILE]
#   FOLDER         everything is written here; the model ends in FOLDER/int8
#   DATA           train and dev, as run_classifier takes them
#   TRANSFER_FILE  more texts of the same kind, without labels
#
# With DATA only, the teacher and both students learn from the same texts; a
# transfer file is what makes the difference. The last step prints a table:
# teacher, student alone, distilled, distilled in 8 bits. For one label for each
# text (run_classifier learns numbers and several labels from a teacher as well).
#
# Stopped, it goes on with the same command: what is finished is kept, and a
# training continues from its last checkpoint. Remove FOLDER, or the part that
# is to be made anew, after a change of the settings.
set -euo pipefail

# The settings; each can be given in the environment, as NUM_RUNS=5 distil.sh
TASK="${TASK:-tsv}"                      # run_classifier --task_name
DATA_FLAGS="${DATA_FLAGS:-}"             # such as --text_a_col=review
TEACHER="${TEACHER:-}"                   # fine-tuned by run_classifier, or:
TEACHER_CHECKPOINT="${TEACHER_CHECKPOINT:-}"   # to be fine-tuned here
TEACHER_EPOCHS="${TEACHER_EPOCHS:-3}"
TEACHER_LEARNING_RATE="${TEACHER_LEARNING_RATE:-5e-5}"
STUDENT="${STUDENT:-builtin}"            # a pretrained small model
EPOCHS="${EPOCHS:-4}"                    # over DATA and TRANSFER_FILE
ALONE_EPOCHS="${ALONE_EPOCHS:-$EPOCHS}"  # of the student alone, over DATA
LEARNING_RATE="${LEARNING_RATE:-3e-4}"
BATCH_SIZE="${BATCH_SIZE:-32}"
MAX_SEQ_LENGTH="${MAX_SEQ_LENGTH:-128}"
TEMPERATURE="${TEMPERATURE:-1}"
WEIGHT="${WEIGHT:-1}"
SEED="${SEED:-1}"
NUM_RUNS="${NUM_RUNS:-1}"                # of both students, with other seeds
FORMAT="${FORMAT:-saved_model}"          # or onnx

if [ $# -lt 2 ] || [ $# -gt 3 ] ||
    [ -z "$TEACHER$TEACHER_CHECKPOINT" ]; then
    sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0" >&2
    echo "TEACHER or TEACHER_CHECKPOINT must be given in the environment." >&2
    exit 1
fi
# Paths are the caller's; $PYTHON comes from setup.sh unless it is given.
folder="$1" data="$2" transfer_file="${3:-}"
here="$(cd "$(dirname "$0")" && pwd)"
if [ -z "${PYTHON:-}" ]; then
    source "$here/../setup.sh"
fi
mkdir -p "$folder"

read -ra data_flags <<< "$DATA_FLAGS"
data_flags+=(--task_name="$TASK" --data_dir="$data")
train=(
    "$PYTHON" -m bert_tf.run_classifier "${data_flags[@]}"
    --do_train --do_eval --eval_batch_size=64 --seed="$SEED"
    --max_seq_length="$MAX_SEQ_LENGTH" --train_batch_size="$BATCH_SIZE"
)

# Whether a training has ended: its results are what it writes last.
has_ended() { [ -e "$1/eval_results.txt" ] || [ -e "$1/runs.tsv" ]; }

if [ -z "$TEACHER" ]; then
    TEACHER="$folder/teacher"
    if ! has_ended "$TEACHER"; then
        echo "1. The teacher: $TEACHER_CHECKPOINT learns from labels."
        "${train[@]}" --output_dir="$TEACHER" \
            --init_checkpoint="$TEACHER_CHECKPOINT" \
            --learning_rate="$TEACHER_LEARNING_RATE" \
            --num_train_epochs="$TEACHER_EPOCHS"
    fi
fi

student=(
    "${train[@]}" --init_checkpoint="$STUDENT" --num_runs="$NUM_RUNS"
    --learning_rate="$LEARNING_RATE"
)
if ! has_ended "$folder/alone"; then
    echo "2. The student alone learns from labels."
    "${student[@]}" --output_dir="$folder/alone" \
        --num_train_epochs="$ALONE_EPOCHS"
fi
if ! has_ended "$folder/distilled"; then
    echo "3. The student learns from the teacher."
    "${student[@]}" --output_dir="$folder/distilled" \
        --num_train_epochs="$EPOCHS" --teacher="$TEACHER" \
        ${transfer_file:+--transfer_file="$transfer_file"} \
        --distill_temperature="$TEMPERATURE" --distill_weight="$WEIGHT"
fi

# Exports a checkpoint to exports/NAME: export NAME CHECKPOINT [FLAG...]
export_model() {
    local name="$1" checkpoint="$2"
    shift 2
    if [ ! -e "$folder/exports/$name/1" ]; then
        echo "4. Export: $name."
        "$PYTHON" -m bert_tf.export_saved_model --head=classifier \
            --checkpoint="$checkpoint" --output_dir="$folder/exports/$name" \
            --format="$FORMAT" "$@"
    fi
}

# The folders of a training's runs; of one run, its own.
runs_of() {
    if [ "$NUM_RUNS" = 1 ]; then echo "$1"; else
        for number in $(seq "$NUM_RUNS"); do echo "$1/run_$number"; done
    fi
}

export_model teacher "$TEACHER"
for kind in alone distilled; do
    number=0
    for run in $(runs_of "$folder/$kind"); do
        number=$((number + 1))
        export_model "$kind-$number" "$run"
        if [ "$kind" = distilled ]; then
            export_model "int8-$number" "$run" --quantize=int8
        fi
    done
done

echo "5. Accuracy, size and speed of the exports."
rm -f "$folder/int8"
ln -s exports/int8-1 "$folder/int8"
"$PYTHON" "$here/table.py" "${data_flags[@]}" --folder="$folder/exports" \
    --output_file="$folder/table.md"
echo "The model: $folder/int8"
