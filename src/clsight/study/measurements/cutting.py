"""What the answer loses when other tokens may not read CLS: the thread's guess is that it loses nothing."""

from clsight.interventions import knockout
from clsight.models import ClassificationTransformer
from clsight.study.tasks import Part

Numbers = dict[str, float]
FLAVORS = ("mask", "zero")


def effect_of_cutting_cls(model: ClassificationTransformer, part: Part) -> Numbers:
    """Return what changes when all that others ask of CLS is cut in every layer at once.

    `cut_mask_kl`, `cut_zero_kl`: Kullback–Leibler divergence of the answers in nats, by masking the column of
    CLS and by putting zero in place of its value. `cut_…_changed`: share of predictions that change, in
    [0, 1]. Means over samples, and over ten draws of a random CLS. Empty where no CLS is in the sequence.
    """
    if not model.cls_token.in_sequence:
        return {}
    inputs = (part.inputs,) if part.token_mask is None else (part.inputs, part.token_mask)
    found = knockout(
        model, inputs, cls_index=0, path="column", flavors=FLAVORS, per=None, progress=False
    ).mean("sample")
    told: Numbers = {}
    for flavor in FLAVORS:
        told[f"cut_{flavor}_kl"] = float(found["kl"].sel(flavor=flavor))
        told[f"cut_{flavor}_changed"] = float(found["prediction_changed"].sel(flavor=flavor))
    return told
