"""A training step as a graph: from a batch to changed weights.

A batch may be split: into shares, one for each replica of a
`tf.distribute.Strategy`, and each share into micro-batches that are computed
one after the other. The weights then change as they would after the whole
batch: a loss is given the totals of the whole batch (number of examples, sum of
weights) and divides by those, so that losses and gradients of the parts add up.
"""

import tensorflow as tf

from bert_tf.errors import InputError
from bert_tf.optimization import (
    CLIP_NORM,
    clip_by_global_norm,
    dense_gradient,
    global_norm,
    scaled,
)

# As in Keras and, before it, NVIDIA's apex.
FIRST_LOSS_SCALE = 2.0**15
STEPS_TO_GROW = 2000


class LossScale:
    """The factor on a float16 loss, adjusted during training.

    Small gradients would underflow in float16: they are computed from a loss
    that is scaled up, and scaled down again before anything else uses them.
    Where a gradient overflows, the step is skipped and the scale is halved;
    after `STEPS_TO_GROW` steps without an overflow it is doubled. A skipped
    step changes no weight and no slot, but counts as a step: the learning rate
    and the batches move on.

    Attributes:
        scale: float32 variable.
        good_steps: int64 variable, steps since the scale was changed.
        skipped_steps: int64 variable, skipped steps since step 0.
    """

    def __init__(self):
        options = {
            "trainable": False,
            "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        self.scale = tf.Variable(FIRST_LOSS_SCALE, name="loss_scale", **options)
        self.good_steps, self.skipped_steps = (
            tf.Variable(tf.zeros((), tf.int64), name=name, **options)
            for name in ("good_steps", "skipped_steps")
        )

    def variables(self):
        """Variables by their names in a checkpoint."""
        return {
            "loss_scale": self.scale,
            "good_steps": self.good_steps,
            "skipped_steps": self.skipped_steps,
        }

    def update(self, is_good):
        """Adjusts the scale after a step; call it in cross-replica context.

        Args:
            is_good: bool scalar, whether the gradients were finite.
        """
        good = tf.where(is_good, self.good_steps + 1, 0)
        grows = good == STEPS_TO_GROW
        factor = tf.where(is_good, tf.where(grows, 2.0, 1.0), 0.5)
        self.scale.assign(tf.maximum(self.scale * factor, 1.0))
        self.good_steps.assign(tf.where(grows, tf.zeros_like(good), good))
        self.skipped_steps.assign_add(tf.cast(~is_good, tf.int64))


def count_examples(features):
    """The totals of a batch for losses that are means over examples."""
    size = tf.shape(next(iter(features.values())))[0]
    return {"examples": tf.cast(size, tf.float32)}


def compile_steps(step, dataset):
    """A graph function that takes several steps.

    Args:
        step: a `Step`.
        dataset: the `tf.data.Dataset` of the batches.

    Returns:
        A function of an iterator of batches and a number of steps. It returns
        the scalars of each step taken [steps, scalars], in the order of
        `step.scalar_names`, and the last batch (empty on several replicas). It
        returns early after a step whose loss or gradient is not finite, unless
        the loss scale skips that step.
    """
    # On several replicas the batch is in several pieces.
    keeps_batch = step.replicas == 1
    specs = dataset.element_spec if keeps_batch else {}
    nothing = {
        name: tf.zeros([size or 0 for size in spec.shape], spec.dtype)
        for name, spec in specs.items()
    }
    shapes = {name: spec.shape for name, spec in specs.items()}

    def run_steps(batches, num_steps):
        def take(done, scalars, batch, _):
            features = next(batches)
            row = step(features)
            return (
                done + 1,
                scalars.write(done, row),
                features if keeps_batch else batch,
                step.may_continue(row),
            )

        done, scalars, batch, _ = tf.while_loop(
            lambda done, scalars, batch, goes_on: goes_on & (done < num_steps),
            take,
            (0, tf.TensorArray(tf.float32, num_steps), nothing, True),
            # The length of sequences may change from batch to batch.
            shape_invariants=(None, None, shapes, None),
        )
        return scalars.stack()[:done], batch

    # Converting Python to graphs takes longer than all else at the start.
    return tf.function(run_steps, autograph=False)


class Step:
    """Changes the weights by one batch, on all replicas.

    Args:
        model: a `keras.Model` that takes a dictionary of features.
        loss_fn, count: as in `training.loop.train`.
        optimizer: of `optimization.create_optimizer`, built, with
            `clip_norm=None` and `gradients_are_summed=True`: the step does
            both.
        strategy: the one that the model was built under.
        settings: `TrainingSettings`.
        loss_scale: a `LossScale` made under the strategy; None for none.

    Attributes:
        scalar_names: of the scalars that a step returns, filled when it is
            traced: `loss`, `gradient_norm`, the others of `loss_fn`; with a
            `LossScale` also `loss_scale` and `skipped`, which is 1 for a step
            that was skipped.

    Raises:
        InputError: the batch cannot be split as the settings say, or XLA is
            asked for on several replicas.
    """

    def __init__(
        self,
        model,
        loss_fn,
        count,
        optimizer,
        strategy,
        settings,
        loss_scale=None,
    ):
        self.replicas = strategy.num_replicas_in_sync
        _check_sizes(settings, self.replicas)
        if optimizer.clip_norm is not None:
            raise ValueError(
                "The optimizer must not clip: the step does, before it sums "
                "rows of the same id. Received: "
                f"clip_norm={optimizer.clip_norm}"
            )
        self.gradients = _Gradients(
            model, loss_fn, count, settings, self.replicas, loss_scale
        )
        self.scalar_names = self.gradients.scalar_names
        self.optimizer = optimizer
        self.strategy = strategy
        self.loss_scale = loss_scale
        self.variables = model.trainable_variables
        self.on_one_replica = self._on_one_replica
        if settings.jit_compile:
            self.on_one_replica = tf.function(
                self._on_one_replica, jit_compile=True, autograph=False
            )

    def __call__(self, features):
        """Takes the step, in cross-replica context; returns its scalars."""
        row = self._run(features)
        if self.loss_scale is None:
            return row
        is_good = tf.math.is_finite(row[1])
        iterations = self.optimizer.iterations
        iterations.assign_add(tf.cast(~is_good, iterations.dtype))
        # A gradient that overflows at a scale of 1 is an error.
        scale = self.loss_scale.scale
        skips = tf.math.is_finite(row[0]) & ~is_good & (scale > 1.0)
        row = tf.concat([row, [scale, tf.cast(skips, tf.float32)]], axis=0)
        self.loss_scale.update(is_good)
        return row

    def may_continue(self, row):
        """Whether a step with these scalars is finite, or was skipped."""
        is_finite = tf.reduce_all(tf.math.is_finite(row[:2]))
        return (
            is_finite if self.loss_scale is None else is_finite | (row[-1] > 0)
        )

    def _run(self, features):
        run = self.strategy.run
        if self.loss_scale is None or self.replicas == 1:
            return self._sum(run(self.on_one_replica, args=(features,)))
        # Keras changes variables in cross-replica context, which it cannot
        # enter from a condition inside a replica.
        row, gradients = run(self.gradients, args=(features,))
        row = self._sum(row)
        tf.cond(
            tf.math.is_finite(row[1]),
            lambda: run(self._apply, args=(gradients,)),
            lambda: None,
        )
        return row

    def _on_one_replica(self, features):
        row, gradients = self.gradients(features)
        if self.loss_scale is None:
            self._apply(gradients)
        else:
            tf.cond(
                tf.math.is_finite(row[1]),
                lambda: self._apply(gradients),
                lambda: None,
            )
        return row

    def _apply(self, gradients):
        self.optimizer.apply(gradients, self.variables)

    def _sum(self, row):
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, row, axis=None)


