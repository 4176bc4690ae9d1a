"""Files are whole, whatever ends the process that writes them."""

import os
import subprocess
import sys
import time
from pathlib import Path

from workflow import files, paths

WRITE = """
import sys
from pathlib import Path
from MODULE import replace
replace(Path(sys.argv[1]), b"new" * 2**26)
"""


def test_a_file_is_whole_when_its_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_bytes(b"old")
    script = WRITE.replace("MODULE", files.__name__)
    variables = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    writer = subprocess.Popen([sys.executable, "-c", script, str(path)], env=variables)
    while not path.with_name("metrics.json.unfinished").exists() and writer.poll() is None:
        time.sleep(0.001)
    writer.kill()
    writer.wait()
    assert path.read_bytes()[:3] in (b"old", b"new")
    assert path.stat().st_size in (3, 3 * 2**26)
    files.replace(path, "newer\n")
    assert path.read_bytes() == b"newer\n"
    assert list(tmp_path.iterdir()) == [path]


def test_the_mode_of_a_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.touch()
    path.chmod(0o600)
    before = path.stat().st_mode
    files.replace(path, "more")
    assert path.stat().st_mode == before
