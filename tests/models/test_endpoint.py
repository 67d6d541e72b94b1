"""The endpoint engine against a real HTTP server on loopback, in good and bad weather."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from custodes.conversation import user_chat
from custodes.errors import ConfigError, CustodesWarning, EndpointError, ModelError, RunError
from custodes.models.base import LanguageModel, Sampling
from custodes.models.endpoint.model import EndpointModel, parse_endpoint
from custodes.models.endpoint.server import Patience
from custodes.models.simulated import SimulatedModel, SimulatedState
from support.openai_server import (
    NO_CHOICES,
    NO_MESSAGE,
    RUBBISH,
    TRUNCATED_JSON,
    FakeVllm,
    Fault,
    Handler,
    OpenAIServer,
    answer,
    drip,
    hang,
    refuse,
    torn,
)

FAST = Patience(timeout=5, tries=3, pause=0.001, longest_pause=2)
CHATS = [user_chat(f"question {i}") for i in range(6)]
KEY = "sk-a-key-nobody-may-see"


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUSTODES_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def served(**options: object) -> OpenAIServer:
    return OpenAIServer({"sim": SimulatedModel(), "other": SimulatedModel()}, **options)  # type: ignore[arg-type]


def remote(server: OpenAIServer, store: Path, **options: object) -> EndpointModel:
    options = {"model": "sim", "url": server.url, "patience": FAST, "store": store} | options
    return EndpointModel(**options)  # type: ignore[arg-type]


def test_it_is_a_language_model_and_counts_what_the_server_reports(tmp_path: Path) -> None:
    with served() as server:
        model = remote(server, tmp_path)
        assert isinstance(model, LanguageModel)
        texts = model.generate(CHATS, Sampling(n=2))
        assert [len(row) for row in texts] == [2] * 6
        assert len({text for row in texts for text in row}) == 12
        assert model.generate([], Sampling()) == []
        assert model.usage.calls == len(server.completions) == 6
        assert (model.usage.prompt_tokens, model.usage.completion_tokens) == (12, 36)


@pytest.mark.parametrize("level", [logging.NOTSET, logging.INFO])
def test_no_request_is_logged_unless_that_is_wanted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, level: int
) -> None:
    loggers = {logging.getLogger(name): 0 for name in ("httpx", "httpx2")}
    for logger in loggers:
        loggers[logger] = logger.level
        logger.setLevel(level)
    try:
        with served() as server, caplog.at_level(logging.INFO):
            remote(server, tmp_path).generate(CHATS, Sampling())
    finally:
        for logger, before in loggers.items():
            logger.setLevel(before)
    logged = [record for record in caplog.records if record.name.startswith("httpx")]
    assert bool(logged) == (level == logging.INFO)


def test_sampling_reaches_the_server(tmp_path: Path) -> None:
    with served() as server:
        sampling = Sampling(max_tokens=7, temperature=0.3, top_p=0.9, n=3, stop=("harm",))
        texts = remote(server, tmp_path).generate([user_chat("hi", "be nice")], sampling)
        (request,) = server.completions
        body = request.body
        assert body["messages"] == [
            {"role": "system", "content": "be nice"},
            {"role": "user", "content": "hi"},
        ]
        assert (body["max_tokens"], body["temperature"], body["top_p"]) == (7, 0.3, 0.9)
        assert (body["n"], body["stop"], body["model"]) == (3, ["harm"], "sim")
        assert not any("harm" in text for text in texts[0])


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    with served() as server:
        first = remote(server, tmp_path).generate(CHATS, Sampling(n=2))
        again = remote(server, tmp_path)
        # A cache hit depends on neither the order nor the size of the batch.
        assert again.generate(CHATS[::-1], Sampling(n=2)) == first[::-1]
        assert again.generate(CHATS[:1], Sampling(n=1, top_p=1)) == [first[0][:1]]
        assert len(server.completions) == 6
        assert (again.usage.calls, again.usage.cache_hits) == (0, 13)
        # More draws pay only for the new ones.
        more = again.generate(CHATS[:1], Sampling(n=4))
        assert more[0][:2] == first[0]
        assert server.completions[-1].body["n"] == 2


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"temperature": 0.9},
        {"top_p": 0.5},
        {"max_tokens": 3},
        {"stop": ("x",)},
    ],
)
def test_another_sampling_is_another_question(tmp_path: Path, change: dict[str, object]) -> None:
    with served() as server:
        model = remote(server, tmp_path)
        model.generate(CHATS[:1], Sampling())
        model.generate(CHATS[:1], Sampling(**change))  # type: ignore[arg-type]
        assert len(server.completions) == 2


def test_another_model_version_or_server_is_another_question(tmp_path: Path) -> None:
    with served() as server, served() as elsewhere:
        remote(server, tmp_path).generate(CHATS[:1], Sampling())
        for other in (
            remote(server, tmp_path, model="other"),
            remote(server, tmp_path, revision="may"),
            remote(elsewhere, tmp_path),
        ):
            other.generate(CHATS[:1], Sampling())
            assert other.usage.calls == 1


def test_greedy_is_asked_once_whatever_n_and_seed(tmp_path: Path) -> None:
    with served() as server:
        model = remote(server, tmp_path)
        greedy = Sampling(temperature=0, n=3)
        texts = model.generate([CHATS[0], CHATS[0]], greedy)
        assert len(texts) == 2
        assert len({text for row in texts for text in row}) == 1
        assert model.generate(CHATS[:1], greedy.seeded(5)) == texts[:1]
        assert len(server.completions) == 1


def test_equal_prompts_in_a_batch_are_separate_samples(tmp_path: Path) -> None:
    with served() as server:
        texts = remote(server, tmp_path).generate([CHATS[0]] * 3, Sampling(n=2))
        assert len({text for row in texts for text in row}) == 6


@pytest.mark.parametrize("many", ["ignored", "refused"])
def test_n_is_made_of_repeated_requests_where_the_server_lacks_it(
    tmp_path: Path, many: str
) -> None:
    with served(many=many) as server:
        model = remote(server, tmp_path)
        texts = model.generate(CHATS, Sampling(n=3))
        assert all(len(set(row)) == 3 for row in texts)
        asked = len(server.completions)
        model.generate([user_chat("new")], Sampling(n=3))
        assert len(server.completions) == asked + 3  # found out once, not with each batch
        seeds = Counter(r.body["seed"] for r in server.completions if "n" not in r.body)
        assert max(seeds.values()) <= (2 if many == "refused" else 1)


@pytest.mark.parametrize(
    "fault",
    [
        refuse(429, "slow down", Retry_After="0"),
        refuse(500, "oops"),
        refuse(503, "loading"),
        TRUNCATED_JSON,
        RUBBISH,
        NO_CHOICES,
        NO_MESSAGE,
        torn,
        hang(0),
    ],
)
def test_a_passing_fault_is_survived(tmp_path: Path, fault: Fault) -> None:
    with served(faults=[fault, fault]) as server:
        model = remote(server, tmp_path)
        (texts,) = model.generate(CHATS[:1], Sampling())
        assert texts[0].startswith("[simulated]")
        assert len(server.completions) == 3


@pytest.mark.parametrize(
    ("fault", "words", "tries"),
    [
        (refuse(429, "slow down"), "HTTP 429: slow down), asked 3 times", 3),
        (refuse(429, "out of money", "insufficient_quota"), "out of money), asked once", 1),
        (refuse(429, "tomorrow", Retry_After="86400"), "tomorrow), asked once", 1),
        (refuse(500, "oops\n\x1b[31m"), r"HTTP 500: oops \x1b[31m), asked 3 times", 3),
        (refuse(400, "too long"), "HTTP 400: too long), asked once", 1),
        (TRUNCATED_JSON, "cannot be used (broken JSON), asked 3 times", 3),
        (RUBBISH, "cannot be used (no JSON object), asked 3 times", 3),
        (NO_CHOICES, "cannot be used (no choices), asked 3 times", 3),
        (NO_MESSAGE, "cannot be used (a choice without a message), asked 3 times", 3),
        (answer(200, {"error": "sold out"}), "no choices; it says sold out", 3),
        (torn, "cannot reach sim", 3),
    ],
)
def test_a_lasting_fault_is_one_line(tmp_path: Path, fault: Fault, words: str, tries: int) -> None:
    with served(faults=[fault] * 9) as server:
        model = remote(server, tmp_path)
        with pytest.raises(EndpointError) as caught:
            model.generate(CHATS[:1], Sampling())
        line = str(caught.value)
        assert words in line
        assert "\n" not in line
        assert caught.value.remedy
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert len(server.completions) == tries


@pytest.mark.parametrize("fault", [hang(1), drip(1)])
def test_a_timeout_covers_the_whole_reply_and_is_one_line(tmp_path: Path, fault: Fault) -> None:
    patience = Patience(timeout=0.3, tries=2, pause=0)
    with served(faults=[fault] * 9) as server:
        model = remote(server, tmp_path, patience=patience, revision="r")
        with pytest.raises(EndpointError, match=r"did not answer within 0.3 s, asked 2 times"):
            model.generate(CHATS[:1], Sampling())


def test_retry_after_is_honoured(tmp_path: Path) -> None:
    with served(faults=[refuse(429, Retry_After="0.3")]) as server:
        model = remote(server, tmp_path)
        started = time.monotonic()
        model.generate(CHATS[:1], Sampling())
        assert time.monotonic() - started >= 0.3


def test_a_refused_connection_is_one_line(tmp_path: Path) -> None:
    with served() as server:
        url = server.url
    with pytest.raises(EndpointError, match=rf"cannot reach {url} .*, tried 3 times: see whether"):
        EndpointModel("sim", url, patience=FAST, store=tmp_path)


def test_an_unknown_model_gets_near_misses(tmp_path: Path) -> None:
    with served() as server:
        model = remote(server, tmp_path, model="simm")
        with pytest.raises(EndpointError, match=r"did you mean sim\? Known: other, sim"):
            model.generate(CHATS[:1], Sampling())
        assert len(server.completions) == 1


def test_a_wrong_path_is_said_so(tmp_path: Path) -> None:
    with served() as server:
        model = remote(server, tmp_path, url=server.url.removesuffix("/v1"))
        with pytest.raises(EndpointError, match="mostly in /v1"):
            model.generate(CHATS[:1], Sampling())


def test_a_failed_request_keeps_the_answers_of_the_others(tmp_path: Path) -> None:
    chats = [user_chat(f"question {i}") for i in range(60)]
    with served(faults=[None, None, refuse(400, "no")]) as server:
        model = remote(server, tmp_path, concurrency=2)
        with pytest.raises(EndpointError):
            model.generate(chats, Sampling())
        asked = len(server.completions)
        assert 3 <= asked < 60  # nothing new was started
        model.generate(chats, Sampling())
        assert model.usage.calls == 60  # everything but the failure was kept
        assert len(server.completions) == 61


def test_concurrency_is_bounded(tmp_path: Path) -> None:
    in_flight, most = [0], [0]
    three = threading.Barrier(3)  # passes only if three requests are in flight at once
    counting = threading.Lock()

    def met(handler: Handler) -> None:
        with counting:
            in_flight[0] += 1
            most[0] = max(most[0], in_flight[0])
        three.wait(60)
        with counting:
            in_flight[0] -= 1
        answer(200, {"choices": [{"message": {"content": "x"}}]})(handler)

    with served(faults=[met] * 12) as server:
        chats = [user_chat(str(i)) for i in range(12)]
        patient = Patience(timeout=60, tries=1)
        remote(server, tmp_path, concurrency=3, patience=patient).generate(chats, Sampling())
        assert most[0] == 3


def test_it_works_inside_a_running_event_loop(tmp_path: Path) -> None:
    async def notebook(server: OpenAIServer) -> list[list[str]]:
        return remote(server, tmp_path).generate(CHATS[:1], Sampling())

    with served() as server:
        assert len(asyncio.run(notebook(server))) == 1


def test_a_damaged_store_file_is_asked_for_again(tmp_path: Path) -> None:
    with served() as server:
        first = remote(server, tmp_path).generate(CHATS, Sampling())
        for path in tmp_path.glob("*/*.json"):
            path.write_text('{"reply": {"te')
        assert remote(server, tmp_path).generate(CHATS, Sampling()) == first
        assert len(server.completions) == 12


def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with served() as server, pytest.raises(RunError, match="cannot write"):
        remote(server, blocked / "store").generate(CHATS[:1], Sampling())


# --- versions -----------------------------------------------------------------------------------


def test_the_version_is_what_the_server_says(tmp_path: Path) -> None:
    with served() as server:
        version = remote(server, tmp_path).version
        assert version.startswith("sim@")
        assert remote(server, tmp_path).version == version
        assert remote(server, tmp_path, revision="may").version == "sim#may"
        card = server.card

        def moved(name: str) -> dict[str, object]:
            return {**card(name), "created": 1_700_000_001}

        server.card = moved  # type: ignore[method-assign]
        assert remote(server, tmp_path).version != version
        server.hides_models = True
        assert remote(server, tmp_path).version == "sim"


def test_a_time_of_asking_is_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("custodes.models.endpoint.model.time.sleep", lambda seconds: None)
    with FakeVllm({"sim": SimulatedModel()}, lambda path: SimulatedModel()) as server:
        assert remote(server, tmp_path).version == remote(server, tmp_path).version
        # A model that was made a moment ago is told from it.
        made = int(time.time())
        server.card = lambda name: {"id": name, "created": made}  # type: ignore[method-assign]
        fresh = remote(server, tmp_path).version
        server.card = lambda name: {"id": name, "created": made - 1}  # type: ignore[method-assign]
        assert remote(server, tmp_path).version != fresh


def test_two_fingerprints_are_warned_of(tmp_path: Path) -> None:
    with served(fingerprint="fp_1") as server:
        model = remote(server, tmp_path)
        model.generate(CHATS[:1], Sampling())
        server.fingerprint = "fp_2"
        with pytest.warns(CustodesWarning, match=r"fp_1, fp_2.*revision"):
            # From the store and fresh, in another process as it were.
            remote(server, tmp_path).generate(CHATS[:2], Sampling())


# --- keys ---------------------------------------------------------------------------------------


def test_the_key_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(key=KEY) as server:
        with pytest.raises(EndpointError, match=r"rejects the key .*set CUSTODES_API_KEY"):
            remote(server, tmp_path)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        remote(server, tmp_path).generate(CHATS[:1], Sampling())
        monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
        monkeypatch.setenv("CUSTODES_API_KEY", KEY)
        remote(server, tmp_path).generate(CHATS[:2], Sampling())


def test_the_key_is_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CUSTODES_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    logging.getLogger("openai").setLevel(logging.DEBUG)
    seen = []
    with served(key=KEY, faults=[None, *[refuse(400, f"I do not like {KEY}")] * 3]) as server:
        model = remote(server, tmp_path)
        model.generate(CHATS[:1], Sampling())
        assert server.completions[0].headers["authorization"] == f"Bearer {KEY}"
        with pytest.raises(EndpointError, match=r"I do not like \[key\]") as caught:
            model.generate(CHATS[1:], Sampling())
        seen += [str(caught.value), repr(caught.value), repr(model), repr(vars(model))]
        seen += [repr(vars(model._remote)), model.version, model.name]
        server.key = "sk-another"  # this one repeats the key in its refusal
        with pytest.raises(EndpointError, match="rejects the key") as caught:
            remote(server, tmp_path)
        seen.append(str(caught.value))
    assert caplog.records
    seen += [record.getMessage() for record in caplog.records]
    seen += [path.read_text() for path in tmp_path.rglob("*.json")]
    assert not [text for text in seen if KEY in text]


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{KEY}@127.0.0.1/v1",
        f"http://127.0.0.1/v1?key={KEY}",
        "127.0.0.1:8000",
        "ftp://127.0.0.1/v1",
    ],
)
def test_an_address_with_a_key_or_without_a_scheme_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        EndpointModel("sim", url, store=tmp_path)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["endpoint:@http://h/v1", "endpoint:model", "endpoint:model@", "model@http://h/v1"]
)
def test_a_malformed_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="endpoint:MODEL@"):
        parse_endpoint(name)


def test_a_model_name_may_hold_an_at_sign() -> None:
    assert parse_endpoint("endpoint:claude@may@https://h/v1") == (
        "claude@may",
        "https://h/v1",
        None,
    )


# --- adapters on vLLM ---------------------------------------------------------------------------


def adapter(folder: Path, weights: bytes = b"x") -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": 4}))
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder


def test_an_adapter_is_loaded_once_and_addressed_by_its_hash(tmp_path: Path) -> None:
    good = SimulatedModel(SimulatedState(helpful=0.99))
    with FakeVllm({"sim": SimulatedModel()}, lambda path: good) as server:
        base = remote(server, tmp_path / "store", revision="r")
        one = base.with_adapter(adapter(tmp_path / "one"))
        again = base.with_adapter(tmp_path / "one")
        other = base.with_adapter(adapter(tmp_path / "other", b"y"))
        assert one.version == again.version
        assert len({base.version, one.version, other.version}) == 3
        loads = [r.body for r in server.requests if r.path == "/v1/load_lora_adapter"]
        assert [body["lora_path"] for body in loads] == [
            str(tmp_path / "one"),
            str(tmp_path / "other"),
        ]
        assert loads[0]["lora_name"] == one.model
        texts = one.generate(CHATS, Sampling())
        assert server.completions[-1].body["model"] == one.model
        assert texts != base.generate(CHATS, Sampling())


def test_a_server_that_loads_no_adapters_is_said_so(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "one")
    with served() as server:
        model = remote(server, tmp_path / "store")
        with pytest.raises(EndpointError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
            model.with_adapter(folder)
        with pytest.raises(ModelError, match="is no LoRA adapter"):
            model.with_adapter(tmp_path)
    with pytest.raises(EndpointError, match=r"cannot reach .* see whether the server is running"):
        model.with_adapter(folder)


def test_an_adapter_that_the_server_does_not_see_is_said_so(tmp_path: Path) -> None:
    def nowhere(path: str) -> LanguageModel:
        raise FileNotFoundError(path)

    with FakeVllm({"sim": SimulatedModel()}, nowhere) as server:
        model = remote(server, tmp_path / "store", revision="r")
        with pytest.raises(EndpointError, match=r"No adapter found for .*where it sees"):
            model.with_adapter(adapter(tmp_path / "one"))


# --- the bundled model ---------------------------------------------------------------------------


@pytest.mark.bundled
def test_it_serves_the_bundled_model(tmp_path: Path, bundled: Path) -> None:
    from custodes.models.resolve import load

    local = load("smollm2-135m")
    with OpenAIServer({"smollm2-135m": local}) as server:
        model = remote(server, tmp_path, model="smollm2-135m", patience=Patience())
        chats = [user_chat("What is the capital of France?"), user_chat("Say hello.")]
        greedy = Sampling(max_tokens=12, temperature=0)
        # What it says may differ from a batch asked at once: rounding depends on the batch.
        assert all(row[0] for row in model.generate(chats, greedy))
        drawn = model.generate(chats, Sampling(max_tokens=12, temperature=1, n=2))
        assert len({text for row in drawn for text in row}) == 4
        assert model.generate(chats, Sampling(max_tokens=12, temperature=1, n=2)) == drawn
        assert model.usage.calls == len(server.completions) == 4
        assert model.usage.completion_tokens > 0


# --- killed -------------------------------------------------------------------------------------

BATCH = """
import sys
from pathlib import Path
from custodes.models.base import Sampling
from custodes.conversation import user_chat
from custodes.models.endpoint.model import EndpointModel
model = EndpointModel("sim", sys.argv[1], store=Path(sys.argv[2]), concurrency=2)
texts = model.generate([user_chat(f"question {i}") for i in range(40)], Sampling())
print(len(texts), model.usage.calls, model.usage.cache_hits)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_batch_killed_in_the_middle_pays_only_for_the_rest(
    tmp_path: Path, how: signal.Signals
) -> None:
    class Slow(SimulatedModel):
        def generate(self, chats, sampling):  # type: ignore[no-untyped-def]
            time.sleep(0.02)
            return super().generate(chats, sampling)

    with OpenAIServer({"sim": Slow()}) as server:
        command = [sys.executable, "-c", BATCH, server.url, str(tmp_path)]
        process = subprocess.Popen(command, env=os.environ, stderr=subprocess.DEVNULL)
        while len(server.completions) < 12:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(how)
        assert process.wait(60) == -how
        paid = len(server.completions)
        assert 12 <= paid < 40
        done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=True)
        texts, calls, hits = map(int, done.stdout.split())
        assert (texts, calls + hits) == (40, 40)
        assert len(server.completions) == paid + calls
        # Two were in flight: asked, and perhaps answered, but not received.
        assert hits >= paid - 2
