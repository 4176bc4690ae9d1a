"""Passwords, keys and tokens: found before a commit, a run or a config has them.

    python -m workflow.credentials FILE...     what the Git hook runs: a line for each

What looks like one and is not: end its line with `# pragma: allowlist secret`.
"""

import codecs
import functools
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .paths import home

ADVICE = (
    'keep it in .env, which Git ignores; if it is not one: "# pragma: allowlist secret" behind it'
)

# Detectors of detect-secrets that need the heuristics around them; the others know a key by its
# shape alone. An address is no secret.
BY_CONTEXT = (
    "ArtifactoryDetector",
    "Base64HighEntropyString",
    "BasicAuthDetector",
    "CloudantDetector",
    "HexHighEntropyString",
    "IbmCloudIamDetector",
    "IbmCosHmacDetector",
    "KeywordDetector",
    "SoftlayerDetector",
)
NO_SECRET = ("IPPublicDetector",)
# What detect-secrets does not know.
SHAPES = {
    "Weights & Biases key": re.compile(r"(wandb_v1_[\w-]{20,})"),
    "secret variable": re.compile(
        r"^\s*(?:export )?[A-Z0-9_]*(?:KEY|TOKEN|SECRET|PASSWORD)[A-Z0-9_]*="
        r"[\"']?((?=\S*\d)[\w+/=.~-]{16,})[\"']?\s*$",
        re.MULTILINE,
    ),
}
HASHES = re.compile(r"\.(lock|dvc|ipynb|svg)$|(^|/)\.cruft\.json$")  # and encoded pictures
# A key of Weights & Biases of the older kind is 40 hexadecimal digits, which also a commit is:
# behind @ it is one.
OLDER_KEY = re.compile(r"(?i:wandb|api).{0,40}?(?<![\w@])([0-9a-f]{40,})(?!\w)")

CONTEXT_LIMIT = 2**20  # characters; for more, the heuristics take too long
# Characters. Of a longer text, only single lines are read; so is Python, whose lines say nothing of
# those around them, as those of settings do.
WHOLE_LIMIT = 2**15
# The heuristics find nothing but in a line with a long word or the name of a key.
WORTH_A_LOOK = re.compile(
    r"(?<![\w+/=-])(?=[\d+/=-]*[A-Za-z_])[\w+/=-]{16,}|key|pass|pw|secret|token|contrase|://",
    re.IGNORECASE,
)
SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|CONNECTION_STRING", re.IGNORECASE)
SHORTEST = 16  # characters of a variable's value that is looked for


@dataclass(frozen=True)
class Secret:
    """A secret in a text: what kind, in which line (from 1), and the secret itself."""

    kind: str
    line: int
    value: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.kind} in line {self.line}"


def find(name: str, content: bytes) -> list[Secret]:
    """Return the secrets in the content of a file, by their lines.

    Args:
        name: of the file; its ending says how it is read.
    """
    text = _decode(content)
    hashes = bool(HASHES.search(name))
    secrets = list(by_shape(text, hashes))
    if b"\0" not in content and not hashes and len(text) <= CONTEXT_LIMIT:
        values = {secret.value for secret in secrets}
        secrets += [secret for secret in _by_context(name, text) if secret.value not in values]
    return sorted(secrets, key=lambda secret: secret.line)


def by_shape(text: str, hashes: bool = False) -> Iterator[Secret]:
    """Yield what can be nothing else than a secret: by its shape, or as `.env` has this value.

    Args:
        hashes: the text is full of them, so that digits are no key.
    """
    lines = text.splitlines()
    for kind, value in {*_shapes(text, hashes), *_variables(text)}:
        for number, line in enumerate(lines, 1):
            if value in line and not _allowed(line, lines[number - 2] if number > 1 else ""):
                yield Secret(kind, number, value)
                break


def masked(text: str) -> str:
    """Return a text without the secrets in it."""
    for secret in by_shape(text):
        text = text.replace(secret.value, "…")
    return text


def main(names: list[str]) -> None:
    secrets = [(name, secret) for name in names for secret in find(name, Path(name).read_bytes())]
    for name, secret in secrets:
        print(f"{name}:{secret.line}: {secret.kind}")
    if secrets:
        raise SystemExit(ADVICE)


def _shapes(text: str, hashes: bool) -> Iterator[tuple[str, str]]:
    for plugin in _plugins():
        for value in plugin.analyze_string(text):
            yield plugin.secret_type, value
    for kind, pattern in SHAPES.items():
        for value in pattern.findall(text):
            yield kind, value
    if not hashes:
        for value in OLDER_KEY.findall(text):
            yield "Weights & Biases key", value


def _variables(text: str) -> Iterator[tuple[str, str]]:
    from dotenv import dotenv_values

    for name, value in {**dotenv_values(home() / ".env"), **os.environ}.items():
        if not (value and len(value) >= SHORTEST and SECRET_NAME.search(name)):
            continue
        if value in text and not _is_file(value):
            yield f"value of {name}", value


def _by_context(name: str, text: str) -> Iterator[Secret]:
    """Yield what detect-secrets finds by what is around it, and by how random it looks."""
    from detect_secrets.core.scan import scan_file
    from detect_secrets.settings import transient_settings

    lines = list(enumerate(text.splitlines(), 1))
    worth = [(number, line) for number, line in lines if WORTH_A_LOOK.search(line)]
    if not worth:
        return
    if len(text) > WHOLE_LIMIT or name.endswith(".py"):
        # The first line keeps it from reading what is left as a file of settings.
        lines = [(0, "<"), *worth]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, Path(name).name)
        # It reads a file in the encoding of the system, and leaves out what is not in it.
        copy.write_text("\n".join(line for _, line in lines), encoding="ascii", errors="replace")
        with transient_settings({"plugins_used": [{"name": plugin} for plugin in BY_CONTEXT]}):
            for secret in scan_file(str(copy)):
                number = lines[min(secret.line_number, len(lines)) - 1][0]
                yield Secret(secret.type, number, secret.secret_value or "")


@functools.cache
def _plugins() -> list[Any]:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    classes: list[Any] = list(get_mapping_from_secret_type_to_class().values())
    return [kind() for kind in classes if kind.__name__ not in (*BY_CONTEXT, *NO_SECRET)]


def _is_file(value: str) -> bool:
    """Whether it is the place of a file with keys, and no key."""
    try:
        return Path(value).exists()
    except (OSError, ValueError):  # too long, or no name of a file
        return False


def _allowed(line: str, before: str) -> bool:
    return "pragma: allowlist secret" in line or "pragma: allowlist nextline secret" in before


def _decode(content: bytes) -> str:
    """Return a text, also one of Windows in UTF-16; of what is none, what there is of text."""
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")


if __name__ == "__main__":
    main(sys.argv[1:])
