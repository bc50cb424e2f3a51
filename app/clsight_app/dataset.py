"""What the page Data set is about: many samples of a model, or of a record file, measured as a job."""

from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import xarray as xr

import clsight
from clsight.analysis import MEASURES, sink_rate
from clsight.errors import AppError, did_you_mean
from clsight_app.catalog import Catalog
from clsight_app.jobs import Progress, Work, job_id
from clsight_app.record_files import MOST_BYTES, MOST_SAMPLES, RecordFiles, size_of
from clsight_app.state import checked_model, from_query, to_whole_number

BATCH: Final = 64
"""Samples that are measured, or captured, between two looks whether to stop."""
PER_HEAD: Final = ("entropy", "cls_self_attention", "mean_attended_by", "sink_rate", "max_share")
"""Measures with one number for each sample and head."""
NEEDED: Final = ("attends_to", "attended_by", "token_mask", "query", "keys", "logits")
"""What is kept of a record: the rest of it is not shown."""


@dataclass(frozen=True)
class SampleRequest:
    """Whose samples are measured.

    Args:
        model: Name of a loaded model, whose examples are captured.
        record: Name of a record file instead; empty for none.
        samples: How many, from the first.
    """

    model: str
    record: str
    samples: int


@dataclass(frozen=True)
class DatasetView:
    """What of the samples is shown.

    Args:
        x: Name of the measure from left to right.
        y: Name of the measure upward; the most extreme examples are those by it.
        layer: Index of the layer.
        head: Index of the head.
        group: Name of the class shown alone; empty for all.
    """

    x: str = "cls_self_attention"
    y: str = "entropy"
    layer: int = 0
    head: int = 0
    group: str = ""


@dataclass(frozen=True)
class Measured:
    """Samples and what was measured of them.

    Args:
        record: The record, with no more than `NEEDED`.
        values: By measure, `[sample, layer, head]`, NaN where undefined.
    """

    record: xr.Dataset
    values: xr.Dataset

    @property
    def nbytes(self) -> int:
        """The bytes of its arrays."""
        return int(self.record.nbytes + self.values.nbytes)


def dataset_work(catalog: Catalog, files: RecordFiles, request: SampleRequest) -> Work:
    """Return the work of a request: the record, then its measures, batch by batch."""

    def work() -> Generator[Progress, None, Measured]:
        yield Progress(0, request.samples)
        if request.record:
            record = _needed(files.opened(request.record)).isel(sample=slice(request.samples))
        else:
            record = yield from _captured(catalog, request)
        parts = []
        for start in range(0, record.sizes["sample"], BATCH):
            parts.append(measures_of(record.isel(sample=slice(start, start + BATCH))))
            yield Progress(min(start + BATCH, request.samples), request.samples)
        return Measured(record, xr.concat(parts, "sample", combine_attrs="override"))

    return work


def measures_of(record: xr.Dataset) -> xr.Dataset:
    """Return each measure of `PER_HEAD` that the record has what is needed for, `[sample, layer, head]`."""
    found = {}
    for name in PER_HEAD:
        if not MEASURES[name].missing_from(record):
            made = sink_rate(record, over=()) if name == "sink_rate" else MEASURES[name].function(record)
            found[name] = made.transpose("sample", "layer", "head")
    return xr.Dataset(found)


def _captured(catalog: Catalog, request: SampleRequest) -> Generator[Progress, None, xr.Dataset]:
    """Capture the examples one by one, as the page Inspect does: a CLS that is redrawn is the same there."""
    parts: list[xr.Dataset] = []
    for sample in range(request.samples):
        parts.append(_needed(catalog.record(request.model, sample, ["keys_values"])))
        if parts[0].nbytes * request.samples > MOST_BYTES:
            raise AppError(
                request.model,
                expected=f"examples that take at most {MOST_BYTES:,} bytes together",
                got=f"{parts[0].nbytes * request.samples:,}",
                next_step=f"Ask for {max(1, MOST_BYTES // parts[0].nbytes):,} of them",
            )
        yield Progress(sample + 1, request.samples)
    return clsight.concat(parts)


def _needed(record: xr.Dataset) -> xr.Dataset:
    return record[[name for name in NEEDED if name in record]]


