"""Secrets are found whatever they are in, and ordinary code is none."""

import subprocess
import sys
from pathlib import Path

import pytest
from workflow import credentials
from workflow.paths import ROOT

# In parts, so that this file itself holds none.
AWS_ID = "AKIA" + "IOSFODNN7EXAMPLE"
RANDOM = "wJalrXUtnFEMI/K7MDENG" + "/bPxRfiCYEXAMPLEKEY"
HEX = "0123456789abcdef" * 2 + "01234567"
NEWER = "wandb_v1_" + "AbCdEfGhIjKlMnOpQrStUv"
BLOCK = "-----BEGIN " + "PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a.py", f'x = 1\nclient = connect(key="{AWS_ID}")\n', "AWS Access Key"),
        ("keys.txt", f"# mine\nAWS_SECRET_ACCESS_KEY={RANDOM}\n", "secret variable"),
        ("a.py", f'\nwandb.login(key="{HEX}")\n', "Weights & Biases key"),
        ("notes.md", f"\n{NEWER}\n", "Weights & Biases key"),
        ("id", f"\n{BLOCK}\nMIIE\n", "Private Key"),
        ("uv.lock", f"\nurl = '{AWS_ID}'\n", "AWS Access Key"),
        ("a.ipynb", f'\n"text": "{AWS_ID}"\n', "AWS Access Key"),
        ("a.yaml", "\npass" + 'word: "correct-horse"\n', "Secret Keyword"),
        ("a.py", "\npass" + 'word = "correct-horse"\n', "Secret Keyword"),
        ("long.py", "value = 1\n" * 9999 + f'key = "{RANDOM}"\n', "Base64 High Entropy String"),
    ],
)
def test_a_secret_is_found_in_its_line(name: str, text: str, kind: str) -> None:
    (line,) = [n for n, line in enumerate(text.splitlines(), 1) if n > 1 and len(line) > 12]
    secrets = credentials.find(name, text.encode())
    assert (kind, line) in [(secret.kind, secret.line) for secret in secrets]
    assert not any(secret.value in str(secret) for secret in secrets)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8-sig", "utf-16"])
def test_a_secret_is_found_whatever_the_encoding(encoding: str) -> None:
    for text in (f"é {AWS_ID}", f"\0 {AWS_ID}"):
        (secret,) = credentials.find("a", text.encode(encoding))
        assert secret.kind == "AWS Access Key"


def test_a_value_of_the_environment_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COMPANY_TOKEN", "only the company knows it")
    monkeypatch.setenv("COMPANY_KEY_FILE", str(tmp_path))  # the place of a key is none
    text = f"a = 1\nb = 'only the company knows it'\nc = '{tmp_path}'\n"
    (secret,) = credentials.find("a.py", text.encode())
    assert str(secret) == "value of COMPANY_TOKEN in line 2"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uv.lock", f'hash = "sha256:{HEX}"\nwandb = "{HEX}"\n'),
        ("dvc.lock", f"md5: {HEX}\n"),
        ("ci.yml", f"uses: actions/checkout@{HEX}\n"),
        (".cruft.json", f'"commit": "{HEX}"\n'),
        ("a.ipynb", f'"image/png": "{RANDOM}"\n'),
        ("a.py", f'KEY = "{AWS_ID}"  # pragma: allowlist secret\n'),
        ("a.py", f'# pragma: allowlist nextline secret\nKEY = "{AWS_ID}"\n'),
        ("a.py", 'token = tokenizer.encode("a text")\npassword = os.environ["PASSWORD"]\n'),
    ],
)
def test_hashes_and_ordinary_code_are_no_secrets(name: str, text: str) -> None:
    assert credentials.find(name, text.encode()) == []


def test_the_git_hook_names_file_and_line_and_not_the_secret(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(f'KEY = "{AWS_ID}"\n', encoding="utf-8")
    (tmp_path / "b.py").write_text("KEY = 1\n", encoding="utf-8")
    command = [sys.executable, "-m", credentials.__name__, tmp_path / "a.py", tmp_path / "b.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == f"{tmp_path / 'a.py'}:1: AWS Access Key\n"
    assert done.stderr.startswith("keep it in .env")


def test_the_usual_files_of_secrets_are_ignored_and_no_others(tmp_path: Path) -> None:
    secret = [
        *(".env", ".env.local", ".env.production", ".envrc", ".netrc", "conf/credentials.json"),
        *("gcp-credentials.json", "service-account.json", "client_secret_1.json", "secrets.yaml"),
        *("server.pem", "deploy/tls.key", "id_rsa", "id_ed25519", "user.p12", ".aws/config"),
    ]
    others = [".env.example", "package/secrets.py", "monkey.py", "conf/keys.yaml", "key.py"]
    (tmp_path / ".gitignore").write_bytes((ROOT / ".gitignore").read_bytes())
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    command = ["git", "-c", "core.excludesFile=", "check-ignore", *secret, *others]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == secret
