"""What a training reports that is a trial of a sweep."""

import keras

from ..trial import Exchange, PrunedError
from .callbacks import Logs, named


class TrialReports(keras.callbacks.Callback):
    """Reports the metric of each epoch, and ends the training where the sweep prunes it.

    Raises:
        PrunedError: at the start of an epoch, with the checkpoint of the previous one written.
    """

    def __init__(self, metric: str, exchange: Exchange) -> None:
        """`metric` is the name of the one that decides."""
        super().__init__()
        self._metric = metric
        self._exchange = exchange

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._exchange.report(epoch, named(logs or {})[self._metric])

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self._exchange.is_pruned:
            raise PrunedError(f"pruned after epoch {epoch}")
