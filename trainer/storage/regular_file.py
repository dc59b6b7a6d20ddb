"""Opening files that anybody may have put there: regular files only, and nothing blocks.

Opening a FIFO would wait for its writer, and a device may have no end.  A link may lead to files
that have nothing to do with the folder.
"""

from __future__ import annotations

import errno
import os
import stat

from trainer.storage.folder import Refused

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
#: What is not a regular file -> what it is called.
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Enclosure:
    """A folder out of which no link leads."""

    def __init__(self, root: str):
        self._root = root
        self._real = os.path.realpath(root)
        #: Folders known to be inside.  A sweep has hundreds, and each is looked at once.
        self._checked = {root}

    def check_folder(self, path: str) -> None:
        """Raise `Refused` if a folder at or below the root is elsewhere, through a link."""
        if path in self._checked:
            return
        self.check_folder(os.path.dirname(path))
        try:
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return
        if stat.S_ISLNK(mode):
            self.check_link(path)
        self._checked.add(path)

    def check_link(self, path: str) -> None:
        """Raise `Refused` if a link leads out of the root."""
        target = os.path.realpath(path)
        if os.path.commonpath([target, self._real]) != self._real:
            raise Refused(path, f"is a link to {target}, which is not in {self._root}")


def open_regular(path: str, inside: Enclosure | None = None) -> int:
    """A descriptor for reading a regular file; the caller closes it.

    Args:
        inside: the folder out of which links must not lead; None: links are followed.

    Raises:
        Refused: it is no regular file, or elsewhere.
        OSError: it is missing, or cannot be opened.
    """
    try:
        descriptor = os.open(path, _FLAGS | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise Refused(path, "is a socket or a device, not a regular file") from error
        if error.errno != errno.ELOOP:
            raise
        if inside:
            inside.check_link(path)
        descriptor = os.open(path, _FLAGS)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    raise Refused(path, f"is {_KINDS.get(stat.S_IFMT(mode), 'special')}, not a regular file")
