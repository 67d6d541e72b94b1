"""One process, one config, one folder."""

from __future__ import annotations

import errno
import multiprocessing
import resource
import signal
from pathlib import Path

import pytest

from custodes.errors import RunError
from custodes.runs import Checkpoint, RunFolder, overwriting, read_events, read_lineage, read_log
from custodes.runs.files import explain_disk, write_atomic

CONFIG = {"seed": 0, "steps": 3, "worker": {"model": "simulated"}}


def claim(path: Path, config: dict[str, object] = CONFIG) -> None:
    with RunFolder(path, config) as run:
        run.log.append("start")


def test_it_keeps_the_config_and_the_state_of_the_code(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run", CONFIG) as run:
        assert not run.resumed
        run.log.append("start")
    text = (tmp_path / "run" / "config.yaml").read_text()
    assert "source:" in text
    with RunFolder(tmp_path / "run", CONFIG) as run:
        assert run.resumed
        assert run.notes == []


def test_another_config_is_refused_by_the_name_of_the_key(tmp_path: Path) -> None:
    claim(tmp_path)
    with pytest.raises(RunError, match=r"another config \(worker\.model\).*--out"):
        RunFolder(tmp_path, {**CONFIG, "worker": {"model": "other"}})


def test_a_start_that_finished_nothing_does_not_claim_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such model"), RunFolder(tmp_path / "run", CONFIG):
        raise ValueError("no such model")
    assert not (tmp_path / "run").exists()
    claim(tmp_path / "run", {**CONFIG, "worker": {"model": "other"}})


def test_a_start_that_was_killed_before_it_finished_anything_does_not_claim_it(
    tmp_path: Path,
) -> None:
    open_still = RunFolder(tmp_path, CONFIG)
    open_still.log.close()
    open_still._lock.release()  # as the system does it when a process dies
    assert (tmp_path / "config.yaml").exists()
    claim(tmp_path, {**CONFIG, "seed": 1})
    assert "seed: 1" in (tmp_path / "config.yaml").read_text()


def test_a_failed_start_leaves_what_was_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="x"), RunFolder(tmp_path, CONFIG):
        raise ValueError("x")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_number_may_grow_and_not_shrink(tmp_path: Path) -> None:
    def grown(steps: int) -> RunFolder:
        return RunFolder(
            tmp_path, {**CONFIG, "steps": steps}, grows="steps", ending=("audit", "end")
        )

    with grown(3) as run:
        for kind in ("start", "end", "step", "audit", "end"):
            run.log.append(kind)
    with grown(5) as run:
        assert [event["kind"] for event in run.log.events] == ["start", "end", "step"]
        assert any("grows from 3 to 5" in note for note in run.notes)
    assert [event["kind"] for event in read_events(tmp_path / "events.jsonl")][-1] == "step"
    with pytest.raises(RunError, match="can grow but not shrink to 4"):
        grown(4)
    with pytest.raises(RunError, match="another config"):
        RunFolder(tmp_path, {**CONFIG, "steps": 9})
    with pytest.raises(RunError, match="another config"):
        RunFolder(tmp_path, {**CONFIG, "steps": 9, "seed": 3}, grows="steps")


def test_overwriting_replaces_a_run_once_the_new_one_has_begun(tmp_path: Path) -> None:
    run = tmp_path / "run"
    claim(run)
    with overwriting(run):
        claim(run, {**CONFIG, "seed": 1})
    assert "seed: 1" in (run / "config.yaml").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_overwriting_puts_the_old_run_back_when_the_new_one_fails(tmp_path: Path) -> None:
    run = tmp_path / "run"
    claim(run)
    changed = {**CONFIG, "seed": 1}
    with pytest.raises(ValueError, match="bad"), overwriting(run), RunFolder(run, changed):
        raise ValueError("bad start")
    assert "seed: 0" in (run / "config.yaml").read_text()
    assert len(read_events(run / "events.jsonl")) == 1


@pytest.mark.parametrize("content", [None, "", "name: mine\n", "[1, 2]"])
def test_overwriting_refuses_what_is_no_run(tmp_path: Path, content: str | None) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(RunError, match="nothing in it was removed"), overwriting(tmp_path):
        raise AssertionError("must not begin")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_overwriting_refuses_a_run_in_use(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run", CONFIG) as run:
        run.log.append("start")
        with pytest.raises(RunError, match="in use"), overwriting(tmp_path / "run"):
            raise AssertionError("must not begin")


def _hold(path: str, ready: object, go: object) -> None:
    with RunFolder(Path(path), CONFIG):
        ready.set()  # type: ignore[attr-defined]
        go.wait(30)  # type: ignore[attr-defined]


def test_a_second_process_is_told_so_and_stops(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path), ready, go))
    other.start()
    assert ready.wait(30)
    with pytest.raises(RunError, match=f"in use by process {other.pid}"):
        RunFolder(tmp_path, CONFIG)
    go.set()
    other.join(30)
    RunFolder(tmp_path, CONFIG).close()


def test_a_killed_process_leaves_the_folder_unlocked(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path), ready, go))
    other.start()
    assert ready.wait(30)
    other.kill()
    other.join(30)
    RunFolder(tmp_path, CONFIG).close()


def test_a_torn_time_costs_no_other(tmp_path: Path) -> None:
    with RunFolder(tmp_path, CONFIG) as run:
        run.clock("answer", 1.0)
    with (tmp_path / "timings.jsonl").open("a") as handle:
        handle.write('{"stage":"ra')
    with RunFolder(tmp_path, CONFIG) as run:
        run.clock("rate", 2.0)
    assert [row["stage"] for row in read_log(tmp_path / "timings.jsonl")] == ["answer", "rate"]


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    with RunFolder(tmp_path, CONFIG) as run:
        run.log.append("start")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
            with pytest.raises(RunError, match="no space left"):
                run.log.append("step", text="x" * 10_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, old)
    with RunFolder(tmp_path, CONFIG) as run:
        assert [event["kind"] for event in run.log.events] == ["start"]


def test_a_disk_that_is_full_from_the_start_is_one_line(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        with pytest.raises(RunError, match="no space left"):
            RunFolder(tmp_path, CONFIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)


def test_disk_errors_are_explained_and_others_are_not(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no space left"), explain_disk(tmp_path):
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(OSError, match="odd"), explain_disk(tmp_path):
        raise OSError(errno.EIO, "odd")


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("I am a file")
    with pytest.raises(RunError, match="cannot write"):
        RunFolder(tmp_path / "run", CONFIG)


def test_write_atomic_leaves_no_litter(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", "1")
    write_atomic(tmp_path / "a", b"2")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "2"


def test_lineage_is_read_back(tmp_path: Path) -> None:
    with RunFolder(tmp_path, CONFIG) as run:
        folder = run.checkpoint_folder(1)
        folder.mkdir(parents=True)
        for checkpoint in (
            Checkpoint(0, None, None, "base"),
            Checkpoint(1, folder, 0, "teacher:harmlessness", {"moved": 0.1}),
        ):
            run.log.append("checkpoint", **checkpoint.to_event(run.path))
    base, first = read_lineage(tmp_path)
    assert base.adapter is None
    assert first.adapter == tmp_path / "checkpoints" / "1"
    assert first.parent == 0
    folder.rmdir()
    with pytest.raises(RunError, match="checkpoint 1"):
        read_lineage(tmp_path)
    with pytest.raises(RunError, match="not a run folder"):
        read_lineage(tmp_path / "nothing")