def request_of(
    catalog: Catalog, files: RecordFiles, query: str | None
) -> tuple[SampleRequest, DatasetView, str, int]:
    """Return what an address asks of the page: whose samples, what is shown, the job, how many there are.

    Raises:
        AppError: It names what is not there.
        RecordError: Its record file cannot be read.
    """
    given = dict(parse_qsl((query or "").removeprefix("?")))
    chosen = checked_model(from_query(query), catalog.models, first=catalog.first)
    record = given.get("record", "")
    most = count_of(catalog, files, chosen.model, record)
    samples = to_whole_number("samples", given.get("samples", str(min(most, MOST_SAMPLES))))
    shown = DatasetView(
        x=given.get("x", DatasetView.x),
        y=given.get("y", DatasetView.y),
        layer=chosen.layer,
        head=chosen.head,
        group=given.get("group", ""),
    )
    for name, value in (("x", shown.x), ("y", shown.y)):
        if value not in PER_HEAD:
            step = did_you_mean(value[:80], PER_HEAD)
            raise AppError(
                name, expected="a measure with a number per head", got=repr(value[:80]), next_step=step
            )
    request = checked_samples(SampleRequest(chosen.model, record, samples), most)
    return request, shown, given.get("job", ""), most


def count_of(catalog: Catalog, files: RecordFiles, model: str, record: str) -> int:
    """Return how many samples a record file holds, or examples a model has."""
    return size_of(files.path(record))[0] if record else len(catalog.examples(model))


def checked_samples(request: SampleRequest, most: int) -> SampleRequest:
    """Return a request whose number of samples can be shown.

    Raises:
        AppError: It cannot: there are not as many, none is asked for, or more than `MOST_SAMPLES`.
    """
    last = min(most, MOST_SAMPLES)
    if 1 <= request.samples <= last:
        return request
    where = f"There are {most:,}" if most > MOST_SAMPLES else "There are no more"
    raise AppError(
        "samples",
        expected=f"a number from 1 to {last}",
        got=str(request.samples),
        where=where if request.samples else "",
        next_step="Choose another number above",
    )


def job_of(request: SampleRequest, files: RecordFiles) -> str:
    """Return the id of the job of a request; another one when its file has changed."""
    asked: dict[str, Any] = {"page": "data set", **asdict(request)}
    if request.record:
        told = files.path(request.record).stat()
        asked["file"] = [told.st_mtime_ns, told.st_size]
    return job_id(asked)


def query_of(request: SampleRequest, job: str, query: str | None) -> str:
    """Return the address of a request and its job; the other parts of `query` stay."""
    given: Mapping[str, Any] = dict(parse_qsl((query or "").removeprefix("?")))
    asked = {"model": request.model, "record": request.record, "samples": request.samples, "job": job}
    return "?" + urlencode(
        {name: value for name, value in {**given, **asked}.items() if value != ""}, safe=","
    )


def python_of(catalog: Catalog, files: RecordFiles, request: SampleRequest, shown: DatasetView) -> str:
    """Return the lines of Python that compute the same in a notebook."""
    if request.record:
        made = f"record = clsight.open_record({str(files.path(request.record))!r})"
        made += f".isel(sample=slice({request.samples}))"
    else:
        made = f"""{catalog.code(request.model)}
records = []
for sample in range({request.samples}):
    subject.reseed(sample)  # a [CLS] that is redrawn is the same as in the dashboard
    records.append(clsight.capture(subject, subject.examples[sample], keep=["keys_values"]))
record = clsight.concat(records)"""
    return f"""\
import clsight
from clsight import analysis, figures, statistics

{made}

def over_samples(name):
    options = {{"over": ()}} if name == "sink_rate" else {{}}
    values = getattr(analysis, name)(record, **options)
    return statistics.bootstrap(values, "sample", resamples=1000, skipna=True).assign_attrs(title=name)

x, y = over_samples({shown.x!r}), over_samples({shown.y!r})
figures.head_scatter(x, y, selected=({shown.layer}, {shown.head})).show(config=figures.CONFIG)

head = record.sel(layer={shown.layer}, head={shown.head})
if "keys" in record:
    figures.query_key_scatter(analysis.joint_map(head)).show(config=figures.CONFIG)
"""
