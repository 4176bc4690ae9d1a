"""The devices of this machine: whether a config's are there, and what it computes on."""

from importlib.util import find_spec
from typing import Any

from ..config.values import ConfigError
from .processes import local_rank


def require_devices(trainer: dict[str, Any]) -> None:
    """Check `trainer.accelerator` and `trainer.devices` against the devices of this machine.

    Raises:
        ConfigError: there is no GPU, or not that many; or no TPU that PyTorch can use.
    """
    kind, devices = trainer["accelerator"], trainer["devices"]
    if kind == "tpu" and not find_spec("torch_xla"):
        problem = "tpu: needs a machine with TPUs, and torch_xla there; or: trainer=cpu"
        raise ConfigError("trainer.accelerator", problem)
    if kind not in ("gpu", "cuda", "mps"):
        return
    count = _count(kind)
    if not count:
        raise ConfigError("trainer.accelerator", f"{kind}: no such device here; or: trainer=cpu")
    needed = max(devices) + 1 if isinstance(devices, list) else devices
    if isinstance(needed, int) and needed > count:
        raise ConfigError("trainer.devices", f"{devices}: there are {count} here, from 0 on")


def require_memory(trainer: dict[str, Any], size: int) -> None:
    """Check that data fits in the free memory of the device that this process trains on.

    Args:
        trainer: the config's.
        size: of the data, in bytes.

    Raises:
        ConfigError: it does not.
    """
    free = _free_memory(trainer)
    if free is not None and size > free:
        problem = f"the data takes {_gib(size)}, and the device has {_gib(free)} free"
        raise ConfigError("loader.on_device", f"{problem}; or: loader=memory")


def hardware(trainer: dict[str, Any]) -> dict[str, Any]:
    """Return what a training computes on, and how, as its provenance has it."""
    device = _accelerator(trainer["accelerator"])
    # Lightning has no 16-mixed for a CPU.
    on_cpu = (trainer["precision"], device) == ("16-mixed", "cpu")
    return {
        "accelerator": device,
        "precision": "bf16-mixed" if on_cpu else trainer["precision"],
        "threads": trainer["threads"],
    }


def gpu_name() -> str | None:
    """Return the name of this machine's first GPU of CUDA, or None."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _accelerator(kind: str) -> str:
    """Return the name of the GPU that a run on `kind` uses, or "cpu"; `auto` is the best here."""
    if kind == "cpu":
        return "cpu"
    import torch

    if name := gpu_name():
        return name
    if kind == "auto":
        return "mps" if torch.backends.mps.is_available() else "cpu"
    return kind


def _count(kind: str) -> int:
    import torch

    cuda = 0 if kind == "mps" else torch.cuda.device_count()
    return cuda or int(kind != "cuda" and torch.backends.mps.is_available())


def _free_memory(trainer: dict[str, Any]) -> int | None:
    """Return the free bytes of the GPU of this process; None where it has none."""
    import torch

    kind, devices = trainer["accelerator"], trainer["devices"]
    if kind == "cpu":
        return None
    if kind != "mps" and torch.cuda.is_available():
        index = devices[local_rank()] if isinstance(devices, list) else local_rank()
        return torch.cuda.mem_get_info(index)[0]
    if torch.backends.mps.is_available():
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return None


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
