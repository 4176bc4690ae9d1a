"""What a company sets once for all its projects: the table of settings, and what each changes.

Most are private variables of cookiecutter.json, empty upstream, that the project's files ask for.
The others change files which Jinja does not reach: locks, a script, the tops of Python files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

LINE = 100  # characters, of the projects' linter
NOT_RENDERED = "workflow/"
CODE_OWNERS = "CODEOWNERS"
FILES = (CODE_OWNERS,)  # that settings add


def _address(value: str) -> str | None:
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname or re.search(r"[\s\"'\\]", value):
        return "must be an address such as https://packages.example.com/simple"
    if url.username or url.password:
        return "has a user or a password in it: each project's .env is the place for those"
    return None


def _registry(value: str) -> str | None:
    if re.fullmatch(r"[A-Za-z0-9][\w.:-]*(/[\w.-]+)*", value):
        return None
    return "must be a registry and a path, such as registry.example.com/mirror"


def _path(value: str) -> str | None:
    if re.fullmatch(r"/[\w./-]+", value):
        return None
    return "must be the path of a file on each machine, such as /etc/ssl/certs/company.pem"


def _labels(value: str) -> str | None:
    if re.fullmatch(r"[\w.-]+(, *[\w.-]+)*", value):
        return None
    return "must be labels with commas between, such as self-hosted, linux"


def _owners(value: str) -> str | None:
    if all(re.fullmatch(r"@[\w./-]+|[^\s@]+@[^\s@]+", owner) for owner in value.split()):
        return None
    return "must be teams, users or e-mail addresses with spaces between, such as @acme/ml"


def _header(value: str) -> str | None:
    if all(len(line) <= LINE - 2 for line in value.splitlines()):
        return None
    return f"has a line of more than {LINE - 2} characters"


def _year(value: str) -> str | None:
    return None if re.fullmatch(r"\d{4}(-\d{4})?", value) else "must be a year such as 2026"


@dataclass(frozen=True)
class Setting:
    """A setting.

    Args:
        prompt: what it asks.
        check: returns what is wrong with a value.
        variable: of cookiecutter.json, where the project's files ask for it.
    """

    prompt: str
    check: Callable[[str], str | None]
    variable: str = ""

    def problem(self, value: str) -> str | None:
        """Return what is wrong with a value, or None; an empty one stands for upstream's."""
        return self.check(value) if value else None


SETTINGS: Mapping[str, Setting] = {
    "package_index": Setting("Package index, as uv and pip take it", _address, "__package_index"),
    "package_files": Setting(
        "Where that index has its files, in place of the public one", _address
    ),
    "image_registry": Setting("Registry of base images", _registry, "__image_registry"),
    "ca_file": Setting("File of certificates to trust, on each machine", _path, "__ca_file"),
    "ci_runner": Setting("Labels of the CI's runners", _labels, "__ci_runner"),
    "code_owners": Setting("Who reviews every change", _owners),
    "license_header": Setting("First lines of each Python file", _header),
    "year": Setting("Year of the copyright (empty: when a project is made)", _year, "__year"),
}


def variables(values: Mapping[str, str]) -> dict[str, str]:
    """Return the private variables that settings stand for."""
    return {
        SETTINGS[name].variable: value
        for name, value in values.items()
        if value and SETTINGS[name].variable
    }


def change_files(project: Path, values: Mapping[str, str]) -> None:
    """Change the files of the project's folder that no variable reaches."""
    if index := values.get("package_index"):
        _use_index(project, index, values.get("package_files", ""))
    if header := values.get("license_header"):
        _put_header(project, header, values.get("year", ""))
    if owners := values.get("code_owners"):
        _write(project / CODE_OWNERS, f"* {owners}\n")  # GitHub and GitLab read it there


def _use_index(project: Path, index: str, files: str) -> None:
    """Let pyproject.toml, the drift tool's script and all locks name an index."""
    pyproject = project / "pyproject.toml"
    text = pyproject.read_text("utf-8")
    table = f'[[tool.uv.index]]\nname = "team"\nurl = "{index}"\ndefault = true\n\n'
    start = text.index("[tool.uv]")
    end = text.find("\n[", start) + 1
    _write(pyproject, text[:end] + table + text[end:])

    for script in project.rglob("*.py.lock"):
        path = script.with_suffix("")
        lines = "".join(f"# {line}".rstrip() + "\n" for line in table.strip().splitlines())
        begin, separator, rest = path.read_text("utf-8").partition("\n# ///\n")
        _write(path, f"{begin}\n{lines.rstrip()}{separator}{rest}")

    for lock in (*project.glob("*uv.lock"), *project.rglob("*.py.lock")):
        _write(lock, relocated(lock.read_text("utf-8"), index, files))


def relocated(lock: str, index: str, files: str) -> str:
    """Return a lock whose packages come from another index.

    uv takes a lock for stale where its packages are of an index that the project does not name.

    Args:
        files: an address in place of the one that the addresses of all files begin with; "": those
            of the files stay.
    """
    registries = Counter(re.findall(r'^source = \{ registry = "([^"]+)" \}$', lock, re.MULTILINE))
    if not registries:
        return lock
    ((public, _),) = registries.most_common(1)
    if files:
        urls = [url for package in _packages(lock, public) for url in _urls(package)]
        prefix = _common(urls)
        lock = lock.replace(f'url = "{prefix}', f'url = "{files.rstrip("/")}/')
    return lock.replace(f'registry = "{public}"', f'registry = "{index}"')


def _packages(lock: str, registry: str) -> Iterator[str]:
    for package in lock.split("[[package]]")[1:]:
        if f'source = {{ registry = "{registry}" }}' in package:
            yield package


def _urls(package: str) -> list[str]:
    return re.findall(r'\{ url = "([^"]+)"', package)


def _common(urls: list[str]) -> str:
    """Return the address of the folder that all files are in."""
    first, *others = (url.split("/")[:-1] for url in urls)
    for other in others:
        same = zip(first, other, strict=False)
        first = first[
            : next((n for n, (a, b) in enumerate(same) if a != b), min(map(len, (first, other))))
        ]
    return "/".join(first) + "/"


def _put_header(project: Path, header: str, year: str) -> None:
    """Begin each Python file with lines of comment.

    What is copied as it is, and not rendered, gets them only where they have no Jinja in them.
    """
    if year:
        header = re.sub(r"\{\{\s*cookiecutter\.__year\s*\}\}", year, header)
    lines = "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines())
    for path in sorted(project.rglob("*.py")):
        text = path.read_text("utf-8")
        name = path.relative_to(project).as_posix()
        if not text.strip() or ("{{" in header and name.startswith(NOT_RENDERED)):
            continue
        shebang, text = text.split("\n", 1) if text.startswith("#!") else ("", text)
        _write(path, f"{shebang}\n{lines}\n{text}" if shebang else f"{lines}\n{text}")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
