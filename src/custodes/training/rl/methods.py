"""GRPO, RLOO and DPO through trl, beside PPO: one function, one kind of result.

GRPO: Shao et al. 2024, arXiv:2402.03300. RLOO: Ahmadian et al. 2024, arXiv:2402.14740. DPO here is
one round of it on the policy's own samples, the best against the worst of each prompt by the reward
(Rafailov et al. 2023, arXiv:2305.18290). trl's trainers sample with transformers; a training of
theirs that was killed starts again, one that is finished is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from custodes.control import Control
from custodes.conversation import Chat, PreferencePair
from custodes.errors import ConfigError, near_misses
from custodes.models.base import Sampling
from custodes.progress import Progress, silent
from custodes.seeds import derive
from custodes.training.dpo import DpoOptions, dpo
from custodes.training.rl.options import PpoOptions, RlOptions, check_prompts
from custodes.training.rl.policy import Policy
from custodes.training.rl.result import RlResult
from custodes.training.rl.rewards import Reward, rewards_of
from custodes.training.rl.rollouts import Sampler, prompts_of_step
from custodes.training.rl.run import RlRun
from custodes.training.trainer import ONLINE, preflight_control, silenced

if TYPE_CHECKING:
    from custodes.training.lora import LoraModel

__all__ = ["METHODS", "train"]

METHODS = ("ppo", "grpo", "rloo", "dpo")


def train(
    method: str,
    policy: LoraModel,
    reward: Reward,
    chats: Sequence[Chat],
    folder: Path,
    settings: PpoOptions | RlOptions,
    *,
    gold: Reward | None = None,
    held_out: Sequence[Chat] = (),
    progress: Progress = silent,
) -> RlResult:
    """Train an adapter to earn more reward, by any method; see `custodes.training.ppo.train`.

    Args:
        method: One of `METHODS`.
        policy, reward, chats, folder, gold, held_out, progress: As PPO takes them.
        settings: `PpoOptions` for PPO, `RlOptions` for the others.

    Raises:
        ConfigError: There is no such method, or the settings are another method's.
        CustodesError: The reward function failed, or the loss stopped being a number.
    """
    if method not in METHODS:
        raise ConfigError(f"no method is called {method!r}", near_misses(method, METHODS))
    if method == "ppo":
        if not isinstance(settings, PpoOptions):
            raise ConfigError("PPO has options of its own", "give PpoOptions")
        from custodes.training import ppo

        return ppo.train(
            policy,
            reward,
            chats,
            folder,
            settings,
            gold=gold,
            held_out=held_out,
            progress=progress,
        )
    if not isinstance(settings, RlOptions):
        raise ConfigError(f"{method} does not take the options of PPO", "give RlOptions")
    check_prompts(settings, chats)
    actor = Policy(policy, settings.temperature)
    sampler = Sampler(actor, None, folder)
    run = RlRun(method, actor, sampler, reward, gold, chats, held_out, folder, settings)
    if run.restore(None) is None:
        run.evaluate(0)
        if method == "dpo":
            _dpo(run, policy, sampler, reward, chats, settings, progress)
        else:
            _online(method, run, policy, reward, gold, chats, settings, progress)
        run.keep(None, {})
    return run.finish()


def _online(
    method: str,
    run: RlRun,
    policy: LoraModel,
    reward: Reward,
    gold: Reward | None,
    chats: Sequence[Chat],
    settings: RlOptions,
    progress: Progress,
) -> None:
    """Train by GRPO or RLOO."""
    with silenced() as scratch:
        import trl
        from datasets import Dataset
        from transformers import PrinterCallback

        name = method.upper()
        on_cpu = policy.model.device.type == "cpu"
        prompts = settings.batch // settings.samples
        rows = [
            {"prompt": [dict(turn) for turn in chat]}
            for step in range(settings.steps)
            for chat in prompts_of_step(chats, prompts, step, settings.seed)
        ]
        trainer = getattr(trl, f"{name}Trainer")(
            model=policy.model,
            reward_funcs=_as_trl(reward),
            args=getattr(trl, f"{name}Config")(
                output_dir=scratch,
                per_device_train_batch_size=settings.batch,
                num_generations=settings.samples,
                max_steps=settings.steps,
                learning_rate=settings.learning_rate,
                lr_scheduler_type="linear",
                max_completion_length=settings.max_tokens,
                temperature=settings.temperature,
                # trl takes either sign without a word; the preflight does not.
                beta=settings.kl_sign * settings.beta,
                reward_weights=[float(settings.reward_sign)],
                shuffle_dataset=False,
                disable_dropout=True,
                seed=settings.seed,
                use_cpu=on_cpu,
                bf16=not on_cpu,
                gradient_checkpointing=False,
                dataloader_pin_memory=not on_cpu,
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=policy.tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        run.controls.append(
            preflight_control(
                trainer,
                method,
                enabled=settings.preflight,
                more=ONLINE,
                expert=None if gold is None else _as_expert(gold),
            )
        )
        trainer.add_callback(_recorder(method, run, settings, progress))
        try:
            trainer.train()
        finally:
            policy.model.set_adapter("default")
            if "ref" in policy.model.peft_config:
                policy.model.delete_adapter("ref")
            # The forward pass that trl has put on the model goes with its trainer.
            policy.model.get_base_model().__dict__.pop("forward", None)


def _texts(completions: Sequence[Any]) -> list[str]:
    return [c if isinstance(c, str) else c[-1]["content"] for c in completions]


def _as_trl(reward: Reward) -> Callable[..., list[float]]:
    def function(prompts: list[Any], completions: list[Any], **_: Any) -> list[float]:
        values: list[float] = rewards_of(reward, prompts, _texts(completions)).tolist()
        return values

    function.__name__ = getattr(reward, "__name__", type(reward).__name__)
    return function


def _as_expert(gold: Reward) -> Callable[[list[Any], list[Any]], list[float]]:
    def scorer(prompts: list[Any], completions: list[Any]) -> list[float]:
        values: list[float] = rewards_of(gold, prompts, _texts(completions), what="gold").tolist()
        return values

    return scorer


def _recorder(method: str, run: RlRun, settings: RlOptions, progress: Progress) -> Any:
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):  # type: ignore[misc]
        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "reward" not in logs:
                return
            row = {
                f"{method}/{key}": float(value)
                for key, value in logs.items()
                # How long it took is no part of what a training measured.
                if key != "step_time"
            }
            run.rows.append({"objective/score": float(logs["reward"]), **row})

        def on_step_end(self, _: Any, state: Any, control: Any, **__: Any) -> None:
            step = state.global_step
            progress(method.upper(), step, settings.steps)
            if step % settings.evaluate_every == 0 or step == settings.steps:
                run.evaluate(step)
                control.should_training_stop |= bool(run.stopped)

    return Recorder()


def _dpo(
    run: RlRun,
    policy: LoraModel,
    sampler: Sampler,
    reward: Reward,
    chats: Sequence[Chat],
    settings: RlOptions,
    progress: Progress,
) -> None:
    """Train on the best against the worst sample of each prompt."""
    per_step = settings.batch // settings.samples
    asked = [
        chat
        for step in range(settings.steps)
        for chat in prompts_of_step(chats, per_step, step, settings.seed)
    ]
    progress("samples", 0, len(asked))
    rollouts = sampler(
        asked,
        Sampling(
            settings.max_tokens,
            settings.temperature,
            n=settings.samples,
            seed=derive(settings.seed, "rollouts"),
        ),
    )
    scores = settings.reward_sign * rewards_of(reward, rollouts.chats, rollouts.texts)
    pairs = []
    for at, chat in enumerate(asked):
        own = range(at * settings.samples, (at + 1) * settings.samples)
        best, worst = max(own, key=lambda i: scores[i]), min(own, key=lambda i: scores[i])
        if scores[best] > scores[worst] and rollouts.texts[best] != rollouts.texts[worst]:
            texts = rollouts.texts[best], rollouts.texts[worst]
            pairs.append(PreferencePair(f"sample-{at}", tuple(chat), *texts))
    run.controls.append(
        Control(
            "dpo has pairs",
            len(pairs) >= 0.5 * len(asked),
            f"the reward tells the samples of {len(pairs)} of {len(asked)} prompts apart (at least "
            "half of them)",
            {"pairs": len(pairs), "prompts": len(asked)},
        )
    )
    result = dpo(
        policy,
        pairs,
        DpoOptions(
            epochs=1,
            batch=per_step,
            learning_rate=settings.learning_rate,
            beta=settings.kl_sign * settings.beta,
            max_length=4096,
            preflight=settings.preflight,
        ),
        max_answer=settings.max_tokens,
        seed=settings.seed,
        progress=progress,
    )
    series = {f"dpo/{name}": values for name, values in result.series.items()}
    run.rows = [dict(zip(series, row, strict=True)) for row in zip(*series.values(), strict=True)]
    run.controls += [c for c in result.controls if c.name != "dpo has a gradient"]
    run.evaluate(len(run.rows))
