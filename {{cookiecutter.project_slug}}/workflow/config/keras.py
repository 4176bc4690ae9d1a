"""The keys of a config whose models Keras trains."""

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Any

from . import epochs
from .groups import Framework
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
class Config(epochs.EpochsConfig):
    backend: Annotated[str, one_of(*BACKENDS)]
    trainer: Trainer


def trainer_keys(*_: str) -> Signature:
    """Return what `trainer` may hold."""
    return declared_in(Trainer)


def validate(settings: dict[str, Any]) -> None:
    """Check what no key says alone.

    Raises:
        ConfigError: two values do not go together, or the backend is not installed.
    """
    trainer, optimizer = settings["trainer"], settings["optimizer"]
    backend = settings["backend"]
    if find_spec(backend) is None:
        inside = "UV_NO_SYNC" in os.environ  # which an image sets
        fix = "inv docker.build" if inside else f"uv sync --inexact --extra {backend}"
        raise ConfigError("backend", f"{backend} is not installed: {fix}")
    if trainer["accelerator"] == "tpu" and backend != "jax":
        raise ConfigError("trainer.accelerator", "tpu: Keras uses one by JAX: backend=jax")
    if trainer["jit_compile"] is True and trainer["deterministic"] and backend == "tensorflow":
        problem = "TensorFlow compiles nothing deterministically: or trainer.deterministic=false"
        raise ConfigError("trainer.jit_compile", problem)
    if optimizer.get("use_ema"):
        problem = "must be false: what is validated and kept are the weights, not their average"
        raise ConfigError("optimizer.use_ema", problem)
    epochs.validate(settings)


def variables(settings: dict[str, Any]) -> dict[str, str]:
    """Return the variables that Keras and its backend read when they are imported."""
    trainer = settings["trainer"]
    threads = str(trainer["threads"])
    values = {
        "KERAS_BACKEND": settings["backend"],
        "NPROC": threads,  # of XLA's thread pool
        "OMP_NUM_THREADS": threads,
        # Errors alone; on a CPU none, as one is that there is no GPU.
        "TF_CPP_MIN_LOG_LEVEL": "3" if trainer["accelerator"] == "cpu" else "2",
        "TF_ENABLE_ONEDNN_OPTS": "0",  # which rounds by the processor's kind
    }
    if trainer["accelerator"] == "cpu":
        values |= {
            "CUDA_VISIBLE_DEVICES": "-1",
            "JAX_PLATFORMS": "cpu",
            "KERAS_TORCH_DEVICE": "cpu",
        }
    if trainer["deterministic"]:
        values["XLA_FLAGS"] = "--xla_gpu_deterministic_ops=true"
        values["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    return values


KERAS = Framework(
    config=Config,
    trainer=Trainer,
    trainer_keys=trainer_keys,
    target_keys=epochs.TARGET_KEYS,
    validate=validate,
    variables=variables,
    imported="workflow.keras.quiet",
)
