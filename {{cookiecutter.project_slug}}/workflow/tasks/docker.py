"""Images: build them, and train, look around and open notebooks in them."""

from invoke import Context, task

from .shell import follows, overrides, run_module

SERVED = ("serve", "serve-gpu", "web")
IMAGE = {"image": "cpu, gpu, serve, serve-gpu or web; to build, also all, without serve-gpu"}
GPU = {"gpu": "in the GPU image, with all GPUs of the machine"}


@task(help=IMAGE)
def build(context: Context, image: str = "cpu") -> None:
    """Build an image. Buildx's own options after `--`."""
    run_module("containers", "build", image, "--", *overrides())
    next_command = "inv deploy.up" if image in SERVED else "inv docker.train"
    follows(f"inv docker.push --image {image}", next_command)


@task(help=GPU)
def train(context: Context, gpu: bool = False) -> None:
    """Run `inv train` in a container; overrides after `--`."""
    values = overrides()
    if gpu and not any(override.startswith("trainer=") for override in values):
        values = ["trainer=gpu", *values]
    in_container("--name=train", "inv", "train", *(["--", *values] if values else []), gpu=gpu)


@task(help=GPU)
def shell(context: Context, gpu: bool = False) -> None:
    """Open a shell in a container, or run what stands after `--`."""
    in_container(*(overrides() or ["bash"]), gpu=gpu)


@task(help={**GPU, "port": "of this machine, where the browser finds it"})
def notebook(context: Context, gpu: bool = False, port: int = 8888) -> None:
    """Open JupyterLab in a container."""
    # A rootless engine runs the caller as root of the container.
    options = ("--ip=0.0.0.0", f"--port={port}", "--no-browser", "--allow-root")
    in_container(f"--port={port}", "jupyter", "lab", *options, "notebooks", gpu=gpu)


@task(help=IMAGE)
def push(context: Context, image: str = "cpu") -> None:
    """Push an image to the registry that .env names."""
    run_module("containers", "push", image)
    follows("inv deploy.render ENVIRONMENT" if image in SERVED else "inv deploy.train")


@task(name="list")
def show(context: Context) -> None:
    """List the images, and what runs from them."""
    run_module("containers", "list")
    follows("inv docker.build", "inv docker.train")


def in_container(*command: str, gpu: bool) -> None:
    """Run a command, behind options of `containers run`, in a new container of the project."""
    run_module("containers", "run", *(["--gpu"] if gpu else []), *command)
