"""Making one registry of two: tags that clash with those of the remote get the next numbers.

What the remote has is known to others, and stays. A tag that moves keeps author, date and commit.
"""

import re
from collections.abc import Mapping

from gto.constants import COUNTER, VERSION
from gto.tag import parse_name

from .. import git
from ..paths import home
from . import sharing
from .sharing import PREFIX, Tag, Tags

SIGNATURE = re.compile(rb"^-----BEGIN (PGP|SSH) SIGNATURE-----.*", re.MULTILINE | re.DOTALL)

Names = dict[str, str | None]  # of tags, by their old one; None: the remote has the same


def reconcile(remote: str) -> Names:
    """Take the tags of a remote over; return the new names of those here that clashed with them.

    All of it is done, or nothing.

    Raises:
        NoAnswerError: the remote does not answer.
    """
    own, others = sharing.here(), sharing.there(remote)
    names = plan(own, others)
    missing = [name for name, tag in others.items() if name not in own or own[name].id != tag.id]
    if missing:  # without a name: under the same ones they would be refused
        sharing.fetch(remote, *(PREFIX + name for name in missing))
    versions = renamed_versions(names)
    changes = [_change(name, own.get(name), others[name]) for name in missing]
    for old, new in names.items():
        if new:
            changes.append(f"create {PREFIX}{new} {_copy(own[old], new, versions)}")
        if old not in others:
            changes.append(f"delete {PREFIX}{old} {own[old].id}")
    git.run(home(), "update-ref", "--stdin", content="".join(f"{c}\n" for c in changes).encode())
    return names


def plan(own: Tags, others: Tags) -> Names:
    """Return the new names of the tags that cannot keep theirs."""
    about = {name: parse_name(name, raise_on_fail=False) for name in {**own, **others}}
    mine = [name for name, tag in own.items() if name not in others or others[name].id != tag.id]
    names: Names = {}
    # Versions first: what happened to them is named after them.
    remote_versions = {others[name].commit: name for name in others if is_version(name)}
    numbers = [_numbers(about[name][VERSION]) for name in about if is_version(name)]
    for name in sorted(filter(is_version, mine), key=lambda name: _numbers(about[name][VERSION])):
        if own[name].commit in remote_versions:
            names[name] = None
        elif name in others:
            major, minor, patch = max(numbers)
            numbers.append((major, minor, patch + 1))
            names[name] = f"{name.rpartition('@')[0]}@v{major}.{minor}.{patch + 1}"
    versions = {old: new or remote_versions[own[old].commit] for old, new in names.items()}
    last = max((parsed.get(COUNTER, 0) for parsed in about.values()), default=0)
    for name in sorted(mine, key=lambda name: about[name].get(COUNTER, 0)):
        if is_version(name):
            continue
        stem, separator, _ = name.partition("!") if "@" in name else (name, "", "")
        new = versions.get(stem, stem) + name[len(stem) :] if separator else name
        if new in others and others[new].commit == own[name].commit:
            names[name] = None
        elif new in others:
            last += 1
            names[name] = f"{new.rpartition('#')[0] or new}#{last}"
        elif new != name:
            names[name] = new
    return names


def is_version(name: str) -> bool:
    """Whether a tag registers a version: others say what happened to one."""
    return re.search(r"@v[^!#]+$", name) is not None


def renamed_versions(names: Names) -> dict[str, str]:
    """Return the new names of versions, such as v0.0.2, by the old ones."""
    pairs = [(old, new) for old, new in names.items() if new and is_version(old)]
    return {old.rpartition("@")[2]: new.rpartition("@")[2] for old, new in pairs}


def _change(name: str, own: Tag | None, other: Tag) -> str:
    if own is None:
        return f"create {PREFIX}{name} {other.id}"
    return f"update {PREFIX}{name} {other.id} {own.id}"


def _copy(tag: Tag, name: str, versions: Mapping[str, str]) -> str:
    """Write a tag under another name, and return its id."""
    if tag.id == tag.commit:  # nothing but a name
        return tag.id
    head, _, message = git.run(home(), "cat-file", "tag", tag.id).partition(b"\n\n")
    head = re.sub(rb"^tag .+$", f"tag {name}".encode(), head, count=1, flags=re.MULTILINE)
    for old, new in versions.items():
        message = re.sub(rf"\b{re.escape(old)}(?![\w.-])".encode(), new.encode(), message)
    content = head + b"\n\n" + SIGNATURE.sub(b"", message)
    tag_id = git.run(home(), "hash-object", "-t", "tag", "-w", "--stdin", content=content)
    return tag_id.decode().strip()


def _numbers(version: str) -> tuple[int, int, int]:
    """Return what orders versions: v0.0.10 is after v0.0.9."""
    major, minor, patch = (int(part) for part in re.findall(r"\d+", version)[:3])
    return major, minor, patch
