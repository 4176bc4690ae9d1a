"""What happens around the training loop, whether the run is tracked or not."""

import math
import sys
import time
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import lightning as L
import torch
from annotated_types import Interval, MinLen
from lightning.pytorch.callbacks import EarlyStopping, WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from ..config.values import ConfigError
from ..errors import listed
from ..training import history
from ..training.session import DivergedError
from ..trial import PrunedError
from .pending import Pending

ENDS = (KeyboardInterrupt, ConfigError, DivergedError, PrunedError)  # of all processes alike


class EpochSeed(L.Callback):
    """Makes dropout a function of seed and epoch, so a resumed run equals an uninterrupted one."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Lightning leaves out `on_train_epoch_start` of the first epoch after a resume.
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epochs = trainer.current_epoch * trainer.world_size + trainer.global_rank
        torch.manual_seed(self.seed * 1_000_003 + epochs)


class StayStopped(L.Callback):
    """A training that early stopping had ended before a kill does not start another epoch."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        stopper = trainer.early_stopping_callback
        if isinstance(stopper, EarlyStopping) and stopper.stopped_epoch:
            trainer.should_stop = True


class StopDiverged(L.Callback):
    """Ends a training whose loss or metric is not finite, before anything of that epoch is kept.

    The losses of `log_every_n_steps` batches are read when the next ones are complete, when a GPU
    has computed them long since, and at the end of an epoch.

    Raises:
        DivergedError: from the step, or the validation, that was found.
    """

    def __init__(self, metric: str) -> None:
        """`metric` is the name of the one that decides; it has to be a finite number, too."""
        self._metric = metric
        self._losses: list[torch.Tensor] = []
        self._steps: list[int] = []
        self._pending: tuple[Pending, list[int]] | None = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any
    ) -> None:
        self._losses.append(outputs["loss"].detach())
        self._steps.append(trainer.global_step)
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if trainer.is_last_batch:
            self.check(trainer)
        elif len(self._losses) >= every:
            self._require_finite(trainer)
            self._start_reading(trainer)

    def check(self, trainer: L.Trainer) -> None:
        """Check all losses so far, in every process at once; waits for the GPU."""
        self._require_finite(trainer)
        if self._losses:
            self._start_reading(trainer)
            self._require_finite(trainer)

    def _start_reading(self, trainer: L.Trainer) -> None:
        ours = torch.stack(self._losses)
        everywhere = ours.clone()
        if trainer.world_size > 1:  # a sum is finite where each process's loss is
            torch.distributed.all_reduce(everywhere)
        self._pending = Pending(torch.stack([ours, everywhere])), self._steps
        self._losses, self._steps = [], []

    def _require_finite(self, trainer: L.Trainer) -> None:
        if self._pending is None:
            return
        (losses, steps), self._pending = self._pending, None
        for ours, everywhere, step in zip(*losses.read(), steps, strict=True):
            # Every process ends, or the others would wait for this one.
            if not math.isfinite(everywhere):
                loss = math.nan if math.isfinite(ours) else ours
                raise DivergedError(self._text(trainer, "train/loss", loss, step))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        value = float(trainer.callback_metrics[self._metric])
        if trainer.state.fn == TrainerFn.FITTING and not math.isfinite(value):
            raise DivergedError(self._text(trainer, self._metric, value, trainer.global_step))

    @staticmethod
    def _text(trainer: L.Trainer, name: str, loss: float, step: int) -> str:
        epoch = f"{trainer.current_epoch + 1}/{trainer.max_epochs}"
        return f"{name} is {loss} in epoch {epoch}, step {step}"


class EndProcesses(L.Callback):
    """Ends the other processes of a training with this one, where all end for the same reason.

    Lightning watches those that it has started, and kills this process some seconds after one of
    them ended: before W&B has finished the run. Where one alone has failed, its own text says why.
    """

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        started = getattr(trainer.strategy.launcher, "procs", [])
        if isinstance(exception, ENDS):
            for process in started:
                process.kill()
            started.clear()  # which is what Lightning watches


