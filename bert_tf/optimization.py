"""The original's optimizer: Adam with decoupled weight decay, and its schedule.

LAMB, for large batches, is here too.
"""

import dataclasses
import re

import keras
from keras import ops

from bert_tf.errors import InputError

CLIP_NORM = 1.0
NO_DECAY = ("LayerNorm", "layer_norm", "bias")

OPTIMIZERS = ("adamw", "lamb")


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """The optimizer, and how it differs from the original's.

    Attributes:
        name: one of `OPTIMIZERS`.
        bias_correction: correct Adam's m and v for their start at 0, as in its
            paper but not in the original. LAMB always does.
        layerwise_lr_decay: see `layer_rate`; 1 for the same rate everywhere.
        num_hidden_layers: of the model, for `layerwise_lr_decay`.
    """

    name: str = "adamw"
    bias_correction: bool = False
    layerwise_lr_decay: float = 1.0
    num_hidden_layers: int | None = None


def layer_rate(path, decay, num_hidden_layers):
    """The factor on the learning rate of a variable.

    It is `decay ** (L - 1 - i)` in layer i of L, thus 1 in the highest one,
    `decay ** L` in the embeddings, and 1 in the pooler and in heads.

    Args:
        path: of the variable.
        decay: float, the factor from one layer to the next lower one.
        num_hidden_layers: int, L.
    """
    layer = re.search(r"/encoder/layer_(\d+)/", path)
    if layer:
        return decay ** (num_hidden_layers - 1 - int(layer[1]))
    return decay**num_hidden_layers if "/embeddings/" in path else 1.0


