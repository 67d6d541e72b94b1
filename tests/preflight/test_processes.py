"""Two gloo ranks: the preflight runs on both, and sees ranks that repeat one another."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys, os
from pathlib import Path
from custodes.preflight import check
from custodes.preflight.plants.tiny import demonstrations
from custodes.preflight.plants.trainers import build, quiet
import torch
kind, same, folder = sys.argv[1], sys.argv[2] == "same", Path(sys.argv[3])
rank = int(os.environ["RANK"])
with quiet():
    data = demonstrations(n=64) if kind == "sft" else None
    trainer = build(kind, folder / str(rank), data=data)
    if same:
        torch.manual_seed(7)
report = check(trainer, skip=["save-load"], seconds=200)
(folder / f"{rank}.json").write_text(report.to_json())
with quiet():
    trainer.train()
# Both are done before either leaves, and leave at once: gloo's threads may abort a rank that is
# taken down by the interpreter's exit while the other still talks to it.
torch.distributed.barrier()
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "same"), [("sft", False), ("grpo", False), ("grpo", True)])
def test_two_ranks(tmp_path: Path, kind: str, same: bool):
    script = tmp_path / "ranks.py"
    script.write_text(SCRIPT)
    port = 29500 + os.getpid() % 1000
    workers = [
        subprocess.Popen(
            [sys.executable, str(script), kind, "same" if same else "own", str(tmp_path)],
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "ACCELERATE_USE_CPU": "true",
                "OMP_NUM_THREADS": "1",
                "HF_HUB_OFFLINE": "1",
            },
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    errors = [worker.communicate(timeout=500)[1].decode()[-3000:] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
    reports = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    verdicts = [{r["id"]: r["passed"] for r in report["results"]} for report in reports]
    assert verdicts[0]["weights-equal-across-ranks"]
    assert verdicts[0]["step-helps"]
    if kind == "sft":
        assert verdicts[0]["data-differs-by-rank"]
        assert reports[0]["failed"] == []
    else:
        assert verdicts[0]["seeds-differ-by-rank"] is (not same)
