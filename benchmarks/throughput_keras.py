"""Training samples per second of a Keras project, beside a bare loop on its backend.

Run in the environment of a generated project: python throughput_keras.py PROJECT. Prints JSON.
As in throughput.py: the same network, data and optimizer, in turns, the first epoch of each left
out, the fastest epoch the one that counts.
"""

import contextlib
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from synthetic import (
    BATCH,
    CLASSES,
    EPOCHS,
    HIDDEN,
    OVERRIDES,
    SAMPLES,
    TURNS,
    synthetic_project,
)


def network() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten()]
    layers += [keras.layers.Dense(units, activation="relu") for units in HIDDEN]
    model = keras.Sequential([*layers, keras.layers.Dense(CLASSES)])
    model.build((None, 28, 28))
    return model


def parts() -> tuple[Any, Any, Any]:
    """A new network, its loss and its optimizer."""
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return network(), loss, keras.optimizers.AdamW(1e-3)


def jax_step() -> Callable[[Any, Any], None]:
    """One step of a bare loop on JAX, compiled."""
    import jax

    model, loss, optimizer = parts()
    optimizer.build(model.trainable_variables)

    def compute(weights: Any, others: Any, images: Any, labels: Any) -> Any:
        logits, others = model.stateless_call(weights, others, images, training=True)
        return loss(labels, logits), others

    gradients = jax.value_and_grad(compute, has_aux=True)

    @jax.jit
    def step(state: Any, images: Any, labels: Any) -> Any:
        weights, others, memory = state
        (_, others), grads = gradients(weights, others, images, labels)
        weights, memory = optimizer.stateless_apply(memory, grads, weights)
        return weights, others, memory

    groups = [model.trainable_variables, model.non_trainable_variables, optimizer.variables]
    state = [[variable.value for variable in variables] for variables in groups]

    def run(images: Any, labels: Any) -> None:
        state[:] = step(tuple(state), images, labels)

    return run


def tensorflow_step() -> Callable[[Any, Any], None]:
    """One step of a bare loop on TensorFlow, as a graph."""
    import tensorflow as tf

    model, loss, optimizer = parts()

    @tf.function(reduce_retracing=True)
    def run(images: Any, labels: Any) -> None:
        with tf.GradientTape() as tape:
            value = loss(labels, model(images, training=True))
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    return run


def bare_loop(images: np.ndarray, labels: np.ndarray) -> list[float]:
    import keras

    step = {"jax": jax_step, "tensorflow": tensorflow_step}[keras.backend.backend()]()
    generator = np.random.default_rng(0)
    seconds = []
    for _ in range(EPOCHS + 1):
        start = time.perf_counter()
        order = generator.permutation(SAMPLES)
        for first in range(0, SAMPLES, BATCH):
            indices = order[first : first + BATCH]
            step(images[indices], labels[indices])
        seconds.append(time.perf_counter() - start)
    return seconds


def clock() -> Any:
    """A callback that times the training part of each epoch."""
    import keras

    class Clock(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.seconds: list[float] = []

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.start, self.is_timed = time.perf_counter(), False

        def on_test_begin(self, logs: Any = None) -> None:
            self._stop()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self._stop()

        def _stop(self) -> None:
            if not self.is_timed:
                self.seconds.append(time.perf_counter() - self.start)
                self.is_timed = True

    return Clock()


def fit(images: np.ndarray, labels: np.ndarray) -> list[float]:
    """Keras's own loop, over arrays in memory."""
    model, loss, optimizer = parts()
    model.compile(optimizer=optimizer, loss=loss)
    timed = clock()
    model.fit(images, labels, BATCH, EPOCHS + 1, verbose=0, callbacks=[timed])
    return timed.seconds


def project(package: str, config: dict[str, Any]) -> list[float]:
    """The generated project's own `train`, tracked, checkpointed and validated."""
    train = importlib.import_module(f"{package}.train")
    session = importlib.import_module("workflow.keras.session").Session
    timed = clock()
    original = session.fit_arguments

    def with_clock(self: Any) -> dict[str, Any]:
        arguments = original.fget(self)
        return {**arguments, "callbacks": [timed, *arguments["callbacks"]]}

    session.fit_arguments = property(with_clock)
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            train.train(config, Path(folder))
    finally:
        session.fit_arguments = original
    return timed.seconds


def main(folder: Path) -> None:
    package = next(path.parent.name for path in folder.glob("*/train.py"))
    with synthetic_project(folder) as (images, labels):
        compose = importlib.import_module("workflow.config.compose")
        schema = importlib.import_module("workflow.config.schema")
        own = ["optimizer.learning_rate=1e-3", f"trainer.epochs={EPOCHS + 1}"]
        config = schema.plain(compose.compose([*OVERRIDES, *own]))
        importlib.import_module("workflow.launch").set_variables(config)
        importlib.import_module("workflow.keras.devices").set_up(config["trainer"])
        ways: dict[str, Callable[[], list[float]]] = {
            "bare loop": lambda: bare_loop(images, labels),
            "fit": lambda: fit(images, labels),
            "project": lambda: project(package, config),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(TURNS):
            for name, way in ways.items():
                print(f"turn {turn + 1}/{TURNS}: {name}", file=sys.stderr)
                seconds[name] += way()[1:]
    print(json.dumps({name: SAMPLES / min(values) for name, values in seconds.items()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
