"""Writes tests/fixtures/home-<version>.tar.xz: files as this version writes them, which every later one must open.

Run it once at a release, commit what it wrote, and never change it: `.venv/bin/python scripts/released_files.py`.
"""

import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from headgate import __version__  # noqa: E402
from headgate.control.app import build  # noqa: E402
from headgate.control.backup import back_up  # noqa: E402
from headgate.control.seal import seal  # noqa: E402
from headgate.registry import keys  # noqa: E402
from headgate.store.table_copies import FOLDER, write_copy  # noqa: E402
from support.control_settings import OPENAI_SETTINGS  # noqa: E402
from support.stored_home import StoredHome  # noqa: E402

FIXTURES = ROOT / "tests" / "fixtures"


def write(work: Path, target: Path) -> None:
    """A small home with sealed, stored and waiting requests, one interrupted, a score, a label, a key, a snapshot."""
    home = StoredHome(work / "home", segment_bytes=8 << 10)
    for number in range(12):
        home.exchange(request=b'{"n": %d}' % number, user_id="someone")
    home.start()
    home.stop_writing()
    home.store_all()
    home.ingest.step()
    seal(home.log, home.ingest)
    home.log.close()
    control = build(home.path, OPENAI_SETTINGS)
    home.log, home.ingest = control.log, control.ingest
    ids = home.ids()
    home.log.append("scores", [{"request_id": ids[0], "name": "good", "value": 1.0, "source": "human"}])
    home.log.append("labels", [{"request_id": ids[0], "row": 0, "label": "yes", "source": "human"}])
    keys.create_key(control.publisher.registry, name="fixture")
    (home.path / "snapshot").mkdir(mode=0o700, exist_ok=True)
    control.publisher.publish()
    for number in range(5):
        home.exchange(request=b'{"stored": %d}' % number)
    home.store_all()
    home.exchange(request=b'{"waiting": 1}')
    target.mkdir(mode=0o700)
    back_up(control, target)
    copy = write_copy(control.log)
    shutil.copytree(copy, target / FOLDER / copy.name)
    control.close()
    home.stop_writing()


if __name__ == "__main__":
    packed = FIXTURES / f"home-{__version__}.tar.xz"
    FIXTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), Path(folder) / "packed")
        with tarfile.open(packed, "w:xz") as archive:
            archive.add(Path(folder) / "packed", arcname=".")
    print(f"Written: {packed}, {packed.stat().st_size} bytes.")
