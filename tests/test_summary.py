"""The terminal summary shows the numbers of the record, recomputed here from dense attention in loops."""

import math

import numpy as np
import pytest

import clsight
from clsight.summary import counts, summary_lines, text_shares
from hand_made import HandMade, patch_record, word_record


def row_of(line: str) -> list[str]:
    """Return the cells of a table line, which stand two or more spaces apart."""
    return [cell for cell in line.split("  ") if cell.strip()]


def expected_means(made: HandMade, layer: int) -> tuple[float, float, float]:
    """Return entropy, CLS to itself, others to CLS of a layer: mean over samples and heads, in loops."""
    spread, itself, received = [], [], []
    for dense, mask in zip(made.dense[:, layer], made.mask, strict=True):  # dense: [head, query, key]
        for weights in dense:
            spread.append(-sum(w * math.log(w) for w in weights[0] if w > 0))
            itself.append(weights[0, 0])
            received.append(np.mean([weights[i, 0] for i in range(1, len(mask)) if mask[i]]))
    return float(np.mean(spread)), float(np.mean(itself)), float(np.mean(received))


def test_table_shows_the_means_of_each_layer() -> None:
    made = word_record()
    lines = list(summary_lines(made.record))
    start = next(number for number, line in enumerate(lines) if line.startswith("layer "))
    names = made.record["layer_name"].values.tolist()
    for layer, (name, line) in enumerate(zip(names, lines[start + 1 :], strict=False)):
        shown, *numbers, _ = row_of(line)
        assert shown == name
        assert [float(number) for number in numbers] == pytest.approx(expected_means(made, layer), abs=6e-4)


def test_text_shares_add_up_tokens_of_the_same_text() -> None:
    made = word_record(samples=3)
    shares = text_shares(made.record)
    texts = made.record["token_text"].values
    for layer in range(made.record.sizes["layer"]):
        total = 0.0
        for sample in range(3):
            for token in range(texts.shape[1]):
                if texts[sample, token] == "the":
                    total += made.dense[sample, layer, :, 0, token].mean() / 3
        assert float(shares.sel(token_text="the").isel(layer=layer)) == pytest.approx(total, abs=1e-6)


def test_text_shares_of_a_layer_sum_to_one_when_samples_are_padded() -> None:
    np.testing.assert_allclose(text_shares(word_record().record).sum("token_text"), 1, atol=1e-6)


def test_top_tokens_are_the_largest_shares_in_order() -> None:
    made = patch_record()
    last = [row_of(line)[-1] for line in summary_lines(made.record) if "patch" in line]
    shares = made.dense[:, :, :, 0].mean(axis=(0, 2))  # [layer, token]; every sample has the same texts
    texts = made.record["token_text"].values[0]
    for layer, shown in enumerate(last):
        order = sorted(range(len(texts)), key=lambda token: -shares[layer, token])[:3]
        assert shown == ", ".join(f"{texts[token]} {shares[layer, token]:.3f}" for token in order)


def test_summary_names_sizes_and_the_largest_self_check_error() -> None:
    record = patch_record(name="digits").record
    errors = np.full((2, 3), 1e-8)
    errors[1, 2] = 3e-7
    text = "\n".join(summary_lines(record.assign(attention_error=(("sample", "layer"), errors))))
    assert "digits" in text.splitlines()[0]
    assert "2 examples, 3 layers, 4 heads, 7 tokens; [CLS] is token 0" in text
    assert f"Largest self-check error: 3.0e-07, in {record['layer_name'].values[2]}" in text


def test_summary_tells_of_examples_that_are_not_the_models_own() -> None:
    record = patch_record().record
    told = "The examples are not the model's own: random token ids, seed 0"
    assert told not in list(summary_lines(record))
    assert told in list(summary_lines(record.assign_attrs(examples="random token ids, seed 0")))


def test_summary_counts_one_without_a_plural() -> None:
    assert (
        counts(patch_record().record.isel(sample=[0], layer=[1])) == "1 example, 1 layer, 4 heads, 7 tokens"
    )


def test_summary_says_what_evenly_spread_attention_would_be_unless_lengths_differ() -> None:
    even = "Evenly spread attention would be 1.946 nats, 0.143 for each token"  # ln 7 and 1/7
    assert even in list(summary_lines(patch_record().record))
    assert "Evenly spread" not in "".join(summary_lines(word_record().record))


def test_summary_gives_the_reason_where_there_is_no_self_check() -> None:
    record = patch_record().record.drop_vars("attention_error", errors="ignore")
    record = record.assign_attrs(absent={"attention_error": "dropout was on"})
    assert "Largest self-check error: unknown (dropout was on)" in list(summary_lines(record))


def test_column_is_a_dash_where_the_record_has_no_cls_column() -> None:
    record = patch_record().record.drop_vars("attended_by").assign_attrs(absent={"attended_by": "windows"})
    rows = [row_of(line) for line in summary_lines(record) if "patch" in line]
    assert [row[3].strip() for row in rows] == ["-"] * 3


def test_stacked_record_gives_a_table_for_each_member() -> None:
    one = patch_record(seed=0, name="digits-learned").record
    other = patch_record(seed=5, name="digits-zeros").record.assign_attrs(strategy="zeros")
    lines = list(summary_lines(clsight.stack({"learned": one, "zeros": other})))
    assert [line for line in lines if line.startswith("strategy")] == [
        "strategy learned: digits-learned (strategy learned, seed 7)",
        "strategy zeros: digits-zeros (strategy zeros, seed 7)",
    ]
    tables = [line for line in lines if "patch" in line]
    alone = [line for record in (one, other) for line in summary_lines(record) if "patch" in line]
    assert tables == alone


def test_token_text_cannot_move_the_cursor() -> None:
    record = word_record(words=("[CLS]", "\x1b[2J", "a\nb", "[SEP]", "", "")).record
    text = "".join(summary_lines(record))
    assert "\x1b" not in text
    assert "\n" not in text


def test_notes_of_a_record_are_shown() -> None:
    record = patch_record().record.assign_attrs(notes=["dropout was on in encoder.1"])
    assert "Note: dropout was on in encoder.1" in list(summary_lines(record))
