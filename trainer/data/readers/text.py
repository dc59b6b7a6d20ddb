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
#: How much of a file shows whether it is UTF-16 without a mark.
_SAMPLE = 4096


def text_suffix(path: Path) -> str:
    """The ending that says a file's format: `.tsv` of both `a.tsv` and `a.tsv.gz`."""
    return path.with_suffix("").suffix if path.suffix == GZIP else path.suffix


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a file, each with its ending (\\n, \\r\\n or \\r).

    Raises `DataError` if it is not UTF-8.  The message has the command that converts it.
    """
    content = _bytes(path)
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "")
    encoding = encoding or _without_mark(content[:_SAMPLE])
    if encoding:
        raise DataError(f"{path}: looks like {encoding}, not UTF-8; {_conversion(path, encoding)}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: line {line}: not UTF-8 text; if it is Latin-1 (Windows-1252), "
            f"{_conversion(path, 'WINDOWS-1252')}"
        ) from error
    return iter(io.StringIO(text, newline=""))


def _bytes(path: Path) -> bytes:
    if path.suffix != GZIP:
        return path.read_bytes()
    try:
        with gzip.open(path) as stream:
            return stream.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: not a readable gzip file: {error}") from error


def _without_mark(sample: bytes) -> str:
    """UTF-16, if every other byte is 0 nearly everywhere, as in Latin letters of UTF-16."""
    for start, name in ((1, "UTF-16LE"), (0, "UTF-16BE")):
        zeros, others = sample[start::2], sample[1 - start :: 2]
        if (
            len(others) > 1
            and zeros.count(0) > 0.8 * len(zeros)
            and others.count(0) < 0.2 * len(others)
        ):
            return name
    return ""


def _conversion(path: Path, encoding: str) -> str:
    new = path.name.removesuffix(GZIP)
    source = shlex.quote(str(path))
    target = shlex.quote(str(path.with_name(f"utf8-{new}")))
    command = f"iconv -f {encoding} -t UTF-8"
    unpacked = f"gunzip -c {source} | {command}" if path.suffix == GZIP else f"{command} {source}"
    return f"convert it: {unpacked} > {target}"
