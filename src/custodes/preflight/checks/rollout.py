"""Checks on what an online trainer samples, and on how it weighs it."""

from __future__ import annotations

import torch

from custodes.preflight.case import Case
from custodes.preflight.measure.rollout import generate, perturbed, sampling_z
from custodes.preflight.registry import check, failed, not_tested, verdict
from custodes.preflight.result import NotTestable, Verdict

__all__: list[str] = []

_ONLINE = ("grpo", "rloo")
_Z = 6.0  # Standard deviations: one in 500 million under the right sampler.


@check(
    "rollouts-follow-policy",
    "step",
    kinds=_ONLINE,
    expected="completions are samples of the present weights at the configured temperature, top_p "
    "and top_k (|z| ≤ 6)",
    remedy="compare the sampler's settings (temperature, top_p, top_k, repetition_penalty) with "
    "the "
    "trainer's, and its weights with the policy's",
    reference="huggingface/trl#5783; huggingface/trl#3029; huggingface/trl#4163",
)
def rollouts_follow_policy(case: Case) -> Verdict:
    """Completions come from the policy, as configured."""
    z, outside, tokens = sampling_z(case, case.rollouts)
    return verdict(
        abs(z) <= _Z and outside <= 0.02,
        f"the log-probability of {tokens} sampled tokens is {z:+.1f} standard deviations from what "
        f"the policy gives, {outside:.1%} are tokens that it cannot give",
        z=z,
        outside=outside,
        tokens=tokens,
    )


@check(
    "rollouts-not-stale",
    "step",
    dear=True,
    kinds=_ONLINE,
    expected="after the weights change, completions are samples of the changed weights (|z| ≤ 6)",
    remedy="synchronise the generation engine with the policy before each generation",
    reference="huggingface/trl#5312; modelscope/ms-swift#9855; volcengine/verl#7495",
)
def rollouts_not_stale(case: Case) -> Verdict:
    """The sampler uses the weights that are trained, not an older copy."""
    first = case.rollouts
    z = before = outside = 0.0
    tokens = 0
    for share in (0.5, 4.0, 32.0):
        with perturbed(case, share=share):
            before, impossible, _ = sampling_z(case, first)
            if abs(before) <= 2 * _Z and impossible <= 0.2 and share < 32.0:
                continue
            again = generate(case, first.rows, first.group)
            z, outside, tokens = sampling_z(case, again)
            break
    figures = {"z": z, "outside": outside, "tokens": tokens, "old_samples_z": before}
    if abs(before) <= _Z and abs(z) <= _Z:
        # Had the old completions passed for new ones, a stale sampler would, too.
        return not_tested("the disturbed weights predict nearly the same tokens", **figures)
    return verdict(
        abs(z) <= _Z and outside <= 0.02,
        f"after the weights were disturbed, new completions are {z:+.1f} standard deviations from "
        f"the policy (the old ones {before:+.1f})",
        **figures,
    )


@check(
    "completions-differ",
    "step",
    kinds=_ONLINE,
    expected="completions of one prompt are not all the same",
    remedy="raise temperature, and do_sample=True; a group without variety teaches nothing",
    reference="huggingface/trl#5783",
)
def completions_differ(case: Case) -> Verdict:
    """Sampling gives different completions."""
    rollouts = case.rollouts
    groups = [
        rollouts.completion_ids[i : i + rollouts.group]
        for i in range(0, len(rollouts.completion_ids), rollouts.group)
    ]
    distinct = [len({tuple(one) for one in group}) for group in groups]
    empty = sum(len(one) == 0 for one in rollouts.completion_ids)
    return verdict(
        max(distinct) > 1 and empty < len(rollouts.completion_ids),
        f"distinct completions of {rollouts.group}: {distinct}; {empty} are empty",
        distinct=distinct,
        empty=empty,
    )


