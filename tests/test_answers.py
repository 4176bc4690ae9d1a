"""Every answer gives a project that keeps what was typed, or one line that says what to type."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from baking import (
    BakedProject,
    attempt,
    bake,
    git,
    new_folder,
    questions,
    refused,
    run_cli,
    team,
    template,
    template_repository,
)
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

LONG = "x" * 300

# (answers, what the line says). Each also proves that nothing is left behind: see `attempt`.
REFUSED: list[tuple[dict[str, str], str]] = [
    # project_slug
    ({"project_slug": ""}, "project_slug is empty: type at least one character"),
    (
        {"project_slug": "My Project"},
        "project_slug 'My Project' is not a name .*, such as my-project$",
    ),
    ({"project_slug": "my_project"}, "such as my-project$"),
    ({"project_slug": "my--project"}, "such as my-project$"),
    ({"project_slug": "-my-project"}, "such as my-project$"),
    ({"project_slug": "my-project-"}, "such as my-project$"),
    ({"project_slug": "3d-net-2"}, "such as d-net-2$"),
    ({"project_slug": "проект"}, "project_slug 'проект' is not a name .*, such as my-ml-project$"),
    ({"project_slug": "a/b"}, "project_slug 'a/b' is not a name"),
    ({"project_slug": "../up"}, "project_slug '../up' is not a name"),
    ({"project_slug": ".."}, "project_slug '..' is not a name"),
    ({"project_slug": "/tmp/absolute"}, "project_slug '/tmp/absolute' is not a name"),
    ({"project_slug": "a\\b"}, "is not a name"),
    ({"project_slug": "a\nb"}, r"project_slug holds the control character U\+000A"),
    ({"project_slug": "a\0b"}, r"project_slug holds the control character U\+0000"),
    ({"project_slug": "a" * 41}, "has 41 characters: type 40 at the most"),
    ({"project_slug": LONG}, "project_slug 'x+...' has 300 characters: type 40 at the most"),
    ({"project_slug": "con"}, "project_slug 'con' is a device on Windows: .* such as con-ml"),
    ({"project_slug": "nul"}, "is a device on Windows"),
    ({"project_slug": "com1"}, "is a device on Windows"),
    ({"project_slug": "torch"}, "is a package that the project depends on: .* such as torch-ml"),
    ({"project_slug": "scikit-learn"}, "is a package that the project depends on"),
    ({"project_slug": "null"}, "is a word that YAML reads as something else"),
    # package_name
    ({"package_name": ""}, "package_name is empty"),
    ({"package_name": "My-Package"}, "package_name 'My-Package' is no .*, such as my_package$"),
    ({"package_name": "1st"}, "such as st$"),
    ({"package_name": "_private"}, "such as private$"),
    ({"package_name": "größe"}, "package_name 'größe' is no package name"),
    ({"package_name": "a.b"}, "such as a_b$"),
    ({"package_name": "../up"}, "is no package name"),
    ({"package_name": "a" * 41}, "has 41 characters: type 40 at the most"),
    ({"package_name": "class"}, "package_name 'class' is a Python keyword: .* such as class_ml"),
    ({"package_name": "match"}, "is a Python keyword"),
    ({"package_name": "type"}, "is a Python keyword|is part of Python|is built into Python"),
    ({"package_name": "json"}, "is part of Python's standard library"),
    ({"package_name": "tomllib"}, "is part of Python's standard library"),
    ({"package_name": "list"}, "is built into Python"),
    ({"package_name": "torch"}, "is a package that the project depends on"),
    ({"package_name": "sklearn"}, "is a package that the project depends on"),
    ({"package_name": "pytorch_lightning"}, "is a package that the project depends on"),
    ({"package_name": "hydra_plugins"}, "is one of the project's own|that the project depends on"),
    ({"package_name": "tasks"}, "is one of the project's own folders or files"),
    ({"package_name": "data"}, "is one of the project's own folders or files"),
    ({"package_name": "license"}, "is built into Python|one of the project's own"),
    ({"package_name": "pip"}, "is a package that the project depends on|is a tool"),
    ({"package_name": "test"}, "is a tool that the project is used with"),
    ({"package_name": "aux"}, "is a device on Windows"),
    ({"package_name": "yes"}, "is a word that YAML reads as something else"),
    ({"project_name": "Data"}, "package_name 'data' is one of the project's own"),
    # free text
    ({"project_name": ""}, "project_name is empty"),
    ({"project_name": "x" * 101}, "project_name 'x+...' has 101 characters: type 100 at the most"),
    ({"project_name": " name"}, "project_name ' name' starts or ends with a space"),
    ({"description": ""}, "description is empty"),
    ({"description": "x" * 201}, "has 201 characters: type 200 at the most"),
    ({"description": "two\nlines"}, r"description holds the control character U\+000A"),
    ({"description": "a\tb"}, r"U\+0009"),
    ({"description": "a\x00b"}, r"U\+0000"),
    ({"description": "a\x1bb"}, r"U\+001B"),
    ({"description": "a\x85b"}, r"U\+0085"),
    ({"description": "a\u2028b"}, r"U\+2028"),
    ({"description": "a\ud800b"}, r"U\+D800"),
    ({"description": "a\u202eb"}, r"U\+202E"),
    ({"description": "a\uffffb"}, r"U\+FFFF"),
    ({"author": ""}, "author is empty"),
    ({"author": "x" * 101}, "author 'x+...' has 101 characters"),
    ({"author": "me\u00a0"}, "starts or ends with a space"),
    # email
    ({"email": ""}, "email is empty"),
    ({"email": "nobody"}, "email 'nobody' is no e-mail address: type one such as you@example.com"),
    ({"email": "a@b"}, "is no e-mail address"),
    ({"email": "a b@example.com"}, "is no e-mail address"),
    ({"email": 'a"b@example.com'}, "is no e-mail address"),
    ({"email": "Me <me@example.com>"}, "is no e-mail address"),
    ({"email": "a@b@example.com"}, "is no e-mail address"),
    ({"email": "x" * 250 + "@example.com"}, "has 262 characters: type 254 at the most"),
    # wandb_entity
    ({"wandb_entity": "my team"}, "wandb_entity 'my team' is no W&B team or user"),
    ({"wandb_entity": "team/project"}, "is no W&B team or user"),
    ({"wandb_entity": 'a"b'}, "is no W&B team or user"),
    ({"wandb_entity": "https://wandb.ai/team"}, "is no W&B team or user"),
    # dvc_remote_url: a folder
    ({"dvc_remote_url": ""}, "dvc_remote_url is empty"),
    ({"dvc_remote_url": "storage"}, "'storage' lies inside the project: .* such as ../my-storage"),
    ({"dvc_remote_url": "./x"}, "lies inside the project"),
    ({"dvc_remote_url": "."}, "lies inside the project"),
    ({"dvc_remote_url": "../my-ml-project/x"}, "lies inside the project"),
    ({"dvc_remote_url": "a/../../my-ml-project"}, "lies inside the project"),
    ({"dvc_remote_url": "s3://bucket/x"}, "is no local folder: .* or choose another dvc_remote"),
    ({"dvc_remote_url": "me@host:/srv/dvc"}, "is no local folder"),
    ({"dvc_remote_url": "..\\storage"}, "has backslashes: type a path with forward slashes"),
    ({"dvc_remote_url": '../a"b'}, "that not every system allows"),
    ({"dvc_remote_url": "../a:b"}, "that not every system allows"),
    ({"dvc_remote_url": "../%(home)s"}, r"holds %\(, which DVC's config file reads"),
    ({"dvc_remote_url": "//server/share"}, "starts with two slashes"),
    ({"dvc_remote_url": "../" + "x" * 500}, "has 503 characters: type 500 at the most"),
    # dvc_remote_url: a server
    ({"dvc_remote": "s3", "dvc_remote_url": "../x"}, "does not start with s3://: .* such as s3://"),
    ({"dvc_remote": "s3", "dvc_remote_url": "gs://bucket"}, "does not start with s3://"),
    ({"dvc_remote": "s3", "dvc_remote_url": "s3://"}, "names no bucket after s3://"),
    ({"dvc_remote": "s3", "dvc_remote_url": "s3:///path"}, "names no bucket after s3://"),
    ({"dvc_remote": "s3", "dvc_remote_url": "s3://b/a b"}, "holds a space, a quote or another"),
    ({"dvc_remote": "s3", "dvc_remote_url": "s3://b/#x"}, "holds a space, a quote or another"),
    ({"dvc_remote": "s3", "dvc_remote_url": "s3://b/a,b"}, "holds a space, a quote or another"),
    ({"dvc_remote": "s3", "dvc_remote_url": "s3://b/%(x)s"}, "holds a space, a quote or another"),
    ({"dvc_remote": "gcs", "dvc_remote_url": "gcs://bucket"}, "does not start with gs://"),
    ({"dvc_remote": "gcs", "dvc_remote_url": "gs://"}, "names no bucket"),
    ({"dvc_remote": "azure", "dvc_remote_url": "azure://"}, "names no container"),
    ({"dvc_remote": "ssh", "dvc_remote_url": "host:/srv"}, "does not start with ssh://"),
    ({"dvc_remote": "ssh", "dvc_remote_url": "ssh://"}, "names no server"),
    ({"dvc_remote": "ssh", "dvc_remote_url": "ssh:///srv"}, "names no server"),
    ({"dvc_remote": "ssh", "dvc_remote_url": "ssh://me@host"}, "names no folder on the server"),
    ({"dvc_remote": "ssh", "dvc_remote_url": "ssh://[half/srv"}, "names no server"),
    (
        {"dvc_remote": "webdav", "dvc_remote_url": "https://host/x"},
        "does not start with webdavs://",
    ),
    ({"dvc_remote": "webdav", "dvc_remote_url": "webdavs://"}, "names no server"),
]


def case(answers: dict[str, str]) -> str:
    """A readable test id."""
    return ",".join(f"{name}={value[:30]!a}" for name, value in answers.items())


@pytest.mark.parametrize(
    ("answers", "line"), REFUSED, ids=[case(answers) for answers, _ in REFUSED]
)
def test_refused(answers, line):
    message = refused(**{"dvc_remote": "local", **answers})
    assert re.search(line, message), message
    assert len(message) < 300


SECRETS = [
    ("ssh", "ssh://me:hunter2@host/srv"),
    ("ssh", "ssh://me:hunt/er2@host/srv"),
    ("webdav", "webdavs://me:hunter2@host/dvc"),
    ("s3", "s3://AKIAEXAMPLE:hunter2@bucket/dvc"),
    ("s3", "s3://hunter2@bucket/dvc"),
    ("azure", "azure://box/dvc?sv=2026&sig=hunter2"),
    ("azure", "DefaultEndpointsProtocol=https;AccountName=me;AccountKey=hunter2"),
    ("local", "https://me:hunter2@host/dvc"),
    ("s3", " s3://me:hunter2@bucket "),
]


@pytest.mark.parametrize(("kind", "url"), SECRETS)
def test_a_secret_in_the_address_is_refused_and_not_repeated(kind, url):
    message = refused(dvc_remote=kind, dvc_remote_url=url)
    assert "keep the secret in .dvc/config.local" in message
    assert "hunt" not in message
    assert "er2" not in message


def test_a_choice_that_is_not_offered_is_refused_with_those_that_are():
    folder = new_folder()
    done = run_cli("cookiecutter", "--no-input", str(template()), "ci=jenkins", cwd=folder)
    assert done.returncode != 0
    assert f"the choices are {questions()['ci']}" in done.stderr + done.stdout
    assert list(folder.iterdir()) == []


def test_a_refusal_at_the_command_line_is_one_line_and_an_exit_status():
    folder = new_folder()
    done = run_cli("cookiecutter", "--no-input", str(template()), "project_slug=a/b/c", cwd=folder)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == (
        "project_slug 'a/b/c' is not a name for a folder and a distribution: type "
        "lower-case letters, digits and single hyphens, starting with a letter, such as a-b-c"
    )
    assert list(folder.iterdir()) == []


def test_a_refusal_leaves_an_existing_folder_as_it_was():
    folder = new_folder()
    existing = folder / "refused-name"
    existing.mkdir()
    (existing / "notes").write_text("mine")
    answers = ["--no-input", "--overwrite-if-exists", str(template()), "project_slug=No Name"]
    assert run_cli("cookiecutter", *answers, cwd=folder).returncode == 1
    assert [path.name for path in folder.rglob("*")] == ["refused-name", "notes"]


@pytest.mark.parametrize(
    ("kind", "url", "stored"),
    [
        ("local", "../my storage, größer's #1", "../../my storage, größer's #1"),
        ("local", "../50%", "../../50%"),
        ("local", "/srv/dvc", "/srv/dvc"),
        ("local", "~/dvc", "~/dvc"),
        ("local", "C:\\dvc\\new", "C:\\dvc\\new"),
        ("local", "D:/dvc", "D:/dvc"),
        ("local", "\\\\server\\share", "\\\\server\\share"),
        ("s3", "s3://my-bucket.v2/a/b", "s3://my-bucket.v2/a/b"),
        ("gcs", "gs://bucket", "gs://bucket"),
        ("azure", "azure://box/dvc", "azure://box/dvc"),
        ("ssh", "ssh://me@host.example.com:2222/srv/dvc", "ssh://me@host.example.com:2222/srv/dvc"),
        ("ssh", "ssh://[::1]:22/srv", "ssh://[::1]:22/srv"),
        ("webdav", "webdav://127.0.0.1:8080/dvc", "webdav://127.0.0.1:8080/dvc"),
    ],
)
def test_dvc_reads_the_address_that_was_typed(kind, url, stored):
    project = bake(dvc_remote=kind, dvc_remote_url=url)
    assert project.dvc_config()['remote "storage"']["url"] == stored


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Überraschung № 5", "uberraschung-no-5"),
        ("Привет мир", "privet-mir"),
        ("猫の分類", "mao-nofen-lei"),
        ("🚀", "ml"),
        ("3D Cats", "ml-3d-cats"),
        ("x" * 100, "x" * 40),
        ("A " * 45 + "Z", "a" + "-a" * 19),
        ('Say "hi" \\ twice', "say-hi-twice"),
    ],
)
def test_each_name_gives_a_folder_and_a_package(name, slug):
    project = bake(project_name=name)
    assert project.path.name == slug
    assert project.toml()["project"]["name"] == slug
    project.assert_parses()


def test_a_locale_without_utf8_changes_nothing(monkeypatch):
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    folder = new_folder() / "größe"
    folder.mkdir()
    project = bake(folder, project_name="Größe 猫 🚀", author="Zoë")
    assert project.toml()["project"]["authors"][0]["name"] == "Zoë"
    assert refused(author="Zoë" * 50).startswith("author 'Zo\\xebZo\\xeb")


# --- Any text at all -------------------------------------------------------------------------

# Text that has ended strings, comments, tables or templates somewhere before. Openings of Jinja
# are left out: cookiecutter renders a value given on its command line (not one typed at the
# prompt, which has a test of its own below).
NASTY = [
    '"', "'", "\\", '\\"', '"""', "'''", "\\\\", "ends with \\", "ends with \\\\", "#", "%", "%s",
    "%(x)s", "%%", "}}", "%}", "#}", "}", "{", "$", "${HOME}", "$(id)", "`id`", "<b>", "&",
    "&amp;", "a: b", "- a", "[a]", "*a", "!a", "|", ">", "@", "null", "true", "1e5", "~", "---",
    "...", "\u00e9", "e\u0301", "\u732b", "\U0001f680", "\U0001f468\u200d\U0001f469",
    "\u00a0", "\u200b", "\u2028", "\x85", "\x7f", "\x00", "\n", "\r\n", "\t", "\ud800", "\ufeff",
    "\u202e", " ", "", "con", "class", "torch", "x" * 99, "x" * 199, "x" * 1000, "import os", "a,b",
    "../x", "/", "..", ".", "C:\\", "://", "s3://a", "ssh://h/p", "a@b.cd", "\\N{DASH}", "\\u0041",
]  # fmt: skip


