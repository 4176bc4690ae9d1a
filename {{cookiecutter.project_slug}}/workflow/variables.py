"""How a training treats environment variables; docs/ has the same table.

Lightning, PyTorch, Keras and its backends, DVC, Hydra and W&B each read some of their own. None may
change a result, or mix two runs, without a word: what does not count is said in one line, and what
cannot be is refused before anything runs.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

USED, UNUSED, REFUSED = "used", "not used, said so", "refused"
# Set by an agent of W&B's sweeps, which chooses the first two; the last one says what is so anyway.
OF_AN_AGENT = ("WANDB_RUN_ID", "WANDB_PROJECT", "WANDB_DIR")
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # Lightning reads the first


class VariableError(Exception):
    """A variable or a file is there that a training cannot have; the text says which."""


@dataclass(frozen=True)
class Rule:
    """What becomes of some variables, or files.

    Args:
        names: of the variables; one that ends in `*` stands for all that start so, one with a dot
            is a file's.
        effect: `USED`, `UNUSED` or `REFUSED`.
        why: how a used one counts; what counts in place of another.
        key: of the config, whose value is the one that counts.
        framework: that alone reads them; "" where each does.
    """

    names: tuple[str, ...]
    effect: str
    why: str
    key: str | None = None
    framework: str = ""

    def set_in(self, variables: Mapping[str, str]) -> list[str]:
        """Return which of its variables are set; an empty one is not. Files are those here."""
        prefixes = tuple(name[:-1] for name in self.names if name.endswith("*"))
        files = [name for name in self.names if "." in name and Path(name).exists()]
        return files + [
            name
            for name, value in variables.items()
            if value and (name in self.names or (prefixes and name.startswith(prefixes)))
        ]


RULES = (
    Rule(("WANDB_API_KEY", "WANDB_BASE_URL"), USED, "the account, and its server"),
    Rule(("WANDB_MODE",), USED, "where `tracking.mode` is `auto`"),
    Rule(("WANDB_ENTITY",), USED, "where `tracking.entity` is `null`"),
    Rule(("WANDB_TAGS",), USED, "added to `tracking.tags`"),
    Rule(
        ("WANDB_NAME", "WANDB_NOTES", "WANDB_RUN_GROUP", "WANDB_JOB_TYPE"),
        USED,
        "recorded with the run; an experiment has its own name, a trial the group of its sweep",
    ),
    Rule(
        ("WANDB_DISABLE_CODE", "WANDB_DISABLE_GIT", "WANDB_SAVE_CODE"),
        USED,
        "uncommitted changes are not kept with the run, which cannot be restored then",
    ),
    Rule(("WANDB_DATA_DIR",), USED, "where artifacts wait for their upload"),
    Rule(("WANDB_PROJECT",), UNUSED, "`tracking.project` counts", "tracking.project"),
    Rule(
        ("WANDB_RUN_ID", "WANDB_RESUME"),
        UNUSED,
        "each training is a run of its own, and an interrupted one is found by its inputs",
    ),
    Rule(("WANDB_DIR",), UNUSED, "runs are in the project's `wandb/`"),
    Rule(("WANDB_CONFIG_PATHS",), UNUSED, "the config is that of `conf/`"),
    Rule(("WANDB_DISABLED",), UNUSED, "`tracking.mode=disabled` or `WANDB_MODE=disabled` counts"),
    Rule(
        ("WANDB_SWEEP_ID",),
        USED,
        "as `wandb agent` sets it, with `WANDB_RUN_ID` and `WANDB_PROJECT`, which count then;"
        " refused without them",
    ),
    Rule(("WANDB_FORK_FROM", "WANDB_RESUME_FROM"), REFUSED, "the run would be a part of another"),
    Rule(("config-defaults.yaml",), REFUSED, "W&B would add its values to the run's config"),
    Rule(("wandb/settings",), USED, "W&B's own file: what no variable and no `tracking` key says"),
    Rule(("PL_GLOBAL_SEED",), UNUSED, "`seed` counts", "seed", framework="pytorch"),
    Rule(("OMP_NUM_THREADS",), UNUSED, "`trainer.threads` counts", "trainer.threads"),
    Rule(("PL_TRAINER_*",), REFUSED, "values belong in `conf/trainer/`", framework="pytorch"),
    Rule(("KERAS_BACKEND",), UNUSED, "`backend` counts", "backend", framework="keras"),
    Rule(
        ("KERAS_HOME",),
        USED,
        "where Keras keeps weights that it has downloaded; its `keras.json` does not count",
        framework="keras",
    ),
    Rule(
        ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "KERAS_TORCH_DEVICE"),
        REFUSED,
        "values belong in `conf/trainer/`",
        framework="keras",
    ),
    Rule(
        ("KERAS_NNX_ENABLED", "JAX_ENABLE_X64", "JAX_DEFAULT_*", "JAX_DISABLE_JIT", "TF_XLA_FLAGS"),
        REFUSED,
        "the same config would give other numbers",
        framework="keras",
    ),
    Rule(
        ("NPROC", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
        UNUSED,
        "`trainer.threads` counts",
        "trainer.threads",
        framework="keras",
    ),
    Rule(
        ("TF_ENABLE_ONEDNN_OPTS",),
        UNUSED,
        "oneDNN is off: it rounds by the kind of the processor",
        framework="keras",
    ),
    Rule(
        ("TF_CPP_MIN_LOG_LEVEL",),
        UNUSED,
        "errors alone are logged, on a CPU none",
        framework="keras",
    ),
    Rule(("JAX_PLATFORMS",), USED, "unless `trainer.accelerator` is `cpu`", framework="keras"),
    Rule(("XLA_FLAGS",), USED, "unless `trainer.deterministic` is `true`", framework="keras"),
    Rule(
        RANKS,
        USED,
        "which process this is, of those that SLURM, torchrun or Lightning started;"
        " refused where a training has one process and the number is not 0",
    ),
    Rule(
        ("SLURM_*",),
        USED,
        "which nodes, for a training of several; what a signal does is the job's own matter",
        framework="pytorch",
    ),
    Rule(
        ("TRAINING_IMAGE", "TRAINING_CONTAINER"),
        USED,
        "the container that a job of a cluster trains in; from `resources.image`",
    ),
    Rule(("CUDA_VISIBLE_DEVICES",), USED, "which GPUs; a sweep gives each trial one of them"),
    Rule(("SWEEP_TRIAL",), USED, "as `inv sweep` sets it for a trial: where it reports"),
    Rule(
        ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"),
        USED,
        "as DVC sets them for a stage; `inv` leaves out those that it was started with",
    ),
    Rule(("DVC_STUDIO_*", "DVC_NO_ANALYTICS"), USED, "by DVC itself"),
    Rule(("HYDRA_FULL_ERROR",), USED, "whole tracebacks"),
)


def rules(framework: str) -> list[Rule]:
    """Return the rules of what a training by this framework reads."""
    return [rule for rule in RULES if rule.framework in ("", framework)]


def check(config: Mapping[str, Any], variables: Mapping[str, str] | None = None) -> list[str]:
    """Return a line for each variable that is set and does not count.

    Args:
        config: as plain types.
        variables: the environment; default: that of this process.

    Raises:
        VariableError: one is set that is refused.
    """
    variables = os.environ if variables is None else variables
    _require_one_process(config, variables)
    of_agent = OF_AN_AGENT if _is_of_agent(variables) else ()
    lines = []
    for rule in rules(config["framework"]):
        for name in rule.set_in(variables):
            if rule.effect == REFUSED:
                remove = "remove it" if "." in name else "unset it"
                raise VariableError(f"{name}: {_plain(rule.why)}; {remove}")
            is_unused = rule.effect == UNUSED and name not in of_agent
            if is_unused and not _agrees(rule, variables[name], config):
                lines.append(f"{name} is not used: {_plain(rule.why)}{_value(rule, config)}")
    tracking = config["tracking"]
    for name, value, free in [
        ("WANDB_MODE", tracking["mode"], "auto"),
        ("WANDB_ENTITY", tracking["entity"], None),
    ]:
        if value != free and variables.get(name) not in (None, "", value):
            key = name.lower().replace("wandb_", "tracking.")
            lines.append(f"{name} is not used: {key} counts ({value})")
    return lines


def drop_unused() -> None:
    """Remove W&B's variables that do not count, so that neither W&B nor a child reads them."""
    of_agent = OF_AN_AGENT if _is_of_agent(os.environ) else ()
    for rule in RULES:
        if rule.effect == UNUSED:
            for name in rule.set_in(os.environ):
                if name.startswith("WANDB_") and name not in of_agent:
                    del os.environ[name]
    # An agent's file of values: W&B would write `model: mlp` over the model of the run's config.
    os.environ.pop("WANDB_SWEEP_PARAM_PATH", None)


