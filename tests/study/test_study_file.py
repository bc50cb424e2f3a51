"""Study files: which arms they mean, that all of it can be told, and what each mistake is answered."""

import tomllib

import pytest

from clsight import StudyError
from clsight.study.study_file import read_study, study_of

SMALL = """
[study]
seeds = 10

[base]
task = "retrieval"
layers = 1

[[block]]
name = "pooling"
base = { bias = false }
vary = { strategy = ["learned", "zeros"], norm = ["pre", "post"] }
"""
PRIMARY = """
[[primary]]
block = "pooling"
where = { norm = "pre" }
a = "learned"
b = "zeros"
"""


def study(text):
    return study_of(tomllib.loads(text))


def refused(text):
    with pytest.raises(StudyError) as caught:
        study(text)
    return str(caught.value)


def settings_of(text, block="pooling"):
    return [arm.settings for arm in study(text).arms[block]]


def test_a_product_has_every_combination_once_with_strategies_fastest():
    arms = study(SMALL).arms["pooling"]
    assert [dict(arm.labels) for arm in arms] == [
        {"strategy": "learned", "norm": "pre"},
        {"strategy": "zeros", "norm": "pre"},
        {"strategy": "learned", "norm": "post"},
        {"strategy": "zeros", "norm": "post"},
    ]
    assert {(arm.settings.task, arm.settings.layers, arm.settings.bias) for arm in arms} == {
        ("retrieval", 1, False)
    }
    assert [(arm.settings.strategy, arm.settings.norm) for arm in arms] == [
        (arm.labels["strategy"], arm.labels["norm"]) for arm in arms
    ]
    assert {arm.seeds for arm in arms} == {tuple(range(10))}


def test_one_at_a_time_changes_one_factor_and_crosses_it_with_every_strategy():
    text = """
        [study]
        seeds = [3, 5]
        [[block]]
        name = "factors"
        design = "one at a time"
        base = { task = "digits", layers = 2, norm = "pre" }
        vary = { strategy = ["learned", "zeros", "fixed_random"], layers = [1, 2, 4], norm = ["post"] }
    """
    found = [(arm.strategy, arm.layers, arm.norm) for arm in settings_of(text, "factors")]
    expected = [
        (strategy, layers, norm)
        for layers, norm in ((2, "pre"), (1, "pre"), (4, "pre"), (2, "post"))
        for strategy in ("learned", "zeros", "fixed_random")
    ]
    assert found == expected


def test_names_stand_for_settings_and_the_more_particular_place_wins():
    text = """
        [study]
        seeds = 2
        [base]
        task = "padded"
        task_options = { never = 1 }
        epochs = 3
        width = 8
        [tasks.padded]
        task = "speakers"
        task_options = { longest = 9 }
        epochs = 5
        [strategies.small]
        strategy = "fixed_random"
        strategy_options = { std = 0.01 }
        [[block]]
        name = "one"
        vary = { strategy = ["learned", "small"], task = ["padded", "digits"] }
        [[block]]
        name = "two"
        base = { epochs = 7, task_options = { longest = 4 } }
    """
    first = settings_of(text, "one")
    assert [(arm.task, dict(arm.task_options), arm.epochs, arm.width) for arm in first[::2]] == [
        ("speakers", {"longest": 9}, 5, 8),
        ("digits", {}, 3, 8),
    ]
    assert [(arm.strategy, dict(arm.strategy_options)) for arm in first[:2]] == [
        ("learned", {}),
        ("fixed_random", {"std": 0.01}),
    ]
    (second,) = settings_of(text, "two")
    assert (second.task, second.epochs, dict(second.task_options)) == ("speakers", 7, {"longest": 4})


def test_tuning_has_seeds_of_its_own_and_a_rising_grid():
    tuning = study(SMALL + "[tuning]\nlearning_rate = [0.01, 0.001]\nseeds = 2").tuning
    assert tuning.learning_rates == (0.001, 0.01)
    assert tuning.seeds == (10_000, 10_001)
    arms = study(SMALL + "[tuning]\nlearning_rate = [0.01]\nseeds = [77]").arms["pooling"]
    assert all(arm.tuned for arm in arms)


