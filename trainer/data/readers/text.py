"""Opens text files: UTF-8 with or without a mark, plain or compressed with gzip."""

from __future__ import annotations

import codecs
import gzip
import io
import shlex
import zlib
from collections.abc import Iterator
from pathlib import Path

from trainer.data.readers.rows import DataError

#: Ending of a compressed text file.
GZIP = ".gz"
#: Byte order marks of encodings that are not read.  UTF-32's little mark begins with UTF-16's.
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
#: Encodings without a mark -> bytes of a character, and which of them is not 0 in ASCII.
_WIDE = {"UTF-32LE": (4, 0), "UTF-32BE": (4, 3), "UTF-16LE": (2, 0), "UTF-16BE": (2, 1)}
#: How many bytes of the first line show such an encoding.  Other lines may be of any script.
_SAMPLE = 64


def text_suffix(path: Path) -> str:
    """The ending that says a file's format: `.tsv` of both `a.tsv` and `a.tsv.gz`."""
    return (path.with_suffix("") if _is_compressed(path) else path).suffix.lower()


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a file, each with its ending (\\n, \\r\\n or \\r).

    Raises `DataError` if it cannot be read, or is not UTF-8; then the message has the command
    that converts it.
    """
    content = _bytes(path)
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "")
    encoding = encoding or _without_mark(b"".join(content[:_SAMPLE].splitlines()[:1]))
    if encoding:
        raise DataError(f"{path}: looks like {encoding}, not UTF-8; {_conversion(path, encoding)}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len((error.object[: error.start] + b"x").splitlines())
        raise DataError(
            f"{path}: line {line}: not UTF-8 text; if it is Latin-1 (Windows-1252), "
            f"{_conversion(path, 'WINDOWS-1252')}"
        ) from error
    return iter(io.StringIO(text, newline=""))


def _is_compressed(path: Path) -> bool:
    return path.suffix.lower() == GZIP


def _bytes(path: Path) -> bytes:
    try:
        if not _is_compressed(path):
            return path.read_bytes()
        with gzip.open(path) as stream:
            return stream.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: not a readable gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _without_mark(sample: bytes) -> str:
    """The encoding of several bytes a character that a file's first bytes are in, if they are."""
    for name, (width, place) in _WIDE.items():
        letters = sample[place::width]
        others = b"".join(sample[at::width] for at in range(width) if at != place)
        filled = len(letters) > 1 and letters.count(0) < 0.2 * len(letters)
        if filled and others.count(0) > 0.8 * len(others):
            return name
    return ""


def _conversion(path: Path, encoding: str) -> str:
    new = path.stem if _is_compressed(path) else path.name
    source = shlex.quote(str(path))
    target = shlex.quote(str(path.with_name(f"utf8-{new}")))
    command = f"iconv -f {encoding} -t UTF-8"
    unpacked = f"gunzip -c {source} | {command}" if _is_compressed(path) else f"{command} {source}"
    return f"convert it: {unpacked} > {target}"
