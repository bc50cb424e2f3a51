"""Write docs/measures.md: every measure and intervention, its definition, cost and trust."""

from pathlib import Path

from clsight.analysis import MEASURES, Measure
from clsight.interventions import INTERVENTIONS

PAGE = Path(__file__).with_name("measures.md")
INTRODUCTION = """\
# The measures

What `clsight.analysis` asks of a record. All work on labeled arrays (`xarray`), need no torch, and take a
plain record, a stack or any selection. This page is written by `python docs/measures.py` from the registry,
`clsight.analysis.MEASURES`.

```python
record = clsight.capture(subject, subject.examples, keep=["hidden", "rollout", "received"])
clsight.analysis.sink_rate(record, epsilon=0.3)  # DataArray: sample
clsight.analysis.mass_on(record, kinds="register").mean("sample")  # layer, head
clsight.analysis.MEASURES["rollout"].keep  # ("rollout",): what to keep= for it
clsight.analysis.MEASURES["rollout"].missing_from(record)  # (): nothing
```

Every measure gives one number per sample, so that means, intervals and differences over samples, seeds and
strategies are taken afterwards. Padding is NaN. A score that is undefined is NaN too, never 0, and
`attrs["undefined"]` says where and why. In a layer of class attention CLS is the only query: what reads the
column (`attended_by`) is NaN there, or speaks of CLS alone. n is the number of real tokens, prefix tokens
such as registers included.
"""
OVERVIEW = """
| measure | asks | dims |
|---|---|---|
"""
FUNCTIONS = """
## Comparisons

Between heads, depths and records. They take or give more than one array and stand outside the registry.

- `difference(array, to=...)`: a measure of each member of a stack, less that of one.
- `top_tokens(record, count)`: the largest weights of each row or column, with their texts.
- `distance(a, b, kind=...)`, dims sample, layer, head: the Jensen–Shannon distance (square root of the
  divergence to base 2, in [0, 1]), or 1 − Spearman's ρ, which is NaN where all weights are equal.
- `match_heads(a, b)`, dims layer, head: the head of b that does the same, by optimal assignment of
  Jensen–Shannon distances, mean over samples.
- `head_agreement(record)`: each pair of heads of all layers, by sample: 1 − Jensen–Shannon divergence to
  base 2.
- `joint_map(record)`, dims point: CLS queries and token keys of one head on one plane, by principal
  components, moved and scaled together so that no weight changes (Yeh et al. 2023, arXiv 2305.03210).
- `head_clusters(record, count)`: groups of heads, by hierarchical clustering of the mean of that.
- `similarity(record, to=other)`, dims sample, depth, other depth: cosine of CLS in two models whose channels
  mean the same.
- `cka(record, to=other)`, dims depth, other depth: unbiased linear CKA of CLS over the samples, with its mean
  under permutation and p. NaN where CLS does not vary between samples, as at its start, and below 4 samples.

Records of different inputs are refused: tokens, masks, labels and CLS position must be equal, as
`clsight.stack` demands. The inputs themselves are not in a record, so that two pictures of one size and label
pass for the same.
"""
INTERVENTIONS_WITH_MODEL = """
## With the model

What `clsight.interventions` asks of the model itself: its weights, its gradients, or passes in which one
thing is changed. Each takes a subject or a module, and inputs; what a model has not (a projection, a residual
sum) is refused in a sentence. Projections, sums and norms are found by what they are fed.
Padding is NaN, and `token_mask` stands beside what is told of tokens; sums skip it.

A model that draws at random, such as one with a random [CLS], is run with `draws=` random streams, which
start at `seed=`: given are means, with their spread as `…_std`. The class explained is then the one predicted
over all draws, if none is named. Random streams of the caller go on as if nothing had run.

```python
zeroed = clsight.interventions.value_zeroing(subject, subject.examples)  # sample, layer, token
clsight.interventions.knockout(subject, subject.examples, flavors="mask")  # flavor, sample, layer, head
record = record.assign(zeroed.data_vars)  # the result is part of the record, and is saved with it
```

| intervention | asks | dims |
|---|---|---|
"""


def page() -> str:
    """Return the text of the page."""
    measures = [MEASURES[name] for name in sorted(MEASURES)]
    interventions = [INTERVENTIONS[name] for name in sorted(INTERVENTIONS)]
    parts = [INTRODUCTION, OVERVIEW, *map(row, measures), *map(section, measures), FUNCTIONS]
    parts += [INTERVENTIONS_WITH_MODEL, *map(row, interventions), *map(section, interventions)]
    return "".join(parts)


def row(measure: Measure) -> str:
    """Return what the overview says of one measure."""
    return f"| [`{measure.name}`](#{measure.name}) | {measure.question} | {', '.join(measure.dims)} |\n"


def section(measure: Measure) -> str:
    """Return what the page says of one measure."""
    keep = f" (`keep={list(measure.keep)}`)" if measure.keep else ""
    lines = {
        "definition": measure.definition,
        "gives": f"{', '.join(measure.dims)}; {measure.range}"
        + (f"; {measure.unit}" if measure.unit else ""),
        "needs": ", ".join(f"`{name}`" for name in measure.needs) + keep if measure.needs else "",
        "cost": measure.cost,
        "source": measure.paper,
        "trust": measure.trust,
    }
    listed = "".join(f"- **{name}**: {text}\n" for name, text in lines.items() if text)
    return f"\n## {measure.name}\n\n{measure.question}\n\n{listed}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
