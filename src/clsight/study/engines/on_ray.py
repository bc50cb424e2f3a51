"""Runs on a Ray cluster, or on a Ray that is started on this machine for them."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from clsight.errors import StudyError
from clsight.study.engines.finishing import Asked, Failure, Finished, attempted
from clsight.study.planned_runs import Work

_RETRIES: Final = 5
"""How often a run is started again whose worker or node is gone."""


@dataclass(frozen=True)
class RayEngine:
    """Workers of a Ray cluster; their results come back to the one process that writes them.

    Every node needs the same clsight and torch. A run whose worker or node is gone is made again elsewhere.

    Args:
        workers: How many runs at once; None for as many as the cluster has cores.
        address: Of the cluster, such as `auto` or `ray://head:10001`; None starts one here, or uses the one
            that this process is connected to.
        gpus: Of each run, a part of one if below 1.
    """

    workers: int | None = None
    address: str | None = None
    gpus: float = 0.0

    def finished(self, asked: Iterable[Asked], work: Work) -> Generator[Finished, None, None]:
        """Yield each run as soon as it has ended, as `Engine` says."""
        ray = _ray()
        mine = not ray.is_initialized()
        if mine:
            self._connect(ray)
        waiting = iter(asked)
        busy: dict[Any, Asked] = {}
        try:
            begin = self._beginner(ray, work)
            at_once = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            busy |= {begin(item): item for item in islice(waiting, at_once)}
            while busy:
                done, _ = ray.wait(list(busy), num_returns=1)
                for reference in done:
                    item = busy.pop(reference)
                    busy |= {begin(following): following for following in islice(waiting, 1)}
                    yield Finished(*item, _result(ray, reference))
        finally:
            for reference in busy:
                ray.cancel(reference, force=True)
            if mine:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        try:
            ray.init(
                address=self.address,
                num_cpus=self.workers if self.address is None else None,
                include_dashboard=False if self.address is None else None,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise StudyError(
                "--address",
                expected="the address of a Ray cluster",
                got=f"{self.address!r}: {error}",
                next_step="Start one with `ray start --head`, or leave --address out to use this machine",
            ) from error

    def _beginner(self, ray: Any, work: Work) -> Callable[[Asked], Any]:
        """Return a function that starts a run somewhere and gives its reference."""
        options = {"num_cpus": 1, "num_gpus": self.gpus, "max_retries": _RETRIES}
        remote = ray.remote(**options)(attempted)
        return lambda item: remote.remote(work, item[1])


def _result(ray: Any, reference: Any) -> dict[str, bytes] | Failure:
    """Return what a run came to; one that Ray gave up on is a failure."""
    try:
        result: dict[str, bytes] | Failure = ray.get(reference)
    except ray.exceptions.RayError as error:
        return Failure(f"{type(error).__name__}: {str(error).splitlines()[0]}", str(error))
    return result


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise StudyError(
            "--engine ray",
            expected="the package ray",
            got="none",
            next_step="Install it with: pip install 'clsight[ray]'",
        ) from error
    return ray