def no_jinja(text: str) -> bool:
    """Whether cookiecutter hands this value through as it is."""
    return not any(opening in text for opening in ("{{", "{%", "{#"))


any_text = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=300),
    st.sampled_from(NASTY),
    st.lists(st.sampled_from(NASTY), min_size=1, max_size=8).map("".join),
).filter(no_jinja)
# Mostly accepted, with what is hard to quote over-represented.
plain_text = (
    st.lists(
        st.one_of(
            st.sampled_from("\"\\'{}%#$`&<>:,;|@!?*~^[]()=+- _"),
            st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cf", "Cn")),
        ),
        min_size=1,
        max_size=99,
    )
    .map(lambda characters: "".join(characters).strip() or "x")
    .filter(no_jinja)
)
text = st.one_of(plain_text, plain_text, any_text)
good_name = st.from_regex(r"[a-z][a-z0-9]{0,12}", fullmatch=True)
name_like = st.one_of(good_name, good_name, good_name, st.sampled_from(NASTY), any_text)
PREFIXES = {
    "local": ["../", "/", "~/", "C:/", ""],
    "s3": ["s3://bucket/"],
    "gcs": ["gs://bucket/"],
    "azure": ["azure://container/"],
    "ssh": ["ssh://host/", "ssh://me@host:22/"],
    "webdav": ["webdavs://host/", "webdav://host:80/"],
}
ALL_PREFIXES = [prefix for prefixes in PREFIXES.values() for prefix in prefixes]
addresses = st.sampled_from(list(PREFIXES)).flatmap(
    lambda kind: st.fixed_dictionaries(
        {
            "dvc_remote": st.just(kind),
            "dvc_remote_url": st.builds(
                str.__add__,
                st.sampled_from(PREFIXES[kind] * 5 + ALL_PREFIXES),
                st.one_of(name_like, plain_text),
            ).filter(no_jinja),
        }
    )
)

