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
"""

import tensorflow as tf

from bert_tf.errors import InputError
from bert_tf.optimization import (
    clip_by_global_norm,
    dense_gradient,
    global_norm,
)


def count_examples(features):
    """The totals of a batch for losses that are means over examples."""
    size = tf.shape(next(iter(features.values())))[0]
    return {"examples": tf.cast(size, tf.float32)}


def compile_steps(
    model, loss_fn, count, optimizer, dataset, strategy, settings
):
    """A graph function of batches and a number of steps.

    It returns the scalars of every step [steps, scalars], and the last batch;
    it ends early after a step whose loss or gradient is not finite. With it
    comes the list of the scalars' names (`loss`, `gradient_norm`, and those of
    `loss_fn`), which is filled when the function is traced.

    Args:
        model: a `keras.Model` that takes a dictionary of features.
        loss_fn, count: as in `training.train`.
        optimizer: of `optimization.create_optimizer`, built.
        dataset: the `tf.data.Dataset` of the batches.
        strategy: the one that the model was built under.
        settings: `TrainingSettings`.

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
        settings.gradient_accumulation_steps,
        replicas,
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
    nothing = {
        name: tf.zeros(spec.shape, spec.dtype)
        for name, spec in dataset.element_spec.items()
        if replicas == 1
    }

    @tf.function
    def run_steps(batches, num_steps):
        scalars = tf.TensorArray(tf.float32, num_steps)
        batch, done = nothing, 0
        for _ in tf.range(num_steps):
            features = next(batches)
            row = strategy.run(take_step, args=(features,))
            row = strategy.reduce(tf.distribute.ReduceOp.SUM, row, axis=None)
            scalars = scalars.write(done, row)
            done += 1
            if replicas == 1:
                batch = features
            if not tf.reduce_all(tf.math.is_finite(row[:2])):
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

    def __init__(self, model, loss_fn, count, optimizer, parts, replicas):
        self.model = model
        self.loss_fn = loss_fn
        self.count = count
        self.optimizer = optimizer
        self.parts = parts
        self.replicas = replicas
        self.variables = model.trainable_variables
        self.scalar_names = []
        # The loop clips and the optimizer does not, which on several replicas
        # would see the gradients only after rows of the same id are summed.
        self.clip_norm, optimizer.clip_norm = optimizer.clip_norm, None

    def __call__(self, features):
        """Takes the step.

        Returns:
            Its scalars, to be summed over the replicas.
        """
        totals = None
        if self.parts * self.replicas > 1:
            totals = self._sum_over_replicas(self.count(features))
        squares = None
        if self.parts == 1:
            scalars, gradients = self._gradients(features, totals)
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
            # Keras adds up what each replica applies.
            gradients = [dense_gradient(g) / self.replicas for g in gradients]
            norm /= self.replicas
        self.optimizer.apply(gradients, self.variables)
        return tf.stack([scalars[0], norm, *tf.unstack(scalars[1:])])

    def _gradients(self, features, totals):
        """The scalars, `loss` first, and a gradient for each variable."""
        with tf.GradientTape() as tape:
            inputs = {name: features[name] for name in self.model.input}
            outputs = self.model(inputs, training=True)
            scalars = self.loss_fn(outputs, features, totals)
            if not isinstance(scalars, dict):
                scalars = {"loss": scalars}
        gradients = tape.gradient(
            scalars["loss"], [v.value for v in self.variables]
        )
        others = [name for name in scalars if name != "loss"]
        self.scalar_names[:] = ["loss", "gradient_norm", *others]
        rows = [scalars[name] for name in ("loss", *others)]
        return tf.stack(rows), gradients

    def _accumulate(self, features, totals):
        """The sums of scalars and of gradients over all parts.

        A gradient of gathered rows is summed to a dense one part for part.
        What it counts in the norm to clip by, where rows of the same id are
        not summed, is what is lost by that: the third that is returned is the
        sum of the squares of all such rows, `None` if there are none.
        """
        parts = {name: _cut(x, self.parts) for name, x in features.items()}
        # Filled when the body is traced.
        self.is_rows = []
        has_gradient = []

        def add_part(number, rows, squares, sums):
            part = {name: x[number] for name, x in parts.items()}
            scalars, gradients = self._gradients(part, totals)
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
        scalars.set_shape((len(self.scalar_names) - 1,))
        sums = [s if has else None for s, has in zip(sums, has_gradient)]
        return scalars, sums, squares

    def _norm(self, gradients, squares):
        others = [g for g, r in zip(gradients, self.is_rows) if not r]
        return tf.sqrt(tf.square(global_norm(others)) + squares)

    def _sum_over_replicas(self, values):
        if self.replicas == 1:
            return values
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, values)


def _cut(x, parts):
    # At most one dimension, the length of sequences, is not known.
    shape = [-1 if size is None else size for size in x.shape[1:]]
    return tf.reshape(x, [parts, x.shape[0] // parts, *shape])


def _with_shape(gradient, variable):
    # Rows of several replicas, put together, have lost it.
    if isinstance(gradient, tf.IndexedSlices):
        shape = tf.constant(tuple(variable.shape), gradient.indices.dtype)
        return tf.IndexedSlices(gradient.values, gradient.indices, shape)
    return gradient