def test_a_primary_names_one_arm_on_each_side():
    (primary,) = study(SMALL + PRIMARY + 'test = "equivalence"\nmargin = 0.005').primaries
    assert primary.name == "learned − zeros in accuracy, pooling"
    assert dict(primary.a.labels) == {"strategy": "learned", "norm": "pre"}
    assert dict(primary.b.labels) == {"strategy": "zeros", "norm": "pre"}
    assert (primary.metric, primary.test, primary.margin) == ("accuracy", "equivalence", 0.005)


def test_a_primary_may_compare_conditions_of_one_strategy():
    side = '[[primary]]\nblock = "pooling"\nwhere = { strategy = "zeros" }\n'
    (primary,) = study(SMALL + side + 'a = { norm = "pre" }\nb = { norm = "post" }').primaries
    assert primary.name == "norm pre − norm post in accuracy, pooling"
    assert (primary.a.settings.norm, primary.b.settings.norm) == ("pre", "post")


def test_everything_that_is_told_describes_the_same_study(tmp_path):
    text = SMALL + PRIMARY + "[tuning]\nlearning_rate = [0.01, 0.003]\nseeds = 2\n"
    text += '[strategies."small start"]\nstrategy = "fixed_random"\nstrategy_options = { std = 0.01 }\n'
    text = text.replace('"zeros"]', '"zeros", "small start"]')
    first = study(text)
    file = tmp_path / "told.toml"
    file.write_text("\n".join(first.lines()), encoding="utf-8")
    again = read_study(file)
    assert again.arms == first.arms
    assert again.primaries == first.primaries
    assert again.tuning == first.tuning
    assert list(again.lines()) == list(first.lines())
    assert "weight_decay = 0.05" in first.lines()


