"""The keys of a config whose models scikit-learn fits."""

from dataclasses import dataclass
from typing import Annotated, Any

from .groups import BaseConfig, Framework, thread_variables
from .values import ConfigError, Signature, at_least, declared_in

WHOLE = "scikit-learn fits all samples at once, it does not stream"


@dataclass(kw_only=True)
class Trainer:
    cross_validation: Annotated[int | None, at_least(2)]
    threads: Annotated[int, at_least(1)]


@dataclass(kw_only=True)
class Config(BaseConfig):
    trainer: Trainer


def trainer_keys(*_: str) -> Signature:
    """Return what `trainer` may hold."""
    return declared_in(Trainer)


def validate(settings: dict[str, Any]) -> None:
    """Check what no key says alone.

    Raises:
        ConfigError: the data would not be read whole.
    """
    if settings["prepare"]["shard_mb"] is not None:
        raise ConfigError("prepare.shard_mb", f"must be null: {WHOLE}")


SCIKIT_LEARN = Framework(
    config=Config,
    trainer=Trainer,
    trainer_keys=trainer_keys,
    target_keys=("model",),
    validate=validate,
    variables=thread_variables,
    lacking={"loader": WHOLE},
)
