"""The devices of this machine, as the backend sees them, and how it computes on them."""

from typing import Any

import keras

from ..config.values import ConfigError


def require_devices(trainer: dict[str, Any]) -> None:
    """Check `trainer.accelerator` against the devices of this machine.

    Raises:
        ConfigError: there is no such device that the backend can use.
    """
    kind = trainer["accelerator"]
    if kind in ("gpu", "tpu") and device_name(kind) is None:
        backend = keras.backend.backend()
        problem = f"{kind}: {backend} finds none here"
        if kind == "gpu" and backend != "torch":
            problem += f", or no CUDA (uv sync --inexact --extra {backend}-cuda)"
        raise ConfigError("trainer.accelerator", f"{problem}; or: trainer=cpu")


def set_up(trainer: dict[str, Any]) -> None:
    """Make the backend compute as `trainer` says: precision, threads, determinism.

    Keras has defaults of its own in ~/.keras, which do not count.
    """
    keras.utils.clear_session()  # layers are numbered as in a process of its own, also in a sweep
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    keras.config.set_epsilon(1e-7)
    keras.config.set_dtype_policy(trainer["precision"])
    backend, threads = keras.backend.backend(), trainer["threads"]
    if backend == "tensorflow":
        import tensorflow as tf

        if tf.config.threading.get_intra_op_parallelism_threads() != threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        if trainer["deterministic"]:
            tf.config.experimental.enable_op_determinism()
    elif backend == "torch":
        import torch

        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(trainer["deterministic"])


def hardware(config: dict[str, Any]) -> dict[str, Any]:
    """Return what a training computes on, and how, as its provenance has it."""
    trainer = config["trainer"]
    kind = trainer["accelerator"]
    device = device_name(kind if kind != "auto" else "gpu") if kind != "cpu" else None
    return {
        "accelerator": device or "cpu",
        "backend": config["backend"],
        "precision": trainer["precision"],
        "threads": trainer["threads"],
    }


def device_name(kind: str) -> str | None:
    """Return the name of this machine's first "gpu" or "tpu" that the backend uses, or None."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        try:
            (first, *_) = jax.devices(kind)
        except RuntimeError:  # there is no such platform
            return None
        return first.device_kind
    if backend == "tensorflow":
        import tensorflow as tf

        physical = tf.config.list_physical_devices(kind.upper())
        details = tf.config.experimental.get_device_details(physical[0]) if physical else {}
        return details.get("device_name", kind) if physical else None
    import torch

    if kind == "gpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return "mps" if kind == "gpu" and torch.backends.mps.is_available() else None