@keras.saving.register_keras_serializable("bert_tf")
class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear decay to 0 from step 0 on, except in a linear warm-up.

    As in the original the decay counts from the first step, so the rate drops
    a little at the end of the warm-up, and the first warm-up step has rate 0.

    Args:
        init_lr: float, the rate at which the decay starts and the warm-up ends.
        num_train_steps: int, the step at which the rate reaches 0, to stay 0.
        num_warmup_steps: int, length of the warm-up; 0 for none.
    """

    def __init__(self, init_lr, num_train_steps, num_warmup_steps=0):
        self.init_lr = init_lr
        self.num_train_steps = num_train_steps
        self.num_warmup_steps = num_warmup_steps

    def __call__(self, step):
        """The learning rate, a float32 scalar, of a step counted from 0."""
        step = ops.cast(step, "float32")
        last = float(max(self.num_train_steps, 1))
        done = ops.minimum(step, last) / last
        rate = self.init_lr * (1.0 - done)
        if self.num_warmup_steps:
            warmup = float(self.num_warmup_steps)
            rate = ops.where(
                step < warmup, self.init_lr * (step / warmup), rate
            )
        return rate

    def get_config(self):
        return {
            "init_lr": self.init_lr,
            "num_train_steps": self.num_train_steps,
            "num_warmup_steps": self.num_warmup_steps,
        }


class _NamedOptimizer(keras.optimizers.Optimizer):
    """What both optimizers share: everything that depends on variable names.

    Args:
        learning_rate: float or schedule.
        weight_decay_rate: float, for variables that are not excluded.
        exclude_from_weight_decay: regular expressions, searched (with case) in
            the variable's path; a match means no decay.
        clip_norm: float, the largest global norm, or None for no clipping.
        layerwise_lr_decay, num_hidden_layers: of `layer_rate`; None for the
            same rate everywhere.
        gradients_are_summed: whether gradients are already summed over the
            replicas of a strategy.
        skipped_steps: integer variable, number of steps that changed no weight
            and that bias correction does not count; None for none.
    """

    # The last part of the slots' names in checkpoints.
    SLOT_NAMES: tuple[str, str]

    def __init__(
        self,
        learning_rate,
        weight_decay_rate=0.0,
        exclude_from_weight_decay=(),
        clip_norm=None,
        layerwise_lr_decay=None,
        num_hidden_layers=None,
        gradients_are_summed=False,
        skipped_steps=None,
        **kwargs,
    ):
        # Not Keras' `weight_decay`, which has its own rule for names.
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.weight_decay_rate = weight_decay_rate
        self.exclude_from_weight_decay = tuple(exclude_from_weight_decay)
        self.clip_norm = clip_norm
        self.layerwise_lr_decay = layerwise_lr_decay
        self.num_hidden_layers = num_hidden_layers
        self.gradients_are_summed = gradients_are_summed
        self.skipped_steps = skipped_steps

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.decays = [self.uses_weight_decay(v.path) for v in variables]
        self.slot_names = [v.path for v in variables]
        self.rates = [1.0] * len(variables)
        if self.layerwise_lr_decay is not None:
            how = self.layerwise_lr_decay, self.num_hidden_layers
            self.rates = [layer_rate(v.path, *how) for v in variables]

    def slots(self):
        """Slots by their names in checkpoints: `<variable>/adam_m`, ..."""
        slots = {}
        for name, *both in zip(self.slot_names, *self._slot_lists()):
            for kind, slot in zip(self.SLOT_NAMES, both):
                slots[f"{name}/{kind}"] = slot
        return slots

    def uses_weight_decay(self, path):
        """Whether the variable with this path is decayed."""
        return bool(self.weight_decay_rate) and not any(
            re.search(pattern, path)
            for pattern in self.exclude_from_weight_decay
        )

    def apply(self, grads, trainable_variables=None):
        """Clips the gradients together, then updates each variable."""
        if self.clip_norm is not None:
            grads, _ = clip_by_global_norm(grads, self.clip_norm)
        # As in the original every row is updated at every step: m decays.
        super().apply([dense_gradient(g) for g in grads], trainable_variables)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        # Private to Keras' optimizers on TensorFlow.
        if self.gradients_are_summed:
            return grads_and_vars
        return super()._all_reduce_sum_gradients(grads_and_vars)

    def _rate_of(self, variable, learning_rate):
        share = self.rates[self._get_variable_index(variable)]
        if share != 1.0:
            learning_rate = learning_rate * share
        return ops.cast(learning_rate, variable.dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "weight_decay_rate": self.weight_decay_rate,
            "exclude_from_weight_decay": list(self.exclude_from_weight_decay),
            "clip_norm": self.clip_norm,
            "layerwise_lr_decay": self.layerwise_lr_decay,
            "num_hidden_layers": self.num_hidden_layers,
        }


@keras.saving.register_keras_serializable("bert_tf")
class AdamWeightDecayOptimizer(_NamedOptimizer):
    """Adam without bias correction, with decoupled weight decay.

        m = beta_1 * m + (1 - beta_1) * gradient
        v = beta_2 * v + (1 - beta_2) * gradient ** 2
        variable -= rate * (m / (sqrt(v) + epsilon) + weight_decay * variable)

    The gradients of one step are first clipped together to a global norm. With
    `bias_correction` the third line has m / (1 - beta_1 ** t) and
    v / (1 - beta_2 ** t), where t counts steps from 1: AdamW as published.

    Args:
        learning_rate: float or schedule.
        weight_decay_rate: float, for variables that are not excluded.
        **kwargs: of `_NamedOptimizer`.
    """

    SLOT_NAMES = ("adam_m", "adam_v")

    def __init__(
        self,
        learning_rate,
        weight_decay_rate=0.0,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-6,
        exclude_from_weight_decay=(),
        clip_norm=None,
        bias_correction=False,
        name="AdamWeightDecayOptimizer",
        **kwargs,
    ):
        super().__init__(
            learning_rate,
            weight_decay_rate,
            exclude_from_weight_decay,
            clip_norm,
            name=name,
            **kwargs,
        )
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon_outside_root = epsilon
        self.bias_correction = bias_correction

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.adam_m, self.adam_v = self.add_optimizer_variables(
            variables, ["adam_m", "adam_v"]
        )

    def _slot_lists(self):
        return self.adam_m, self.adam_v

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        m, v = self.adam_m[index], self.adam_v[index]
        gradient = ops.cast(gradient, m.dtype)
        next_m = self.beta_1 * m + (1.0 - self.beta_1) * gradient
        next_v = self.beta_2 * v + (1.0 - self.beta_2) * ops.square(gradient)
        update = self._corrected(next_m, self.beta_1) / (
            ops.sqrt(self._corrected(next_v, self.beta_2))
            + self.epsilon_outside_root
        )
        if self.decays[index]:
            update += self.weight_decay_rate * variable
        rate = self._rate_of(variable, learning_rate)
        self.assign_sub(variable, rate * update)
        self.assign(m, next_m)
        self.assign(v, next_v)

    def _corrected(self, average, beta):
        if not self.bias_correction:
            return average
        step = self.iterations + 1
        if self.skipped_steps is not None:
            step = step - self.skipped_steps
        step = ops.cast(step, average.dtype)
        return average / (1.0 - ops.power(ops.cast(beta, step.dtype), step))

    def get_config(self):
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon_outside_root,
            "bias_correction": self.bias_correction,
        }


@keras.saving.register_keras_serializable("bert_tf")
class LambOptimizer(_NamedOptimizer, keras.optimizers.Lamb):
    """Keras' LAMB, with the names, exclusions and clipping of our Adam.

        variable -= rate * weight_decay * variable
        m, v as Adam's, with bias correction
        update = m / (sqrt(v) + epsilon)
        variable -= rate * norm(variable) / norm(update) * update

    As in Keras, and unlike the paper, the decay is not part of the update that
    is scaled to the norm of the variable, and biases and LayerNorm are scaled
    like the rest; if one of the norms is 0 their ratio is 1. The gradients of
    one step are first clipped together, as for Adam.

    Args:
        learning_rate: float or schedule.
        weight_decay_rate: float, for variables that are not excluded.
        **kwargs: of `_NamedOptimizer` and `keras.optimizers.Lamb`.
    """

    SLOT_NAMES = ("lamb_m", "lamb_v")

    def __init__(
        self, learning_rate, weight_decay_rate=0.0, epsilon=1e-6, **kwargs
    ):
        super().__init__(
            learning_rate, weight_decay_rate, epsilon=epsilon, **kwargs
        )

    def _slot_lists(self):
        return self._momentums, self._velocities

    def update_step(self, gradient, variable, learning_rate):
        rate = self._rate_of(variable, learning_rate)
        if self.decays[self._get_variable_index(variable)]:
            self.assign_sub(variable, rate * self.weight_decay_rate * variable)
        super().update_step(gradient, variable, rate)


def create_schedule(init_lr, num_train_steps, num_warmup_steps):
    """The learning-rate schedule that training uses, and the log shows."""
    return WarmupLinearDecay(init_lr, num_train_steps, num_warmup_steps)


def create_optimizer(
    init_lr,
    num_train_steps,
    num_warmup_steps,
    settings=OptimizerSettings(),
    *,
    clip_norm=CLIP_NORM,
    gradients_are_summed=False,
    skipped_steps=None,
):
    """The optimizer with the values that all scripts of the original use.

    Args:
        init_lr, num_train_steps, num_warmup_steps: of `create_schedule`.
        settings: differences from the original.
        clip_norm: the largest global norm; None where the caller clips.
        gradients_are_summed: whether the caller sums gradients over replicas.
        skipped_steps: variable with the number of steps that a loss scale
            skipped; None for none.

    Raises:
        InputError: no such optimizer.
    """
    if settings.name not in OPTIMIZERS:
        raise InputError(
            f"The optimizer must be one of {OPTIMIZERS}. Received: "
            f"{settings.name!r}"
        )
    common = {
        "learning_rate": create_schedule(
            init_lr, num_train_steps, num_warmup_steps
        ),
        "weight_decay_rate": 0.01,
        "exclude_from_weight_decay": NO_DECAY,
        "clip_norm": clip_norm,
        "gradients_are_summed": gradients_are_summed,
        "skipped_steps": skipped_steps,
    }
    if settings.layerwise_lr_decay != 1.0:
        common["layerwise_lr_decay"] = settings.layerwise_lr_decay
        common["num_hidden_layers"] = settings.num_hidden_layers
    if settings.name == "lamb":
        return LambOptimizer(**common)
    return AdamWeightDecayOptimizer(
        **common, bias_correction=settings.bias_correction
    )


def global_norm(gradients):
    """The root of the sum of all squares.

    As in the original, the rows of a sparse gradient (TensorFlow's
    `IndexedSlices`) are counted before rows of the same id are summed.
    """
    squares = [
        ops.sum(ops.square(ops.cast(_rows(gradient), "float32")))
        for gradient in gradients
        if gradient is not None
    ]
    return ops.sqrt(sum(squares))


def clip_by_global_norm(gradients, clip_norm, norm=None):
    """Scales all gradients down together if their global norm is too large.

    A norm that is not finite makes every gradient NaN, as in the original.

    Args:
        gradients: tensors, `IndexedSlices` or None.
        clip_norm: float.
        norm: of the gradients, if it is known.

    Returns:
        The scaled gradients, and their norm before.
    """
    norm = global_norm(gradients) if norm is None else norm
    scale = clip_norm / ops.maximum(norm, clip_norm)
    scale = ops.where(ops.isfinite(norm), scale, float("nan"))
    return [scaled(gradient, scale) for gradient in gradients], norm


def _rows(gradient):
    # `values` of IndexedSlices. Other tensors have no such attribute or, in JAX
    # and torch, a method of that name.
    rows = getattr(gradient, "values", None)
    return gradient if rows is None or callable(rows) else rows


def dense_gradient(gradient):
    """The gradient with rows of the same id summed; None stays None."""
    if gradient is None:
        return None
    rows = _rows(gradient)
    if rows is gradient:
        return gradient
    size = int(gradient.shape[0])
    return ops.segment_sum(rows, gradient.indices, num_segments=size)


def scaled(gradient, scale):
    """The gradient times a factor; None stays None."""
    if gradient is None:
        return None
    rows = _rows(gradient)
    if rows is gradient:
        return gradient * ops.cast(scale, gradient.dtype)
    return type(gradient)(
        rows * ops.cast(scale, rows.dtype),
        gradient.indices,
        gradient.dense_shape,
    )
