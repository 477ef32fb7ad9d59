"""`headgate backup`: a copy taken while requests are written and stored is a home that is proven and can be served."""

import json
import os
import threading
from pathlib import Path

import duckdb
import pytest

from headgate.cli.main import main
from headgate.control.app import build
from headgate.control.backup import back_up, check_target
from headgate.control.seal import seal
from headgate.core.errors import MalformedRequest
from headgate.registry import keys
from support.control_settings import OPENAI_SETTINGS
from support.proof import Capsys, filled, proof_of


@pytest.mark.slow
def test_a_copy_taken_under_load_is_a_home_that_is_proven(tmp_path: Path, capsys: Capsys) -> None:
    home = filled(tmp_path / "home")
    home.log.close()
    control = build(home.path, OPENAI_SETTINGS)
    home.log, home.ingest = control.log, control.ingest
    keys.create_key(control.publisher.registry, name="kept")
    (home.path / "datasets").mkdir()
    (home.path / "datasets" / "stray.jsonl").touch(mode=0o600)
    acknowledged: list[str] = []
    is_over = threading.Event()

    def write() -> None:
        while not is_over.wait(0.001):
            acknowledged.append(home.exchange(request=b"z" * 200))

    def store() -> None:
        while not is_over.wait(0.01):
            control.ingest.step()
            seal(control.log, control.ingest)

    threads = [threading.Thread(target=run) for run in (write, store)]
    for thread in threads:
        thread.start()
    try:
        while len(acknowledged) < 200:
            is_over.wait(0.01)
        before = set(acknowledged)
        target = tmp_path / "copy"
        target.mkdir()
        facts = back_up(control, target)
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    control.close()
    home.stop_writing()
    assert facts["linked"] >= 1
    code, answer = proof_of(target, capsys)
    assert (code, answer["faults"]) == (0, [])
    with duckdb.connect(str(target / "requests.duckdb"), read_only=True) as log:
        stored = [str(row[0]) for row in log.execute("SELECT request_id FROM exchanges").fetchall()]
    assert before <= set(stored)
    assert len(stored) == len(set(stored)) == answer["totals"]["started"]
    assert not [path for path in target.rglob("*") if path.stat().st_mode & 0o077]
    assert main(["key", "list", "--json", "--home", str(target)]) == 0
    assert "kept" in capsys.readouterr().out
    code, answer = proof_of(home.path, capsys)
    assert (code, answer["faults"]) == (0, [])


def test_the_command_copies_a_stopped_home_and_refuses_what_is_not_empty(tmp_path: Path, capsys: Capsys) -> None:
    home = filled(tmp_path / "home")
    home.close()
    (home.path / "admin.key").write_text("hg_secret")
    target = tmp_path / "a" / "copy"
    assert main(["backup", str(target), "--home", str(home.path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["directory"] == str(target)
    assert json.loads((target / "backup.json").read_text())["files"] == facts["files"]
    assert not (target / "admin.key").exists()
    code, answer = proof_of(target, capsys)
    assert (code, answer["faults"]) == (0, [])
    assert answer["totals"]["rows_in_log"] == 67
    assert main(["backup", str(target), "--home", str(home.path)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main(["backup", str(tmp_path / "new"), "--home", str(tmp_path / "nothing")]) == 2
    assert not (tmp_path / "new").exists()


def test_only_a_directory_that_the_caller_has_made_is_written_to(tmp_path: Path) -> None:
    token = "a" * 32
    mine = tmp_path / "mine"
    mine.mkdir()
    for wrong in (str(mine), "relative", str(tmp_path / "none"), "/"):
        with pytest.raises(MalformedRequest):
            check_target(wrong, token)
    (mine / f".headgate-backup-{token}").touch()
    assert check_target(str(mine), token) == mine
    for bad in ("", "../" + "a" * 32, "b" * 32):
        with pytest.raises(MalformedRequest):
            check_target(str(mine), bad)
    os.symlink(mine, tmp_path / "link")
    with pytest.raises(MalformedRequest):
        check_target(str(tmp_path / "link"), token)
    (mine / "other").touch()
    with pytest.raises(MalformedRequest):
        check_target(str(mine), token)
