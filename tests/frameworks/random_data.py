"""Data of each kind: its description in `conf/data/`, and random samples of it."""

from typing import Any

import numpy as np
from workflow import signature

CLASSES = {"kind": "classes", "names": ["no", "yes", "maybe"]}
VALUE = {"kind": "value", "name": "price", "unit": "EUR"}
TABLE = {"table": {"kind": "features", "columns": [{"name": name} for name in "abcd"]}}
PICTURES = {"images": {"kind": "image", "rows": 6, "columns": 6, "channels": None, "max_value": 16}}
TEXTS = ["", "ab", "größe   größe  ", " two  spaces", "猫 \N{PARTY POPPER}", "AbcdEFGHI", "\t\n x"]
IMAGE = {"kind": "image", "rows": 3, "columns": 4, "channels": None, "max_value": 16}
NUMBERS = [{"name": "age", "unit": "years"}, {"name": "bmi", "range": [-1000, 1000]}]
CHOICES = [{"name": "colour", "choices": ["red", "blue"]}, {"name": "size", "choices": ["S", "é"]}]
TEXT = {"kind": "text", "length": 24}
INPUTS: dict[str, dict[str, Any]] = {
    "image": {"image": IMAGE},
    "colour image of 16 bits": {"image": IMAGE | {"channels": 3, "max_value": 4095}},
    "numbers": {"table": {"kind": "features", "columns": NUMBERS}},
    "choices": {"table": {"kind": "features", "columns": CHOICES}},
    "both": {"table": {"kind": "features", "columns": [NUMBERS[0], *CHOICES, NUMBERS[1]]}},
    "text": {"comment": TEXT},
    "text shorter than n-grams": {"comment": TEXT | {"length": 3}},
    "all": {
        "image": IMAGE,
        "table": {"kind": "features", "columns": [*CHOICES, *NUMBERS]},
        "comment": TEXT,
    },
}


def samples(data: dict[str, Any], number: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Random inputs, as `prepare` writes them, and a target that depends on their mean."""
    generator = np.random.default_rng(0)
    inputs = {}
    for spec in signature.inputs(data):
        if spec["kind"] == "image":
            rows: Any = generator.integers(0, spec["max_value"] + 1, (number, *spec["shape"][1:]))
        elif spec["kind"] == "text":
            rows = [TEXTS[index % len(TEXTS)] for index in range(number)]
        else:
            rows = {
                column["name"]: generator.choice(column["choices"], number)
                if "choices" in column
                else generator.normal(0, 100, number)
                for column in spec["columns"]
            }
        inputs[spec["name"]] = signature.encode(spec, rows)
    means = sum(array.reshape(number, -1).mean(axis=1) for array in inputs.values())
    if data["target"]["kind"] == "value":
        return inputs, means.astype(np.float32)
    order = means.argsort().argsort()
    return inputs, order * len(data["target"]["names"]) // number
