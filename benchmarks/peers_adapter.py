r"""Lets a comparing harness measure bert_tf as one of its implementations.

The harness is a folder with `common.py` (inputs, weights, timing) and
`drive.py` (starts every implementation in a process of its own, in turn);
`peers.py` hands it this program. By itself, with two workloads:

    BENCH_HOME=HARNESS python benchmarks/peers_adapter.py --data DATA \
        --config base --workloads infer_b32_s128,train_cls_b32_s128

`--variant` joins choices with `+`:

    fp32, bf16     the precision: float32; or mixed_bfloat16 for training and
                   kernels of bfloat16, as exports have them, for encoding
    padded         pad mixed lengths to the longest possible
    saved_model    start from a SavedModel instead of a checkpoint
"""

import os
import sys

HARNESS = os.environ.get("BENCH_HOME")
if not HARNESS:
    sys.exit("BENCH_HOME must name the harness's folder, with common.py in it.")
sys.path.insert(0, HARNESS)
import common as C  # noqa: E402
import numpy as np  # noqa: E402

# What the harness calls its arrays, and what models call them.
ENCODER_NAMES = {
    "ids": "input_ids",
    "mask": "input_mask",
    "seg": "segment_ids",
}
NAMES = {
    **ENCODER_NAMES,
    "label": "label_ids",
    "start": "start_positions",
    "end": "end_positions",
    "positions": "masked_lm_positions",
    "mlm_ids": "masked_lm_ids",
    "mlm_weights": "masked_lm_weights",
}
KINDS = {
    "train_cls": "classifier",
    "train_squad": "squad",
    "train_pre": "pretraining",
}


def choices_of(arguments):
    """What `--variant` asks for."""
    return set(arguments.variant.split("+"))


def config_of(arguments):
    """The harness's sizes; dropout is BERT's own."""
    from bert_tf import modeling

    return modeling.BertConfig.from_dict(C.CONFIGS[arguments.config])


def build_model(arguments, make):
    """A model with the harness's weights."""
    import workloads

    weights = C.load_weights(arguments.data, arguments.config)
    bf16 = "bf16" in choices_of(arguments)
    return workloads.build_model(
        lambda: make(config_of(arguments)),
        "mixed_bfloat16" if bf16 else "float32",
        lambda name, shape: weights[name],
    )


def renamed(batch, names):
    """The harness's arrays, by the names of the model's inputs."""
    return {names[name]: x for name, x in batch.items() if name in names}


def set_threads():
    """As many threads as the harness gives everyone."""
    # First, as users do: it speeds up the import of TensorFlow.
    import bert_tf  # noqa: F401, I001
    import tensorflow as tf

    inter = int(os.environ["TF_NUM_INTEROP_THREADS"])
    tf.config.threading.set_intra_op_parallelism_threads(int(C.THREADS))
    tf.config.threading.set_inter_op_parallelism_threads(inter)


def outputs_of(result):
    """Pooled and sequence output of a batch, or of one row."""
    return result["pooled_output"], result["sequence_output"]


def build(arguments, workload):
    """A function that runs a workload once, and one that reads its result."""
    import keras
    import workloads

    from bert_tf.checkpoints import inference
    from bert_tf.exports import quantization

    set_threads()
    keras.utils.set_random_seed(0)
    kind, size, longest = C.WORKLOADS[workload]
    batch = C.make_batch(workload, arguments.config)
    if kind in KINDS:
        return build_training(arguments, KINDS[kind], batch)
    model = build_model(arguments, workloads.make_encoder)
    if "bf16" in choices_of(arguments):
        quantization.quantize(model, quantization.BFLOAT16)
    run = inference.compile_forward(model)
    inputs = renamed(batch, ENCODER_NAMES)
    if kind == "infer":
        return lambda: run(inputs), outputs_of

    padded = "padded" in choices_of(arguments)
    form = (
        workloads.in_padded_batches if padded else workloads.in_grouped_batches
    )
    lengths = batch["lens"].tolist()

    def iterate():
        batches = form(lengths, size, longest)
        return workloads.run_batches(run, inputs, batches)

    def finish(rows):
        pooled, sequences = zip(*map(outputs_of, rows))
        return np.stack(pooled), list(sequences)

    return iterate, finish


def build_training(arguments, kind, batch):
    """A step of the training loop, at a constant learning rate."""
    import workloads

    names = NAMES
    if kind == "pretraining":
        names = {**NAMES, "label": "next_sentence_labels"}
    model = build_model(arguments, workloads.TRAININGS[kind].make)
    step = workloads.compile_training(
        kind, model, renamed(batch, names), learning_rate=C.LR
    )
    return step, lambda scalars: scalars["loss"]


# ------------------------------------------------------------------- start-up


def native_folder(arguments):
    """The folder of the checkpoint; its `export` has the SavedModel."""
    return os.path.join(arguments.data, f"native_bert_tf_{arguments.config}")


def prepare(arguments):
    """Writes the checkpoint, its config, and a SavedModel of the encoder."""
    import tensorflow as tf
    import workloads

    from bert_tf import checkpoints
    from bert_tf.support import files

    folder = native_folder(arguments)
    weights = C.load_weights(arguments.data, arguments.config)
    checkpoints.write(os.path.join(folder, "bert_model.ckpt"), weights)
    files.write_text(
        os.path.join(folder, "bert_config.json"),
        config_of(arguments).to_json_string(),
    )
    model = build_model(arguments, workloads.make_encoder)
    specs = {
        name: tf.TensorSpec((None, None), tf.int32, name)
        for name in model.input
    }
    forward = tf.function(lambda **inputs: model(inputs, training=False))
    tf.saved_model.save(
        model,
        os.path.join(folder, "export"),
        signatures=forward.get_concrete_function(**specs),
    )


def startup(arguments):
    """One prediction of a model on disk."""
    set_threads()
    batch = C.make_batch("startup", arguments.config)
    inputs = renamed(batch, ENCODER_NAMES)
    folder = native_folder(arguments)
    if "saved_model" in choices_of(arguments):
        import tensorflow as tf

        loaded = tf.saved_model.load(os.path.join(folder, "export"))
        forward = loaded.signatures["serving_default"]
        result = forward(**{k: tf.constant(v) for k, v in inputs.items()})
        return outputs_of({k: v.numpy() for k, v in result.items()})
    import workloads

    from bert_tf import modeling
    from bert_tf.checkpoints import inference

    config = modeling.BertConfig.from_json_file(
        os.path.join(folder, "bert_config.json")
    )
    model, _ = inference.load_model(
        lambda: workloads.make_encoder(config), config, folder, ()
    )
    return outputs_of(inference.compile_forward(model)(inputs))


def versions():
    """Versions of the packages that are measured."""
    from importlib import metadata

    names = ("tensorflow", "keras", "bert_tf")
    return {name: metadata.version(name) for name in names}


if __name__ == "__main__":
    variant = C.parser().parse_args().variant
    C.run(f"bert_tf.{variant}", build, versions(), prepare, startup)
