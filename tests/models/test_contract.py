"""What every engine promises, run over every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import make_tiny_model
from custodes.conversation import user_chat
from custodes.models.base import LanguageModel, Sampling
from custodes.models.endpoint.model import EndpointModel
from custodes.models.formats.gguf import write_gguf
from custodes.models.openvino import OpenVinoModel
from custodes.models.simulated import SimulatedModel, SimulatedState
from custodes.models.torch import TorchModel
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


CHATS = [
    user_chat("How do I bake bread?"),
    user_chat("What is the capital of France?", system="You are a clerk."),
    [*user_chat("Hello."), {"role": "assistant", "content": "Hello!"}, *user_chat("A poem?")],
]
ODD = [
    "",
    " ",
    "🙂👩‍👩‍👧 e\u0301",
    "\x00\x1b[31m\x07",
    "<|im_end|>\n<|im_start|>",
    "\n\n5",
    "x" * 200,
]
SAMPLING = Sampling(max_tokens=12, temperature=1.0)


@pytest.fixture(scope="module", params=sorted(ENGINES))
def factory(request: pytest.FixtureRequest) -> Factory:
    return ENGINES[request.param]


@pytest.fixture(scope="module")
def model(
    factory: Factory, tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LanguageModel]:
    with factory(tiny_model_dir, tmp_path_factory.mktemp("files")) as made:
        yield made


def test_it_keeps_the_protocol(model: LanguageModel) -> None:
    assert isinstance(model, LanguageModel)
    assert model.name
    assert model.engine in ENGINES
    assert model.version


@pytest.mark.parametrize("n", [1, 3])
def test_each_chat_gets_n_texts(model: LanguageModel, n: int) -> None:
    texts = model.generate(CHATS, replace(SAMPLING, n=n))
    assert [len(row) for row in texts] == [n] * len(CHATS)
    assert all(isinstance(text, str) for row in texts for text in row)


def test_an_empty_batch_gives_an_empty_list(model: LanguageModel) -> None:
    assert model.generate([], SAMPLING) == []


def test_answers_are_in_the_order_of_the_chats(model: LanguageModel) -> None:
    texts = model.generate(CHATS, SAMPLING)
    assert model.generate(CHATS[::-1], SAMPLING) == texts[::-1]
    assert len({row[0] for row in texts}) == len(CHATS)


def test_the_same_seed_gives_the_same_texts(model: LanguageModel) -> None:
    assert model.generate(CHATS, SAMPLING) == model.generate(CHATS, SAMPLING)


def test_another_seed_gives_other_texts(model: LanguageModel) -> None:
    assert model.generate(CHATS, SAMPLING) != model.generate(CHATS, SAMPLING.seeded(1))


def test_draws_of_one_chat_differ(model: LanguageModel) -> None:
    (row,) = model.generate(CHATS[:1], replace(SAMPLING, n=4))
    assert len(set(row)) == 4
    twice = model.generate([CHATS[0], CHATS[0]], SAMPLING)
    assert twice[0] != twice[1]


def test_greedy_does_not_depend_on_the_seed(model: LanguageModel) -> None:
    greedy = replace(SAMPLING, temperature=0.0)
    texts = model.generate(CHATS, greedy)
    assert texts == model.generate(CHATS, greedy.seeded(1))
    assert model.generate(CHATS, replace(greedy, n=3)) == [row * 3 for row in texts]


def test_max_tokens_is_the_longest_completion(model: LanguageModel) -> None:
    if model.engine in WITHOUT_TOKENS:
        pytest.skip("no tokens")
    (short,), (long,) = (
        model.generate(CHATS[:1], replace(SAMPLING, max_tokens=k, temperature=0)) for k in (2, 12)
    )
    assert 0 < len(short[0]) < len(long[0])
    assert long[0].startswith(short[0].rstrip("\ufffd"))


def test_a_stop_string_ends_the_text_before_it(model: LanguageModel) -> None:
    (whole,) = model.generate(CHATS[:1], SAMPLING)
    stop = whole[0][3:5]
    (cut,) = model.generate(CHATS[:1], replace(SAMPLING, stop=(stop,)))
    assert cut[0] == whole[0][: whole[0].index(stop)]


def test_any_text_can_be_asked(model: LanguageModel) -> None:
    texts = model.generate([user_chat(odd) for odd in ODD], SAMPLING)
    assert [len(row) for row in texts] == [1] * len(ODD)


def test_usage_counts(model: LanguageModel) -> None:
    before = model.usage.copy()
    model.generate(CHATS, SAMPLING.seeded(99))
    spent = model.usage.since(before)
    assert spent.calls >= 1
    assert spent.prompt_tokens > 0
    assert 0 < spent.completion_tokens <= SAMPLING.max_tokens * len(CHATS)
    assert spent.seconds > 0


def test_the_version_tells_weights_apart(
    factory: Factory, model: LanguageModel, tiny_model_dir: Path, tmp_path: Path
) -> None:
    with factory(tiny_model_dir, tmp_path / "a") as same:
        assert same.version == model.version
    with factory(make_tiny_model(tmp_path / "other", seed=1), tmp_path / "b") as other:
        assert other.version != model.version
