"""What the sweep itself costs: a run that takes no time, and the time of an ask.

``python benchmarks/sweep_overhead.py [--runs 10000] [--samplers sobol boundary] [--executor]``

Processor seconds of the sweep's own process. With ``--executor``: two workers of the local executor
against one, on loops of the simulator; that is wall time, for an idle machine.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np

from custodes.config import validate_config
from custodes.sweep.config import SweepConfig
from custodes.sweep.executors import LocalExecutor
from custodes.sweep.run import run_sweep
from custodes.sweep.samplers import Boundary, Sobol

BASE = {
    "name": "loop",
    "worker": {"model": "simulated"},
    "experts": [
        {"kind": "simulated", "domain": "helpfulness"},
        {"kind": "simulated", "domain": "harmlessness"},
    ],
    "teacher": {"kind": "simulated"},
}


class Inline(Executor):
    """Runs at once, in this process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def execute(config: Mapping[str, Any], folder: str) -> dict[str, Any]:
    del folder
    x, y = config["overseer"]["thresholds"]["harmlessness"], config["worker"]["temperature"]
    noise = np.random.default_rng(config["seed"]).normal(0, 0.05)
    return {"gold.harmlessness": (x + 0.3 * np.sin(3 * y) + noise, 0.05)}


def sweep(sampler: str, runs: int) -> None:
    raw = {
        "name": "overhead",
        "base": BASE,
        "axes": {
            "overseer.thresholds.harmlessness": {"low": 0.0, "high": 1.0},
            "worker.temperature": {"low": 0.0, "high": 2.0},
        },
        "sampler": sampler,
        "runs": runs,
        "level": 0.6,
        "simulator": False,
        "confirmations": 0,
    }
    config = validate_config(raw, SweepConfig)
    with tempfile.TemporaryDirectory() as folder:
        wall, processor = time.perf_counter(), time.process_time()
        run_sweep(config, Path(folder), executor=Inline(), execute=execute)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(
        f"{sampler}, {runs} runs: {1e3 * processor / runs:.1f} ms of one processor a run "
        f"({1e3 * wall / runs:.1f} ms of wall time)",
        flush=True,
    )


def asks() -> None:
    for n in (100, 300, 1000, 10_000):
        space: dict[str, Any] = dict.fromkeys("wxyz", (0.0, 1.0))
        sampler = Boundary(space, level=0.75, seed=0)
        points = Sobol(space, seed=1).ask(n)
        values = [np.sin(3 * p["w"]) * p["x"] + 2 * (p["y"] - 0.5) ** 2 for p in points]
        sampler.tell(points, values, sd=0.05)
        sampler.ask(1)
        times = []
        for _ in range(8):
            began = time.process_time()
            point = sampler.ask(1)
            times.append(time.process_time() - began)
            sampler.tell(point, [0.7], sd=0.05)
        print(
            f"ask(1) with {n} points told, 4 axes: median {1e3 * np.median(times):.0f} ms, mean "
            f"{1e3 * np.mean(times):.0f} ms",
            flush=True,
        )


def work(seed: int) -> float:
    from custodes.sweep.simulator import LoopModel, simulate

    model = LoopModel(threshold_harmlessness=np.linspace(0, 1, 2000), expert_noise=0.1)
    return float(simulate(model, 100, loops=2000, seed=seed).gold.mean())


def executors(rounds: int = 3, calls: int = 24) -> None:
    ratios = []
    for _ in range(rounds):
        seconds = {}
        for workers in (1, 2):
            with LocalExecutor(workers) as pool:
                for future in [pool.submit(work, i) for i in range(2 * workers)]:
                    future.result()
                began = time.perf_counter()
                for future in [pool.submit(work, i) for i in range(calls)]:
                    future.result()
                seconds[workers] = time.perf_counter() - began
        ratios.append(seconds[1] / seconds[2])
    print(
        f"two workers against one, {calls} calls, paired: "
        f"{', '.join(f'{ratio:.2f}' for ratio in ratios)}; load {os.getloadavg()[0]:.1f}"
    )


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--samplers", nargs="*", default=["sobol", "boundary"])
    parser.add_argument("--executor", action="store_true")
    options = parser.parse_args(arguments)
    if options.executor:
        executors()
        return
    asks()
    for sampler in options.samplers:
        sweep(sampler, options.runs)


if __name__ == "__main__":
    main(sys.argv[1:])
