"""`custodes label` in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Self


class LabelProcess:
    """A running `custodes label`; use it as a context manager."""

    def __init__(self, data: Path, out: Path, *options: str) -> None:
        command = [sys.executable, "-m", "custodes", "label", str(data), "--out", str(out)]
        self.process = subprocess.Popen(
            [*command, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.urls: list[str] = []
        assert self.process.stderr is not None
        said = ""
        for line in self.process.stderr:
            said += line
            self.urls += re.findall(r"http://\S+", line)
            if "Ctrl-C" in line:
                break
        assert self.urls, said

    def ask(self, name: str, **body: Any) -> Any:
        url = self.urls[0]
        origin = url.rsplit("/", 2)[0]
        data = json.dumps(body).encode() if body else None
        headers = {"Content-Type": "application/json", "Origin": origin}
        request = urllib.request.Request(url + name, data, headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read())

    def end(self, signal: int) -> tuple[int, str, str]:
        """Send a signal, and return the exit code and what was printed."""
        self.process.send_signal(signal)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
