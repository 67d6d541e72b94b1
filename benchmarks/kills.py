"""Kill a run at random moments and compare what it ends with to what it should have ended with.

    python benchmarks/kills.py [CONFIG] [--kills 20] [--seed 0] [key=value ...]

One run is left alone. Then, for every kill, a fresh folder is begun, its process gets SIGKILL at a
moment drawn uniformly from the first run's duration, and the same command is given again. The
events of the two runs must be the same bytes, and nothing that the killed process had finished may
be made again: its log must be a prefix of the resumed one's.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def command(config: str, out: Path, overrides: list[str]) -> list[str]:
    return [sys.executable, "-m", "custodes", "oversee", config, *overrides, "--out", str(out)]


def finish(arguments: list[str]) -> float:
    began = time.monotonic()
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the run failed: {done.stderr[-2000:]}")
    return time.monotonic() - began


def kill_after(arguments: list[str], seconds: float) -> bool:
    """Start a run and kill it; whether it was still alive then."""
    process = subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True


def logs(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("events.jsonl"))
    }


def whole_lines(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1]


def trial(
    arguments: list[str], out: Path, moment: float, wanted: dict[str, bytes]
) -> dict[str, object]:
    killed = kill_after(arguments, moment)
    left = logs(out) if out.exists() else {}
    finish(arguments)
    ended = logs(out)
    return {
        "moment": round(moment, 2),
        "killed": killed,
        "events_kept": sum(data.count(b"\n") for data in left.values()),
        "kept": all(ended[name].startswith(whole_lines(data)) for name, data in left.items()),
        "identical": ended == wanted,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("config", nargs="?", default=str(ROOT / "examples" / "short.yaml"))
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        alone = Path(place) / "alone"
        duration = finish(command(options.config, alone, options.overrides))
        wanted = logs(alone)
        print(
            f"left alone: {duration:.0f} s, "
            f"{sum(log.count(bytes([10])) for log in wanted.values())} events"
        )
        rows = []
        for number in range(options.kills):
            out = Path(place) / str(number)
            arguments = command(options.config, out, options.overrides)
            rows.append(trial(arguments, out, rng.uniform(0, duration), wanted))
            print(number + 1, rows[-1], flush=True)
    same = sum(bool(row["identical"] and row["kept"]) for row in rows)
    alive = sum(bool(row["killed"]) for row in rows)
    print(f"{same} of {len(rows)} resumptions ended with identical events ({alive} killed alive)")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "identical": same}, indent=2))
    sys.exit(same != len(rows))


if __name__ == "__main__":
    main()
