r"""bert_tf as one of the implementations that a comparing harness measures.

The harness is a folder with `common.py` (inputs, weights, timing) and `drive.py`
(starts every implementation in a process of its own, in turn); `peers.py` beside
this file gives it this program. Alone, one workload:

    BENCH_HOME=HARNESS python benchmarks/peers_adapter.py --data DATA \
        --config base --workloads infer_b32_s128,train_cls_b32_s128

What is measured is what users run: the encoder as `loading.trace_forward`
compiles it, batches grouped as `grouping` does it, and steps of training as
`training_step` takes them. `--variant` joins choices with `+`:

    fp32, bf16     the precision: float32, or mixed_bfloat16
    padded         mixed lengths are all padded to the longest possible
    checkpoint     start from a checkpoint in the original's format
    saved_model    start from an export, through `bert_tf.Predictor`'s room
"""

import json
import os
import sys

HARNESS = os.environ.get("BENCH_HOME")
if not HARNESS:
    sys.exit("BENCH_HOME must name the harness's folder, with common.py in it.")
sys.path.insert(0, HARNESS)
import common as C  # noqa: E402
import numpy as np  # noqa: E402


def variants(arguments):
    """The choices of the command line."""
    return set(arguments.variant.split("+"))


def write_config(arguments, path):
    """The harness's sizes as a bert_config.json; dropout is BERT's own."""
    text = json.dumps(C.CONFIGS[arguments.config], indent=2)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def build_model(arguments, make):
    """A model of bert_tf with the harness's weights."""
    from bert_tf import checkpoints, modeling

    config = modeling.BertConfig.from_dict(C.CONFIGS[arguments.config])
    name = "mixed_bfloat16" if "bf16" in variants(arguments) else "float32"
    with modeling.precision(name), modeling.weights_to_come():
        model = make(config)
    weights = C.load_weights(arguments.data, arguments.config)
    for path, variable in checkpoints.named_weights(model).items():
        variable.assign(weights[path])
    return model


def make_encoder(config):
    """The encoder from ids to both of its outputs."""
    import keras

    from bert_tf import modeling, models

    inputs = models.integer_inputs(models.ENCODER_INPUTS)
    outputs = modeling.BertModel(config)(*inputs.values())
    names = ("pooled_output", "sequence_output")
    return keras.Model(inputs, {name: outputs[name] for name in names})


def inputs_of(batch, rows=slice(None), length=None):
    """The harness's arrays by the names that models know."""
    names = zip(("input_ids", "input_mask", "segment_ids"), C_NAMES)
    return {name: batch[key][rows, :length] for name, key in names}


C_NAMES = ("ids", "mask", "seg")


def build(arguments, workload):
    """One iteration of a workload, and how its result is read."""
    import keras

    set_threads()
    keras.utils.set_random_seed(0)
    kind = C.WORKLOADS[workload][0]
    batch = C.make_batch(workload, arguments.config)
    if kind.startswith("train"):
        return build_training(arguments, kind, batch)
    from bert_tf import loading

    run = loading.compile_forward(build_model(arguments, make_encoder))
    if kind == "infer":
        inputs = inputs_of(batch)
        return lambda: run(inputs), outputs_of
    return build_mixed(arguments, run, batch, C.WORKLOADS[workload])


def set_threads():
    """As many threads as the harness gives everyone."""
    import tensorflow as tf

    inter = int(os.environ["TF_NUM_INTEROP_THREADS"])
    tf.config.threading.set_intra_op_parallelism_threads(int(C.THREADS))
    tf.config.threading.set_inter_op_parallelism_threads(inter)


def outputs_of(result):
    """Pooled and sequence output of one batch."""
    return result["pooled_output"], result["sequence_output"]


def build_mixed(arguments, run, batch, sizes):
    """Texts of mixed lengths, in batches of like ones, in the input's order."""
    from bert_tf import grouping

    _, rows, longest = sizes
    lengths = batch["lens"].tolist()
    count = len(lengths)

    def in_groups():
        if "padded" in variants(arguments):
            for first in range(0, count, rows):
                yield np.arange(first, min(first + rows, count)), longest
            return
        groups = grouping.group_by_length(
            range(count), lengths.__getitem__, rows
        )
        for places in groups:
            most = max(lengths[place] for place in places)
            yield np.array(places), grouping.padded_length(most, longest)

    def iterate():
        pooled, sequences = [None] * count, [None] * count
        for places, length in in_groups():
            result = run(inputs_of(batch, places, length))
            for place, *both in zip(places, *outputs_of(result)):
                pooled[place], sequences[place] = both
        return pooled, sequences

    return iterate, lambda result: (np.stack(result[0]), result[1])


