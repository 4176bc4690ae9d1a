"""What a training reports that is a trial of a sweep."""

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn

from ..trial import Exchange, PrunedError


class TrialReports(L.Callback):
    """Reports the metric of each epoch, and ends the training where the sweep prunes it.

    Raises:
        PrunedError: at the start of an epoch, with the checkpoint of the previous one written.
    """

    def __init__(self, metric: str, exchange: Exchange) -> None:
        """`metric` is the name of the one that decides."""
        self._metric = metric
        self._exchange = exchange

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and trainer.is_global_zero:
            value = float(trainer.callback_metrics[self._metric])
            self._exchange.report(trainer.current_epoch, value)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Every process ends, or the others would wait for this one.
        if trainer.strategy.reduce_boolean_decision(self._exchange.is_pruned, all=False):
            raise PrunedError(f"pruned after epoch {trainer.current_epoch}")
