"""The project's command line: `inv --list`."""

from invoke import Collection

from . import (
    cluster,
    data,
    deploy,
    docker,
    exp,
    model,
    monitor,
    pipeline,
    project,
    quality,
    runs,
    serve,
    sweep,
    template,
    wandb,
)

namespace = Collection(cluster, data, deploy, docker, exp, model, monitor, sweep, template, wandb)
for module in (project, pipeline, runs, quality, serve):
    for task in Collection.from_module(module).tasks.values():
        namespace.add_task(task)
