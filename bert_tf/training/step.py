"""One step of training as a graph: from a batch to changed weights.

Comes in: a model, a loss, an optimizer, and batches. Goes out: a function that
takes many steps at once, and returns the scalars of each. Which steps, what is
saved and what is shown is for `training`.

The batch of a step may be cut: into shares, one for each replica of a
`tf.distribute.Strategy`, and each share into parts that are computed one after
the other, so that memory is needed for one part only. Weights then change as
they would after the whole batch. For that a loss is told the *totals* of the
whole batch (how many examples, how much weight) and divides by those, so that
the losses of the parts, and their gradients, add up to the whole batch's.

With numbers of 16 bits whose range is small, float16, gradients would vanish:
they are computed of a loss that is scaled up, by as much as they bear
(`LossScale`), and scaled down again before anything else is done with them.
"""

import tensorflow as tf

from bert_tf.errors import InputError
from bert_tf.optimization import (
    clip_by_global_norm,
    dense_gradient,
    global_norm,
    scaled,
)

# The numbers that Keras, and before it NVIDIA, scale losses with.
FIRST_LOSS_SCALE = 2.0**15
STEPS_TO_GROW = 2000


class LossScale:
    """What the loss is scaled by, found out on the way.

    Where a gradient is too large for float16 the step is skipped and the scale
    is halved; after `STEPS_TO_GROW` steps without that it is doubled. A skipped
    step changes no weight and no slot. It counts as a step all the same: the
    learning rate and the batches go on.

    Attributes:
        scale: float32 variable.
        good_steps: int64 variable, since the scale was changed.
        skipped_steps: int64 variable, of the whole training.
    """

    def __init__(self):
        how = {
            "trainable": False,
            "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        self.scale = tf.Variable(FIRST_LOSS_SCALE, name="loss_scale", **how)
        self.good_steps, self.skipped_steps = (
            tf.Variable(tf.zeros((), tf.int64), name=name, **how)
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
        """Takes note of a step, outside of replicas.

        Args:
            is_good: bool scalar, whether its gradients were finite.
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


def compile_steps(
    model,
    loss_fn,
    count,
    optimizer,
    dataset,
    strategy,
    settings,
    loss_scale=None,
):
    """A graph function of batches and a number of steps.

    It returns the scalars of every step [steps, scalars], and the last batch;
    it ends early after a step whose loss or gradient is not finite. With it
    comes the list of the scalars' names (`loss`, `gradient_norm`, and those of
    `loss_fn`), which is filled when the function is traced. With a `LossScale`
    there are `loss_scale` and `skipped` too: a step whose loss is finite but
    whose gradient is not is skipped, and `skipped` is 1, until the scale is 1.

    Args:
        model: a `keras.Model` that takes a dictionary of features.
        loss_fn, count: as in `training.train`.
        optimizer: of `optimization.create_optimizer`, built.
        dataset: the `tf.data.Dataset` of the batches.
        strategy: the one that the model was built under.
        settings: `TrainingSettings`.
        loss_scale: a `LossScale` made under the strategy, or None for none.

    Raises:
        InputError: the batch cannot be cut as it should be, or XLA is asked
            for on several replicas.
    """
    replicas = strategy.num_replicas_in_sync
    _check_sizes(settings, replicas)
    step = _Step(
        model,
        loss_fn,
        count,
        optimizer,
        settings,
        replicas,
        loss_scale,
    )
    take_step = step
    if settings.jit_compile:
        if replicas > 1:
            raise InputError(
                "`--jit_compile` works on one device. There are "
                f"{replicas}: leave it out."
            )
        take_step = tf.function(step.__call__, jit_compile=True)

    # The batch that goes wrong is shown to the user; on several replicas it is
    # in several pieces, and left out.
    specs = dataset.element_spec if replicas == 1 else {}
    nothing = {
        name: tf.zeros([size or 0 for size in spec.shape], spec.dtype)
        for name, spec in specs.items()
    }
    shapes = {name: spec.shape for name, spec in specs.items()}

    def run_one(features):
        if loss_scale is None or replicas == 1:
            row = strategy.run(take_step, args=(features,))
            row = strategy.reduce(tf.distribute.ReduceOp.SUM, row, axis=None)
        else:
            # Keras changes variables across replicas, which it cannot do from
            # within a condition in one of them.
            row, gradients = strategy.run(step.gradients, args=(features,))
            row = strategy.reduce(tf.distribute.ReduceOp.SUM, row, axis=None)
            tf.cond(
                tf.math.is_finite(row[1]),
                lambda: strategy.run(step.apply, args=(gradients,)),
                lambda: None,
            )
        if loss_scale is None:
            return row
        is_good = tf.math.is_finite(row[1])
        if not is_good:
            optimizer.iterations.assign_add(1)
        # At a scale of 1 nothing is left to try.
        skips = tf.math.is_finite(row[0]) & ~is_good & (loss_scale.scale > 1.0)
        notes = [loss_scale.scale, tf.cast(skips, tf.float32)]
        row = tf.concat([row, notes], axis=0)
        loss_scale.update(is_good)
        return row

    def is_fine(row):
        is_finite = tf.reduce_all(tf.math.is_finite(row[:2]))
        return is_finite if loss_scale is None else is_finite | (row[-1] > 0)

    @tf.function
    def run_steps(batches, num_steps):
        scalars = tf.TensorArray(tf.float32, num_steps)
        batch, done = nothing, 0
        for _ in tf.range(num_steps):
            # The length of sequences may change from batch to batch.
            tf.autograph.experimental.set_loop_options(
                shape_invariants=[(batch, shapes)]
            )
            features = next(batches)
            row = run_one(features)
            scalars = scalars.write(done, row)
            done += 1
            if replicas == 1:
                batch = features
            if not is_fine(row):
                break
        return scalars.stack()[:done], batch

    return run_steps, step.scalar_names


def _check_sizes(settings, replicas):
    parts = settings.gradient_accumulation_steps
    if settings.batch_size % (parts * replicas):
        shares = f" on {replicas} devices" if replicas > 1 else ""
        raise InputError(
            f"`--train_batch_size` must be a multiple of {parts * replicas}, "
            f"for --gradient_accumulation_steps={parts}{shares}. Received: "
            f"--train_batch_size={settings.batch_size}"
        )


class _Step:
    """Changes the weights by one batch, or a replica's share of it."""

    def __init__(
        self, model, loss_fn, count, optimizer, settings, replicas, loss_scale
    ):
        self.model = model
        self.loss_fn = loss_fn
        self.count = count
        self.optimizer = optimizer
        self.parts = settings.gradient_accumulation_steps
        self.part_size = settings.batch_size // (self.parts * replicas)
        self.replicas = replicas
        self.loss_scale = loss_scale
        self.variables = model.trainable_variables
        self.scalar_names = []
        # The loop clips and the optimizer does not, which on several replicas
        # would see the gradients only after rows of the same id are summed.
        self.clip_norm, optimizer.clip_norm = optimizer.clip_norm, None
        optimizer.gradients_are_summed = True

    def __call__(self, features):
        """Takes the step, if no loss scale speaks against it.

        Returns:
            Its scalars, to be summed over the replicas.
        """
        row, gradients = self.gradients(features)
        if self.loss_scale is None:
            self.apply(gradients)
        else:
            tf.cond(
                tf.math.is_finite(row[1]),
                lambda: self.apply(gradients),
                lambda: None,
            )
        return row

    def gradients(self, features):
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
            # Before they are clipped, so that the result does not depend on
            # the number of devices.
            gradients = self._sum_over_replicas(gradients)
            gradients = list(map(_with_shape, gradients, self.variables))
            if squares is not None:
                squares = self._sum_over_replicas(squares)
        norm = None if squares is None else self._norm(gradients, squares)
        gradients, norm = clip_by_global_norm(gradients, self.clip_norm, norm)
        if self.replicas > 1:
            gradients = [dense_gradient(g) for g in gradients]
            norm /= self.replicas
        return tf.stack([scalars[0], norm, *tf.unstack(scalars[1:])]), gradients

    def apply(self, gradients):
        """Changes the weights, within a replica."""
        self.optimizer.apply(gradients, self.variables)

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
        """The sums of scalars and of gradients over all parts.

        A gradient of gathered rows is summed to a dense one part for part.
        What it counts in the norm to clip by, where rows of the same id are
        not summed, is what is lost by that: the third that is returned is the
        sum of the squares of all such rows, `None` if there are none.
        """
        parts = {name: self._cut(x) for name, x in features.items()}
        # Filled when the body is traced.
        self.is_rows = []
        has_gradient = []

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
        # Of a distributed dataset the batch size is not known; else at most
        # one dimension is not, the length of sequences.
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
    # Rows of several replicas, put together, have lost it.
    if isinstance(gradient, tf.IndexedSlices):
        shape = tf.constant(tuple(variable.shape), gradient.indices.dtype)
        return tf.IndexedSlices(gradient.values, gradient.indices, shape)
    return gradient
