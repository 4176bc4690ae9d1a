"""The commands behind `inv deploy.…`: python -m workflow.deployment --help."""

import argparse
from typing import Any

import docker

from ..containers import engine
from ..errors import CommandError
from ..git import GitError
from ..serving import sources
from . import kubernetes, stack, status


def main() -> int:
    arguments = vars(parser().parse_args())
    action = arguments.pop("action")
    try:
        if action in ("render", "apply"):
            return on_kubernetes(action, **arguments)
        return on_this_machine(engine.connect(), action, **arguments)
    except (CommandError, GitError) as problem:
        raise SystemExit(f"deploy: {problem}") from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted") from None


def on_this_machine(client: docker.DockerClient, action: str, **options: Any) -> int:
    """Do what was asked for, and return the exit code."""
    if action == "status":
        return 0 if status.show(client) else 1
    if action == "logs":
        stack.logs(options["follow"])
    elif action == "down":
        stack.down(client)
    elif action == "up":
        deployment = stack.up(client, **options)
        print(f"deploy: {status.url(deployment)} (inv deploy.status, inv deploy.down)")
    elif action == "promote":
        model = stack.promote(client, **options)
        weights = model.releases().items()
        print(f"deploy: {', '.join(f'{r.version} gets {weight} %' for r, weight in weights)}")
    else:
        model = stack.rollback(client, options["name"])
        print(f"deploy: {options['name']} is version {model.stable.version} again")
    return 0


def on_kubernetes(action: str, environment: str, models: str) -> int:
    """Write the file for a cluster, or apply it."""
    parts = sources.parse_models(models)
    if action == "apply":
        kubernetes.apply(environment, parts)
    else:
        print(kubernetes.render(environment, parts))
    return 0


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="deployment", description=__doc__)
    actions = root.add_subparsers(dest="action", required=True)
    action = actions.add_parser("up", help="deploy models on this machine")
    action.add_argument("--models", help="NAME=SOURCE, or NAME of one that is deployed; commas")
    action.add_argument("--scale", type=int, help="replicas of each model")
    action.add_argument("--port", type=int, help="of this machine")
    action.add_argument("--address", help="of this machine; 0.0.0.0: reached from everywhere")
    actions.add_parser("status", help="show what is deployed")
    action = actions.add_parser("logs", help="show what the containers printed")
    action.add_argument("--follow", action="store_true", help="until Ctrl-C")
    actions.add_parser("down", help="stop all containers")
    action = actions.add_parser("promote", help="give a model's requests to another release")
    action.add_argument("name", help="of the model")
    action.add_argument("--source", help="of the release: FILE, FILE@REVISION, URL#sha256=…")
    action.add_argument("--weight", type=int, help="percent of the requests, for a canary")
    action = actions.add_parser("rollback", help="undo the last promotion, or remove the canary")
    action.add_argument("name", help="of the model")
    for name, what in (("render", "write the file for a cluster"), ("apply", "apply it")):
        action = actions.add_parser(name, help=what)
        action.add_argument("environment", help="a folder of deploy/kubernetes/environments")
        action.add_argument("--models", required=True, help="NAME=SOURCE; commas")
    return root


if __name__ == "__main__":
    raise SystemExit(main())
