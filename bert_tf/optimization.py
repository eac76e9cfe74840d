"""The original's optimizer: Adam with decoupled weight decay, and its schedule.

Comes in: gradients and a step. Goes out: changed variables. The loop that calls
it, and files, stay outside.
"""

import re

import keras
from keras import ops

CLIP_NORM = 1.0
NO_DECAY = ("LayerNorm", "layer_norm", "bias")


@keras.saving.register_keras_serializable("bert_tf")
class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear decay to 0 from step 0 on, with a linear warm-up laid over it.

    As in the original the decay counts from the first step, so the rate drops
    a little where the warm-up ends, and the very first warm-up step has rate 0.

    Args:
        init_lr: float, the rate that decay starts from and warm-up leads to.
        num_train_steps: int, where the rate reaches 0; it stays 0 beyond.
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


@keras.saving.register_keras_serializable("bert_tf")
class AdamWeightDecayOptimizer(keras.optimizers.Optimizer):
    """Adam without bias correction, with weight decay beside the gradient.

        m = beta_1 * m + (1 - beta_1) * gradient
        v = beta_2 * v + (1 - beta_2) * gradient ** 2
        variable -= rate * (m / (sqrt(v) + epsilon) + weight_decay * variable)

    The gradients of one step are first clipped together to a global norm.

    Args:
        learning_rate: float or schedule.
        weight_decay_rate: float, for variables that are not excluded.
        beta_1, beta_2, epsilon: floats.
        exclude_from_weight_decay: regular expressions, searched (with case) in
            the variable's path; a match means no decay.
        clip_norm: float, the largest global norm, or None for no clipping.
    """

    def __init__(
        self,
        learning_rate,
        weight_decay_rate=0.0,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-6,
        exclude_from_weight_decay=(),
        clip_norm=None,
        name="AdamWeightDecayOptimizer",
        **kwargs,
    ):
        # Not Keras' `weight_decay`, which decays after the update and with its
        # own rule for names.
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.weight_decay_rate = weight_decay_rate
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon_outside_root = epsilon
        self.exclude_from_weight_decay = tuple(exclude_from_weight_decay)
        self.clip_norm = clip_norm

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.adam_m, self.adam_v = self.add_optimizer_variables(
            variables, ["adam_m", "adam_v"]
        )
        self.decays = [self.uses_weight_decay(v.path) for v in variables]
        self.slot_names = [v.path for v in variables]

    def slots(self):
        """Variables by their names in a checkpoint: `<variable>/adam_m`, ..."""
        slots = {}
        for name, m, v in zip(self.slot_names, self.adam_m, self.adam_v):
            slots[f"{name}/adam_m"] = m
            slots[f"{name}/adam_v"] = v
        return slots

    def uses_weight_decay(self, path):
        """Whether the variable of this path is decayed."""
        return bool(self.weight_decay_rate) and not any(
            re.search(pattern, path)
            for pattern in self.exclude_from_weight_decay
        )

    def apply(self, grads, trainable_variables=None):
        """Clips the gradients together, then takes one step with each."""
        if self.clip_norm is not None:
            grads, _ = clip_by_global_norm(grads, self.clip_norm)
        # As in the original every row moves at every step: m decays.
        super().apply([dense_gradient(g) for g in grads], trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        m, v = self.adam_m[index], self.adam_v[index]
        gradient = ops.cast(gradient, m.dtype)
        next_m = self.beta_1 * m + (1.0 - self.beta_1) * gradient
        next_v = self.beta_2 * v + (1.0 - self.beta_2) * ops.square(gradient)
        update = next_m / (ops.sqrt(next_v) + self.epsilon_outside_root)
        if self.decays[index]:
            update += self.weight_decay_rate * variable
        rate = ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, rate * update)
        self.assign(m, next_m)
        self.assign(v, next_v)

    def get_config(self):
        return {
            **super().get_config(),
            "weight_decay_rate": self.weight_decay_rate,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon_outside_root,
            "exclude_from_weight_decay": list(self.exclude_from_weight_decay),
            "clip_norm": self.clip_norm,
        }


def create_optimizer(init_lr, num_train_steps, num_warmup_steps):
    """The optimizer with the settings that every script of the original has."""
    return AdamWeightDecayOptimizer(
        WarmupLinearDecay(init_lr, num_train_steps, num_warmup_steps),
        weight_decay_rate=0.01,
        exclude_from_weight_decay=NO_DECAY,
        clip_norm=CLIP_NORM,
    )


def global_norm(gradients):
    """The root of the sum of all squares.

    A gradient of gathered rows (TensorFlow's `IndexedSlices`) counts row by
    row, before rows of the same id are summed, as in the original.
    """
    squares = [
        ops.sum(ops.square(ops.cast(_rows(gradient), "float32")))
        for gradient in gradients
        if gradient is not None
    ]
    return ops.sqrt(sum(squares))


def clip_by_global_norm(gradients, clip_norm):
    """Scales all gradients down together where their norm is too large.

    A norm that is not finite makes every gradient NaN, as in the original.

    Args:
        gradients: tensors, `IndexedSlices` or None.
        clip_norm: float.

    Returns:
        The gradients, scaled, and their norm before.
    """
    norm = global_norm(gradients)
    scale = clip_norm / ops.maximum(norm, clip_norm)
    scale = ops.where(ops.isfinite(norm), scale, float("nan"))
    return [_scaled(gradient, scale) for gradient in gradients], norm


def _rows(gradient):
    # `values` of IndexedSlices; other tensors have no such attribute, or (JAX,
    # torch) a method of that name.
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


def _scaled(gradient, scale):
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
