"""Sweeps: search for the best values of the config, by Optuna."""

from invoke import Context, task

from .shell import overrides, require_code, require_git, run_module


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
) -> None:
    """Search for the best values of the config, trial by trial.

    inv sweep -- model=mlp,cnn optimizer.lr=0.1,0.01

    The same command continues a sweep that was interrupted.
    """
    require_git()
    require_code()
    given = {
        "search": search,
        "name": name,
        "trials": trials,
        "jobs": jobs,
        "seeds": seeds,
        "fail-after": fail_after,
        "storage": storage,
    }
    options = [f"--{option}={value}" for option, value in given.items() if value]
    run_module("sweeps", *options, "--", *overrides())
