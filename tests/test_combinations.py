"""Combinations of answers: the files of each, their format, and what its own linter says."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import subprocess
from datetime import date
from pathlib import PurePosixPath

import pytest
from baking import FOLDER, BakedProject, bake, default, questions, refused, team, template
from driving import UV

# CI runs the images' Python: each pair of those two. What does not interact is cycled through.
_REMOTES = itertools.cycle(["local", "s3", "gcs", "azure", "ssh", "webdav"])
_LICENSES = itertools.cycle(["MIT", "Apache-2.0", "BSD-3-Clause", "proprietary"])
_ENTITIES = itertools.cycle(["", "my-team"])
_KERAS = ["keras-jax", "keras-tensorflow", "keras-torch"]
_UPDATES = itertools.cycle(["weekly", "off"])
_FRAMEWORKS = itertools.cycle(["scikit-learn", *_KERAS, "pytorch"])
SUPPORTED: list[dict[str, str]] = [
    {},  # the defaults
    *(
        {
            "ci": ci,
            "python_version": python,
            "dvc_remote": next(_REMOTES),
            "license": next(_LICENSES),
            "wandb_entity": next(_ENTITIES),
            "framework": next(_FRAMEWORKS),
            "template_updates": next(_UPDATES),
        }
        for ci, python in itertools.product(["github", "gitlab", "none"], ["3.13", "3.12", "3.11"])
    ),
    # The package's name takes part in the order of imports and in the length of lines.
    {"project_slug": "a", "package_name": "a"},
    {"project_slug": "zebra", "package_name": "zz9"},
    {"project_slug": "s" * 40, "package_name": "p" * 40},
    {"project_slug": "under-way", "package_name": "under_way_"},
    {"project_name": 'Größe & "猫" \\ <b>', "description": "d" * 200, "author": "x" * 100},
]
UNSUPPORTED: list[dict[str, str]] = [
    {"dvc_remote": "s3", "dvc_remote_url": "../storage"},
    {"dvc_remote": "local", "dvc_remote_url": "s3://bucket/dvc"},
    {"dvc_remote": "gcs", "dvc_remote_url": "azure://box/dvc"},
    {"project_slug": "wandb", "package_name": "fine"},
    {"project_slug": "fine", "package_name": "wandb"},
    {"project_name": "Random"},
]
# What is left out unless the answer is this one.
ONLY_FOR = {
    ".github": ("ci", "github"),
    ".github/workflows/template-update.yml": ("template_updates", "weekly"),
    ".gitlab-ci.yml": ("ci", "gitlab"),
}
# How names of files begin that are left out unless the framework is one of these.
MARKS = {
    "{{cookiecutter.__epochs}}": ["pytorch", *_KERAS],
    "{{cookiecutter.__keras}}": _KERAS,
    "{{cookiecutter.__pytorch}}": ["pytorch"],
    "{{cookiecutter.__sklearn}}": ["scikit-learn"],
}


def case(answers: dict[str, str]) -> str:
    """A readable test id."""
    return ",".join(value[:12] or "empty" for value in answers.values()) or "defaults"


def in_one_process(answers: dict[str, str]) -> pytest.MarkDecorator:
    """Mark the tests of one project, which is generated in each process that needs it."""
    return pytest.mark.xdist_group(f"combination-{case(answers)}")


supported = pytest.mark.parametrize(
    "answers",
    [
        pytest.param(answers, id=case(answers), marks=in_one_process(answers))
        for answers in SUPPORTED
    ],
)
_baked: dict[str, BakedProject] = {}


def project(answers: dict[str, str]) -> BakedProject:
    """The project of these answers, generated once; no test here changes it."""
    key = json.dumps(answers)
    if key not in _baked:
        _baked[key] = bake(**answers)
    return _baked[key]


def test_every_answer_that_is_offered_is_in_a_combination():
    for name, offered in questions().items():
        if isinstance(offered, list) and name[0] != "_" and name not in team().questions:
            covered = {answers.get(name, offered[0]) for answers in SUPPORTED}
            assert covered == set(offered), name


@pytest.mark.parametrize("answers", UNSUPPORTED, ids=case)
def test_unsupported(answers):
    assert "type " in refused(**answers)


@supported
def test_exact_files(answers):
    asked = {name: default(name) for name in ("ci", "framework", "template_updates")}
    combination = {**asked, **answers}
    package = answers.get("package_name", project(answers).path.name.replace("-", "_"))
    expected = {".cruft.json"}
    for path in (template() / FOLDER).rglob("*"):
        name = path.relative_to(template() / FOLDER).as_posix()
        name = name.replace("{{cookiecutter.package_name}}", package)
        name = re.sub(r"\{\{'([^']+)' if [^}]+\}\}", r"\1", name)
        around = [name, *map(str, PurePosixPath(name).parents)]
        needed = [ONLY_FOR[one] for one in around if one in ONLY_FOR]
        is_wanted = all(combination[answer] == value for answer, value in needed)
        for mark, frameworks in MARKS.items():
            is_wanted &= mark not in name or combination["framework"] in frameworks
            name = name.replace(mark, "")
        if path.is_file() and is_wanted:
            expected.add(name)
    assert project(answers).files() == expected


@supported
def test_no_scars_of_jinja(answers):
    baked = project(answers)
    for name in sorted(baked.files()):
        content = (baked.path / name).read_bytes()
        if b"\0" in content or not content or name.endswith(".jinja"):
            continue  # a picture; a marker such as .gitkeep; a template that the project renders
        text = content.decode()
        assert not re.search(r"\{\{[^}\n]*cookiecutter|\{%|\{#-", text), name
        assert re.search(r"[^\n]\n\Z", text), f"{name} does not end with one newline"
        assert not re.search(r"[ \t]+$", text, re.MULTILINE), f"{name} has trailing spaces"
        if name not in ("LICENSE", "uv.lock"):
            assert text[0] != "\n", f"{name} begins with an empty line"
            most = 2 if name.endswith((".py", ".ipynb")) else 1
            assert "\n" * (most + 2) not in text, f"{name} has more than {most} empty lines"


@supported
def test_every_file_parses(answers):
    project(answers).assert_parses()


@supported
def test_its_own_linter_is_content(answers):
    for command in (["check", "--no-cache"], ["format", "--no-cache", "--check", "--diff"]):
        done = project(answers).run("ruff", *command, ".")
        assert done.returncode == 0, done.stdout + done.stderr


@supported
def test_the_answers_arrive(answers):
    baked = project(answers)
    metadata = baked.toml()["project"]
    assert metadata["name"] == baked.path.name == answers.get("project_slug", baked.path.name)
    assert metadata["description"] == answers.get("description", questions()["description"])
    assert metadata["authors"][0]["name"] == answers.get("author", default("author"))
    assert metadata.get("license", "proprietary") == answers.get("license", default("license"))
    tracking = baked.yaml("conf/tracking/wandb.yaml")
    assert tracking["entity"] == (answers.get("wandb_entity", default("wandb_entity")) or None)
    schemes = {"s3": "s3", "gcs": "gs", "azure": "azure", "ssh": "ssh", "webdav": "webdavs"}
    kind = answers.get("dvc_remote", default("dvc_remote"))
    url = baked.dvc_config()['remote "storage"']["url"]
    expected = f"../../{baked.path.name}-storage" if kind == "local" else f"{schemes[kind]}://"
    assert url.startswith(expected)


# SHA-256 of the text that apache.org publishes, to the end of its terms and conditions.
APACHE = "7fb46adff9025f553b882b84ce593c37008d1e83019e4fdd6b21f8c800d0c485"
FIRST_LINES = {
    "MIT": ("MIT License", "Copyright (c) {year} {author}"),
    "Apache-2.0": ("                                 Apache License",),
    "BSD-3-Clause": ("BSD 3-Clause License", "Copyright (c) {year}, {author}"),
    "proprietary": ("Copyright (c) {year} {author}. All rights reserved.",),
}


def year() -> str:
    """The year of the license: this one, or the one that a fork's team has set."""
    return team().settings.get("year") or str(date.today().year)


