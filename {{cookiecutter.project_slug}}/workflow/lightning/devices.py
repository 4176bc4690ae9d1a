"""Whether this machine has the devices that a config asks for."""

from typing import Any

from ..config.values import ConfigError


def require_devices(trainer: dict[str, Any]) -> None:
    """Check `trainer.accelerator` and `trainer.devices` against the GPUs of this machine.

    Raises:
        ConfigError: there is no GPU, or not that many.
    """
    kind, devices = trainer["accelerator"], trainer["devices"]
    if kind not in ("gpu", "cuda", "mps"):
        return
    count = _count(kind)
    if not count:
        raise ConfigError("trainer.accelerator", f"{kind}: no such device here; or: trainer=cpu")
    wanted = max(devices) + 1 if isinstance(devices, list) else devices
    if isinstance(wanted, int) and wanted > count:
        raise ConfigError("trainer.devices", f"{devices}: there are {count} here, from 0 on")


def gpu_name() -> str | None:
    """Return the name of this machine's first GPU of CUDA, or None."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _count(kind: str) -> int:
    import torch

    cuda = 0 if kind == "mps" else torch.cuda.device_count()
    return cuda or int(kind != "cuda" and torch.backends.mps.is_available())
