"""What all methods share: settings for trl's trainers, silence, and the training itself."""

from __future__ import annotations

import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from custodes.control import Control
from custodes.errors import CustodesError
from custodes.progress import Progress
from custodes.training.examples import TrainingSet, fingerprint
from custodes.training.forward import completion_forward, supports
from custodes.training.live import report_to
from custodes.training.result import TrainResult, gradient_control

if TYPE_CHECKING:
    from custodes.training.lora import LoraModel

__all__ = ["ONLINE", "Training", "fit", "preflight_control", "prepared", "settings", "silenced"]


class Training:
    """One training of one method, from the weights before it to its result.

    Args:
        method: "sft" or "dpo".
        model: Whose adapter is trained.
        data: What is trained on.
    """

    def __init__(self, method: str, model: LoraModel, data: TrainingSet) -> None:
        self.method, self.model, self.data = method, model, data
        self._before = model.factors()
        self._began = time.perf_counter()

    def result(
        self,
        series: Mapping[str, Sequence[float]],
        *,
        tokens: int,
        controls: Sequence[Control] = (),
    ) -> TrainResult:
        """Measure the change of the weights and gather the result.

        Args:
            series: By name, a figure for each step; ``grad_norm`` among them.
            tokens: Tokens trained on, all epochs together.
            controls: The method's own controls; that there was a gradient is added to them.
        """
        model, data = self.model, self.data
        gradient = gradient_control(self.method, series["grad_norm"], model.trainable)
        return TrainResult(
            method=self.method,
            rows=len(data.examples),
            left_out=data.left_out,
            tokens=tokens,
            trainable=model.trainable,
            data=fingerprint(data.columns),
            series=series,
            moved=model.moved_from(self._before),
            controls=[*controls, gradient],
            seconds=time.perf_counter() - self._began,
        )


def settings(
    model: LoraModel, *, folder: str, batch: int, epochs: int, learning_rate: float, seed: int
) -> dict[str, Any]:
    """Return the arguments that every trainer of trl gets.

    trl's defaults assume a GPU and a terminal of its own. Examples come in the order they are
    given, since they are batched by length. Nothing is saved on the way: the optimizer's state
    would be pickle, and a training that was killed starts again from its stage.
    """
    on_cpu = model.model.device.type == "cpu"
    return {
        "output_dir": folder,
        "per_device_train_batch_size": batch,
        "num_train_epochs": epochs,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "linear",
        "seed": seed,
        "train_sampling_strategy": "sequential",
        "use_cpu": on_cpu,
        # Of the trainer; `completion_forward` sets the precision on a CPU.
        "bf16": not on_cpu,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": not on_cpu,
        "max_length": None,
        # The router of a mixture of experts is frozen like all of the base.
        "router_aux_loss_coef": 0.0,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": report_to(),
        "disable_tqdm": True,
    }


@contextmanager
def silenced() -> Iterator[str]:
    """Keep trl, transformers and datasets quiet, and off the network; yields a scratch folder.

    Global random states are put back afterwards: trainers seed them.
    """
    import datasets
    import torch
    from huggingface_hub import constants
    from transformers.utils import logging

    telemetry, verbosity = constants.HF_HUB_DISABLE_TELEMETRY, logging.get_verbosity()
    bars = datasets.is_progress_bar_enabled()
    constants.HF_HUB_DISABLE_TELEMETRY = True
    logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        with (
            warnings.catch_warnings(),
            _global_seeds_kept(),
            torch.random.fork_rng(),
            tempfile.TemporaryDirectory(prefix="custodes-") as folder,
        ):
            warnings.simplefilter("ignore")
            yield folder
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = telemetry
        logging.set_verbosity(verbosity)
        if bars:
            datasets.enable_progress_bars()


@contextmanager
def _global_seeds_kept() -> Iterator[None]:
    import random

    import numpy as np

    python, legacy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


@contextmanager
def prepared(trainer: Any, model: LoraModel, *, pairs: bool) -> Iterator[bool]:
    """Give the model the forward pass for this machine while a trainer uses it.

    Yields whether it is our own; elsewhere (a GPU, a head that does more than multiply) trl's stays
    until the trainer is done.
    """
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    base = model.model.get_base_model()
    try:
        if supports(base):
            with completion_forward(base, pairs=pairs):
                yield True
        else:
            yield False
    finally:
        base.__dict__.pop("forward", None)


# What a preflight of our own stages looks at. Their data is made by the run and has controls of its
# own; adapters are written and read by `custodes.training.lora`, not by the trainer.
_CHECKED = (
    "batch",
    "step",
    "optimizer-weights",
    "trainable-weights",
    "schedule-steps",
    "schedule-rate",
    "beta-sign",
)
# Answers that were cut off at the Worker's longest are not taught to end there (`encode_examples`),
# and an adapter that has just begun to train is smaller than a step of the next method.
_OWN = ("save-load", "merge", "accumulation", "reply-end", "learning-rate-size")


# What is looked at besides where a model trains on what it samples.
ONLINE = (
    "advantage-sign",
    "kl-sign",
    "step-helps",
    "reference-is-start",
    "reward-works",
    "reward-finite",
    "reward-weights",
    "reward-aligned",
    "reward-varies",
    "reward-agrees-with-expert",
)


def preflight_control(
    trainer: Any,
    method: str,
    *,
    enabled: bool,
    more: Sequence[str] = (),
    expert: Callable[[list[Any], list[Any]], list[float]] | None = None,
) -> Control:
    """Take a trainer through one real step, and put everything back.

    A failed check does not stop a loop that may have run for hours: the control fails, and the gold
    score of the checkpoint shows what became of it.

    Args:
        trainer: Of trl, ready to train.
        method: "sft", "dpo", "grpo" or "rloo".
        enabled: Whether the config has not switched it off.
        more: Ids of further checks.
        expert: Scores completions from outside: (prompts, completions) to scores.
    """
    name = f"{method} preflight"
    if not enabled:
        return Control.not_tested(name, "switched off in the config")
    from custodes.preflight.run import check

    report = check(trainer, only=(*_CHECKED, *more), skip=_OWN, expert=expert)
    passed, failed = len(report.passed), [result.id for result in report.failed]
    first = f"; {report.failed[0].explanation}: {report.failed[0].remedy}" if failed else ""
    return Control(
        name,
        not failed,
        f"{passed} checks of one real step passed, {len(failed)} failed"
        + (f" ({', '.join(failed)}){first}" if failed else ""),
        {"passed": passed, "failed": failed},
    )


def fit(trainer: Any, progress: Progress, what: str) -> list[dict[str, float]]:
    """Train and return what was logged at each step.

    Args:
        trainer: Of trl.
        progress: Told each step.
        what: Names the training.

    Raises:
        CustodesError: The loss or the gradient stopped being a number.
    """
    recorder = _recorder(progress, what)
    trainer.add_callback(recorder)
    trainer.train()
    return recorder.logged  # type: ignore[no-any-return]


def _recorder(progress: Progress, what: str) -> Any:
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.logged: list[dict[str, float]] = []

        def on_train_begin(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
            progress(what, 0, state.max_steps)

        def on_log(self, _: Any, state: Any, *__: Any, logs: dict[str, float], **___: Any) -> None:
            if "loss" not in logs:
                return
            for name in ("loss", "grad_norm"):
                if not math.isfinite(logs[name]):
                    raise CustodesError(
                        f"{what} went wrong: {name} is {logs[name]} at step {state.global_step}",
                        "lower its learning_rate",
                    )
            self.logged.append(dict(logs))
            progress(what, state.global_step, state.max_steps)

    return Recorder()