@check(
    "advantage-sign",
    "step",
    kinds=_ONLINE,
    expected="within a group the better-rewarded completions have the higher advantages, and the "
    "advantages sum to 0",
    remedy="check reward_weights, and any change to how advantages are computed",
    reference="NVlabs/alpamayo-recipes#29; huggingface/trl#2714",
)
def advantage_sign(case: Case) -> Verdict:
    """Advantages have the sign of the reward."""
    rollouts = case.rollouts
    advantages = rollouts.inputs["advantages"].float().cpu()
    if advantages.ndim > 1:
        advantages = advantages.mean(-1)
    signs = torch.tensor([float(one.sign) for one in rollouts.answers])
    if not bool((signs > 0).any()) or not bool((signs < 0).any()):
        raise NotTestable("no two completions of a group are different")
    good, bad = float(advantages[signs > 0].mean()), float(advantages[signs < 0].mean())
    wrong = int(((advantages * signs) < 0).sum())
    return verdict(
        good > bad and wrong == 0,
        f"with known rewards the better completions have advantage {good:+.3g}, the worse "
        f"{bad:+.3g}; "
        f"{wrong} of {len(signs)} have the wrong sign",
        better=good,
        worse=bad,
        wrong=wrong,
    )


@check(
    "generation-settings",
    "step",
    kinds=_ONLINE,
    expected="at least 2 completions a prompt, a temperature above 0, room for more than 4 tokens, "
    "and stop tokens that the tokenizer knows",
    remedy="set num_generations, temperature, max_completion_length, and "
    "generation_config.eos_token_id",
    reference="huggingface/trl#5783; huggingface/trl#3452",
)
def generation_settings(case: Case) -> Verdict:
    """The generation settings can give groups to compare."""
    trainer = case.trainer
    args = case.subject.args
    room = int(trainer.max_completion_length)
    group = int(trainer.num_generations)
    temperature = float(args.temperature)
    config = getattr(trainer, "generation_config", None)
    stops = getattr(config, "eos_token_id", None)
    stops = [stops] if isinstance(stops, int) else list(stops or [])
    size = int(case.subject.model.get_input_embeddings().weight.shape[0])
    problems = []
    if group < 2:
        problems.append(f"num_generations is {group}")
    if temperature <= 0.05:
        problems.append(f"temperature is {temperature}")
    if room <= 4:
        problems.append(f"max_completion_length is {room}")
    if config is not None and not (set(stops) & case.subject.end_ids):
        problems.append("no end token stops a completion")
    if any(stop >= size for stop in stops):
        problems.append("a stop token is beyond the vocabulary")
    rollouts = case.rollouts
    if getattr(trainer, "mask_truncated_completions", False) and room <= rollouts.length:
        ended = sum(bool(set(ids[-1:]) & case.subject.end_ids) for ids in rollouts.completion_ids)
        if not ended:
            problems.append("mask_truncated_completions drops all completions: none ended in time")
    if problems:
        return failed("; ".join(problems), group=group, temperature=temperature, room=room)
    return verdict(
        True,
        f"{group} completions of up to {room} tokens at temperature {temperature:g}",
        group=group,
        temperature=temperature,
        room=room,
    )


@check(
    "groups-share-prompt",
    "batch",
    kinds=_ONLINE,
    expected="each group of num_generations rows is one prompt",
    remedy="do not override the sampler, or repeat each prompt num_generations times in a row",
    reference="docs/guide/preflight.md",
)
def groups_share_prompt(case: Case) -> Verdict:
    """The data loader repeats each prompt for its group."""
    trainer = case.trainer
    size = int(trainer.num_generations)
    if trainer.accelerator.num_processes > 1:
        return not_tested("a group may be spread over the processes")
    trainer.model.train()
    batch = next(iter(trainer.get_train_dataloader()))
    if not isinstance(batch, list) or len(batch) < size or len(batch) % size:
        return not_tested("the first batch is not whole groups of rows")
    prompts = [repr(row.get("prompt")) for row in batch]
    mixed = sum(len(set(prompts[i : i + size])) > 1 for i in range(0, len(prompts), size))
    groups = len(prompts) // size
    return verdict(
        mixed == 0, f"{mixed} of {groups} groups mix prompts", mixed=mixed, groups=groups
    )
