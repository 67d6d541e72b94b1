"""Loop steps a second of the simulator; run it on an idle machine.

``python benchmarks/simulator.py``
"""

from __future__ import annotations

import time

import numpy as np

from custodes.sweep.simulator import LoopModel, simulate

LOOPS, STEPS = 10_000, 200


def main() -> None:
    for rule in ("lower_bound", "mean", "single"):
        model = LoopModel(
            rule=rule,
            threshold_harmlessness=np.linspace(0.0, 1.0, LOOPS),
            expert_noise=0.1,
            drift_harmful=0.02,
            step_noise=0.02,
            max_retrains=50.0,
        )
        wall, processor = time.perf_counter(), time.process_time()
        simulate(model, STEPS, loops=LOOPS)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        steps = LOOPS * STEPS / 1e6
        print(
            f"{rule}: {wall:.1f} s wall, {processor:.1f} s of one processor, "
            f"{steps / processor:.2f} million steps a processor second"
        )


if __name__ == "__main__":
    main()