def build_training(arguments, kind, batch):
    """A step of fine-tuning or pretraining, of the loop that users run."""
    import tensorflow as tf

    from bert_tf import heads, models, pretraining, training, training_step
    from bert_tf.optimization import create_optimizer

    features = inputs_of(batch)
    if kind == "train_cls":

        def make(config):
            return models.classifier(config, 2)

        def loss_fn(outputs, features, totals=None):
            logits, labels = outputs["logits"], features["label_ids"]
            return heads.classification_loss(logits, labels)[0]

        features["label_ids"] = batch["label"]
    elif kind == "train_squad":
        make = models.span

        def loss_fn(outputs, features, totals=None):
            return heads.span_loss(
                outputs["start_logits"],
                outputs["end_logits"],
                features["start_positions"],
                features["end_positions"],
            )

        features["start_positions"] = batch["start"]
        features["end_positions"] = batch["end"]
    else:
        make, loss_fn = models.pretraining, pretraining.losses
        features["masked_lm_positions"] = batch["positions"]
        features["masked_lm_ids"] = batch["mlm_ids"]
        features["masked_lm_weights"] = batch["mlm_weights"]
        features["next_sentence_labels"] = batch["label"]

    model = build_model(arguments, make)
    # A schedule as long as the one of the others is constant.
    optimizer = create_optimizer(C.LR, 10**9, 0)
    optimizer.build(model.trainable_variables)
    dataset = tf.data.Dataset.from_tensors(features).repeat()
    settings = training.TrainingSettings(
        output_dir="",
        num_train_steps=10**9,
        learning_rate=C.LR,
        num_warmup_steps=0,
        batch_size=len(batch["ids"]),
    )
    run_steps, names = training_step.compile_steps(
        model,
        loss_fn,
        training_step.count_examples,
        optimizer,
        dataset,
        tf.distribute.get_strategy(),
        settings,
    )
    batches = iter(dataset)
    one = tf.constant(1)

    def step():
        rows, _ = run_steps(batches, one)
        return rows.numpy()[0]

    return step, lambda row: float(row[names.index("loss")])


# ------------------------------------------------------------------- start-up


def checkpoint_folder(arguments):
    """Where the model lies as the original's releases do."""
    return os.path.join(arguments.data, f"native_bert_tf_{arguments.config}")


def export_folder(arguments):
    """Where its export lies."""
    return checkpoint_folder(arguments) + "_export"


def prepare(arguments):
    """Writes the checkpoint, its config, and an export of its encoder."""
    import tensorflow as tf

    from bert_tf import checkpoints

    folder = checkpoint_folder(arguments)
    os.makedirs(folder, exist_ok=True)
    weights = C.load_weights(arguments.data, arguments.config)
    checkpoints.write(os.path.join(folder, "bert_model.ckpt"), weights)
    write_config(arguments, os.path.join(folder, "bert_config.json"))
    # The part of an export that answers `serving_default`, as `serving` has it.
    arguments.variant = "fp32"
    model = build_model(arguments, make_encoder)
    tf.saved_model.save(model, export_folder(arguments), signatures=traced(model))


def traced(model):
    """A signature of the three inputs by name."""
    import tensorflow as tf

    specs = {
        name: tf.TensorSpec((None, None), tf.int32, name) for name in model.input
    }
    forward = tf.function(lambda **inputs: model(inputs, training=False))
    return forward.get_concrete_function(**specs)


def startup(arguments):
    """One prediction of a model that lies on the disk."""
    set_threads()
    inputs = inputs_of(C.make_batch("startup", arguments.config))
    if "saved_model" in variants(arguments):
        import tensorflow as tf

        loaded = tf.saved_model.load(export_folder(arguments))
        forward = loaded.signatures["serving_default"]
        result = forward(**{k: tf.constant(v) for k, v in inputs.items()})
        return outputs_of({k: v.numpy() for k, v in result.items()})
    from bert_tf import loading, modeling

    folder = checkpoint_folder(arguments)
    config = modeling.BertConfig.from_json_file(
        os.path.join(folder, "bert_config.json")
    )
    model, _ = loading.load_model(
        lambda: make_encoder(config), config, folder, may_lack=()
    )
    return outputs_of(loading.compile_forward(model)(inputs))


def versions():
    """Of what does the work."""
    from importlib import metadata

    names = ("tensorflow", "keras", "bert_tf")
    return {name: metadata.version(name) for name in names}


if __name__ == "__main__":
    variant = C.parser().parse_args().variant
    C.run(f"bert_tf.{variant}", build, versions(), prepare, startup)
