"""The shipped vocabularies: the right ones, whole, and read without a network."""

import hashlib
import lzma
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tiktoken_ext import openai_public  # type: ignore[import-untyped]

from headgate.pricing import vocabulary
from headgate.pricing.vocabulary import VOCABULARIES, VocabularyDamaged, VocabularyName, build_encoding, encoding

NAMES: list[VocabularyName] = ["cl100k_base", "o200k_base"]

OFFLINE = """
import sys

def refuse(event, arguments):
    if event.startswith(("socket.", "urllib.", "os.remove", "os.rename", "tempfile.")):
        raise RuntimeError(f"{event} {arguments}")

from headgate.pricing.tokens import count_tokens
assert "tiktoken" not in sys.modules and "genai_prices" not in sys.modules
sys.addaudithook(refuse)
print(count_tokens("Hello, world!", "gpt-4o"), count_tokens("Hello, world!", "gpt-4"), "requests" in sys.modules)
"""


@pytest.mark.parametrize("name", NAMES)
def test_shipped_file_has_tiktokens_own_hash_address_pattern_and_special_tokens(
    name: VocabularyName, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def load(url: str, expected_hash: str) -> dict[bytes, int]:
        asked.update(url=url, sha256=expected_hash)
        return {}

    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", load)
    theirs = openai_public.ENCODING_CONSTRUCTORS[name]()
    ours = VOCABULARIES[name]
    assert asked == {"url": ours.url, "sha256": ours.sha256}
    assert (theirs["pat_str"], theirs["special_tokens"]) == (ours.pattern, ours.special_tokens)
    assert hashlib.sha256(lzma.decompress(vocabulary.read_packed(name))).hexdigest() == ours.sha256


def test_notice_names_the_shipped_files() -> None:
    notice = Path(__file__).parents[2].joinpath("NOTICE").read_text(encoding="utf-8")
    for ours in VOCABULARIES.values():
        assert ours.url in notice and ours.sha256 in notice
    assert "MIT License" in notice


def test_counting_opens_no_socket_and_removes_no_file() -> None:
    done = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("4 4 False\n", "")


def test_a_damaged_file_is_named_and_left_alone() -> None:
    other = lzma.compress(b"IQ== 0\n")
    with pytest.raises(VocabularyDamaged, match="vocabulary o200k_base has sha256"):
        build_encoding("o200k_base", other)
    with pytest.raises(VocabularyDamaged, match="cannot be unpacked"):
        build_encoding("o200k_base", vocabulary.read_packed("o200k_base")[:5000])


def test_threads_share_one_loaded_encoding() -> None:
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(encoding("cl100k_base"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len({id(one) for one in found}) == 1