def _check_sizes(settings, replicas):
    parts = settings.gradient_accumulation_steps
    if settings.batch_size % (parts * replicas):
        shares = f" on {replicas} devices" if replicas > 1 else ""
        raise InputError(
            f"`--train_batch_size` must be a multiple of {parts * replicas}, "
            f"for --gradient_accumulation_steps={parts}{shares}. Received: "
            f"--train_batch_size={settings.batch_size}"
        )
    if settings.jit_compile and replicas > 1:
        raise InputError(
            "`--jit_compile` works on one device. There are "
            f"{replicas}: leave it out."
        )


class _Gradients:
    """Scalars and clipped gradients of a batch, or of one replica's share."""

    def __init__(self, model, loss_fn, count, settings, replicas, loss_scale):
        self.model = model
        self.loss_fn = loss_fn
        self.count = count
        self.parts = settings.gradient_accumulation_steps
        self.part_size = settings.batch_size // (self.parts * replicas)
        self.replicas = replicas
        self.loss_scale = loss_scale
        self.variables = model.trainable_variables
        # Filled when the step is traced.
        self.scalar_names = []

    def __call__(self, features):
        """Scalars, to be summed over replicas, and gradients to apply."""
        totals = None
        if self.parts * self.replicas > 1:
            totals = self._sum_over_replicas(self.count(features))
        squares = None
        if self.parts == 1:
            scalars, gradients = self._of_part(features, totals)
        else:
            scalars, gradients, squares = self._accumulate(features, totals)
        if self.replicas > 1:
            # Summed before they are clipped: the result then does not depend
            # on the number of devices.
            gradients = self._sum_over_replicas(gradients)
            gradients = list(map(_with_shape, gradients, self.variables))
            if squares is not None:
                squares = self._sum_over_replicas(squares)
        norm = None if squares is None else self._norm(gradients, squares)
        gradients, norm = clip_by_global_norm(gradients, CLIP_NORM, norm)
        if self.replicas > 1:
            gradients = [dense_gradient(g) for g in gradients]
            norm /= self.replicas
        return tf.stack([scalars[0], norm, *tf.unstack(scalars[1:])]), gradients

    def _of_part(self, features, totals):
        """The scalars, `loss` first, and a gradient for each variable."""
        with tf.GradientTape() as tape:
            inputs = {name: features[name] for name in self.model.input}
            outputs = self.model(inputs, training=True)
            scalars = self.loss_fn(outputs, features, totals)
            if not isinstance(scalars, dict):
                scalars = {"loss": scalars}
            loss = scalars["loss"]
            if self.loss_scale is not None:
                loss = loss * self.loss_scale.scale
        gradients = tape.gradient(loss, [v.value for v in self.variables])
        if self.loss_scale is not None:
            down = 1.0 / self.loss_scale.scale
            gradients = [scaled(gradient, down) for gradient in gradients]
        others = [name for name in scalars if name != "loss"]
        self.scalar_names[:] = ["loss", "gradient_norm", *others]
        if self.loss_scale is not None:
            self.scalar_names += ["loss_scale", "skipped"]
        self.num_scalars = len(scalars)
        rows = [scalars[name] for name in ("loss", *others)]
        return tf.stack(rows), gradients

    def _accumulate(self, features, totals):
        """Sums scalars and gradients over the micro-batches.

        A sparse gradient is made dense in each micro-batch, which sums rows of
        the same id. The norm to clip by counts these rows before they are
        summed.

        Returns:
            The scalars, the gradients, and the sum of squares of all rows of
            sparse gradients.
        """
        parts = {name: self._cut(x) for name, x in features.items()}
        # Filled when the body is traced.
        self.is_rows: list[bool] = []
        has_gradient: list[bool] = []

        def add_part(number, rows, squares, sums):
            part = {name: x[number] for name, x in parts.items()}
            scalars, gradients = self._of_part(part, totals)
            has_gradient[:] = [g is not None for g in gradients]
            self.is_rows[:] = [
                isinstance(g, tf.IndexedSlices) for g in gradients
            ]
            of_rows = [g for g, r in zip(gradients, self.is_rows) if r]
            if of_rows:
                squares += tf.square(global_norm(of_rows))
            sums = [
                s if g is None else s + dense_gradient(g)
                for s, g in zip(sums, gradients)
            ]
            return number + 1, rows.write(number, scalars), squares, sums

        _, rows, squares, sums = tf.while_loop(
            lambda number, *_: number < self.parts,
            add_part,
            (
                0,
                tf.TensorArray(tf.float32, self.parts),
                tf.zeros(()),
                [tf.zeros_like(v.value) for v in self.variables],
            ),
            parallel_iterations=1,
            maximum_iterations=self.parts,
        )
        scalars = tf.reduce_sum(rows.stack(), axis=0)
        scalars.set_shape((self.num_scalars,))
        sums = [s if has else None for s, has in zip(sums, has_gradient)]
        return scalars, sums, squares

    def _cut(self, x):
        # A distributed dataset has no static batch size; of the other
        # dimensions at most one is unknown, the length of sequences.
        shape = [-1 if size is None else size for size in x.shape[1:]]
        return tf.reshape(x, [self.parts, self.part_size, *shape])

    def _norm(self, gradients, squares):
        others = [g for g, r in zip(gradients, self.is_rows) if not r]
        return tf.sqrt(tf.square(global_norm(others)) + squares)

    def _sum_over_replicas(self, values):
        if self.replicas == 1:
            return values
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, values)


def _with_shape(gradient, variable):
    # `all_reduce` of sparse gradients drops the dense shape.
    if isinstance(gradient, tf.IndexedSlices):
        shape = tf.constant(tuple(variable.shape), gradient.indices.dtype)
        return tf.IndexedSlices(gradient.values, gradient.indices, shape)
    return gradient
