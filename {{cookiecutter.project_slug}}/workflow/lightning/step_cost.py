"""What Lightning does in each step though nothing comes of it, left out by what it offers."""

import os
from contextlib import AbstractContextManager, nullcontext

import lightning as L
from lightning.pytorch.profilers import Profiler

STEP_HOOKS = (
    *("on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward"),
    *("on_before_optimizer_step", "on_train_batch_end"),
)
DRIVER_CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"
NOTHING: AbstractContextManager[None] = nullcontext()


class NoProfiler(Profiler):
    """Measures nothing. Lightning's own makes a new context for each call of each hook."""

    def start(self, action_name: str) -> None:
        pass

    def stop(self, action_name: str) -> None:
        pass

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        return NOTHING


class SkipEmptyHooks(L.Callback):
    """Makes Lightning pass over the hooks of a step that neither callback nor model defines.

    It calls every hook that can be called: six of a dozen callbacks, in each step.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        bases: dict[object, type] = {pl_module: L.LightningModule}
        bases |= dict.fromkeys(trainer.callbacks, L.Callback)  # type: ignore[attr-defined]
        for one, base in bases.items():
            for name in STEP_HOOKS:
                if getattr(type(one), name) is getattr(base, name):
                    setattr(one, name, None)


def forget_driver_check() -> None:
    """Undo what an import of Lightning sets, for a training on the CPU.

    With it, PyTorch looks for NVIDIA's library in each step of an optimizer.
    """
    os.environ.pop(DRIVER_CHECK, None)