everything = settings(  # how many examples: see conftest.py
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def assert_kept_or_refused(answers: dict[str, str]) -> None:
    """A project whose files parse and hold what was typed; `attempt` asserts the one line else."""
    outcome = attempt(**answers)
    event("generated" if isinstance(outcome, BakedProject) else "refused")
    if isinstance(outcome, BakedProject):
        outcome.assert_parses()
        assert_kept(outcome, answers)
        shutil.rmtree(outcome.path)


def assert_kept(project: BakedProject, answers: dict[str, str]) -> None:
    """What the files hold, read by their own parsers, is what was typed."""
    metadata: dict[str, Any] = project.toml()["project"]
    for name, stored in {
        "project_slug": metadata["name"],
        "description": metadata["description"],
        "author": metadata["authors"][0]["name"],
        "email": metadata["authors"][0]["email"],
    }.items():
        assert stored == answers.get(name, stored)
    if "package_name" in answers:
        assert (project.path / answers["package_name"]).is_dir()
    if typed := answers.get("dvc_remote_url"):
        stored = project.dvc_config()['remote "storage"']["url"]
        if typed != stored:
            # A relative folder: DVC counts from .dvc, people from the project.
            assert answers["dvc_remote"] == "local"
            resolved = os.path.normpath(project.path / ".dvc" / stored)
            assert resolved == os.path.normpath(project.path / typed)


@everything
@given(
    st.fixed_dictionaries({"description": text, "author": text}, optional={"project_name": text})
)
def test_any_text(answers):
    assert_kept_or_refused(answers)


@everything
@given(
    st.one_of(
        addresses,
        st.fixed_dictionaries(
            {},
            optional={
                "project_slug": name_like,
                "package_name": name_like,
                "email": st.one_of(st.emails(), any_text),
                "wandb_entity": name_like,
            },
        ),
    )
)
def test_any_name_and_address(answers):
    assert_kept_or_refused(answers)


# --- Every way in ----------------------------------------------------------------------------


def test_what_is_typed_at_the_prompt_is_kept_as_it_is_jinja_too():
    typed = {
        "project_name": 'The "{{ cookiecutter.author }}" {% project',
        "project_slug": "typed-project",
        "package_name": "",  # the default
        "description": "Braces {{ 1/0 }} {# and \\ a \"quote\" ''' %} größe",
        "author": "{{ undefined }} O'Hara",
        "email": "me@example.com",
        "license": "Apache-2.0",
        "python_version": "3.12",
        "framework": "pytorch",
        "dvc_remote": "local",
        "dvc_remote_url": "../{{ storage }}",
        "wandb_entity": "",
        "ci": "none",
        "template_updates": "weekly",
    }
    offered = {name: value for name, value in questions().items() if not name.startswith("_")}
    assert list(typed) == [name for name in offered if name not in team().questions]
    # Of a choice, people type its number.
    lines = [
        str(choices.index(typed[name]) + 1)
        if name in typed and isinstance(choices, list)
        else typed.get(name, "")
        for name, choices in offered.items()
    ]
    folder = new_folder()
    done = run_cli("cookiecutter", str(template()), cwd=folder, typed="\n".join(lines) + "\n")
    assert done.returncode == 0, done.stderr + done.stdout
    project = BakedProject(folder / "typed-project")
    project.assert_parses()
    metadata = project.toml()["project"]
    assert metadata["description"] == typed["description"]
    assert metadata["authors"][0]["name"] == typed["author"]
    assert metadata["license"] == "Apache-2.0"
    assert project.dvc_config()['remote "storage"']["url"] == "../../{{ storage }}"
    assert (project.path / "typed_project").is_dir()
    assert not (project.path / ".github").exists()


def test_the_prompts_explain_each_question_and_each_choice():
    questions = json.loads((template() / "cookiecutter.json").read_text())
    prompts = questions["__prompts__"]
    assert list(prompts) == [name for name in questions if not name.startswith("_")]
    for name, prompt in prompts.items():
        if isinstance(questions[name], list):
            assert set(prompt) == {"__prompt__", *questions[name]}
    done = run_cli("cookiecutter", str(template()), cwd=new_folder(), typed="\n" * len(prompts))
    assert done.returncode == 0
    shown = " ".join(done.stdout.split())
    for prompt in prompts.values():
        for line in [prompt] if isinstance(prompt, str) else prompt.values():
            assert " ".join(line.split()) in shown


def same_files(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files, but for the record of where they come from."""
    contents = [
        {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        for root in (one, other)
    ]
    for content in contents:
        del content[Path(".cruft.json")]
    return contents[0] == contents[1]


def test_from_a_zip_archive():
    archive = new_folder() / "template.zip"
    shutil.make_archive(
        str(archive.with_suffix("")), "zip", root_dir=template().parent, base_dir=template().name
    )
    folder = new_folder()
    done = run_cli("cookiecutter", "--no-input", str(archive), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert same_files(folder / "my-ml-project", bake().path)


def test_from_a_git_url():
    folder = new_folder()
    url = f"git+{template_repository().as_uri()}"
    done = run_cli("cookiecutter", "--no-input", url, "author=Zoë {q}", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert same_files(folder / "my-ml-project", bake(author="Zoë {q}").path)


def test_cruft_creates_checks_and_updates():
    repository = template_repository()
    folder = new_folder()
    answers = {"author": 'Zoë "Z" \\ O\'Hara', "project_slug": "crufted", "ci": "gitlab"}
    create = ["create", str(repository), "--no-input", "--extra-context", json.dumps(answers)]
    done = run_cli("cruft", *create, cwd=folder)
    assert done.returncode == 0, done.stderr
    project = BakedProject(folder / "crufted")
    assert project.files() == bake(**answers).files()
    project.assert_parses()
    assert_kept(project, answers)
    assert run_cli("cruft", "check", cwd=project.path).returncode == 0

    git(project.path, "init", "--quiet")
    git(project.path, "add", "--all")
    git(project.path, "commit", "--quiet", "--message=Generated")
    license_file = repository / "{{cookiecutter.project_slug}}" / "LICENSE"
    license_file.write_text(license_file.read_text() + "A line added to the template.\n")
    git(repository, "commit", "--quiet", "--all", "--message=Change")
    assert run_cli("cruft", "check", cwd=project.path).returncode == 1
    updated = run_cli("cruft", "update", "--skip-apply-ask", cwd=project.path)
    assert updated.returncode == 0, updated.stderr
    changed = git(project.path, "status", "--porcelain", "--untracked-files=all").split()
    assert changed[1::2] == [".cruft.json", "LICENSE"]
    assert project.read("LICENSE").endswith("A line added to the template.\n")
    assert run_cli("cruft", "check", cwd=project.path).returncode == 0


def test_cruft_refuses_too():
    folder = new_folder()
    answers = json.dumps({"package_name": "torch"})
    create = ["create", str(template_repository()), "--no-input", "--extra-context", answers]
    done = run_cli("cruft", *create, cwd=folder)
    assert done.returncode != 0
    assert "package_name 'torch' is a package that the project depends on" in done.stderr
    assert list(folder.iterdir()) == []
