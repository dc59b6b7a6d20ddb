"""A headless Chromium, driven by its chromedriver in plain HTTP: pages, sizes, pictures, PDF."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
_OPTIONS = [
    "headless", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
    "disable-component-update", "disable-sync", "hide-scrollbars",
]  # fmt: skip


class Browser:
    """A headless browser, by WebDriver's plain HTTP."""

    def __init__(self, port: int, profile: Path):
        self._url = f"http://127.0.0.1:{port}"
        arguments = [*_OPTIONS, f"user-data-dir={profile}"]
        if os.geteuid() == 0:
            arguments.append("no-sandbox")  # which root cannot have
        wanted = {
            "goog:chromeOptions": {"args": arguments, "binary": CHROMIUM},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        asked = {"capabilities": {"alwaysMatch": wanted}}
        session = self._post("/session", asked)["sessionId"]
        self._url += f"/session/{session}"

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            self._url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def run(self, script: str) -> Any:
        return self._post("/execute/sync", {"script": script, "args": []})

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self._post("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, page: Path | str, width: int, scheme: str = "light", height: int = 900) -> None:
        """Open a file or an address in a window of this size, in CSS pixels."""
        self._size(width, height)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", features=features)
        self._post("/url", {"url": page.as_uri() if isinstance(page, Path) else page})

    def picture(self, path: Path, whole: bool = False) -> Path:
        """Keep what the window shows, or the whole page, as a PNG file."""
        more: dict[str, Any] = {"captureBeyondViewport": True} if whole else {}
        if whole:
            box = self.devtools("Page.getLayoutMetrics")["cssContentSize"]
            more["clip"] = {**box, "scale": 1}
        shot = self.devtools("Page.captureScreenshot", format="png", **more)["data"]
        path.write_bytes(base64.b64decode(shot))
        return path

    def small_picture(self, path: Path, seconds: float = 60) -> None:
        """Keep the window once it has stopped changing, with 256 colours: a third of the size."""
        from PIL import Image

        ends, before = time.monotonic() + seconds, b""
        while True:
            time.sleep(1)
            now = self.picture(path).read_bytes()
            if now == before or time.monotonic() > ends:
                break
            before = now
        image = Image.open(path).convert("RGB")
        image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)

    def before_pages(self, script: str) -> None:
        """Run a script in every page before the page's own."""
        self.devtools("Page.addScriptToEvaluateOnNewDocument", source=script)

    def pdf(self, path: Path) -> Path:
        """Print the page on A4."""
        printed = self.devtools(
            "Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69,
            preferCSSPageSize=True,
        )  # fmt: skip
        path.write_bytes(base64.b64decode(printed["data"]))
        return path

    def wait_for(self, script: str, seconds: float = 30) -> Any:
        """Wait until a script returns something true; returns that.

        An error in it is false, because pages grow.
        """
        ends = time.monotonic() + seconds
        while not (value := self.run(f"try {{ {script} }} catch {{ return false }}")):
            if time.monotonic() > ends:
                raise TimeoutError(f"not true after {seconds} s: {script}")
            time.sleep(0.2)
        return value

    def _size(self, width: int, height: int) -> None:
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=False,
        )  # fmt: skip

    def logged(self, kind: str) -> list[dict[str, Any]]:
        return list(self._post("/se/log", {"type": kind}))

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last call."""
        messages = [json.loads(each["message"])["message"] for each in self.logged("performance")]
        return [
            each["params"]["request"]["url"]
            for each in messages
            if each["method"] == "Network.requestWillBeSent"
        ]

    def quit(self) -> None:
        request = urllib.request.Request(self._url, method="DELETE")
        with contextlib.suppress(OSError):
            urllib.request.urlopen(request, timeout=20).close()


@contextlib.contextmanager
def started(profile: Path) -> Iterator[Browser]:
    """A browser that ends with the block; `profile` is an empty folder for its files."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen(
        [str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    made = None
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.1)
        made = Browser(port, profile)
        yield made
    finally:
        if made is not None:
            made.quit()
        driver.terminate()
        driver.wait(20)
