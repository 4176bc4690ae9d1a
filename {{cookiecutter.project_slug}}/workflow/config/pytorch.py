"""The keys of a config whose models PyTorch Lightning trains."""

from dataclasses import dataclass
from typing import Annotated, Any

from . import epochs, targets
from .groups import Framework, thread_variables
from .values import ConfigError, Rule, Signature, at_least, declared_in, one_of


def _are_devices(value: Any) -> bool:
    if isinstance(value, list):
        indices = [index for index in value if type(index) is int and index >= 0]
        return len(set(indices)) == len(value) > 0
    return value == "auto" or (type(value) is int and (value == -1 or value >= 1))


def _is_limit(value: Any) -> bool:
    return (type(value) is int and value >= 1) or (type(value) is float and 0 < value <= 1)


DEVICES = Rule(
    _are_devices, "must be a number of devices, -1 (all), auto, or a list of indices", whole=True
)
LIMIT = Rule(
    _is_limit, "must be at least 1 batch, or a fraction such as 0.5, at most 1.0", whole=True
)


@dataclass(kw_only=True)
class Trainer:  # what the workflow relies on; trainer_keys has the others
    accelerator: Annotated[str, one_of("auto", "cpu", "gpu", "cuda", "mps", "tpu")]
    devices: Annotated[Any, DEVICES]
    # Others, such as fsdp, write checkpoints that `train` cannot resume from.
    num_nodes: Annotated[int, at_least(1)] = 1
    strategy: Annotated[str, one_of("auto", "ddp", "ddp_find_unused_parameters_true")]
    # Not 16-true: in float16 the eps of Adam is 0, and the first step gives NaN.
    precision: Annotated[str, one_of("32-true", "bf16-mixed", "16-mixed", "64-true", "bf16-true")]
    max_epochs: Annotated[int, at_least(1)]
    gradient_clip_val: Annotated[float | None, at_least(0)]
    accumulate_grad_batches: Annotated[int, at_least(1)]
    limit_train_batches: Annotated[Any, LIMIT]
    limit_val_batches: Annotated[Any, LIMIT]
    log_every_n_steps: Annotated[int, at_least(1)]
    profiler: Annotated[str | None, one_of("simple", "advanced", "pytorch")]
    deterministic: Annotated[Any, one_of(True, False, "warn")]
    threads: Annotated[int, at_least(1)]
    compile: Annotated[Any, one_of(True, False, "reduce-overhead")]


@dataclass(kw_only=True)
class Train(epochs.Train):
    checkpoint_minutes: Annotated[float | None, at_least(0)]


@dataclass(kw_only=True)
class Config(epochs.EpochsConfig):
    trainer: Trainer
    train: Train


# What `train` gives to lightning.Trainer itself, and what would leave a training no checkpoint.
NOT_IN_TRAINER = {
    *("barebones", "callbacks", "default_root_dir", "enable_checkpointing"),
    *("enable_model_summary", "enable_progress_bar", "fast_dev_run", "logger"),
    *("num_sanity_val_steps", "plugins", "use_distributed_sampler"),
}


def trainer_keys(*used: str) -> Signature:
    """Return what `trainer` may hold: the keys above, and what else lightning.Trainer takes.

    Args:
        used: names of keys; where the ones above are enough for them, nothing else is read.
    """
    required = declared_in(Trainer).parameters
    if used and required.keys() >= {*used}:
        return Signature(required)
    taken = targets.signature_of("lightning.Trainer")
    others = {} if taken is None else taken.parameters
    return Signature(
        {name: others[name] for name in others if name not in NOT_IN_TRAINER} | required
    )


def validate(settings: dict[str, Any]) -> None:
    """Check what no key says alone.

    Raises:
        ConfigError: two values do not go together.
    """
    trainer, optimizer = settings["trainer"], settings["optimizer"]
    if trainer["accelerator"] == "cpu" and (
        isinstance(trainer["devices"], list) or trainer["devices"] == -1
    ):
        raise ConfigError("trainer.devices", "must be a number of processes on a CPU")
    if trainer["gradient_clip_val"] and "mixed" in trainer["precision"] and optimizer.get("fused"):
        raise ConfigError(
            "optimizer.fused", "must be false to clip gradients (trainer.gradient_clip_val) in bf16"
        )
    # The graph of the second batch would write over the gradients of the first.
    if trainer["compile"] == "reduce-overhead" and trainer["accumulate_grad_batches"] > 1:
        raise ConfigError("trainer.compile", "must be true to accumulate gradients, with no graphs")
    loader = settings["loader"]
    if loader.get("on_device") and loader.get("workers"):
        raise ConfigError("loader.workers", "must be 0 with on_device: nothing is left to read")
    epochs.validate(settings)


PYTORCH = Framework(
    config=Config,
    trainer=Trainer,
    trainer_keys=trainer_keys,
    target_keys=epochs.TARGET_KEYS,
    validate=validate,
    variables=thread_variables,
)
