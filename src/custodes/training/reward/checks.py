"""Controls of a reward model: it beats its twins, reads the right token, and is what is on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from custodes.control import Control
from custodes.conversation import Chat
from custodes.statistics import paired_change
from custodes.training.forward import base_precision
from custodes.training.lora import read_factors
from custodes.training.packing import Sequences
from custodes.training.reward.measure import Accuracy

if TYPE_CHECKING:
    from custodes.training.reward.model import RewardModel

__all__ = ["invariance_control", "learning_controls", "reload_control"]

_LEVEL = 0.05
_PROBED = 8
_ROUNDING = 0.1
"""Share of the scores' standard deviation that padding and batching may change: bf16's rounding."""


def learning_controls(
    accuracy: Accuracy, twins: Mapping[str, Accuracy], shuffled: str
) -> list[Control]:
    """Check that held-out accuracy is above that of each twin, prompt by prompt.

    Args:
        accuracy: Of the model.
        twins: By name, "length" and "shuffled".
        shuffled: How the shuffled twin was made, as in `RewardOptions`.
    """
    controls = []
    for name, what in (
        ("length", "a rule that knows only lengths"),
        ("shuffled", f"a twin with labels put in order by chance ({shuffled})"),
    ):
        title = f"reward model beats its {name} twin"
        if name not in twins:
            controls.append(Control.not_tested(title, "switched off in the config"))
            continue
        twin = twins[name]
        if len(accuracy.by_prompt) < 2:
            controls.append(Control.not_tested(title, "fewer than 2 held-out prompts have labels"))
            continue
        prompts = list(accuracy.by_prompt)
        change = paired_change(
            [twin.by_prompt[p] for p in prompts], [accuracy.by_prompt[p] for p in prompts]
        )
        controls.append(
            Control(
                title,
                change.p_rise < _LEVEL,
                f"held-out accuracy over {change.n} prompts is {accuracy.interval.mean:.3f}, that "
                f"of {what} {twin.interval.mean:.3f} (p of no difference {change.p_rise:.2g}, must "
                f"be below {_LEVEL})",
                {
                    "accuracy": accuracy.interval.mean,
                    "twin": twin.interval.mean,
                    "p": change.p_rise,
                    "prompts": change.n,
                },
            )
        )
    return controls


def reload_control(model: RewardModel, folder: Path) -> Control:
    """Check that what is on disk is what was fitted, bit for bit."""
    from safetensors.torch import load_file

    written, own = read_factors(folder / "adapter"), model.lora.factors()
    different = sum(
        name not in written
        or any(not bool((a == b).all()) for a, b in zip(own[name], written[name], strict=True))
        for name in own
    )
    head = load_file(folder / "head.safetensors")
    same = (
        bool((head["weight"] == model.head.detach().cpu()).all())
        and float(head["mean"]) == model.mean
        and float(head["scale"]) == model.scale
    )
    return Control(
        "reward model reloads",
        different == 0 and same,
        f"{different} of {len(own)} adapter matrices read back from disk differ (must be 0), the "
        f"head is {'the same' if same else 'another'} (must be the same)",
        {"different": different, "head": same},
    )


def invariance_control(
    model: RewardModel, chats: Sequence[Chat], responses: Sequence[str]
) -> Control:
    """Compare batched scores with those of single answers without any padding.

    The single ones come from the model's own forward pass, which knows nothing of batches, rows or
    shared prompts. Batches are padded on the right, as scores are computed, and on the left. All of
    them use the same kernel of attention: two kernels round bf16 differently, by more than scores
    of a small model spread.
    """
    few = list(range(len(responses)))[: _PROBED * 4]
    # The shortest and the longest together need the most padding.
    few.sort(key=lambda i: len(responses[i]))
    few = [*few[: _PROBED // 2], *few[-_PROBED // 2 :]] if len(few) > _PROBED else few
    sequences = model.encode([chats[i] for i in few], [responses[i] for i in few])
    with model.computing():
        alone = np.array([_alone(model, sequences, i) for i in range(len(few))])
        together = model.raw(sequences)
        backwards = model.raw(sequences.at(range(len(few))[::-1]))[::-1]
        left = _left_padded(model, sequences)
    spread = max(float(alone.std()), 1e-6)
    gaps = {
        name: float(np.abs(scores - alone).max()) / spread
        for name, scores in (("right", together), ("backwards", backwards), ("left", left))
    }
    worst = max(gaps.values())
    return Control(
        "reward does not depend on padding or batch",
        worst <= _ROUNDING,
        f"scores of {len(few)} answers in one batch differ from those of each answer alone by at "
        f"most {worst:.2g} of their standard deviation (padded on the right {gaps['right']:.2g}, "
        f"in reverse order {gaps['backwards']:.2g}, on the left {gaps['left']:.2g}; at most "
        f"{_ROUNDING})",
        gaps,
    )


def _alone(model: RewardModel, sequences: Sequences, at: int) -> float:
    """Score one answer from the plain forward pass over its tokens, without mask or padding."""
    import torch

    base = model.lora.model.get_base_model()
    ids = [*sequences.prompts[at], *sequences.completions[at]]
    with torch.no_grad(), base_precision(base):
        states = base.get_decoder()(input_ids=torch.tensor([ids], device=base.device))
    return float(states.last_hidden_state[0, -1].float() @ model.head)


def _left_padded(model: RewardModel, sequences: Sequences) -> NDArray[np.float64]:
    import torch

    from custodes.models.decode import left_padded

    base = model.lora.model.get_base_model()
    rows = [
        [*prompt, *completion]
        for prompt, completion in zip(sequences.prompts, sequences.completions, strict=True)
    ]
    ids, mask = left_padded(rows, base.device)
    with torch.no_grad(), base_precision(base):
        states = base.get_decoder()(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            use_cache=False,
        ).last_hidden_state
    return np.asarray((states[:, -1].float() @ model.head).double().cpu(), np.float64)
