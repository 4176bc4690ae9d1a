"""Versions of the model and the stages that they were in: annotated Git tags, which gto reads.

    model@v0.0.1          a version: the commit whose dvc.lock has the model
    model#production#1    this commit's version came into the stage
    model#production!#2   it was demoted

In a repository of several projects the name has the project's folder: churn=model@v0.0.1.

What people write of these is gto's notation: model@v0.0.1, model#production; model alone is what
is in production. https://github.com/iterative/gto
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .. import git
from ..errors import CommandError, one_line
from ..paths import home

MODEL = "model"
PRODUCTION = "production"
NOTATION = re.compile(rf"{MODEL}(@(?P<version>v\d[^@#]*)|#(?P<stage>[^@#=]+))?")


@dataclass(frozen=True)
class Version:
    """A registered model, such as v0.0.1, and the commit that has it."""

    name: str
    commit: str

    def __str__(self) -> str:
        return f"{MODEL}@{self.name}"


@dataclass(frozen=True)
class Period:
    """A time in which a version was in a stage; `until` is None while it is.

    Args:
        by: who promoted it, or demoted the version that had replaced it.
    """

    stage: str
    version: Version
    since: datetime
    until: datetime | None
    by: str


def artifact() -> str:
    """Return what gto calls the model: with the project's folder, where that is not the top."""
    folder = (git.text(home(), "rev-parse", "--show-prefix") or "").rstrip("/")
    return f"{folder}:{MODEL}" if folder else MODEL


def named(text: str) -> Version | None:
    """Return the version that gto's notation names, or None where the text is something else.

    Raises:
        CommandError: there is no such version, or none is in that stage.
    """
    if not (match := NOTATION.fullmatch(text)):
        return None
    if name := match["version"]:
        versions = {version.name: version for version in registered()}
        if name not in versions:
            raise CommandError(f"{text}: there is no such version: inv model.history")
        return versions[name]
    stage = match["stage"] or PRODUCTION
    if not (version := in_stage(stage)):
        raise CommandError(
            f"{text}: no version is in {stage}: inv model.promote RUN --stage {stage}, or, where"
            " others have: git fetch --tags"
        )
    return version


def registered() -> list[Version]:
    """Return the versions, the newest last."""
    events = _events()
    deregistered = {event["version"] for event in events if event["event"] == "deregistration"}
    return [
        Version(event["version"], event["commit"])
        for event in events
        if event["event"] == "registration" and event["version"] not in deregistered
    ]


def in_stage(stage: str) -> Version | None:
    """Return the version that is in a stage now."""
    return next((p.version for p in history() if p.stage == stage and not p.until), None)


def history() -> list[Period]:
    """Return which version was in which stage, the newest first.

    Of the versions that were promoted to a stage and not demoted, the last one is in it: when it is
    demoted, the previous one is in the stage again.
    """
    stages: dict[str, list[Version]] = {}
    periods: list[Period] = []
    for event in _events():
        version = Version(event["version"], event["commit"])
        for stage in _touched(event, stages):
            stack = stages.setdefault(stage, [])
            before = stack[-1:]
            stack[:] = [other for other in stack if other != version]
            if event["event"] == "assignment":
                stack.append(version)
            if stack[-1:] != before:
                when = event["timestamp"]
                periods = [_ended(period, stage, when) for period in periods]
                periods += [Period(stage, new, when, None, event["author"]) for new in stack[-1:]]
    return periods[::-1]


def _touched(event: dict[str, Any], stages: dict[str, list[Version]]) -> list[str]:
    """Return the stages that an event may change: all of them for a version that is no more."""
    if event["event"] == "deregistration":
        return list(stages)
    return [event["stage"]] if event["stage"] else []


def _ended(period: Period, stage: str, when: datetime) -> Period:
    if period.stage != stage or period.until:
        return period
    return Period(period.stage, period.version, period.since, when, period.by)


def _events() -> list[dict[str, Any]]:
    """Return what gto reads from the tags of the project's repository, oldest first."""
    from gto import api
    from gto.exceptions import GTOException
    from scmrepo.exceptions import SCMError

    git.require(home())
    try:
        events = api.history(str(git.top(home()) or home()), artifact(), ascending=True)
    except SCMError:
        raise CommandError("the project is not a Git repository yet: inv setup") from None
    except GTOException as error:
        raise CommandError(f"gto: {one_line(error)}") from None
    return sorted(map(dict, events), key=lambda event: (event["timestamp"], *_order(event)))


def _order(event: dict[str, Any]) -> Iterator[int]:
    """Yield what orders events of one second: versions first, then the numbers of the tags."""
    from gto.tag import parse_name

    yield event["event"] != "registration"
    yield parse_name(event["ref"]).get("counter", 0)
