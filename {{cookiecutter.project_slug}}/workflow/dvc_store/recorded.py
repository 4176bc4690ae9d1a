"""Whether dvc.lock is of this code, config and data: what a merge or an edit leaves behind.

Only what Git keeps counts: hashes stand for data and models, so a clone without them can tell, too.
"""

from collections.abc import Iterator
from typing import Any

from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo
from dvc.stage import Stage


def stale(repo: Repo) -> dict[str, list[str]]:
    """Return the stages whose recorded result is of something else, each with what differs.

    None are where nothing was recorded so far. A stage that runs each time is left out.
    """
    stages = [stage for stage in repo.index.stages if not stage.is_data_source]
    if not any(dep.hash_info for stage in stages for dep in stage.deps):
        return {}
    outs = {out.fs_path: out for stage in repo.index.stages for out in stage.outs}
    by_stage = {stage.addressing: list(_differences(stage, outs)) for stage in stages}
    return {name: differences for name, differences in by_stage.items() if differences}


def text(stages: dict[str, list[str]], limit: int = 3) -> str:
    """Return the stages and what differs, in one line: "train (params.yaml: model)"."""
    texts = []
    for name, differences in stages.items():
        more = [f"{len(differences) - limit} more"] if len(differences) > limit else []
        texts.append(f"{name} ({', '.join([*differences[:limit], *more])})")
    return ", ".join(texts)


def _differences(stage: Stage, outs: dict[str, Any]) -> Iterator[str]:
    if stage.frozen or stage.always_changed:
        return
    if stage.changed_stage():
        yield "its command"
    for dep in stage.deps:
        if produced := outs.get(dep.fs_path) if not isinstance(dep, ParamsDependency) else None:
            if produced.hash_info != dep.hash_info:  # the other stage recorded another one
                yield str(dep)
            continue
        for path, state in dep.status().items():
            if isinstance(state, dict):
                yield f"{path}: {', '.join(state)}"
            elif state != "deleted":  # data that is not here
                yield path
    for out in stage.outs:
        if not out.use_cache and out.status():
            yield str(out)
