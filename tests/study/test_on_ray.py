"""A Ray cluster of two nodes on this machine: all runs complete, also when a worker or a node is gone."""

import json
import os
import signal
import sys
import threading
import time

import pytest

from clsight import StudyError
from clsight.study.engines import Failure
from clsight.study.engines.on_ray import RayEngine
from clsight.study.running import run_study
from clsight.study.store import Store
from study.made_runs import Marking, failing_for_zeros, files_in, sleeping, small_study
from study.test_local import asked

# Ray warns of its own coming changes, and leaves sockets open when a node is lost.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def cluster():
    """Return a cluster of two nodes with a core each; this process is connected to it."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:  # its workers import what this process can
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        made.add_node(num_cpus=1)
        ray.init(address=made.address, log_to_driver=False)
        made.wait_for_nodes()
        yield made
        ray.shutdown()
        made.shutdown()


def test_every_run_comes_back_from_two_nodes_and_an_error_is_a_result(cluster):
    runs = [*asked([0, 1]), *asked([2], strategy="zeros"), *asked([3])]
    found = {one.key: one.result for one in RayEngine().finished(runs, failing_for_zeros)}
    failure = found.pop("zeros-2")
    assert isinstance(failure, Failure)
    assert failure.error == "ArithmeticError: nothing comes of seed 2"
    assert "in failing_for_zeros" in failure.details
    assert found.keys() == {"learned-0", "learned-1", "learned-3"}
    assert all("run.json" in result for result in found.values())


def test_a_study_gives_the_same_on_ray_as_in_processes(cluster, tmp_path):
    from clsight.study.engines import LocalEngine

    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    tally = run_study(small_study(), here, LocalEngine(workers=2), progress=False)
    assert run_study(small_study(), there, RayEngine(), progress=False) == tally
    assert tally.finished == 10
    assert files_in(there) == files_in(here)


def test_all_runs_complete_when_a_worker_is_killed_and_a_node_is_removed(cluster, tmp_path):
    extra = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    runs = asked([*range(12)])
    found = []
    study = threading.Thread(
        target=lambda: found.extend(RayEngine(workers=3).finished(runs, Marking(str(tmp_path))))
    )
    study.start()
    killed = in_flight(tmp_path, lambda mark: mark["node"] != extra.node_id)
    os.kill(killed["process"], signal.SIGKILL)
    lost = in_flight(tmp_path, lambda mark: mark["node"] == extra.node_id)
    cluster.remove_node(extra, allow_graceful=False)
    study.join(200)
    assert not study.is_alive()
    assert sorted(one.key for one in found) == sorted(key for key, _ in runs)
    assert [one.result for one in found if isinstance(one.result, Failure)] == []
    begun = [json.loads(mark.read_text())["seed"] for mark in tmp_path.glob("*.begun")]
    assert {killed["seed"], lost["seed"]} <= {seed for seed in begun if begun.count(seed) > 1}


def in_flight(folder, fits):
    """Return the mark of a run that is being made, as soon as there is one that fits."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for begun in folder.glob("*.begun"):
            if not begun.with_suffix(".ended").exists() and begun.stat().st_size:
                mark = json.loads(begun.read_text())
                if fits(mark) and time.time() - mark["time"] < 0.5:
                    return mark
        time.sleep(0.02)
    return pytest.fail("no run that fits was begun within two minutes")


def test_a_missing_ray_is_answered_in_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(StudyError) as caught:
        next(RayEngine().finished(asked([0]), sleeping))
    assert str(caught.value) == (
        "`--engine ray`: expected the package ray, but got none. Install it with: pip install 'clsight[ray]'."
    )
