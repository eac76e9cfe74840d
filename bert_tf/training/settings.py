"""What a training run is told: plain values, made of flags by the commands."""

import dataclasses
from collections.abc import Callable, Mapping

from bert_tf.optimization import OptimizerSettings


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """What a run of training is to do.

    Attributes:
        output_dir: folder of checkpoints and TensorBoard events.
        num_train_steps: the step to end at, whatever the step to start from.
        learning_rate, num_warmup_steps: as in `optimization.create_optimizer`.
        batch_size: examples in one step, over all devices; for the log.
        save_checkpoints_steps: a checkpoint is written every so many steps.
        keep_checkpoints: that many of the newest stay.
        steps_per_call: the most steps that one call of the graph may run.
        jit_compile: compile the step with XLA; on one device only.
        optimizer: `OptimizerSettings`.
        gradient_accumulation_steps: parts that a step's batch is computed in.
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
    optimizer: OptimizerSettings = dataclasses.field(
        default_factory=OptimizerSettings
    )
    gradient_accumulation_steps: int = 1


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """Evaluation while a training goes on.

    Attributes:
        evaluate: function of no arguments that returns results of the model as
            it is, {name: float}.
        every_steps: it is called every so many steps, and at the end.
        metric: the result whose best checkpoint is kept in the folder `best` of
            the output; None for none.
        patience: training ends after so many evaluations in a row without a
            new best one; None for never. Needs a metric.
    """

    evaluate: Callable[[], Mapping[str, float]]
    every_steps: int
    metric: str | None = None
    patience: int | None = None
