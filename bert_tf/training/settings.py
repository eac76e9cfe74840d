"""Settings of a run: plain values that commands create from their flags."""

import dataclasses
import os

from bert_tf.checkpoints.folder_settings import NOTHING_SAID, FolderSettings
from bert_tf.errors import InputError

RUNS_FILE = "runs.tsv"
"""Mean and deviation of the results of several runs."""

LORA_TARGETS = "query,value"
"""The layers that get LoRA's adapters: those of its paper."""

SWEEP_FOLDER = "sweep"
"""In the output folder: the runs of a sweep, each in its own folder."""

SWEEP_FILE = "sweep.tsv"
"""Values and results of the runs of a sweep."""

SWEEP_NOTES = "sweep.json"
"""In the folder of a sweep: settings and results of its runs."""

OPTIMIZERS = ("adamw", "lamb")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
OFF, MIRRORED, MULTI_WORKER, TPU = DISTRIBUTIONS = (
    "off",
    "mirrored",
    "multi_worker",
    "tpu",
)


def folder_of_run(output_dir: str, number: int) -> str:
    """The folder of one of several runs, which are counted from 1."""
    return os.path.join(output_dir, f"run_{number}")


@dataclasses.dataclass(frozen=True)
class ModelFiles:
    """The files of a model.

    Attributes:
        checkpoint: a prefix or a folder; None for random weights.
        vocab_file: None for the vocab.txt beside the checkpoint.
        bert_config_file: None for the bert_config.json beside it.
        do_lower_case, strip_accents: what is asked for; None for what the
            model's folder tells.
        ignore_folder_settings: whether what is asked for wins where it
            contradicts the folder.
    """

    checkpoint: str | None = None
    vocab_file: str | None = None
    bert_config_file: str | None = None
    do_lower_case: bool | None = None
    strip_accents: bool | None = None
    ignore_folder_settings: bool = False


@dataclasses.dataclass(frozen=True)
class DeviceSettings:
    """The devices of a run.

    Attributes:
        distribution: one of `DISTRIBUTIONS`.
        tpu_name: a Cloud TPU's name, or grpc://IP:PORT.
        tpu_zone, gcp_project: of the Cloud TPU.
        master: the TPU's address where `tpu_name` is None.
        num_tpu_cores: cores that the TPU must have; None for the original's 8.
    """

    distribution: str = OFF
    tpu_name: str | None = None
    tpu_zone: str | None = None
    gcp_project: str | None = None
    master: str | None = None
    num_tpu_cores: int | None = None

    @property
    def use_tpu(self) -> bool:
        """Whether work runs on a TPU, which needs batches of one shape."""
        return self.distribution == TPU