class Freeze(L.Callback):
    """Leaves the weights whose names match a pattern as they are, such as `layers.0.*`.

    So are the running mean and variance of a BatchNorm whose names match: it computes with them.
    """

    def __init__(self, names: Annotated[list[str], MinLen(1)]) -> None:
        self._names = names
        self._norms: list[nn.Module] = []

    def freeze(self, network: nn.Module) -> None:
        """Choose the weights by their names in the network; called before the training starts.

        Raises:
            ConfigError: a pattern matches no name, or none are left to train.
        """
        names = [*network.state_dict()]
        for pattern in self._names:
            if not any(fnmatchcase(name, pattern) for name in names):
                problem = f"{pattern} matches none of {listed(names)}"
                raise ConfigError("callbacks.freeze.names", problem)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not self._matches(name))
        if not any(parameter.requires_grad for parameter in network.parameters()):
            raise ConfigError("callbacks.freeze.names", "leaves nothing to train")
        self._norms = [
            module
            for name, module in network.named_modules()
            if isinstance(getattr(module, "running_mean", None), torch.Tensor)
            and self._matches(f"{name}.running_mean")
        ]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Lightning leaves out `on_train_epoch_start` of the first epoch after a resume.
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for norm in self._norms:
            norm.eval()

    def _matches(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._names)


class MovingAverage(WeightAveraging):
    """Validates, keeps and exports an exponential moving average of the weights and buffers.

    As Lightning's EMAWeightAveraging, which leaves the average on the CPU, however, and rounds
    numbers that do not change: frozen weights drift, whole numbers are cut off.
    """

    def __init__(self, decay: Annotated[float, Interval(gt=0, lt=1)]) -> None:
        """`decay` is the weight of the average in each step; the new weights get the rest."""

        @torch.no_grad()
        def average(averages: Any, weights: Any, _: Any) -> None:
            for ours, theirs in zip(averages, weights, strict=True):
                if ours.is_floating_point():
                    ours.lerp_(theirs, 1 - decay)
                else:
                    ours.copy_(theirs)

        super().__init__(multi_avg_fn=average)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert self._average_model is not None
        # Not its counter of steps, which would be waited for in each.
        self._average_model.module.to(pl_module.device)


class RequireMetrics(L.Callback):
    """Ends a training that does not log what a callback, or the config, decides by.

    Raises:
        ConfigError: after the first validation.
    """

    def __init__(self, metric: str) -> None:
        self._metric = metric

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        logged = trainer.callback_metrics
        if self._metric not in logged:
            raise ConfigError("metric.name", f"{self._metric} is not logged; {_listed(logged)}")
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            monitor = getattr(callback, "monitor", None)
            if monitor is not None and monitor not in logged:
                name = type(callback).__name__
                problem = f"{name} watches {monitor}, which is not logged; {_listed(logged)}"
                raise ConfigError("callbacks", problem)


class History(L.Callback):
    """Writes the metrics of each epoch to a CSV file that DVC plots; survives a resume."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # DVC removed the file before this stage; after the last epoch no row is to come.
        if self.rows and trainer.is_global_zero:
            history.write(self.path, self.rows)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        self.rows.append(history.row(trainer.current_epoch, epoch_metrics(trainer)))
        if trainer.is_global_zero:
            history.write(self.path, self.rows)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]


class EpochProgress(L.Callback):
    """One line an epoch; in a terminal, the fraction of the running epoch once a second.

    Lightning's own bar is drawn after every step, which costs a small model a third of its
    throughput, and fills a log file with control characters.
    """

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._started = self._drawn = time.monotonic()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = self._drawn = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any
    ) -> None:
        if not self._terminal or time.monotonic() - self._drawn < 1:
            return
        self._drawn = time.monotonic()
        fraction = (args[1] + 1) / trainer.num_training_batches
        if trainer.is_global_zero:
            print(f"\r{self._epoch(trainer)}  {fraction:4.0%}", end="", flush=True)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or not trainer.is_global_zero:
            return
        metrics = [f"{name} {value:.4f}" for name, value in epoch_metrics(trainer).items()]
        seconds = time.monotonic() - self._started
        start = "\r" if self._terminal else ""
        columns = [f"{start}{self._epoch(trainer)}", *metrics, f"{seconds:.2f} s"]
        print("  ".join(columns), flush=True)

    @staticmethod
    def _epoch(trainer: L.Trainer) -> str:
        width = len(str(trainer.max_epochs))
        return f"epoch {trainer.current_epoch + 1:{width}}/{trainer.max_epochs}"


def epoch_metrics(trainer: L.Trainer) -> dict[str, float]:
    """Return what the model logged of this epoch, by name: `train/…` first, then `val/…`.

    What callbacks log, such as the throughput, differs from run to run and is not part of it.
    """
    logged = trainer.callback_metrics
    names = [name for split in ("train/", "val/") for name in logged if name.startswith(split)]
    return {name: float(logged[name]) for name in names}


def _listed(logged: Iterable[str]) -> str:
    return f"logged are {', '.join(sorted(logged))}"
