"""The Instructor: instruction-tunes a base model once, before the loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from custodes.data.datasets import read_demonstrations
from custodes.errors import ConfigError, ModelError
from custodes.models.resolve import load_torch
from custodes.oversight.teachers.trainable import trainable
from custodes.oversight.worker import ModelWorker
from custodes.progress import Progress, silent
from custodes.runs.lineage import Checkpoint
from custodes.training.card import read_card, write_card
from custodes.training.lora import LoraOptions
from custodes.training.sequence import train_in_sequence
from custodes.training.sft import SftOptions, sft

__all__ = ["InstructorOptions", "instruct", "push_to_hub"]


@dataclass(frozen=True)
class InstructorOptions:
    """How a base model is instruction-tuned before the loop.

    Attributes:
        data: Demonstrations, Dolly-shaped (``instruction`` or ``prompt``, ``context``,
            ``response``) or as messages: a file, or a ``datasets`` hub id.
        rows: Number of demonstrations, drawn at random.
        max_answer: Longest answer, in tokens; longer ones are cut.
        sft: Supervised fine-tuning on them.
        lora: Shape of the adapter.
    """

    data: str
    rows: Annotated[int, Field(ge=1)] = 512
    max_answer: Annotated[int, Field(ge=1)] = 192
    sft: SftOptions = field(default_factory=lambda: SftOptions(learning_rate=2e-4))
    lora: LoraOptions = field(default_factory=LoraOptions)

    def __post_init__(self) -> None:
        if self.sft.epochs == 0:
            raise ConfigError("instructor.sft.epochs is 0", "give at least 1, or no instructor")


def instruct(
    options: InstructorOptions,
    worker: ModelWorker,
    folder: Path,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Checkpoint:
    """Instruction-tune a Worker, and return the checkpoint that this makes.

    Args:
        options: The data and the training.
        worker: The base model; its tokenizer must have a chat template.
        folder: Where the adapter, its card and the finished stages are written.
        seed: Draws the rows and seeds the training.
        progress: Called with each stage.

    Raises:
        DataError: The data are missing, empty or malformed.
        ModelError: The Worker cannot be trained here, or has no chat template.
    """
    worker = trainable(worker)
    rows = read_demonstrations(options.data)
    order = np.random.default_rng(seed).permutation(len(rows))[: options.rows]
    drawn = [rows[i] for i in order]
    parent = worker.checkpoint
    metrics = train_in_sequence(
        partial(load_torch, worker.base),
        worker.adapter,
        {
            "sft": partial(
                sft,
                rows=drawn,
                options=options.sft,
                max_answer=options.max_answer,
                seed=seed,
                progress=progress,
            )
        },
        folder=folder,
        lora=options.lora,
        seed=seed,
    )
    metrics["data"] = {"source": Path(options.data).name, "rows": len(drawn), "of": len(rows)}
    checkpoint = Checkpoint(
        number=parent.number + 1,
        adapter=folder,
        parent=parent.number,
        intervention="instructor",
        metrics=metrics,
    )
    write_card(folder, checkpoint, worker.base)
    return checkpoint


def push_to_hub(checkpoint: Checkpoint, repo_id: str, *, private: bool = True) -> str:
    """Upload a checkpoint's adapter and card to the Hugging Face hub.

    The token comes from the environment (HF_TOKEN) or from ``hf auth login``.

    Args:
        checkpoint: The checkpoint.
        repo_id: The repository, ``owner/name``; created if it does not exist.
        private: Whether a repository that is created is private.

    Returns:
        The address of the commit.

    Raises:
        ModelError: It is the base, is inverted or has no card; there is no token; the hub refuses
            or cannot be reached.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    folder = checkpoint.adapter
    if folder is None:
        raise ModelError("checkpoint 0 is the base itself", "push one that was trained")
    if read_card(folder)["inverted"]:
        raise ModelError(
            f"checkpoint {checkpoint.number} is marked inverted",
            "custodes pushes no model organisms to a hub",
        )
    if get_token() is None:
        raise ModelError("there is no token for the hub", "set HF_TOKEN")
    api = HfApi()
    disable_progress_bars()
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            allow_patterns=[
                "adapter_config.json",
                "adapter_model.safetensors",
                "*.md",
                "card.json",
            ],
            commit_message=f"custodes checkpoint {checkpoint.number}: {checkpoint.intervention}",
        )
    except HFValidationError:
        raise ModelError(f"{repo_id!r} is no repository's id", "write owner/name") from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        remedy = "check HF_TOKEN and its right to write there" if status in (401, 403) else "later"
        raise ModelError(f"the hub refused {repo_id} ({status or 'no status'})", remedy) from None
    except Exception as error:
        # Which HTTP library the hub's client uses differs between its versions.
        library = type(error).__module__.partition(".")[0]
        if library not in ("httpx", "httpx2", "requests") and not isinstance(error, OSError):
            raise
        raise ModelError(
            f"the hub cannot be reached ({type(error).__name__})", "connect and try again"
        ) from None
    finally:
        enable_progress_bars()
    return str(commit.commit_url)
