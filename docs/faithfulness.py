"""Write docs/faithfulness.md: attributions, metrics and measured tables: `python docs/faithfulness.py`."""

from pathlib import Path

from clsight.faithfulness import ATTRIBUTIONS, METRICS, Metric

PAGE = Path(__file__).with_name("faithfulness.md")
TABLES = Path(__file__).with_name("tables")
INTRODUCTION = """\
# Faithfulness

Does an attribution name the tokens that this model's answer rests on? Tokens go, and the answer tells. This
page is written by `python docs/faithfulness.py` from `clsight.faithfulness.METRICS` and `ATTRIBUTIONS`, and
from tables that two benchmarks wrote.

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

Words, patches and steps. [CLS], registers, distillation and special tokens stay, and so does padding. A plain
module does not say what its tokens are: `notes` tell it, special ids in its config stay, and `token_kind=`
states the rest. They
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
every time, and the mean over `draws=` of them counts, for interventions too; what is read off a record is of
the first draw.

Before any score is given, further passes check that

- removing tokens of one sample leaves the answers of the others as they are,
- tokens that the mask hides do not reach the answer, whatever they say,
- after a deletion the encoder sees that many tokens less,
- a baseline changes the tokens it stands for in the first layer, and no others.

A model that fails is refused with the number that was found. A score that is undefined is NaN, never 0, and
the coordinate `reason` says why.

## Attributions by name

All but those of many passes are compared by default. Your own are arrays `[sample, token]` or functions of
model and inputs: `measures={"mine": function}`.

| name | of | explains | source |
|---|---|---|---|
"""
FIND_DIGIT = """
## A model whose evidence is known

The sample model `find-digit` reads a handwritten digit that lies somewhere on a photograph:
`python benchmarks/find_digit.py`. Means, and 95 % intervals bootstrapped over scenes (none where all score
the same). "The evidence itself" ranks the patches with ink first, as one would who knew where the digit is.

"""
READING_DIGIT = """
What goes through all layers finds the digit. What looks at the last layer alone does not: by then other
patches hold what the digit was, CLS reads it there, and removing those patches from the picture changes
little. Both are true of the model; the question decides. Leave-one-out is a poor judge here: most patches
alone have no effect, and their order is noise, so that even the evidence itself agrees with it little.
"""
TEXT = """
## A text classifier

`python benchmarks/text_classifier.py sentence_polarity.zip` fine-tunes MiniLM on sentences of film reviews,
positive or negative ([NLTK's copy](https://www.nltk.org/nltk_data/), Pang & Lee 2005), and compares. Tokens
are hidden by the attention mask.

"""
READING_TEXT = """
The order is another: gradient × attention, the last but random on `find-digit`, leads here, and rollout,
which found the digit, is the last but random. No attribution is the best; ask it of your model.
"""
PEERS = """
## Against published peers

`python benchmarks/attribution_peers.py` runs published peers, unchanged, in an environment of their own, on
small models with fixed weights and on scores that are drawn. Tests compare clsight's numbers with theirs;
where a convention differs, by the formula that is said here. The largest differences found, in float64:

"""
NOT_COMPARED = """
Not compared: Quantus' own areas under curves, which fail under numpy 2.4; its baseline "mean", one number for
all channels, where that of clsight is the mean step or patch; and what clsight does not ask, such as
Relevance Rank Accuracy, Relevance Mass Accuracy, Faithfulness Correlation and Infidelity. LXT's rules are
those of direct logit attribution in the last attention alone: elsewhere they also go through other tokens,
feed-forward steps and, in AttnLRP, the softmax; those of `chefer_lrp` are other rules throughout.
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
    parts = [INTRODUCTION, attributions()]
    parts += [FIND_DIGIT, table("find_digit"), READING_DIGIT]
    parts += [TEXT, table("text_classifier"), READING_TEXT]
    parts += [PEERS, table("attribution_peers"), NOT_COMPARED]
    parts += [OVERVIEW, *rows, *map(section, metrics)]
    return "".join(parts)


def attributions() -> str:
    """Return a row per attribution."""
    rows = []
    for name, one in ATTRIBUTIONS.items():
        explains = "the class" if one.is_of_target else "what CLS becomes"
        passes = "; many passes" if one.many_passes else ""
        rows.append(f"| `{name}` | {one.how}{passes} | {explains} | {one.paper} |\n")
    return "".join(rows)


def table(name: str) -> str:
    """Return a table as its benchmark wrote it."""
    return (TABLES / f"{name}.md").read_text(encoding="utf-8")


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
