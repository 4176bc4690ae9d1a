"""Running a restored run again, and comparing its results with the recorded ones."""

import os
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from ...errors import CommandError
from ...onnx_file import read_provenance, weights_sha256
from ...paths import MODEL
from ...tracking.run import WEIGHTS
from ...tracking.transaction_log import run_folders
from .. import finding
from ..experiments import METRICS_FILES
from ..finding import RecordedRun
from . import environment

STAGES = ("train", "export", "evaluate")
ENVIRONMENT = ("python", "platform", "accelerator", "lock", "image")
NONE = "-"


@dataclass(frozen=True)
class Result:
    """A value as it was recorded, and as it came out again; None where there is none."""

    name: str
    recorded: float | str | None
    reproduced: float | str | None

    @property
    def identical(self) -> bool:
        return self.recorded == self.reproduced

    @property
    def verdict(self) -> str:
        if self.identical:
            return "identical"
        if isinstance(self.recorded, str) or self.recorded is None or self.reproduced is None:
            return "differs"
        return f"{float(self.reproduced) - self.recorded:+.3g}"


def run_again(project: Path) -> None:
    """Run the stages from `train` on in a restored project, whatever DVC remembers of them.

    Config and data are those that were restored; the W&B run is a new one, offline.

    Raises:
        CommandError: a stage failed; its own output says why.
    """
    python = environment.interpreter(project)
    command = ["python", "-m", "dvc", "repro", "--force", "--single-item", *STAGES]
    print(f"$ {shlex.join(command)}", flush=True)
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", "")])
    variables = {**environment.variables(), "PATH": path, "WANDB_MODE": "offline"}
    variables.pop("WANDB_DOCKER", None)
    result = subprocess.run([str(python), *command[1:]], cwd=project, env=variables, check=False)
    if result.returncode:
        raise CommandError(f"the pipeline failed in {project}: the lines above say why")


def results(recorded: RecordedRun, project: Path) -> tuple[list[Result], list[Result]]:
    """Return the metrics and weights, then the environment's facts, of both runs."""
    provenance = read_provenance(project / MODEL)
    folders = run_folders(provenance["run"]["id"], project / "wandb")
    texts = {path: (project / path).read_text(encoding="utf-8") for path in METRICS_FILES}
    metrics = finding.file_metrics(dict(texts))
    weights = weights_sha256(project / MODEL)
    if folders:  # none where the run's config says that it is not tracked
        again = finding.offline(folders)
        metrics |= again.metrics
        if recorded.kind == finding.WANDB:  # by the code of then, which may hash otherwise
            weights = again.weights or weights
    compared = [Result(name, value, metrics.get(name)) for name, value in recorded.metrics.items()]
    if recorded.weights:
        compared.append(Result(WEIGHTS, recorded.weights, weights))
    facts = [
        Result(name, recorded.provenance.get(name), provenance.get(name))
        for name in ENVIRONMENT
        if name in recorded.provenance
    ]
    return compared, facts


def table(compared: Sequence[Result], facts: Sequence[Result]) -> Table:
    """Draw each metric, and what differs in the environment."""
    grid = Table(box=None, header_style="bold")
    grid.add_column("metric", no_wrap=True)
    grid.add_column("recorded", justify="right", no_wrap=True)
    grid.add_column("reproduced", justify="right", no_wrap=True)
    grid.add_column("", no_wrap=True)
    for result in [*compared, *(fact for fact in facts if not fact.identical)]:
        style = "" if result.identical else "bold red"
        cells = (result.name, _text(result.recorded), _text(result.reproduced), result.verdict)
        grid.add_row(*map(Text, cells), style=style)
    return grid


def _text(value: Any) -> str:
    if value is None:
        return NONE
    return value[:16] if isinstance(value, str) else repr(value)
