"""Deployments: on this machine by Compose, beyond it by Kubernetes."""

from invoke import Context, task

from .pipeline import OF_A_JOB
from .shell import overrides, run_module

MODELS = "NAME=SOURCE, commas between: a file, FILE@REVISION, model#STAGE or URL#sha256=…"
NAME = {"name": "of the model"}
CLUSTER = {"environment": "a folder of deploy/kubernetes/environments", "models": MODELS}
COMMITTED = "model=models/model.onnx@HEAD"


@task(
    help={
        "models": f"{MODELS}; also the NAME of one that is deployed. Default: as before",
        "scale": "replicas of each model; default: as before",
        "port": "of this machine; default: as before",
        "address": "of this machine; 0.0.0.0 to be reached from everywhere",
    }
)
def up(
    context: Context,
    models: str = "",
    scale: str = "",
    port: str = "",
    address: str = "",
) -> None:
    """Deploy models on this machine, or change what is deployed."""
    deploy("up", models=models, scale=scale, port=port, address=address)


@task
def status(context: Context) -> None:
    """Show models, versions, replicas, and whether they answer."""
    deploy("status")


@task(help={"follow": "until Ctrl-C"})
def logs(context: Context, follow: bool = False) -> None:
    """Show what the containers printed."""
    deploy("logs", *(["--follow"] if follow else []))


@task
def down(context: Context) -> None:
    """Stop the containers; `inv deploy.up` starts the same again."""
    deploy("down")


@task(
    help={
        **NAME,
        "source": "of the new release; default: the canary, or the same source again",
        "weight": "percent of the requests, for a canary; default: all",
    }
)
def promote(context: Context, name: str, source: str = "", weight: str = "") -> None:
    """Send a model's requests to a new version; none is lost."""
    deploy("promote", name, source=source, weight=weight)


@task(help=NAME)
def rollback(context: Context, name: str) -> None:
    """Remove a model's canary, or undo its last promotion."""
    deploy("rollback", name)


@task(help=CLUSTER)
def render(context: Context, environment: str, models: str = COMMITTED) -> None:
    """Write .deploy/kubernetes/ENVIRONMENT.yaml for a cluster."""
    deploy("render", environment, models=models)


@task(help=CLUSTER)
def apply(context: Context, environment: str, models: str = COMMITTED) -> None:
    """Render, and apply to the cluster of kubectl's context."""
    deploy("apply", environment, models=models)


@task(
    help={
        "name": "of the experiment that comes out; default: the time",
        "render": "write .deploy/kubernetes/train-NAME.yaml, and start nothing",
    }
)
def train(context: Context, name: str = "", render: bool = False) -> None:
    """Run `inv train` as a Job on a cluster; overrides after `--`."""
    options = [*([f"--name={name}"] if name else []), *(["--render"] if render else [])]
    run_module("pipeline.params", "--check", *(x for x in overrides() if not OF_A_JOB.match(x)))
    run_module("cluster.training_job", *options, "--", *overrides())


def deploy(action: str, *arguments: str, **options: str) -> None:
    """Run an action of the package's module, with the options that were given."""
    values = {name: value for name, value in options.items() if value}
    flags = (f"--{name}={value}" for name, value in values.items())
    run_module("deployment", action, *arguments, *flags)
