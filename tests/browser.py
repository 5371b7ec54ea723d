"""A page in headless Chromium, driven by the DevTools protocol over a pair of pipes: no port, no driver, no network."""

from __future__ import annotations

import base64
import io
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from matplotlib.image import imread

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    *("--disable-default-apps", "--disable-extensions", "--force-device-scale-factor=1", "--remote-debugging-pipe"),
)
PATIENCE = 120.0  # seconds without an answer, after which the browser is given up


class Page:
    """One tab. `requests` are the addresses that it asked for, `complaints` exceptions and console errors."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from, self._rest, self._count = to_browser, from_browser, b"", 0
        self._session: str | None = None
        self._loaded = False
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def open(self, file: Path, width: int, height: int) -> None:
        """Show `file` and wait until it has loaded."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.send("Page.navigate", url=file.resolve().as_uri())
        while not self._loaded:
            self._note(self._receive())

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one command; events that come before it are noted."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                assert "error" not in answer, (method, answer["error"])
                return cast("dict[str, Any]", answer["result"])
            self._note(answer)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def mouse(self, x: float, y: float, *, click: bool = False) -> None:
        """Move to a point of the window, as a user does; and press the button there."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased") if click else ():
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def prefer(self, scheme: str) -> None:
        """light or dark."""
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def look(self) -> npt.NDArray[np.uint8]:
        """The window's pixels, (height, width, 3), 0 to 255."""
        picture = base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])
        return np.round(255 * imread(io.BytesIO(picture), format="png")[..., :3]).astype(np.uint8)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], PATIENCE)
            assert ready, f"the browser said nothing for {PATIENCE} s"
            more = os.read(self._from, 1 << 20)
            assert more, "the browser has ended"
            self._rest += more
        text, _, self._rest = self._rest.partition(b"\0")
        return cast("dict[str, Any]", json.loads(text))

    def _note(self, event: dict[str, Any]) -> None:
        method, facts = event.get("method"), event.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(facts["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.complaints.append(facts["entry"]["text"])


def find() -> str:
    """The browser's path; a test without one fails. `make test` installs it."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    assert path is not None, "no Chromium here: run `make test`, or install Debian's package chromium"
    return path


@contextmanager
def browse(profile: Path) -> Iterator[Page]:
    """A browser that keeps what it writes under `profile`, and ends with the block."""
    read_here, write_there = os.pipe()
    read_there, write_here = os.pipe()
    # The protocol is spoken on descriptors 3 and 4; a shell moves ours there.
    shell = 'in=$1 out=$2; shift 2; eval "exec \\"\\$@\\" 3<&$in 4>&$out"'
    command = ["bash", "-c", shell, "bash", str(read_there), str(write_there), find(), *FLAGS]
    # A relative temporary folder: the browser makes a socket there, and a socket's path has 107 characters at most.
    environment = {**os.environ, "HOME": str(profile), "TMPDIR": "."}
    process = subprocess.Popen(
        [*command, f"--user-data-dir={profile / 'profile'}", "about:blank"],
        pass_fds=(read_there, write_there),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=profile,
    )
    os.close(read_there)
    os.close(write_there)
    page = Page(write_here, read_here)
    try:
        yield page
        page._session = None
        page.send("Browser.close")
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
        os.close(write_here)
        os.close(read_here)