def _is_of_agent(variables: Mapping[str, str]) -> bool:
    """Whether an agent of a sweep of W&B's has started this training.

    Raises:
        VariableError: the sweep is named, and the run is not.
    """
    if not variables.get("WANDB_SWEEP_ID"):
        return False
    if not variables.get("WANDB_RUN_ID"):
        raise VariableError("WANDB_SWEEP_ID: the run would be a part of another; unset it")
    return True


def _require_one_process(config: Mapping[str, Any], variables: Mapping[str, str]) -> None:
    """Raise VariableError if the variables say that one process of a single one is another."""
    ranks = [name for name in RANKS if variables.get(name)]
    devices = config["trainer"].get("devices")  # Lightning's alone: others train in one process
    nodes = config["trainer"].get("num_nodes", 1)
    if ranks and variables[ranks[0]] != "0" and devices in (None, 1, "1") and nodes == 1:
        one = "this training has one" if devices is None else "trainer.devices is 1"
        raise VariableError(
            f"{ranks[0]}={variables[ranks[0]]} is set, as in one process of several,"
            f" and {one}; unset it"
        )


def _value(rule: Rule, config: Mapping[str, Any]) -> str:
    return f" ({_select(config, rule.key)})" if rule.key else ""


def _agrees(rule: Rule, value: str, config: Mapping[str, Any]) -> bool:
    return rule.key is not None and value == str(_select(config, rule.key))


def _select(config: Mapping[str, Any], key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node[part]
    return node


def _plain(text: str) -> str:
    return text.replace("`", "")
