"""The files of a tar.xz that anybody may have made: in bounded memory, and only what a pack needs.

Python's tarfile reads more kinds of members, and headers of any length.  This reads plain files,
folders and long names, and refuses everything else by what it is.
"""

from __future__ import annotations

import lzma
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from orchestrator.errors import UserError
from trainer.printable import in_one_line
from trainer.storage.folder import in_words

#: Limits: members, bytes of one file, of all unpacked bytes, and of memory for the decompression.
MAX_MEMBERS, MAX_FILE, MAX_UNPACKED, MAX_MEMORY = 500_000, 64_000_000, 2_000_000_000, 128_000_000
#: Of the header of a long name, and of a name in a message, in characters.
_MAX_HEADER, _LONGEST = 65_536, 200
_BLOCK = tarfile.BLOCKSIZE
#: Bytes of one read from the file, and of one step of the decompression.
_READ, _STEP = 65_536, 1_048_576

#: What a member can be that a pack never has.
_REFUSED = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a FIFO",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
    tarfile.GNUTYPE_LONGNAME: "a name in GNU's format",
    tarfile.GNUTYPE_LONGLINK: "a link in GNU's format",
    tarfile.XGLTYPE: "a header for all members",
}
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)


class PackError(UserError):
    """An archive that is damaged or that a pack cannot be; the message says why, on one line."""

    def __init__(self, message: str, name: str = ""):
        name = in_one_line(name[:_LONGEST] + "..." * (len(name) > _LONGEST))  # it may be anything
        super().__init__(f"{name}: {message}" if name else message)


@dataclass(frozen=True)
class Member:
    """A file of the archive."""

    name: str
    content: bytes


def members(stream: BinaryIO) -> Iterator[Member]:
    """The files one after another, each of them whole.  Raises `PackError`."""
    source = _Source(stream)
    long_name = ""
    for _ in range(MAX_MEMBERS):
        header = _header(source)
        if header is None:
            source.end()
            return
        if header.type == tarfile.XHDTYPE:
            long_name = _path(_content(source, header, _MAX_HEADER))
            continue
        name, long_name = long_name or header.name, ""
        if header.type == tarfile.DIRTYPE:
            _content(source, header, 0)
            continue
        if header.type not in _FILES:
            kind = _REFUSED.get(header.type, f"of the unknown type {header.type!r}")
            raise PackError(f"is {kind}; allowed: files and folders", name)
        if header.mode & 0o7000:
            raise PackError(f"has the mode {header.mode:o}; allowed: at most 777", name)
        yield Member(name, _content(source, header, MAX_FILE))
    raise PackError(f"has more than {MAX_MEMBERS:,} members")


def _header(source: _Source) -> tarfile.TarInfo | None:
    """The next member's header; None at the end."""
    block = source.read(_BLOCK)
    if block.count(0) == _BLOCK:
        return None
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        raise PackError("is damaged: a member's header cannot be read") from error
    if header.size < 0:
        raise PackError("has a negative size", header.name)
    return header


def _content(source: _Source, header: tarfile.TarInfo, most: int) -> bytes:
    if header.size > most:
        raise PackError(f"has {in_words(header.size)}; allowed: {in_words(most)}", header.name)
    content = source.read(header.size)
    source.read(-header.size % _BLOCK)
    return content


def _path(header: bytes) -> str:
    """The name in an extended header: `LENGTH key=value` and the end of the line, repeated."""
    path = ""
    while header:
        length, _, _ = header.partition(b" ")
        count = int(length) if length.isdigit() and len(length) < 6 else 0
        record, header = header[:count], header[count:]
        key, found, value = record[len(length) + 1 :].partition(b"=")
        if not found or not record.endswith(b"\n"):
            raise PackError("is damaged: an extended header cannot be read")
        if key == b"size":
            raise PackError("has a file whose size stands in an extended header")
        if key == b"path":
            path = value[:-1].decode(errors="replace")
    return path


class _Source:
    """The unpacked bytes of an xz stream."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_MEMORY)
        self._left = MAX_UNPACKED
        self._ready, self._at = b"", 0

    def read(self, size: int) -> bytes:
        """So many bytes.  Raises `PackError` if there are fewer."""
        parts = []
        while size:
            if self._at == len(self._ready):
                self._ready, self._at = self._more(), 0
                if not self._ready:
                    raise PackError("is cut off: a member is not complete")
            part = self._ready[self._at : self._at + size]
            parts.append(part)
            self._at += len(part)
            size -= len(part)
        return b"".join(parts)

    def end(self) -> None:
        """Read the rest, at whose end the checksum stands.  Raises `PackError` if that is wrong."""
        while self._more():
            pass
        if self._decompressor.unused_data or self._stream.read(1):
            raise PackError("goes on after its end")

    def _more(self) -> bytes:
        """Some more bytes; none at the end."""
        while not self._decompressor.eof:
            wanted = self._decompressor.needs_input
            packed = self._stream.read(_READ) if wanted else b""
            if wanted and not packed:
                raise PackError("is cut off")
            try:
                found = self._decompressor.decompress(packed, _STEP)
            except (lzma.LZMAError, MemoryError) as error:
                raise PackError(f"is damaged or no tar.xz: {error}") from error
            self._left -= len(found)
            if self._left < 0:
                raise PackError(f"unpacks to more than {in_words(MAX_UNPACKED)}")
            if found:
                return found
        return b""
