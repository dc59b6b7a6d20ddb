"""Chromium without a window: opens pages and takes pictures of them.

It is driven through a pipe (`--remote-debugging-pipe`) by the Chrome DevTools Protocol, so it needs
the program `chromium` and no Python package.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image

_COLOURS = 256
_PAUSE_S = 1.0


class Chromium:
    """A browser with one page.  Use it as a context manager.

    Args:
        before_pages: JavaScript that runs in every page before the page's own.
    """

    def __init__(self, before_pages: str = ""):
        self._profile = tempfile.mkdtemp()
        theirs_in, mine_out = os.pipe()
        mine_in, theirs_out = os.pipe()
        options = ["--headless=new", "--no-sandbox", "--hide-scrollbars", "--no-first-run"]
        options += ["--remote-debugging-pipe", f"--user-data-dir={self._profile}"]
        script = f'exec chromium "$@" 3<&{theirs_in} 4>&{theirs_out}'  # it reads 3 and writes 4
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", *options], pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._out, self._in = os.fdopen(mine_out, "wb", 0), os.fdopen(mine_in, "rb", 0)
        self._read, self._calls, self._session = b"", 0, ""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self._call("Page.enable")
        self._call("Page.addScriptToEvaluateOnNewDocument", source=before_pages)

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._process.terminate()
        self._process.wait(20)
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, address: str, width: int = 1280, height: int = 800) -> None:
        """Open an address in a window of so many pixels."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=width < 500,
        )  # fmt: skip
        self._call("Page.navigate", url="about:blank")  # an address that differs in #... is no page
        self._call("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression.  Raises `RuntimeError` if it fails."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, condition: str, timeout: float = 90) -> None:
        """Wait until a JavaScript expression is true; an error in it is false, as pages grow.

        Raises `TimeoutError`.
        """
        end = time.monotonic() + timeout
        while not self.run(f"(() => {{try {{return !!({condition})}} catch {{return false}}}})()"):
            if time.monotonic() > end:
                raise TimeoutError(f"{condition} is not true on {self.run('location.href')}")
            time.sleep(_PAUSE_S / 4)

    def picture(self, timeout: float = 60) -> bytes:
        """The window as PNG, once it has stopped changing."""
        end, before = time.monotonic() + timeout, b""
        while True:
            time.sleep(_PAUSE_S)
            now = base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])
            if now == before or time.monotonic() > end:
                return now
            before = now

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next_message()
            if answer.get("id") == self._calls:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])

    def _next_message(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            more = self._in.read(1 << 16)
            if not more:
                raise RuntimeError("Chromium ended; is the program `chromium` installed?")
            self._read += more
        first, _, self._read = self._read.partition(b"\0")
        return dict(json.loads(first))


def save_small(picture: bytes, path: Path) -> None:
    """Save a picture with a palette of 256 colours, at a third of its size."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
