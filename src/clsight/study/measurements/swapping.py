"""What does a trained model do if CLS begins another way? The rest of its weights stay."""

from dataclasses import replace

from clsight.models import ClassificationTransformer
from clsight.study.fitting import accuracy
from clsight.study.tasks import Part

Numbers = dict[str, float]
SWAPS = ("zeros", "fixed_random", "random_per_forward")


def accuracy_after_swaps(model: ClassificationTransformer, part: Part) -> Numbers:
    """Return `accuracy_with_…`: the accuracy in [0, 1] with another strategy; empty where no CLS is there.

    What is drawn comes from a stream of its own, so that it is not what the model was trained with.
    """
    if not model.cls_token.in_sequence:
        return {}
    kept = {name: weight for name, weight in model.state_dict().items() if not name.startswith("cls_token.")}
    found: Numbers = {}
    for strategy in SWAPS:
        config = replace(
            model.config, strategy=strategy, strategy_options={}, seed=model.config.seed + 1_000_000
        )
        other = ClassificationTransformer(config)
        other.load_state_dict(kept, strict=False)
        found[f"accuracy_with_{strategy}"] = accuracy(other.eval(), part)
    return found
