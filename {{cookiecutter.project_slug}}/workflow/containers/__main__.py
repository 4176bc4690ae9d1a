"""The commands behind `inv docker.…`: python -m workflow.containers --help."""

import argparse

from ..errors import CommandError
from ..git import GitError
from . import container, engine, images


def main() -> int:
    arguments = parser().parse_args()
    try:
        client = engine.connect()
        if arguments.action == "build":
            images.build(arguments.image, arguments.rest)
        elif arguments.action == "push":
            images.push(client, arguments.image)
        elif arguments.action == "list":
            images.show(client)
        else:
            options = {"name": arguments.name, "gpu": arguments.gpu, "port": arguments.port}
            return container.run(client, arguments.rest, **options)
    except (CommandError, GitError) as problem:
        raise SystemExit(f"docker: {problem}") from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted") from None
    return 0


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="containers", description=__doc__)
    actions = root.add_subparsers(dest="action", required=True)
    for name, what in (("build", "build an image"), ("push", "push it to the registry")):
        action = actions.add_parser(name, help=what)
        action.add_argument("image", help="a target of docker/docker-bake.hcl")
        if name == "build":
            action.add_argument("rest", nargs="*", help="options of `docker buildx bake`")
    actions.add_parser("list", help="show images, and what runs from them")
    action = actions.add_parser("run", help="run a command in a container")
    action.add_argument("--name", help="of what only one container at a time may do")
    action.add_argument("--gpu", action="store_true", help="in the GPU image, with all GPUs")
    action.add_argument("--port", type=int, help="of this machine, to publish")
    action.add_argument("rest", nargs=argparse.REMAINDER, help="the command")
    return root


if __name__ == "__main__":
    raise SystemExit(main())
