"""Sweeps: search for the best values of the config, by Optuna."""

from invoke import Context, task

from .shell import overrides, require_code, require_git, run_module

NAME = {"name": "of a sweep; default: the latest"}


@task(
    default=True,
    help={
        "search": "a search space in conf/search/",
        "name": "of the sweep; default: from what is searched",
        "trials": "how many; default: every point of a grid",
        "jobs": "trials at a time; one GPU each, where there are GPUs",
        "seeds": "trainings a trial, each with a seed of its own; their mean decides",
        "fail-after": "how many trials may fail",
        "storage": "of Optuna, by URL; default: a file of the sweep",
        "wandb": "write the same search for `wandb sweep`, and train nothing",
    },
)
def start(
    context: Context,
    search: str = "",
    name: str = "",
    trials: str = "",
    jobs: str = "",
    seeds: str = "",
    fail_after: str = "",
    storage: str = "",
    wandb: bool = False,
) -> None:
    """Search for the best values of the config, trial by trial.

    inv sweep -- model=mlp,cnn optimizer.lr=0.1,0.01

    The same command continues a sweep that was interrupted.
    """
    require_git()
    require_code()
    values = {
        "search": search,
        "name": name,
        "trials": trials,
        "jobs": jobs,
        "seeds": seeds,
        "fail-after": fail_after,
        "storage": storage,
    }
    options = [f"--{option}={value}" for option, value in values.items() if value]
    options += ["--wandb"] if wandb else []
    run_module("sweeps", *options, "--", *overrides())


@task(help={**NAME, "browser": "open the page in the browser"})
def show(context: Context, name: str = "", browser: bool = False) -> None:
    """Show the trials of a sweep; write reports/sweeps/NAME.html."""
    run_module("sweeps.show", *_named(name), *(["--browser"] if browser else []))


@task(help={**NAME, "json": "for other programs"})
def best(context: Context, name: str = "", json: bool = False) -> None:
    """Show the winner of a sweep, as overrides of `inv train`."""
    run_module("sweeps.best", *_named(name), *(["--json"] if json else []), shown=not json)


@task(help={**NAME, "as_": "the experiment's name; default: the sweep's"})
def apply(context: Context, name: str = "", as_: str = "") -> None:
    """Write the winner of a sweep to conf/experiment/NAME.yaml."""
    run_module("sweeps.apply", *_named(name), *([f"--as={as_}"] if as_ else []))


@task(help={**NAME, "port": "of this machine"})
def dashboard(context: Context, name: str = "", port: int = 8080) -> None:
    """Open Optuna's dashboard of a sweep, until Ctrl-C."""
    run_module("sweeps.dashboard", *_named(name), f"--port={port}", ends_with_this=True)


def _named(name: str) -> list[str]:
    return [f"--name={name}"] if name else []
