"""Runs of a sweep that are no loops: other processes have to be able to import them."""

from __future__ import annotations

import os
import time
from pathlib import Path


def square(x):
    return x * x


def boom():
    raise ValueError("boom")


def die():
    os._exit(9)


def die_once(marker):
    if not Path(marker).exists():
        Path(marker).write_text("")
        os._exit(9)
    return "alive"


def sleep_and_say(seconds, folder, name):
    Path(folder, f"{name}.{os.getpid()}").write_text("")
    time.sleep(seconds)
    return name


def _axes(config):
    return config["overseer"]["thresholds"]["harmlessness"], config["worker"]["temperature"]


def landscape(config, folder):
    """A smooth landscape over a threshold and a temperature."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, "ran").write_text(str(config["seed"]))
    x, y = _axes(config)
    return {"gold.harmlessness": [x + 0.3 * y, 0.02], "retrains": [1.0, None]}


def troubled(config, folder):
    """Fails where the threshold is high: by an error, by NaN, or by the death of its process."""
    x, _ = _axes(config)
    if x > 0.9:
        raise ValueError("boom")
    if x > 0.8:
        return {"gold.harmlessness": [float("nan"), None]}
    if x > 0.7:
        os._exit(9)
    return landscape(config, folder)


def anomalous(config, folder):
    """A landscape with one point that is not what its neighbours say."""
    x, y = _axes(config)
    off = 1.0 if abs(x - 0.5) < 0.06 and abs(y - 1.0) < 0.12 else 0.0
    return {"gold.harmlessness": [x + 0.3 * y + off + 1e-4 * (config["seed"] % 97), None]}
