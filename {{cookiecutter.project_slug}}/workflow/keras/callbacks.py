"""What happens around the training loop, whether the run is tracked or not."""

import math
import sys
import time
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import keras
import numpy as np
from annotated_types import MinLen

from ..config.values import ConfigError
from ..errors import listed
from ..training.session import DivergedError

if TYPE_CHECKING:
    from .session import Session

Logs = dict[str, float]


class RunCallback(keras.callbacks.Callback):
    """A callback that knows the run that it is a part of."""

    run: "Session"


class EpochSeed(keras.callbacks.Callback):
    """Makes the order of samples and dropout a function of seed and epoch.

    So a resumed run equals an uninterrupted one.
    """

    def __init__(self, seed: int, batches: Any) -> None:
        """`batches` have an attribute `epoch`."""
        super().__init__()
        self._seed = seed
        self._batches = batches

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._batches.epoch = epoch
        for index, variable in enumerate(self.model.variables):
            if variable.path.endswith("seed_generator_state"):
                variable.assign(np.array([self._number(epoch, index), 0], variable.dtype))
        if keras.backend.backend() == "torch":  # some layers draw from PyTorch's own generator
            import torch

            torch.manual_seed(self._number(epoch))

    def _number(self, *parts: int) -> int:
        return int(np.random.SeedSequence([self._seed, *parts]).generate_state(1)[0]) >> 1


class RequireMetrics(keras.callbacks.Callback):
    """Ends a training that does not log what a callback, or the config, decides by.

    Raises:
        ConfigError: after the first epoch.
    """

    def __init__(self, metric: str, others: Iterable[Any]) -> None:
        super().__init__()
        self._metric = metric
        self._others = list(others)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logged = named(logs or {})
        listed = f"logged are {', '.join(sorted(logged))}"
        if self._metric not in logged:
            raise ConfigError("metric.name", f"{self._metric} is not logged; {listed}")
        for callback in self._others:
            monitor = getattr(callback, "monitor", None)
            if monitor is not None and monitor not in (logs or {}):
                name = type(callback).__name__
                shown = f"logged are {', '.join(sorted(logs or {}))}"
                problem = f"{name} watches {monitor}, which is not logged; {shown}"
                raise ConfigError("callbacks", problem)


class StopDiverged(keras.callbacks.Callback):
    """Ends a training whose loss or metric is not finite, before anything of that epoch is kept.

    Raises:
        DivergedError: at the end of the epoch.
    """

    def __init__(self, metric: str) -> None:
        """`metric` is the name of the one that decides; it has to be a finite number, too."""
        super().__init__()
        self._metric = metric

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logged = named(logs or {})
        for name in ("train/loss", self._metric):
            if name in logged and not math.isfinite(logged[name]):
                step = int(self.model.optimizer.iterations)
                text = f"{name} is {logged[name]} in epoch {epoch + 1}/{self.params['epochs']}"
                raise DivergedError(f"{text}, step {step}")


class Freeze(keras.callbacks.Callback):
    """Leaves the weights of layers whose names match a pattern as they are, such as `conv2d*`.

    A BatchNormalization among them computes with its mean and variance as they are.
    """

    def __init__(self, names: Annotated[list[str], MinLen(1)]) -> None:
        super().__init__()
        self._names = list(names)

    def freeze(self, network: Any) -> None:
        """Choose the layers by their names; called before the training starts.

        Raises:
            ConfigError: a pattern matches no name, or none are left to train.
        """
        layers = {layer.name: layer for layer in network._flatten_layers(include_self=False)}
        layers = {name: layer for name, layer in layers.items() if layer.weights}
        for pattern in self._names:
            if not any(fnmatchcase(name, pattern) for name in layers):
                problem = f"{pattern} matches none of {listed([*layers])}"
                raise ConfigError("callbacks.freeze.names", problem)
        for name, layer in layers.items():
            if any(fnmatchcase(name, pattern) for pattern in self._names):
                layer.trainable = False
        if not network.trainable_weights:
            raise ConfigError("callbacks.freeze.names", "leaves nothing to train")


class EpochProgress(keras.callbacks.Callback):
    """One line an epoch; in a terminal, the fraction of the running epoch once a second.

    Keras's own bar is drawn after every step, which costs throughput, and fills a log file with
    control characters.
    """

    def __init__(self) -> None:
        super().__init__()
        self._terminal = sys.stdout.isatty()
        self._started = self._drawn = time.monotonic()
        self._epoch = ""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._started = self._drawn = time.monotonic()
        epochs = self.params["epochs"]
        self._epoch = f"epoch {epoch + 1:{len(str(epochs))}}/{epochs}"

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if not self._terminal or time.monotonic() - self._drawn < 1:
            return
        self._drawn = time.monotonic()
        print(f"\r{self._epoch}  {(batch + 1) / self.params['steps']:4.0%}", end="", flush=True)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        measured = epoch_metrics(logs or {}).items()
        metrics = [f"{name} {value:.4f}" for name, value in measured]
        seconds = time.monotonic() - self._started
        start = "\r" if self._terminal else ""
        print("  ".join([f"{start}{self._epoch}", *metrics, f"{seconds:.2f} s"]), flush=True)


def named(logs: Logs) -> Logs:
    """Return what Keras logged under the names that runs of every framework have.

    `loss` becomes train/loss, `val_loss` val/loss; a name with a split stays.
    """

    def name(logged: str) -> str:
        if "/" in logged:
            return logged
        return f"val/{logged[4:]}" if logged.startswith("val_") else f"train/{logged}"

    return {name(logged): float(value) for logged, value in logs.items()}


def epoch_metrics(logs: Logs) -> Logs:
    """Return the metrics of an epoch, by name: `train/…` first, then `val/…`, each by its loss.

    What callbacks log, such as the throughput, differs from run to run and is not part of it.
    """
    logged = named(logs)
    metrics: Logs = {}
    for split in ("train", "val"):
        loss = f"{split}/loss"
        names = [name for name in logged if name.startswith(f"{split}/") and name != loss]
        metrics |= {name: logged[name] for name in [loss, *names] if name in logged}
    return metrics