@dataclasses.dataclass(frozen=True)
class BuildSettings:
    """How a model is built for a run.

    Attributes:
        precision: one of `PRECISIONS`.
        recompute: whether to keep only the input of each encoder layer, and
            compute the rest again for the gradients.
        freeze: parts of the encoder that are not trained, as
            `support.parts.parse_parts` reads them; None for none.
        lora_rank: of adapters that are trained instead of the encoder, as in
            `models.add_lora`; None for none.
        lora_targets: the layers that have them, as `parts.parse_targets` reads
            them.
        one_hot_embeddings: whether to look up embeddings by a product with
            one-hot rows, as the original does on TPUs.
        skip_padding: whether to compute the encoder at tokens only.
    """

    precision: str = "float32"
    recompute: bool = False
    freeze: str | None = None
    lora_rank: int | None = None
    lora_targets: str = LORA_TARGETS
    one_hot_embeddings: bool = False
    skip_padding: bool = False


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained.

    Attributes:
        output_dir: folder of checkpoints and TensorBoard events.
        num_train_steps: the step to stop at, also in a resumed run.
        learning_rate, num_warmup_steps: as in `optimization.create_optimizer`.
        batch_size: examples in one step, over all devices.
        save_checkpoints_steps: a checkpoint is written every N steps.
        keep_checkpoints: number of newest checkpoints that are kept.
        steps_per_call: maximum number of steps in a call of the compiled loop.
        jit_compile: compile the step with XLA; on one device only.
        optimizer: one of `OPTIMIZERS`.
        bias_correction, layerwise_lr_decay: as in
            `optimization.OptimizerSettings`.
        gradient_accumulation_steps: micro-batches that a batch is split into.
    """

    output_dir: str
    num_train_steps: int
    learning_rate: float
    num_warmup_steps: int
    batch_size: int
    save_checkpoints_steps: int = 1000
    keep_checkpoints: int = 5
    steps_per_call: int = 1000
    jit_compile: bool = False
    optimizer: str = "adamw"
    bias_correction: bool = False
    layerwise_lr_decay: float = 1.0
    gradient_accumulation_steps: int = 1


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """Evaluation while training goes on.

    Attributes:
        every_steps: evaluate every N steps, and at the end.
        metric: the result whose best checkpoint is kept in the folder `best`
            of the output; None for none.
        patience: stop after N evaluations without improvement; None for never.
            Needs a metric.
    """

    every_steps: int
    metric: str | None = None
    patience: int | None = None


@dataclasses.dataclass(frozen=True)
class Epochs:
    """The length of training, in epochs.

    Attributes:
        number: passes over the examples; need not be whole.
        warmup_proportion: share of the steps in which the rate warms up.
    """

    number: float = 3.0
    warmup_proportion: float = 0.1

    def count_steps(self, num_examples: int, batch_size: int) -> int:
        """The number of steps to train: the original's, rounded down.

        Raises:
            InputError: it is 0.
        """
        num_steps = int(num_examples / batch_size * self.number)
        if num_steps < 1:
            raise InputError(
                f"There is not one step to train: {num_examples} examples / "
                f"--train_batch_size={batch_size} x "
                f"--num_train_epochs={self.number} is below 1."
            )
        return num_steps

    def schedule(
        self, training: TrainingSettings, num_examples: int
    ) -> TrainingSettings:
        """The same training, with its number of steps and warm-up steps."""
        num_steps = self.count_steps(num_examples, training.batch_size)
        return dataclasses.replace(
            training,
            num_train_steps=num_steps,
            num_warmup_steps=int(num_steps * self.warmup_proportion),
        )


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """One run of a command that trains, evaluates or predicts.

    Attributes:
        output_dir: folder of all output.
        files: the model to start from.
        training: `TrainingSettings`; with `epochs`, its steps are not final.
        do_train: whether to train.
        eval_batch_size, predict_batch_size: records in a batch.
        seed: makes a run repeatable; None draws one.
        epochs: `Epochs`, or None where `training` has the number of steps.
        build: `BuildSettings`.
        evaluation: `EvaluationSettings`, or None for none during training.
        use_tpu: whether batches must have one shape.
        bucket_by_length: whether to train on batches of similar length.
        folder: what training notes beside its checkpoints, but casing.
    """

    output_dir: str
    files: ModelFiles
    training: TrainingSettings
    do_train: bool = False
    eval_batch_size: int = 8
    predict_batch_size: int = 8
    seed: int | None = None
    epochs: Epochs | None = None
    build: BuildSettings = BuildSettings()
    evaluation: EvaluationSettings | None = None
    use_tpu: bool = False
    bucket_by_length: bool = False
    folder: FolderSettings = NOTHING_SAID

    @property
    def best_metric(self) -> str | None:
        """The result by which the best checkpoint is kept; None for none."""
        return self.evaluation.metric if self.evaluation else None

    def noting(self, **values: str | bool) -> "RunSettings":
        """The same run, which notes further settings in its folder."""
        folder = dataclasses.replace(self.folder, **values)  # type: ignore[arg-type]
        return dataclasses.replace(self, folder=folder)

    def in_folder(self, output_dir: str, seed: int | None) -> "RunSettings":
        """The same run in another folder, with another seed."""
        return dataclasses.replace(
            self,
            output_dir=output_dir,
            seed=seed,
            training=dataclasses.replace(self.training, output_dir=output_dir),
        )
