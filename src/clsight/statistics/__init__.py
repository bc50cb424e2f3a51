"""Statistics: how sure a number is, whether two arms differ or are equivalent, how many seeds that takes.

Where models are compared, the unit is the training seed, not the input. Every result names its method, its n
and the reason where a number is missing or doubtful; `in_words` reads it as a sentence. No torch, no plotly.
"""

from clsight.statistics.families import benjamini_hochberg, holm
from clsight.statistics.margins import equivalence
from clsight.statistics.pilots import spread_of_pairs
from clsight.statistics.planning import power_of_equivalence, seeds_for_equivalence
from clsight.statistics.resampling import bootstrap
from clsight.statistics.sentences import in_words
from clsight.statistics.sign_flips import paired_permutation
from clsight.statistics.streams import RunningMean

__all__ = [
    "RunningMean",
    "benjamini_hochberg",
    "bootstrap",
    "equivalence",
    "holm",
    "in_words",
    "paired_permutation",
    "power_of_equivalence",
    "seeds_for_equivalence",
    "spread_of_pairs",
]
