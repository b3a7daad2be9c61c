"""A browser to drive pages with: headless Chromium, spoken to through two pipes, so that no package is needed."""

import base64
import fcntl
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-component-update", "--disable-background-networking", "--disable-dev-shm-usage",
         "--remote-debugging-pipe")


class Page:
    """A tab. ``problems`` holds errors on its console, ``requests`` the addresses it asked for."""

    def __init__(self, to: int, answers: Any) -> None:
        self.to, self.answers, self.count = to, answers, 0
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the DevTools protocol and its result."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        os.write(self.to, json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.count:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        message = bytearray()
        while (byte := self.answers.read(1)) != b"\0":
            assert byte, "the browser has gone"
            message += byte
        answer = json.loads(message)
        event, params = answer.get("method"), answer.get("params", {})
        if event == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.problems.append(json.dumps(params["args"]))
        elif event == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(json.dumps(params["entry"]))
        elif event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        self.event = event
        return answer

    def open(self, path: Path, width: int = 1366, height: int = 768, dark: bool = False) -> None:
        """Open a file in a window of this size."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.requests.clear()
        self.call("Page.navigate", url=path.as_uri())
        while self.event != "Page.loadEventFired":
            self._next()

    def run(self, script: str) -> Any:
        """The value of an expression, of a promise when it is there."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def mouse(self, x: float, y: float, click: bool = False) -> None:
        """Move the mouse there, and click."""
        for kind in ("mouseMoved", *(("mousePressed", "mouseReleased") if click else ())):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, clickCount=int(click),
                      button="none" if kind == "mouseMoved" else "left")

    def screenshot(self) -> bytes:
        """A picture of the window, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])


@contextmanager
def browser() -> Iterator[Page]:
    """A page in a browser of its own, which reads commands from descriptor 3 and answers on 4."""
    assert PROGRAM
    commands, ours = os.pipe()
    theirs, answers = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (commands, answers)]  # none of them is 3 or 4
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = os.posix_spawn(PROGRAM, [PROGRAM, *FLAGS, f"--user-data-dir={profile}"], os.environ, file_actions=[
            (os.POSIX_SPAWN_DUP2, high[0], 3), (os.POSIX_SPAWN_DUP2, high[1], 4),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)])
        for end in (commands, answers, *high):
            os.close(end)
        try:
            with open(theirs, "rb") as stream:
                yield Page(ours, stream)
        finally:
            os.close(ours)
            os.kill(process, signal.SIGTERM)
            os.waitpid(process, 0)
