"""A search space: Hydra's sweep syntax as Optuna's distributions, and their values as overrides.

| written | becomes |
|---|---|
| `lr=0.1,0.01`, `model=mlp,cnn`, `choice(a,b)` | one of these |
| `range(1,5)` | 1, 2, 3 or 4 |
| `interval(0,0.5)`, `tag(log,interval(1e-4,1e-1))` | any number between, on a log scale |
| `int(interval(1,8))` | a whole number, 8 too |
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from ..config.compose import parse
from ..config.values import ConfigError

Space = dict[str, BaseDistribution]
Point = Mapping[str, Any]


def split(overrides: list[str]) -> tuple[Space, list[str]]:
    """Return the space that overrides span, and those of them that have one value.

    Raises:
        ConfigError: one of them cannot be parsed, or spans nothing.
    """
    space: Space = {}
    fixed = []
    for text in overrides:
        override = parse(text)
        key = override.get_key_element()
        if override.is_sweep_override():
            if key in space:
                raise ConfigError(key, "is given twice")
            space[key] = _distribution(override, text)
        else:
            fixed.append(text)
    return space, fixed


def combinations(space: Space) -> list[dict[str, Any]] | None:
    """Return every point of a space; None with an interval, which has infinitely many."""
    values = [_values(distribution) for distribution in space.values()]
    if any(choices is None for choices in values):
        return None
    return [
        dict(zip(space, point, strict=True))
        for point in itertools.product(*(choices for choices in values if choices is not None))
    ]


def probes(space: Space, limit: int = 32) -> list[dict[str, Any]]:
    """Return the points that show whether conf/ takes the values of a space: all of a small one.

    Of a larger one: each value, and each end of an interval, with the first of the other keys.
    """
    ends = {
        key: _values(distribution) or _ends(distribution) for key, distribution in space.items()
    }
    size = 1
    for values in ends.values():
        size *= len(values)
    if size <= limit:
        return [dict(zip(space, point, strict=True)) for point in itertools.product(*ends.values())]
    first = {key: values[0] for key, values in ends.items()}
    return [first, *({**first, key: value} for key in ends for value in ends[key][1:])]


def as_overrides(point: Point) -> list[str]:
    """Return a point as Hydra takes it: `optimizer.lr=0.1`."""
    return [
        f"{key}={value!r}" if isinstance(value, float) else f"{key}={value}"
        for key, value in point.items()
    ]


def _distribution(override: Override, text: str) -> BaseDistribution:
    value = override.value()
    try:
        if isinstance(value, IntervalSweep):
            return _interval(value)
        if isinstance(value, RangeSweep) and _is_whole(value) and not value.shuffle:
            return _range(value)
        return CategoricalDistribution([*override.sweep_string_iterator()])
    except (HydraException, ValueError) as error:
        raise ConfigError(text, f"is not a search space: {str(error).splitlines()[0]}") from None


def _interval(value: IntervalSweep) -> BaseDistribution:
    assert value.start is not None
    assert value.end is not None
    log = "log" in value.tags
    if isinstance(value.start, int) and isinstance(value.end, int):
        return IntDistribution(value.start, value.end, log=log)
    return FloatDistribution(float(value.start), float(value.end), log=log)


def _is_whole(value: RangeSweep) -> bool:
    parts = (value.start, value.stop, value.step)
    return all(isinstance(part, int) for part in parts) and value.step > 0


def _range(value: RangeSweep) -> BaseDistribution:
    numbers = value.range()
    assert isinstance(numbers, range)
    if not numbers:
        raise ValueError("it has no value")
    if len(numbers) == 1:
        return CategoricalDistribution([str(numbers[0])])
    return IntDistribution(numbers[0], numbers[-1], log="log" in value.tags, step=numbers.step)


def _values(distribution: BaseDistribution) -> list[Any] | None:
    match distribution:
        case CategoricalDistribution():
            return [*distribution.choices]
        case IntDistribution():
            return [*range(distribution.low, distribution.high + 1, distribution.step)]
    return None


def _ends(distribution: BaseDistribution) -> list[Any]:
    assert isinstance(distribution, FloatDistribution)
    return [distribution.low, distribution.high]


def described(space: Space) -> Iterator[str]:
    """Yield the values of each key of a space, as a line shows them."""
    for key, distribution in space.items():
        if isinstance(distribution, CategoricalDistribution):
            yield f"{key}={','.join(map(str, distribution.choices))}"
        elif isinstance(distribution, FloatDistribution | IntDistribution):
            log = ", log" if distribution.log else ""
            yield f"{key}={distribution.low}..{distribution.high}{log}"
