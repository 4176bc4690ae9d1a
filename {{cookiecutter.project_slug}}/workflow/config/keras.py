"""The keys of a config whose models Keras trains."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Any

from .directions import require_direction
from .groups import BaseConfig, Framework
from .values import ConfigError, Signature, at_least, declared_in, one_of

BACKENDS = ("jax", "tensorflow", "torch")


@dataclass(kw_only=True)
class Trainer:
    accelerator: Annotated[str, one_of("auto", "cpu", "gpu", "tpu")]
    precision: Annotated[str, one_of("float32", "mixed_bfloat16")]
    epochs: Annotated[int, at_least(1)]
    steps_per_epoch: Annotated[int | None, at_least(1)]
    validation_steps: Annotated[int | None, at_least(1)]
    deterministic: bool
    jit_compile: Annotated[Any, one_of(True, False, "auto")]
    threads: Annotated[int, at_least(1)]


@dataclass(kw_only=True)
class Scheduler:
    interval: Annotated[str, one_of("epoch", "step")]
    warmup: Annotated[int, at_least(0)]
    schedule: dict[str, Any] | None


@dataclass(kw_only=True)
class Train:
    resume: str  # latest, never, a run, or the path of a checkpoint
    init_from: str | None  # a run, or the path of a checkpoint


@dataclass(kw_only=True)
class Config(BaseConfig):
    backend: Annotated[str, one_of(*BACKENDS)]
    loader: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: Scheduler
    trainer: Trainer
    train: Train


def trainer_keys(*_: str) -> Signature:
    """Return what `trainer` may hold."""
    return declared_in(Trainer)


def validate(settings: dict[str, Any]) -> None:
    """Check what no key says alone.

    Raises:
        ConfigError: two values do not go together, or the backend is not installed.
    """
    train, trainer, optimizer = (settings[group] for group in ("train", "trainer", "optimizer"))
    backend = settings["backend"]
    if find_spec(backend) is None:
        fix = f"uv sync --inexact --extra {backend}"
        raise ConfigError("backend", f"{backend} is not installed: {fix}")
    if train["init_from"] is not None and train["resume"] not in ("latest", "never"):
        raise ConfigError("train.init_from", "train.resume has weights of its own: leave one out")
    if trainer["accelerator"] == "tpu" and backend != "jax":
        raise ConfigError("trainer.accelerator", "tpu: Keras uses one by JAX: backend=jax")
    if trainer["jit_compile"] is True and trainer["deterministic"] and backend == "tensorflow":
        problem = "TensorFlow compiles nothing deterministically: or trainer.deterministic=false"
        raise ConfigError("trainer.jit_compile", problem)
    if optimizer.get("use_ema"):
        problem = "must be false: what is validated and kept are the weights, not their average"
        raise ConfigError("optimizer.use_ema", problem)
    if optimizer.get("nesterov") and not optimizer.get("momentum"):
        raise ConfigError("optimizer.nesterov", "needs a momentum (optimizer.momentum) above 0")
    require_direction(settings)


def variables(settings: dict[str, Any]) -> dict[str, str]:
    """Return the variables that Keras and its backend read when they are imported."""
    trainer = settings["trainer"]
    threads = str(trainer["threads"])
    found = {
        "KERAS_BACKEND": settings["backend"],
        "NPROC": threads,  # of XLA's thread pool
        "OMP_NUM_THREADS": threads,
        # Errors alone; on a CPU none, as one is that there is no GPU.
        "TF_CPP_MIN_LOG_LEVEL": "3" if trainer["accelerator"] == "cpu" else "2",
        "TF_ENABLE_ONEDNN_OPTS": "0",  # which rounds by the processor's kind
    }
    if trainer["accelerator"] == "cpu":
        found |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu", "KERAS_TORCH_DEVICE": "cpu"}
    if trainer["deterministic"]:
        found["XLA_FLAGS"] = "--xla_gpu_deterministic_ops=true"
        found["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    return found


KERAS = Framework(
    config=Config,
    trainer=Trainer,
    trainer_keys=trainer_keys,
    made=("loader", "model", "optimizer", "scheduler.schedule"),
    validate=validate,
    variables=variables,
    imported="workflow.keras.quiet",
)
