"""Write docs/faithfulness.md: every metric, and how far to trust it: `python docs/faithfulness.py`."""

from pathlib import Path

from clsight.faithfulness import METRICS, Metric

PAGE = Path(__file__).with_name("faithfulness.md")
INTRODUCTION = """\
# Faithfulness

Does an attribution name the tokens that this model's answer rests on? Tokens go, and the answer tells. This
page is written by `python docs/faithfulness.py` from the registry, `clsight.faithfulness.METRICS`.

```python
subject = clsight.load(clsight.sample_models_dir() / "digits-learned")
table = clsight.faithfulness.compare(subject, subject.examples, ["attention", "value_zeroing"])
table["estimate"]  # DataArray: measure, metric; with low, high, n, reason and above_random
print(table["sentence"].sel(metric="deletion_area").item())
```

A random ranking is always a row of the table, and the evidence itself where it is known (`evidence=`).
Intervals are bootstrapped over samples, for each score and for its difference to the random ranking, sample
by sample.

## What is removed, and how

Words, patches and steps. [CLS], registers, distillation and special tokens stay, and so does padding. They
go in the order of the attribution, highest first, of equal ones the earlier; the number of tokens is
rounded up. The answer is the probability of the class that the model predicts for the whole input, or of
`target=`.

| `by=` | what happens | needs |
|---|---|---|
| `"mask"` | the mask hides tokens; all others keep their positions | a mask, one value per token |
| `"deletion"` | tokens are cut out; what follows moves up | a sequence that [CLS] begins, no random draw |
| `"baseline"` | an id, `"mean"` or `"zero"` stands for them | ids, steps, or pictures of a subject |

The mask is the argument `token_mask`, `attention_mask` or `src_key_padding_mask`. The mean is that of the
sample's own steps, or of its patches, pixel by pixel.

By default the first that the model supports. A model that draws at random is asked with the same draws
every time, and the mean over `draws=` of them counts.

Before any score is given, further passes check that

- removing tokens of one sample leaves the answers of the others as they are,
- tokens that the mask hides do not reach the answer, whatever they say,
- after a deletion the encoder sees that many tokens less,
- a baseline changes the tokens it stands for in the first layer, and no others.

A model that fails is refused with the number that was found. A score that is undefined is NaN, never 0, and
the coordinate `reason` says why.

## Attributions by name

`attention` (last layer, mean over heads), `norm_weighted` (last layer, sum over heads), `rollout`,
`gradient_times_attention` (last layer, sum over heads, sign kept) and `value_zeroing` (last layer). Your
own are arrays `[sample, token]` or functions of model and inputs: `measures={"mine": function}`.
"""
OVERVIEW = """
## Metrics

| metric | asks | better |
|---|---|---|
"""


def page() -> str:
    """Return the text of the page."""
    metrics = [METRICS[name] for name in sorted(METRICS)]
    rows = (f"| [`{one.name}`](#{one.name}) | {one.question} | {one.better} |\n" for one in metrics)
    return INTRODUCTION + OVERVIEW + "".join(rows) + "".join(map(section, metrics))


def section(metric: Metric) -> str:
    """Return what the page says of one metric."""
    lines = {
        "definition": metric.definition,
        "range": metric.range,
        "better": metric.better,
        "cost": metric.cost,
        "source": metric.paper,
        "trust": metric.trust if metric.trust.endswith(".") else f"{metric.trust}.",
    }
    listed = "".join(f"- **{name}**: {text}\n" for name, text in lines.items())
    return f"\n### {metric.name}\n\n{metric.question}\n\n{listed}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
