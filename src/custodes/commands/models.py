"""``custodes models``: list, fetch, export and push models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from custodes.commands.show import say, table
from custodes.runs.lineage import Checkpoint

__all__ = ["models_export", "models_list", "models_pull", "models_push"]


def models_list(json: FlagCreatePairsOff[bool] = False) -> None:
    """List the bundled models and whether each is installed.

    Args:
        json: Print one JSON object to standard output and nothing else.
    """
    from custodes.models.bundled import BUNDLED, installed

    table(
        "models",
        [
            {
                "name": model.name,
                "installed": installed(model.name) is not None,
                "download": f"{model.download / 1e6:.0f} MB",
                "licence": model.licence,
                "description": model.about,
            }
            for model in BUNDLED.values()
        ],
        json,
    )


def models_pull(name: Positional[str] = "smollm2-135m") -> None:
    """Download a bundled model; afterwards it needs no network.

    Args:
        name: A name from `custodes models list`.
    """
    from custodes.models.bundled import pull
    from custodes.progress import console

    with console() as progress:
        path = pull(name, progress)
    say(f"{name} is in {path}")


def models_export(
    name: Positional[str],
    out: Positional[Path],
    /,
    adapter: Path | None = None,
    form: Annotated[Literal["peft", "safetensors", "gguf"], arg(name="format")] = "gguf",
) -> None:
    """Write a model for other programs: a PEFT folder, merged safetensors, or a GGUF.

    Args:
        name: Any model name, or a run's checkpoint folder.
        out: The folder or file to write.
        adapter: A PEFT folder to apply to the model, e.g. runs/demo/checkpoints/1.
        form: The file format. Every program of the llama.cpp family loads a GGUF.
    """
    from custodes.models.formats.export import export

    say(f"wrote {export(name, out, form, adapter=adapter)}")


def models_push(
    checkpoint: Positional[Path],
    repository: Positional[str],
    /,
    public: FlagCreatePairsOff[bool] = False,
) -> None:
    """Upload a run's checkpoint, its adapter and its card, to the Hugging Face hub.

    The token comes from HF_TOKEN or from `hf auth login`. A checkpoint that is marked inverted is
    refused.

    Args:
        checkpoint: The checkpoint's folder, e.g. runs/demo/checkpoints/1.
        repository: OWNER/NAME; created if it does not exist.
        public: Make a repository that is created public; otherwise it is private.
    """
    from custodes.oversight.teachers.instructor import push_to_hub
    from custodes.training.card import read_card

    card = read_card(checkpoint)
    made = Checkpoint(card["checkpoint"], checkpoint, card["parent"], card["intervention"])
    say(f"pushed to {push_to_hub(made, repository, private=not public)}")
