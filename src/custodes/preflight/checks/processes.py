"""Checks across processes."""

from __future__ import annotations

import torch

from custodes.preflight.case import Case
from custodes.preflight.measure.checksum import checksum
from custodes.preflight.registry import check, not_tested, verdict
from custodes.preflight.result import Verdict

__all__: list[str] = []


def _gathered(case: Case, value: int) -> list[int]:
    """Return each rank's value; split, since backends gather 32-bit numbers best."""
    accelerator = case.trainer.accelerator
    mine = torch.tensor([[value % (1 << 31), value >> 31]], device=accelerator.device)
    return [int(a) + (int(b) << 31) for a, b in accelerator.gather(mine).tolist()]


@check(
    "weights-equal-across-ranks",
    "step",
    expected="all processes start from the same weights",
    remedy="seed before building the model, adapters included, with the same seed on every rank",
    reference="docs/guide/preflight.md",
)
def weights_equal(case: Case) -> Verdict:
    """All ranks hold the same weights."""
    if case.trainer.accelerator.num_processes == 1:
        return not_tested("there is one process")
    total = sum(checksum(p) for p in case.subject.model.parameters()) % (1 << 61)
    sums = _gathered(case, total)
    return verdict(
        len(set(sums)) == 1,
        f"{len(set(sums))} different checksums of the weights on {len(sums)} ranks",
        checksums=len(set(sums)),
    )


@check(
    "data-differs-by-rank",
    "step",
    expected="ranks train on different rows, and sample different completions",
    remedy="let accelerate shard the data loader; set_seed(seed, device_specific=True) before "
    "sampling",
    reference="docs/guide/preflight.md",
)
def data_differs(case: Case) -> Verdict:
    """Ranks do not repeat one another."""
    accelerator = case.trainer.accelerator
    if accelerator.num_processes == 1:
        return not_tested("there is one process")
    if case.subject.online:
        return not_tested("see seeds-differ-by-rank")
    loader = case.trainer.get_train_dataloader()
    batch = next(iter(loader))
    ids = batch.get("input_ids") if hasattr(batch, "get") else None
    if ids is None:
        return not_tested("the batch holds no token ids")
    sums = _gathered(case, checksum(ids))
    distinct = len({repr(sorted(row.items(), key=lambda i: i[0])) for row in case.rows})
    if distinct < len(sums) * 2:
        return not_tested("there are too few different rows to tell")
    return verdict(
        len(set(sums)) == len(sums),
        f"{len(set(sums))} different first batches on {len(sums)} ranks",
        batches=len(set(sums)),
    )


@check(
    "seeds-differ-by-rank",
    "step",
    kinds=("grpo", "rloo"),
    expected="each rank has a random state of its own while it samples",
    remedy="set_seed(seed, device_specific=True) after building the trainer",
    reference="docs/guide/preflight.md",
)
def seeds_differ(case: Case) -> Verdict:
    """Random states differ by rank."""
    if case.trainer.accelerator.num_processes == 1:
        return not_tested("there is one process")
    states = _gathered(case, checksum(case.snapshot.torch_state))
    return verdict(
        len(set(states)) == len(states),
        f"{len(set(states))} different random states on {len(states)} ranks",
        states=len(set(states)),
    )