@pytest.mark.parametrize("name", FIRST_LINES)
def test_license(name):
    author = 'Zoë "Z" \\ O\'Hara'
    text = bake(license=name, author=author).read("LICENSE")
    # The text that apache.org publishes does begin with an empty line.
    assert text.startswith("\n") == (name == "Apache-2.0")
    lines = [line for line in text.splitlines() if line]
    for line, expected in zip(lines, FIRST_LINES[name], strict=False):
        assert line == expected.format(year=year(), author=author)
    assert text.count(author) == 1
    others = [first[0] for other, first in FIRST_LINES.items() if other != name][:3]
    assert not any(line in text.splitlines() for line in others)


def test_the_apache_license_is_word_for_word():
    text = bake(license="Apache-2.0").read("LICENSE")
    terms, appendix = text.split("   END OF TERMS AND CONDITIONS\n")
    assert hashlib.sha256(terms.strip().encode()).hexdigest() == APACHE
    assert f"   Copyright {year()} {default('author')}\n" in appendix


@supported
@pytest.mark.parametrize(
    "more", [(), ("--script", "workflow/monitoring/drift.py")], ids=["", "drift"]
)
def test_the_lock_holds(answers, more):
    # Offline: a lock that holds needs no index, and one that does not is found out without.
    command = [UV, "lock", "--check", "--offline", *more]
    done = subprocess.run(
        command, cwd=project(answers).path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
