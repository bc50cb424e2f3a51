"""Jobs: done once, watched by id, stopped between batches, kept in bounded memory."""

import gc
import threading
import time
import weakref

import numpy as np
import pytest

from clsight.errors import AppError, CaptureError
from clsight_app.jobs import Jobs, JobState, Progress, job_id

SECONDS = 20


@pytest.fixture
def jobs():
    jobs = Jobs(threads=1, max_waiting=3)
    yield jobs
    jobs.close()


class Steps:
    """Work of several batches, each of which waits until it is let through."""

    def __init__(self, batches=3, result=None):
        self.batches, self.result = batches, np.zeros(4) if result is None else result
        self.gate, self.runs, self.closed = threading.Semaphore(0), 0, False

    def __call__(self):
        self.runs += 1
        try:
            for batch in range(self.batches):
                assert self.gate.acquire(timeout=SECONDS)
                yield Progress(batch + 1, self.batches)
        except GeneratorExit:
            self.closed = True
            raise
        return self.result

    def let(self, batches):
        self.gate.release(batches)


def waited(jobs, name, is_so):
    """Return the state of a job once it is as it should be."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        state = jobs.state(name)
        if state is not None and is_so(state):
            return state
        time.sleep(0.005)
    raise AssertionError(f"{name} is {jobs.state(name)}")


def is_over(state):
    return state.is_over


def test_id_is_the_same_for_the_same_request_whatever_its_order():
    one = job_id({"model": "a", "measures": ["x", "y"]})
    assert one == job_id({"measures": ["x", "y"], "model": "a"})
    assert one != job_id({"measures": ["y", "x"], "model": "a"})
    assert len(one) == 16
    assert one.isalnum()


def test_job_tells_its_progress_and_keeps_its_result(jobs):
    work = Steps()
    jobs.start("a", work)
    work.let(2)
    state = waited(jobs, "a", lambda state: state.progress == Progress(2, 3))
    assert (state.status, state.result, state.is_over) == ("running", None, False)
    work.let(1)
    for _ in range(2):  # as often as the page is loaded anew
        state = waited(jobs, "a", is_over)
        assert state.status == "done"
        assert state.result is work.result
        assert state.seconds > 0


def test_same_job_is_done_once_while_it_runs_and_afterwards(jobs):
    work = Steps(1)
    jobs.start("a", work)
    waited(jobs, "a", lambda state: state.status == "running")
    jobs.start("a", work)
    work.let(1)
    waited(jobs, "a", is_over)
    jobs.start("a", work)
    assert waited(jobs, "a", is_over).status == "done"
    assert work.runs == 1


def test_unknown_job_has_no_state_and_can_be_canceled_without_harm(jobs):
    jobs.cancel("nobody")
    assert jobs.state("nobody") is None


def test_running_job_stops_between_batches_and_its_generator_is_closed(jobs):
    work = Steps()
    jobs.start("a", work)
    work.let(1)
    waited(jobs, "a", lambda state: state.progress.done == 1)
    jobs.cancel("a")
    assert jobs.state("a").is_stopping
    work.let(1)  # the batch at hand ends
    state = waited(jobs, "a", is_over)
    assert (state.status, state.progress, state.is_stopping) == ("canceled", Progress(2, 3), False)
    assert work.closed


def test_waiting_job_tells_how_many_are_ahead_and_is_canceled_at_once(jobs):
    first, second, third = Steps(1), Steps(1), Steps(1)
    for name, work in zip("abc", (first, second, third), strict=True):
        jobs.start(name, work)
    waited(jobs, "a", lambda state: state.status == "running")
    assert [jobs.state(name).ahead for name in "bc"] == [0, 1]
    jobs.cancel("b")
    assert jobs.state("b") == JobState("canceled")
    assert jobs.state("c").ahead == 0
    first.let(1)
    third.let(1)
    assert waited(jobs, "c", is_over).status == "done"
    assert second.runs == 0


def test_canceled_job_can_be_asked_for_again_even_while_it_stops(jobs):
    work, again = Steps(), Steps(1)
    jobs.start("a", work)
    work.let(1)
    waited(jobs, "a", lambda state: state.progress.done == 1)
    jobs.cancel("a")
    jobs.start("a", again)
    assert jobs.state("a").status == "waiting"
    work.let(1)
    again.let(1)
    assert waited(jobs, "a", is_over).result is again.result
    assert work.closed


def test_error_of_clsight_is_told_as_its_sentence_and_the_work_can_be_asked_for_again(jobs):
    def refused():
        yield Progress(1, 2)
        raise CaptureError("layer 2", expected="attention", got="none", next_step="Look at it")

    jobs.start("a", refused)
    state = waited(jobs, "a", is_over)
    assert (state.status, state.progress) == ("failed", Progress(1, 2))
    assert state.error == "`layer 2`: expected attention, but got none. Look at it."
    work = Steps(1)
    work.let(1)
    jobs.start("a", work)
    assert waited(jobs, "a", is_over).status == "done"


def test_other_error_is_logged_with_its_traceback_and_told_by_its_name(jobs, caplog):
    def broken():
        yield Progress(0, 1)
        raise ZeroDivisionError("secret path")

    jobs.start("a", broken)
    assert waited(jobs, "a", is_over).error == (
        "This work failed: ZeroDivisionError. The server's log tells more."
    )
    assert "secret path" in caplog.text
    work = Steps(1)
    work.let(1)
    jobs.start("b", work)  # its thread still serves
    assert waited(jobs, "b", is_over).status == "done"


def test_results_used_last_are_kept_within_the_bound():
    jobs = Jobs(threads=1, max_bytes=250)
    try:
        for name in "abc":
            if name == "c":
                jobs.state("a")  # looked at again
            work = Steps(1, result=np.zeros(100, dtype=np.int8))
            work.let(1)
            jobs.start(name, work)
            waited(jobs, name, is_over)
        waited(jobs, "c", lambda _: jobs.state("b") is None)
        assert jobs.state("a").status == "done"
        assert jobs.kept_bytes == 200
        large = Steps(1, result=np.zeros(1000, dtype=np.int8))
        large.let(1)
        jobs.start("d", large)
        waited(jobs, "d", is_over)
        waited(jobs, "d", lambda _: jobs.kept_bytes == 1000)  # alone, though larger than the bound
    finally:
        jobs.close()


def test_number_of_jobs_that_are_over_is_bounded():
    jobs = Jobs(threads=1, max_kept=2)

    def refused():
        raise CaptureError("x", expected="y", got="z", next_step="w")
        yield

    try:
        for name in "abcd":
            jobs.start(name, refused)
            waited(jobs, name, is_over)
        waited(jobs, "d", lambda _: [name for name in "abcd" if jobs.state(name)] == ["c", "d"])
    finally:
        jobs.close()


def test_too_many_waiting_jobs_are_refused(jobs):
    work = Steps(1)
    jobs.start("a", work)
    waited(jobs, "a", lambda state: state.status == "running")
    for name in "bcd":
        jobs.start(name, Steps(1))
    with pytest.raises(AppError) as refusal:
        jobs.start("e", Steps(1))
    assert str(refusal.value) == (
        "`jobs`: expected fewer than 3 jobs that wait, but got 3. Wait until one is done, or cancel one."
    )
    for name in "bcd":
        jobs.cancel(name)
    work.let(1)


def test_close_stops_what_runs_and_what_waits_and_takes_no_more():
    jobs, running, waiting = Jobs(threads=1), Steps(), Steps()
    jobs.start("a", running)
    jobs.start("b", waiting)
    running.let(1)
    waited(jobs, "a", lambda state: state.progress.done == 1)
    threading.Timer(0.05, running.let, [1]).start()
    jobs.close()
    assert [jobs.state(name).status for name in "ab"] == ["canceled", "canceled"]
    assert running.closed
    assert not any(thread.name.startswith("job-") for thread in threading.enumerate())
    with pytest.raises(AppError, match=r"one that is being stopped\. Start the app again"):
        jobs.start("c", Steps())


def test_two_threads_work_at_the_same_time():
    jobs, one, other = Jobs(threads=2), Steps(1), Steps(1)
    try:
        jobs.start("a", one)
        jobs.start("b", other)
        other.let(1)
        assert waited(jobs, "b", is_over).status == "done"
        assert jobs.state("a").status == "running"
        one.let(1)
        waited(jobs, "a", is_over)
    finally:
        jobs.close()


def test_job_that_is_over_lets_go_of_what_its_work_held(jobs):
    work = Steps(1)
    held = weakref.ref(work)
    work.let(1)
    jobs.start("a", work)
    waited(jobs, "a", is_over)
    del work
    gc.collect()
    assert held() is None
