"""What the page Trust computes: how faithful measures are for a model, as a job that can be stopped."""

from collections.abc import Generator
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import xarray as xr

from clsight.errors import AppError, did_you_mean
from clsight.faithfulness import ATTRIBUTIONS, METRICS, score_batches, summarize
from clsight.loading import Subject
from clsight.statistics import bootstrap
from clsight_app.jobs import Progress, Work, job_id
from clsight_app.state import to_whole_number

BATCH: Final = 4
"""Samples of one batch: work is stopped between batches, so that they are small."""
DEFAULT_SAMPLES: Final = 20
CURVES: Final = ("deletion", "insertion")
DEFAULT_MEASURES: Final = (
    "attention",
    "norm_weighted",
    "value_zeroing",
    "rollout",
    "gradient_times_attention",
)
METRIC_NAMES: Final = tuple(
    name for name, metric in METRICS.items() if not {"evidence", "model"} & set(metric.needs)
)
"""Metrics that need nothing but the model and its examples."""


@dataclass(frozen=True)
class TrustRequest:
    """What is compared for a model.

    Args:
        model: Name of a loaded model.
        measures: Names in `clsight.faithfulness.ATTRIBUTIONS`.
        samples: How many of its examples, from the first.
    """

    model: str
    measures: tuple[str, ...]
    samples: int

    @property
    def job(self) -> str:
        """The id of the job that computes it."""
        return job_id({"page": "trust", **asdict(self)})


@dataclass(frozen=True)
class Trust:
    """A finished comparison.

    Args:
        table: What `clsight.faithfulness.summarize` gives, `[measure, metric]`.
        curves: By name, `deletion` and `insertion`: means over samples, `[measure, fraction]`.
    """

    table: xr.Dataset
    curves: dict[str, xr.Dataset]

    @property
    def nbytes(self) -> int:
        """The bytes of its arrays."""
        return self.table.nbytes + sum(curve.nbytes for curve in self.curves.values())


def trust_work(subject: Subject, request: TrustRequest) -> Work:
    """Return the work of a request: batch by batch, then the intervals.

    Args:
        subject: The model, with at least `request.samples` examples.
        request: What is compared.
    """

    def work() -> Generator[Progress, None, Trust]:
        assert subject.examples is not None
        yield Progress(0, request.samples)
        scored = score_batches(
            subject,
            subject.examples[: request.samples],
            list(request.measures),
            metrics=METRIC_NAMES,
            batch_size=BATCH,
            keep_curves=True,
            progress=False,
        )
        batches = []
        try:
            for scores in scored:
                batches.append(scores)
                yield Progress(sum(batch.sizes["sample"] for batch in batches), request.samples)
        finally:
            scored.close()  # type: ignore[attr-defined]  # a generator, which ends its work when it is closed
        return trust_of(batches)

    return work


def trust_of(batches: list[xr.Dataset]) -> Trust:
    """Return the table and the mean curves of batches that `score_batches` yielded."""
    scores = xr.concat(batches, dim="sample", combine_attrs="override")
    scores.attrs["notes"] = list(dict.fromkeys(note for batch in batches for note in batch.attrs["notes"]))
    curves = {name: bootstrap(scores[name], "sample", skipna=True) for name in CURVES}
    return Trust(summarize(scores), {name: curve.load() for name, curve in curves.items()})


def request_of(query: str | None, model: str, *, examples: int) -> tuple[TrustRequest, str]:
    """Return what an address asks of the page Trust, and the id of its job; empty where none was started.

    Args:
        query: The query string of the address.
        model: Name of the model it is about.
        examples: How many examples the model has.

    Raises:
        AppError: A measure is unknown, or the number of samples is none.
    """
    given = dict(parse_qsl((query or "").removeprefix("?")))
    measures = tuple(given.get("measures", ",".join(DEFAULT_MEASURES)).split(","))
    samples = to_whole_number("samples", given.get("samples", str(min(DEFAULT_SAMPLES, examples))))
    request = checked_request(TrustRequest(model, measures, samples), examples=examples)
    return request, given.get("job", "")


def checked_request(request: TrustRequest, *, examples: int) -> TrustRequest:
    """Return a request whose measures stand in the order of `ATTRIBUTIONS`, each once.

    Raises:
        AppError: A measure is unknown, there is none, or the number of samples is not from 1 to `examples`.
    """
    for name in request.measures or ("",):
        if name not in ATTRIBUTIONS:
            raise AppError(
                "measures",
                expected="one that can be compared" if name else "at least one measure",
                got=repr(name[:80]) if name else "none",
                next_step=did_you_mean(name[:80], ATTRIBUTIONS) if name else "Choose one above",
            )
    if not 1 <= request.samples <= examples:
        raise AppError(
            "samples",
            expected=f"a number from 1 to {examples}",
            got=str(request.samples),
            where="The model has no more examples" if request.samples else "",
            next_step="Choose another number above",
        )
    ordered = tuple(name for name in ATTRIBUTIONS if name in request.measures)
    return TrustRequest(request.model, ordered, request.samples)


def query_of(request: TrustRequest, query: str | None) -> str:
    """Return the address of a request and its job: the other parts of `query` stay."""
    given = dict(parse_qsl((query or "").removeprefix("?")))
    asked = {
        "model": request.model,
        "measures": ",".join(request.measures),
        "samples": request.samples,
        "job": request.job,
    }
    return "?" + urlencode(given | asked, safe=",")


def python_of(subject: Subject, request: TrustRequest) -> str:
    """Return the lines of Python that compute the same in a notebook."""
    path: Any = subject.provenance.get("path", request.model)
    measures = ", ".join(f'"{name}"' for name in request.measures)
    metrics = ", ".join(f'"{name}"' for name in METRIC_NAMES)
    return f"""\
import clsight
import xarray as xr

subject = clsight.load({str(path)!r})
batches = clsight.faithfulness.score_batches(
    subject,
    subject.examples[:{request.samples}],
    [{measures}],
    metrics=[{metrics}],
    batch_size={BATCH},
    keep_curves=True,
)
scores = xr.concat(list(batches), dim="sample", combine_attrs="override")
table = clsight.faithfulness.summarize(scores)
print(table["estimate"].to_pandas().T)

for name in {CURVES}:
    means = clsight.statistics.bootstrap(scores[name], "sample", skipna=True)
    clsight.figures.faithfulness_curves(means, name).show()
"""