def test_the_name_of_the_file_is_that_of_the_study(tmp_path):
    (tmp_path / "thread.toml").write_text(SMALL, encoding="utf-8")
    assert read_study(tmp_path / "thread.toml").name == "thread"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            SMALL.replace('"zeros"', '"zero"'),
            "`strategy`: expected a known option, but got 'zero'. In [[block]] pooling. Did you mean "
            "`zeros`? "
            "Options: first_token, fixed_random, input_mean, learned, learned_normal, learned_zeros, "
            "mean_pooling, random_in_training, random_per_forward, zeros.",
        ),
        (
            SMALL.replace("layers", "layer"),
            "`layer`: expected a setting in [base], but got none. Did you mean `layers`? Options: batch, "
            "bias, "
            "epochs, feedforward, heads, layers, learning_rate, norm, position, strategy, "
            "strategy_options, task, "
            "task_options, warmup, weight_decay, width.",
        ),
        (
            SMALL + "[tunning]\nlearning_rate = [1]",
            "`tunning`: expected a known name in the study file, but got none. Did you mean `tuning`? "
            "Options: "
            "base, block, primary, strategies, study, tasks, tuning.",
        ),
        (
            SMALL.replace("seeds = 10", ""),
            "`seeds`: expected a whole number, or a list of them, but got nothing. In [study]. Set "
            "`seeds` there.",
        ),
        (
            SMALL.replace("seeds = 10", "seeds = [1, 2, 1]"),
            "`seeds`: expected different seeds, but got one twice. In [study]. Give a number of seeds.",
        ),
        (
            SMALL.replace("layers = 1", "seed = 1"),
            "`seed`: expected seeds for the whole study or a block, but got one in the settings. In [base]. "
            "Set `seeds` in [study] or in the block.",
        ),
        (
            SMALL.replace("layers = 1", "heads = 5"),
            "`width`: expected a multiple of heads=5, but got 32. In [[block]] pooling. Change one of "
            "the two.",
        ),
        (
            SMALL.replace("layers = 1", "warmup = 1.0"),
            "`warmup`: expected a share of the steps, at least 0 and below 1, but got 1.0. "
            "In [[block]] pooling. Set `warmup` there.",
        ),
        (
            SMALL.replace('task = "retrieval"', ""),
            "`task`: expected a task, but got none. In [[block]] pooling. "
            "Set `task` in [base], or in `base` or `vary` of the block.",
        ),
        (
            SMALL.replace('["pre", "post"]', '"pre"'),
            "`norm`: expected a list of different values to vary, but got 'pre'. In [[block]] pooling. "
            "Write `norm = [...]`, or put a single value into `base`.",
        ),
        (
            SMALL.replace('name = "pooling"', 'name = "pooling"\ndesign = "products"'),
            "`design`: expected a known design, but got 'products'. In [[block]] pooling. "
            "Did you mean `product`? Options: one at a time, product.",
        ),
        (
            SMALL + SMALL[SMALL.index("[[block]]") :],
            "`name`: expected different names, but got 'pooling' twice. In [[block]]. Give each a `name` "
            "of its own.",
        ),
        (
            SMALL.replace('name = "pooling"', 'name = "pooling"\ntune = true'),
            "`tune`: expected a table [tuning], but got none. In [[block]] pooling. "
            "Add [tuning] with `learning_rate` and `seeds`, or set `tune = false`.",
        ),
        (
            SMALL + "[tuning]\nlearning_rate = [0.01]\nseeds = [9, 10]",
            "`seeds`: expected seeds of tuning that no other run has, but got 9. In [tuning] and "
            "[[block]] pooling. "
            "Use seeds from 10000 on for tuning.",
        ),
        (
            SMALL.replace('norm = ["pre", "post"]', "learning_rate = [0.1]")
            + "[tuning]\nlearning_rate = [0.01]\nseeds = 1",
            "`learning_rate`: expected tuned or varied, but got both. In [[block]] pooling. "
            "Set `tune = false` in the block, or leave the rates to [tuning].",
        ),
        (
            SMALL + PRIMARY.replace('block = "pooling"', 'block = "poling"'),
            "`block`: expected the name of a block, but got 'poling'. In [[primary]] 1. "
            "Did you mean `pooling`? Options: pooling.",
        ),
        (
            SMALL + PRIMARY.replace('where = { norm = "pre" }', ""),
            "`a`: expected one arm of the block, but got 2 that fit. In [[primary]] 1. "
            "Say which: where = { norm = ... }.",
        ),
        (
            SMALL + PRIMARY.replace('b = "zeros"', 'b = "learned"'),
            "`b`: expected another arm than `a`, but got the same. In [[primary]] 1. Change one.",
        ),
        (
            SMALL + PRIMARY.replace('"pre"', '"prae"'),
            "`norm`: expected a value of the block, but got 'prae'. In [[primary]] 1. "
            "Did you mean `pre`? Options: post, pre.",
        ),
        (
            SMALL + PRIMARY.replace("norm", "heads"),
            "`heads`: expected a setting that the block varies, but got none. In [[primary]] 1. "
            "Options: norm, strategy.",
        ),
        (
            SMALL + PRIMARY + 'test = "equal"',
            "`test`: expected a known test, but got 'equal'. In [[primary]] 1. Did you mean `equivalence`? "
            "Options: difference, equivalence.",
        ),
        (
            SMALL + PRIMARY + 'test = "equivalence"',
            "`margin`: expected one, since the test is equivalence, but got none. In [[primary]] 1. "
            "Declare the largest difference that does not matter, before the study runs.",
        ),
        (
            SMALL.replace("seeds = 10", "seeds = 5") + PRIMARY,
            "`seeds`: expected at least 6 for a test of difference at level 0.05 in 1 primary "
            "comparison, but got 5. "
            "In the comparison 'learned − zeros in accuracy, pooling'. "
            "Set `seeds` to 6 or more, or declare fewer comparisons.",
        ),
    ],
)
def test_a_mistake_is_answered_in_a_sentence(text, message):
    assert refused(text) == message


def test_six_seeds_suffice_for_one_test_and_not_for_two():
    six = SMALL.replace("seeds = 10", "seeds = 6")
    second = PRIMARY.replace('"pre"', '"post"') + 'name = "other"'
    assert len(study(six + PRIMARY).primaries) == 1
    assert "at least 7 for a test of difference at level 0.05 in 2 primary" in refused(six + PRIMARY + second)


def test_a_file_that_is_missing_or_no_toml_is_answered_in_a_sentence(tmp_path):
    with pytest.raises(StudyError, match="expected a study file, but got No such file or directory"):
        read_study(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[study\n")
    with pytest.raises(StudyError, match=r"bad.toml`: expected TOML, but got .*line 1"):
        read_study(tmp_path / "bad.toml")
