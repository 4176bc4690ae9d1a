"""A training by scikit-learn: tracked, and finished with its result."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from threadpoolctl import threadpool_limits

from ..config.values import ConfigError
from ..deciding_metric import DecidingMetric
from ..paths import CHECKPOINT, HISTORY
from ..training import history
from ..training.best_model import Samples
from ..training.session import BaseSession
from . import checkpoint


class Session(BaseSession):
    """One training in the folder `run_dir`: `with session.open() as run:`."""

    def __init__(self, config: dict[str, Any], run_dir: Path, metrics: Collection[str]) -> None:
        """Check, before any work, that the metric that decides will be logged.

        Args:
            config: the composed config as plain types.
            metrics: names of those that are logged of the validation split, as val/NAME.

        Raises:
            ConfigError: `metric.name` is none of them.
        """
        metric = DecidingMetric(**config["metric"])
        if metric.name not in metrics:
            problem = f"{metric.name} is not logged; logged are {', '.join(metrics)}"
            raise ConfigError("metric.name", problem)
        super().__init__(config, run_dir, metric)

    @property
    def hardware(self) -> dict[str, Any]:
        return {"accelerator": "cpu", "threads": self.config["trainer"]["threads"]}

    @contextmanager
    def open(self) -> Iterator["Session"]:
        """Start the run; end it properly however it ends."""
        with threadpool_limits(self.config["trainer"]["threads"]), self.opened():
            yield self

    def finish(
        self,
        model: Any,
        epochs: list[dict[str, float]],
        more: dict[str, float],
        samples: Samples,
    ) -> None:
        """Write the result: metrics, history, and the model with its provenance.

        Args:
            model: fitted.
            epochs: the metrics after each iteration; the last ones are those of the result.
            more: other metrics of the result.
            samples: of the validation split, for the callbacks to show.
        """
        print("  ".join(f"{name} {value:.4f}" for name, value in {**epochs[-1], **more}.items()))
        recorded = self.write_result({"epochs": len(epochs), **epochs[-1], **more})
        assert recorded is not None
        assert self.wandb_run is not None
        result = self.unfinished.result
        checkpoint.write(result / CHECKPOINT.name, model, self.config, recorded)
        rows = [history.row(epoch, metrics) for epoch, metrics in enumerate(epochs)]
        history.write(result / HISTORY.name, rows)
        for epoch, metrics in enumerate(epochs):  # exact, as the last ones are in the summary too
            self._log({"epoch": epoch, **metrics}, step=epoch)
        callbacks = [instantiate(node) for node in self.config["callbacks"].values() if node]
        for step, callback in enumerate(callbacks, len(rows)):
            self._log(callback.show(samples), step=step)
        self.end()

    def _log(self, values: dict[str, Any], step: int) -> None:
        """Log a row, unless the run has it: an interrupted training starts over in the same run."""
        assert self.wandb_run is not None
        if step >= self.first_step:
            self.wandb_run.log(values, step=step)
