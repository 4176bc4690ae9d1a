"""Keras reads its backend when it is imported: that of the project that the tests run on."""

import os
from pathlib import Path

from workflow.config.compose import compose
from workflow.config.schema import plain
from workflow.launch import set_variables
from workflow.paths import CONF, ROOT

# JAX compiles for seconds what trains for less: once for all tests.
BUILD = Path(__file__).resolve().parents[3] / "build"
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(BUILD / "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
settings = plain(compose([], ROOT / CONF))
set_variables(settings)
if settings["backend"] == "tensorflow":
    from workflow.keras.devices import set_up

    set_up(settings["trainer"])  # TensorFlow takes threads before the first network alone
