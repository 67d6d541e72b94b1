"""Executors: what they return, and what the death of a process does."""

import os
import subprocess
import sys
import time
from concurrent.futures import wait
from pathlib import Path

import pytest
from tests.support import sweep_runs as work

from custodes.errors import ConfigError, RunError
from custodes.sweep.executors import LocalExecutor, connect


def test_results_and_errors_come_back():
    with LocalExecutor(2) as executor:
        futures = [executor.submit(work.square, x) for x in range(6)]
        bad = executor.submit(work.boom)
        assert [future.result() for future in futures] == [x * x for x in range(6)]
        with pytest.raises(ValueError, match="boom"):
            bad.result()


def test_a_dead_process_fails_its_own_run_only(tmp_path):
    with LocalExecutor(2) as executor:
        before = [executor.submit(work.square, x) for x in range(3)]
        dead = executor.submit(work.die)
        after = [executor.submit(work.square, x) for x in range(3)]
        with pytest.raises(RunError, match="process of this run died"):
            dead.result()
        assert [f.result() for f in before + after] == [0, 1, 4, 0, 1, 4]
        # One death may have been somebody else's fault: the run is tried again.
        assert executor.submit(work.die_once, tmp_path / "marker").result() == "alive"


@pytest.mark.slow
def test_workers_end_with_a_sweep_that_is_killed(tmp_path):
    script = (
        "import sys, time\n"
        "from tests.support import sweep_runs as work\n"
        "from custodes.sweep.executors import LocalExecutor\n"
        "if __name__ == '__main__':\n"
        "    pool = LocalExecutor(1)\n"
        "    pool.submit(work.sleep_and_say, 600, sys.argv[1], 'asleep')\n"
        "    time.sleep(600)\n"
    )
    (tmp_path / "killed.py").write_text(script)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    sweep = subprocess.Popen(
        [sys.executable, str(tmp_path / "killed.py"), str(tmp_path)], env=environment
    )
    worker = _eventually(lambda: next(tmp_path.glob("asleep.*"), None))
    sweep.kill()
    sweep.wait()
    pid = int(worker.suffix[1:])
    assert _eventually(lambda: not _alive(pid))


def _eventually(happens, seconds=120):
    for _ in range(10 * seconds):
        found = happens()
        if found:
            return found
        time.sleep(0.1)
    return None


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie that nobody waits for is as good as gone.
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_there_is_no_executor_without_workers():
    with pytest.raises(ConfigError):
        LocalExecutor(0)


# Dask: a real scheduler and two real worker processes on loopback


@pytest.fixture(name="cluster")
def _cluster(tmp_path):
    pytest.importorskip("distributed")
    address = tmp_path / "scheduler.json"
    common = ["--scheduler-file", str(address)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "."}
    run = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    scheduler = subprocess.Popen(
        [*run, *common, "--host", "127.0.0.1", "--port", "0", "--no-dashboard"], **quiet
    )
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", *common, "--no-dashboard"]
    worker += ["--nthreads", "1", "--no-nanny", "--host", "127.0.0.1"]
    workers = [subprocess.Popen([*worker, "--name", name], **quiet) for name in "ab"]
    processes = [scheduler, *workers]
    try:
        yield scheduler, workers, _address(address)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _address(path):
    import json

    for _ in range(600):
        try:
            return json.loads(path.read_text())["address"]
        except (OSError, ValueError):
            time.sleep(0.1)
    raise TimeoutError("no scheduler")


@pytest.mark.slow
def test_dask_runs_everything_although_a_worker_is_killed(cluster, tmp_path):
    _, workers, address = cluster
    executor = connect(address)
    _two_workers(executor)
    futures = [executor.submit(work.sleep_and_say, 0.5, str(tmp_path), str(i)) for i in range(12)]
    wait(futures[:2], return_when="FIRST_COMPLETED")
    workers[0].kill()
    assert [future.result(timeout=120) for future in futures] == [str(i) for i in range(12)]
    began = {path.name for path in tmp_path.iterdir() if path.name[0].isdigit()}
    assert len({name.split(".")[1] for name in began}) == 2
    executor.shutdown()


@pytest.mark.slow
def test_dask_gives_a_run_up_that_kills_its_worker_and_keeps_the_others(cluster):
    _, _, address = cluster
    executor = connect(address)
    _two_workers(executor)
    dead = executor.submit(work.die)
    error = dead.exception(timeout=120)
    assert type(error).__name__ == "KilledWorker"
    # allowed-failures: two workers died of it (the first try and one more), and not four.
    executor.shutdown()


@pytest.mark.slow
def test_workers_with_another_version_are_refused(cluster, monkeypatch):
    from custodes.runs import folder

    _, _, address = cluster
    _two_workers(connect(address))
    monkeypatch.setattr(folder, "code_state", lambda: {"version": "0.0.1", "source": "other"})
    with pytest.raises(RunError, match="install the same version"):
        connect(address)


def test_nobody_answers():
    pytest.importorskip("distributed")
    with pytest.raises(RunError, match="no Dask scheduler answers"):
        connect("tcp://127.0.0.1:9", timeout=1)


def _two_workers(executor):
    executor._client.wait_for_workers(2, timeout=120)
