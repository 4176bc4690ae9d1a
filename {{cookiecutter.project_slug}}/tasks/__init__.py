"""The project's command line: `inv --list`."""

from invoke import Collection

from . import data, docker, exp, pipeline, project, quality, serve, wandb

namespace = Collection(data, docker, exp, wandb)
for module in (project, pipeline, quality, serve):
    for task in Collection.from_module(module).tasks.values():
        namespace.add_task(task)
