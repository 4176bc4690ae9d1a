"""What images say of themselves."""

import pytest
from workflow.containers import images


@pytest.mark.parametrize(
    ("remote", "source"),
    [
        ("https://me@git.example.com/team/name.git", "https://git.example.com/team/name"),
        ("https://git.example.com:8443/team/name/", "https://git.example.com:8443/team/name"),
        ("git@git.example.com:team/name.git", "https://git.example.com/team/name"),
        ("ssh://git@git.example.com:2222/team/name.git", "https://git.example.com/team/name"),
        ("../name.git", ""),
        ("/srv/git/name.git", ""),
        ("C:/git/name.git", ""),
        ("file:///srv/git/name.git", ""),
        ("", ""),
    ],
)
def test_clones_by_each_protocol_have_one_source_without_their_user(
    remote: str, source: str
) -> None:
    assert images.source(remote) == source


def test_authors_may_lack_an_address_or_a_name() -> None:
    people = [{"name": "Ada", "email": "ada@example.com"}, {"name": "Bo"}, {"email": "c@d.com"}]
    assert images.authors({"authors": people}) == "Ada <ada@example.com>, Bo, <c@d.com>"
    assert images.authors({}) == ""
