"""The two tokenizer vocabularies shipped in the package: loaded lazily, checked by hash, never fetched."""

import binascii
import hashlib
import lzma
import threading
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

import msgspec

from headgate.core.errors import HeadgateError

if TYPE_CHECKING:
    from tiktoken import Encoding

VocabularyName = Literal["cl100k_base", "o200k_base"]


class VocabularyDamaged(HeadgateError):
    """A vocabulary file of the installed package is missing or not what was shipped."""

    code = "vocabulary_damaged"
    hint = "Install Headgate again: pip install --force-reinstall headgate."


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """What makes an encoding, beside its token file."""

    url: str  # where the file comes from; never opened here
    sha256: str  # of the unpacked file
    pattern: str
    special_tokens: dict[str, int]


# Patterns, special tokens, addresses and hashes are those of tiktoken_ext/openai_public.py (tiktoken 0.14.0, MIT);
# a test compares them. tiktoken's own loader is not used: it deletes a file whose hash is wrong, then downloads it.
VOCABULARIES: dict[VocabularyName, Vocabulary] = {
    "cl100k_base": Vocabulary(
        url="https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken",
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        pattern=(
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
            r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
        ),
        special_tokens={
            "<|endoftext|>": 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
    "o200k_base": Vocabulary(
        url="https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken",
        sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        pattern="|".join(
            (
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                r"\p{N}{1,3}",
                r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
                r"\s*[\r\n]+",
                r"\s+(?!\S)",
                r"\s+",
            )
        ),
        special_tokens={"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
    ),
}

_loaded: "dict[VocabularyName, Encoding]" = {}
_loading = threading.Lock()


def encoding(name: VocabularyName) -> "Encoding":
    """The encoding, read from the package at its first use (0.2 to 0.5 s, 70 MB); raises VocabularyDamaged."""
    found = _loaded.get(name)
    if found is None:
        with _loading:
            found = _loaded.get(name)
            if found is None:
                found = _loaded[name] = build_encoding(name, read_packed(name))
    return found


def read_packed(name: VocabularyName) -> bytes:
    """The compressed token file as the package holds it."""
    try:
        return files("headgate.pricing").joinpath("data", f"{name}.tiktoken.xz").read_bytes()
    except OSError as error:
        raise VocabularyDamaged(f"The vocabulary {name} cannot be read: {error}.") from error


def build_encoding(name: VocabularyName, packed: bytes) -> "Encoding":
    """An encoding from a compressed token file, whose hash must be the known one; raises VocabularyDamaged."""
    # Imported here: the gateway workers import this package's neighbours and must not carry a tokenizer.
    from tiktoken import Encoding

    vocabulary = VOCABULARIES[name]
    try:
        text = lzma.decompress(packed)
    except lzma.LZMAError as error:
        raise VocabularyDamaged(f"The vocabulary {name} cannot be unpacked: {error}.") from error
    digest = hashlib.sha256(text).hexdigest()
    if digest != vocabulary.sha256:
        raise VocabularyDamaged(f"The vocabulary {name} has sha256 {digest}, not {vocabulary.sha256}.")
    words = text.split()
    return Encoding(
        name,
        pat_str=vocabulary.pattern,
        mergeable_ranks=dict(zip(map(binascii.a2b_base64, words[::2]), map(int, words[1::2]), strict=True)),
        special_tokens=vocabulary.special_tokens,
    )
