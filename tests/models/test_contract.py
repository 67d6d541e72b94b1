"""What every engine promises, run over every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from conftest import make_tiny_model
from custodes.models.base import LanguageModel
from custodes.models.endpoint.model import EndpointModel
from custodes.models.formats.gguf import write_gguf
from custodes.models.openvino import OpenVinoModel
from custodes.models.simulated import SimulatedModel, SimulatedState
from custodes.models.torch import TorchModel
from custodes.testing import language_model_contract
from support.openai_server import OpenAIServer

# Makes an engine's model from a folder with weights; the second folder is for its files.
Factory = Callable[[Path, Path], AbstractContextManager[LanguageModel]]

ENGINES: dict[str, Factory] = {}

# The simulated Worker has no tokens; its texts are its whole answer.
WITHOUT_TOKENS = {"simulated"}


def engine(factory: Callable[[Path, Path], Iterator[LanguageModel]]) -> None:
    ENGINES[factory.__name__] = contextmanager(factory)


@engine
def torch(weights: Path, files: Path) -> Iterator[LanguageModel]:
    # float32, so that rounding never decides between two tokens.
    yield TorchModel(weights, name="tiny", dtype="float32")


@engine
def openvino(weights: Path, files: Path) -> Iterator[LanguageModel]:
    pytest.importorskip("openvino_genai")
    source = TorchModel(weights, name="tiny")
    files.mkdir(exist_ok=True)
    write_gguf(source, files / "tiny.gguf", quant="q8_0")
    yield OpenVinoModel(files / "tiny.gguf", name="tiny", version=source.version)


@engine
def endpoint(weights: Path, files: Path) -> Iterator[LanguageModel]:
    served = TorchModel(weights, name="tiny", dtype="float32")
    # A server cannot be asked for its weights: its name for them stands for them.
    with OpenAIServer({served.version: served}) as server:
        yield EndpointModel(served.version, server.url, store=files)


@engine
def simulated(weights: Path, files: Path) -> Iterator[LanguageModel]:
    yield SimulatedModel(SimulatedState(helpful=len(weights.name) / 100))


@pytest.fixture(scope="module", params=sorted(ENGINES))
def factory(request: pytest.FixtureRequest) -> Factory:
    return ENGINES[request.param]


@pytest.fixture(scope="module")
def model(
    factory: Factory, tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LanguageModel]:
    with factory(tiny_model_dir, tmp_path_factory.mktemp("files")) as made:
        yield made


def test_it_keeps_the_contract(model: LanguageModel) -> None:
    assert model.engine in ENGINES
    language_model_contract(model, tokens=model.engine not in WITHOUT_TOKENS)


def test_the_version_tells_weights_apart(
    factory: Factory, model: LanguageModel, tiny_model_dir: Path, tmp_path: Path
) -> None:
    with factory(tiny_model_dir, tmp_path / "a") as same:
        assert same.version == model.version
    with factory(make_tiny_model(tmp_path / "other", seed=1), tmp_path / "b") as other:
        assert other.version != model.version
