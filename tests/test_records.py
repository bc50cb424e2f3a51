"""Records: the schema check, files written whole or not at all, joining samples, stacking models."""

import os
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import xarray as xr

from clsight.errors import RecordError
from clsight.records import check, concat, need, open_record, save_record, stack
from hand_made import patch_record, word_record


def renamed(record, **attributes):
    return record.assign_attrs(attributes)


# --- check ---


@pytest.mark.parametrize("make", [patch_record, word_record])
def test_check_accepts_hand_made_records(make):
    check(make().record)


@pytest.mark.parametrize(
    "name", ["attends_to", "attended_by", "token_mask", "layer_name", "token_kind", "head"]
)
def test_check_names_a_missing_variable(name):
    with pytest.raises(RecordError, match=f"got one without {name}"):
        check(word_record().record.drop_vars(name))


def test_check_accepts_no_column_when_the_record_says_why():
    record = word_record().record.drop_vars("attended_by")
    check(renamed(record, absent={"attended_by": "one query only"}))


def test_check_names_a_missing_attribute():
    record = word_record().record
    del record.attrs["cls_index"]
    with pytest.raises(RecordError, match=r"without attrs\['cls_index'\]"):
        check(record)


def test_check_names_swapped_dims():
    record = word_record().record
    swapped = record.assign(attends_to=record["attends_to"].transpose("sample", "head", "layer", "token"))
    with pytest.raises(RecordError) as raised:
        check(swapped)
    assert str(raised.value) == (
        "`attends_to`: expected dims (sample, layer, head, token), after strategy, seed, step in a stacked "
        "record, but got (sample, head, layer, token). Reorder with record['attends_to'].transpose(...)."
    )


def test_check_refuses_a_newer_schema():
    with pytest.raises(RecordError, match=r"at most 1, which this clsight reads, but got 2"):
        check(renamed(word_record().record, schema_version=2))


def test_check_refuses_a_foreign_data_set():
    with pytest.raises(RecordError, match=r"expected a clsight record.*but got a data set without it"):
        check(xr.Dataset({"temperature": ("time", [1.0, 2.0])}))


@pytest.mark.parametrize("index", [-1, 9, 0.0, True, None])
def test_check_refuses_a_cls_index_outside_the_tokens(index):
    with pytest.raises(RecordError, match=r"integer from 0 to 8"):
        check(renamed(word_record().record, cls_index=index))


def test_check_names_an_unknown_token_kind():
    record = word_record().record.copy(deep=True)
    record["token_kind"].values[1, 2] = "wrod"
    with pytest.raises(RecordError, match=r"'wrod'. Did you mean `word`"):
        check(record)


def test_check_names_an_attribute_that_json_cannot_hold():
    with pytest.raises(RecordError, match=r"attrs\['versions'\]\['torch'\]\[1\].*got numpy.float32"):
        check(renamed(word_record().record, versions={"torch": ["2", np.float32(1.0)]}))


def changed(record, name, value, **at):
    """Return a copy of the record with one weight set, the place given by position."""
    copy = record.copy(deep=True)
    copy[name][at] = value
    return copy


@pytest.mark.parametrize("value", [2.0, 0.0, np.nan, np.inf])
def test_check_names_a_row_that_does_not_sum_to_one(value):
    record = changed(word_record().record, "attends_to", value, sample=1, layer=2, head=3)
    total = f"{9 * value:.4g}" if value else "0.0625"
    if value == 0.0:
        record["attends_to"][1, 2, 3, 5] = 0.0625
    with pytest.raises(RecordError) as raised:
        check(record, where="In r.zarr.zip")
    assert str(raised.value) == (
        "`attends_to at sample=1, layer=2, head=3`: expected floating weights in [0, 1] that sum to 1 over "
        f"`token`, or to 0 where CLS may see no token, but got a sum of {total}. In r.zarr.zip. "
        "Capture again, and keep what you compute from the weights under another name."
    )


def test_check_names_the_member_of_a_stack_whose_row_is_wrong():
    stacked = stack({"learned": word_record(seed=1).record, "zeros": word_record(seed=2).record})
    wrong = changed(stacked, "attends_to", 0.5, strategy=1, sample=0, layer=1, head=2)
    with pytest.raises(
        RecordError, match=r"`attends_to at strategy=1, sample=0, layer=1, head=2`.*sum of 4.5"
    ):
        check(wrong)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_check_accepts_rows_rounded_to_a_dtype(dtype):
    weights = np.random.default_rng(0).dirichlet(np.ones(9), size=(2, 3, 4)).astype(dtype)
    check(word_record().record.assign(attends_to=(("sample", "layer", "head", "token"), weights)))


def test_check_accepts_a_row_of_zeros_where_cls_sees_no_token():
    check(changed(word_record().record, "attends_to", 0.0, sample=1, layer=2))


@pytest.mark.parametrize(
    ("name", "pair", "at"),
    [
        ("attends_to", (-0.25, 1.25), "layer=1, head=2, token=3"),
        ("attended_by", (-0.25, 0.5), "layer=1, head=2, token=3"),
        ("attended_by", (0.5, 1.25), "layer=1, head=2, token=4"),
        ("attended_by", (0.5, np.inf), "layer=1, head=2, token=4"),
    ],
)
def test_check_names_a_weight_out_of_bounds(name, pair, at):
    record = changed(word_record().record, name, 0.0, sample=1, layer=1, head=2)
    record[name][1, 1, 2, 3:5] = list(pair)
    with pytest.raises(
        RecordError, match=rf"`{name} at sample=1, {at}`: expected floating weights in \[0, 1\]"
    ):
        check(record)


@pytest.mark.parametrize("name", ["attends_to", "attended_by"])
def test_check_refuses_weights_that_are_no_floats(name):
    record = word_record().record
    with pytest.raises(RecordError, match=f"`{name}`: expected floating weights.*but got dtype int64"):
        check(record.assign({name: record[name].fillna(0.0).astype(np.int64)}))


def test_save_record_refuses_rows_that_sum_to_two(tmp_path):
    record = word_record().record
    with pytest.raises(RecordError, match=r"but got a sum of 2. Saving .*r.zarr.zip"):
        save_record(record.assign(attends_to=record["attends_to"] * 2), tmp_path / "r.zarr.zip")
    assert list(tmp_path.iterdir()) == []


def test_need_gives_the_reason_a_variable_is_absent():
    with pytest.raises(RecordError) as raised:
        need(word_record().record, "hidden", asked_by="depth_curve")
    assert str(raised.value) == (
        "`depth_curve`: expected a record with `hidden`, but got one without it. "
        "The record says: not asked for. Where that can be helped, capture again with keep='hidden'."
    )


def test_need_names_what_to_keep():
    with pytest.raises(RecordError) as raised:
        need(word_record().record, "rollout", asked_by="depth_curve")
    assert str(raised.value) == (
        "`depth_curve`: expected a record with `rollout`, but got one without it. "
        "Capture again with keep='rollout'."
    )


def test_need_asks_for_what_every_capture_holds_without_naming_keep():
    with pytest.raises(RecordError, match=r"Capture again so that the record holds `query`\.$"):
        need(word_record().record.drop_vars("query"), "query", asked_by="depth_curve")


# --- save and open ---


@pytest.mark.parametrize("make", [patch_record, word_record])
def test_open_record_returns_what_was_saved(make, tmp_path):
    record = make().record
    opened = open_record(save_record(record, tmp_path / "r.zarr.zip"))
    xr.testing.assert_identical(opened, record)
    assert opened.attrs == record.attrs
    assert {str(opened[name].dtype) for name in ("token_text", "layer_name")} == {"StringDType()"}
    assert [opened[name].dtype for name in opened.variables] == [
        record[name].dtype for name in opened.variables
    ]


def test_open_record_returns_a_stacked_record(tmp_path):
    stacked = stack({"learned": word_record(seed=1).record, "zeros": word_record(seed=2).record})
    opened = open_record(save_record(stacked, tmp_path / "r.zarr.zip"))
    xr.testing.assert_identical(opened, stacked)
    assert opened.sel(strategy="zeros")["attends_to"].shape == (2, 3, 4, 9)


def test_open_record_keeps_odd_text(tmp_path):
    record = word_record(words=("[CLS]", "日本", "x\0y", "<b>é</b>", "🦆", "", "")).record
    opened = open_record(save_record(record, tmp_path / "r.zarr.zip"))
    assert opened["token_text"].values.tolist() == record["token_text"].values.tolist()


def test_save_record_turns_fixed_width_text_into_string_dtype(tmp_path):
    record = word_record().record.assign_coords(layer_name=("layer", np.array(["a", "bb", "ccc"])))
    opened = open_record(save_record(record, tmp_path / "r.zarr.zip"))
    assert opened["layer_name"].values.tolist() == ["a", "bb", "ccc"]
    assert str(opened["layer_name"].dtype) == "StringDType()"


def test_save_record_twice_gives_the_same_bytes(tmp_path):
    first = save_record(word_record().record, tmp_path / "a.zarr.zip")
    second = save_record(open_record(first), tmp_path / "b.zarr.zip")
    assert first.read_bytes() == second.read_bytes()


def test_save_record_leaves_the_old_file_when_writing_fails(tmp_path, monkeypatch):
    target = save_record(word_record().record, tmp_path / "r.zarr.zip")
    before = target.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(RecordError, match=r"No space left on device"):
        save_record(patch_record().record, target)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["r.zarr.zip"]


def test_save_record_replaces_the_old_file_instead_of_writing_into_it(tmp_path):
    target = save_record(word_record().record, tmp_path / "r.zarr.zip")
    with open(target, "rb") as old:
        before = target.read_bytes()
        save_record(patch_record().record, target)
        assert old.read() == before
    xr.testing.assert_identical(open_record(target), patch_record().record)


def test_save_record_leaves_the_old_file_when_killed(tmp_path):
    target = save_record(word_record().record, tmp_path / "r.zarr.zip")
    program = (
        "import os, signal, sys\n"
        "from clsight.records import open_record, save_record\n"
        "record = open_record(sys.argv[1]).assign_attrs(model='another')\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "save_record(record, sys.argv[1])\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(target)], check=False)
    assert killed.returncode == -signal.SIGKILL
    xr.testing.assert_identical(open_record(target), word_record().record)


def test_save_record_writes_nothing_when_the_record_breaks_the_schema(tmp_path):
    with pytest.raises(RecordError, match=r"Saving .*r.zarr.zip"):
        save_record(word_record().record.drop_vars("token_mask"), tmp_path / "r.zarr.zip")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["record.zip", "record.zarr", "record", ".zarr.zip"])
def test_save_record_refuses_another_suffix(name, tmp_path):
    with pytest.raises(RecordError, match=r"expected a file name ending in .zarr.zip.*record.zarr.zip"):
        save_record(word_record().record, tmp_path / name)


def test_save_record_refuses_a_missing_folder(tmp_path):
    with pytest.raises(RecordError, match=r"expected a folder that exists.*mkdir -p"):
        save_record(word_record().record, tmp_path / "none" / "r.zarr.zip")


def test_save_record_refuses_a_folder_as_target(tmp_path):
    (tmp_path / "r.zarr.zip").mkdir()
    with pytest.raises(RecordError, match=r"a folder of that name"):
        save_record(word_record().record, tmp_path / "r.zarr.zip")


def test_open_record_says_when_there_is_no_file(tmp_path):
    with pytest.raises(RecordError, match=r"no file of that name.*clsight capture MODEL --out FILE"):
        open_record(tmp_path / "r.zarr.zip")


def test_open_record_refuses_a_file_that_is_no_zip(tmp_path):
    (tmp_path / "r.zarr.zip").write_bytes(b"hello")
    with pytest.raises(RecordError, match=r"expected a complete record file"):
        open_record(tmp_path / "r.zarr.zip")


def test_open_record_says_that_a_file_of_another_kind_is_no_record(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        RecordError,
        match=r"expected a record made by `clsight.save_record`, but got a file of another kind. "
        r"Give a record file, or make one: `clsight capture MODEL --out FILE`.$",
    ):
        open_record(tmp_path / "config.json")


def test_open_record_refuses_a_truncated_file(tmp_path):
    path = save_record(word_record().record, tmp_path / "r.zarr.zip")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(RecordError, match=r"expected a complete record file"):
        open_record(path)


def test_open_record_notices_each_flipped_byte_of_a_chunk(tmp_path):
    path = save_record(word_record().record, tmp_path / "r.zarr.zip")
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("attends_to/c/0/0/0/0")
    content = bytearray(path.read_bytes())
    content[member.header_offset + 30 + len(member.filename) + member.file_size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"'attends_to/c/0/0/0/0' that do not match their checksum"):
        open_record(path)


def test_open_record_notices_a_lost_chunk(tmp_path):
    path = save_record(word_record().record, tmp_path / "r.zarr.zip")
    without = tmp_path / "without.zarr.zip"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(without, "w") as new:
        for name in old.namelist():
            if not name.startswith("attended_by/c"):
                new.writestr(name, old.read(name))
    with pytest.raises(RecordError, match=r"0 of 1 chunks of 'attended_by'"):
        open_record(without)


def test_open_record_refuses_a_zip_of_other_things(tmp_path):
    with zipfile.ZipFile(tmp_path / "r.zarr.zip", "w") as archive:
        archive.writestr("photo.jpg", b"1")
    with pytest.raises(RecordError, match=r"a zip of other things \(photo.jpg\)"):
        open_record(tmp_path / "r.zarr.zip")


def test_open_record_refuses_a_foreign_zarr(tmp_path):
    xr.Dataset({"temperature": ("time", [1.0])}).to_zarr(
        tmp_path / "f.zarr", zarr_format=3, consolidated=False
    )
    with zipfile.ZipFile(tmp_path / "r.zarr.zip", "w") as archive:
        for path in (tmp_path / "f.zarr").rglob("*"):
            archive.write(path, path.relative_to(tmp_path / "f.zarr"))
    with pytest.raises(RecordError, match=r"a Zarr archive made by another program"):
        open_record(tmp_path / "r.zarr.zip")


def test_open_record_refuses_a_broken_root(tmp_path):
    with zipfile.ZipFile(tmp_path / "r.zarr.zip", "w") as archive:
        archive.writestr("zarr.json", '{"attributes": {"schema_version": 1}, "zarr_format": 9}')
    with pytest.raises(RecordError, match=r"expected a complete record file"):
        open_record(tmp_path / "r.zarr.zip")


@pytest.mark.parametrize("path", ["", "."])
def test_save_record_refuses_an_empty_name(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecordError, match=r"but got ''. Use 'record.zarr.zip'"):
        save_record(word_record().record, path)
    assert list(tmp_path.iterdir()) == []


# --- wrong kinds of object ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda record, path: save_record(None, path),
            r"`record`: expected a record, an xarray.Dataset, but got None. Saving .*r.zarr.zip. "
            r"Pass what `clsight.capture` returns.$",
        ),
        (
            lambda record, path: save_record("r.zarr.zip", path),
            r"got 'r.zarr.zip'. Saving .*. Open it first: clsight.open_record\(path\).$",
        ),
        (
            lambda record, path: save_record(record, None),
            r"`clsight.save_record`: expected the path of a file ending in .zarr.zip, but got None. "
            r"Pass a str or a pathlib.Path.$",
        ),
        (lambda record, path: open_record(None), r"`clsight.open_record`: expected the path.*but got None"),
        (lambda record, path: open_record(record), r"but got an object of type Dataset. Pass a str"),
        (
            lambda record, path: concat(record),
            r"`clsight.concat`: expected a list of records, but got a single record. "
            r"Call clsight.concat\(\[first, second\]\).$",
        ),
        (lambda record, path: concat(7), r"expected a list of records, but got an object of type int"),
        (lambda record, path: concat({"a": record}), r"a list of records, but got an object of type dict"),
        (lambda record, path: concat(["a"]), r"`record`: expected a record.*but got 'a'. Record '0'. Open"),
        (lambda record, path: concat([record, 3]), r"but got an object of type int. Record '1'. Pass"),
        (
            lambda record, path: stack([record, record]),
            r"`clsight.stack`: expected records by name, but got an object of type list. "
            r'Call clsight.stack\({"learned": first, "zeros": second}\).$',
        ),
        (lambda record, path: stack(record), r"expected records by name, but got a single record"),
        (lambda record, path: stack({"a": None}), r"`record`: expected a record.*but got None. Record 'a'"),
    ],
)
def test_another_kind_of_object_is_one_sentence(call, message, tmp_path):
    with pytest.raises(RecordError, match=message):
        call(word_record().record, tmp_path / "r.zarr.zip")
    assert list(tmp_path.iterdir()) == []


def test_concat_takes_any_iterable_of_records():
    record = word_record().record
    xr.testing.assert_identical(concat(each for each in (record, record)), concat([record, record]))


# --- concat ---


def test_concat_pads_shorter_sequences():
    short, long = word_record(words=("[CLS]", "a", "b", "c", "", "")).record, word_record().record
    joined = concat([short, long])
    assert dict(joined.sizes) == {**long.sizes, "sample": 4}
    assert joined["sample"].values.tolist() == [0, 1, 2, 3]
    padding = joined.isel(sample=[0, 1], token=slice(6, None))
    assert not padding["attends_to"].any()
    assert padding["attended_by"].isnull().all()
    assert not padding["token_mask"].any()
    assert set(padding["token_kind"].values.ravel()) == {"pad"}
    assert set(padding["token_text"].values.ravel()) == {""}
    kept = joined.isel(sample=[0, 1], token=slice(0, 6))
    np.testing.assert_array_equal(kept["attended_by"], short["attended_by"])
    np.testing.assert_array_equal(joined.isel(sample=[2, 3])["attends_to"], long["attends_to"])
    assert joined.attrs["sequence_length"] == 9


def test_concat_pads_patch_positions_with_minus_one():
    small, large = patch_record(grid=(2, 2)).record, patch_record(grid=(2, 3)).record
    joined = concat([large, small])
    assert joined["row"].values[3].tolist() == [-1, 0, 0, 1, 1, -1, -1]
    assert joined["column"].dtype == np.int16


def test_concat_of_one_record_is_that_record():
    record = word_record().record
    xr.testing.assert_equal(concat([record]), record)


def test_concat_keeps_differing_attributes_per_record():
    joined = concat(
        [word_record().record, renamed(word_record().record, device="cuda", notes=["b", "Made by hand."])]
    )
    assert "device" not in joined.attrs
    assert joined.attrs["members"]["1"]["device"] == "cuda"
    assert joined.attrs["notes"] == ["Made by hand.", "b"]
    assert joined.attrs["absent"] == {"hidden": "not asked for"}


def test_concat_names_variables_that_only_some_records_have():
    joined = concat([word_record().record, word_record().record.drop_vars(["logits", "label"])])
    assert "logits" not in joined
    assert joined.attrs["absent"]["label"] == "not in every record that was joined"


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (lambda: word_record(layers=2).record, "`layer`"),
        (lambda: word_record(heads=3).record, "`head`"),
        (lambda: word_record().record.isel(head_dim=slice(0, 4)), "`head_dim`"),
        (lambda: word_record(name="another").record, "`model`"),
        (lambda: renamed(word_record().record, checkpoint_sha256="ff"), "`checkpoint_sha256`"),
    ],
)
def test_concat_names_what_differs(other, what):
    with pytest.raises(RecordError, match=f"records of the same model, with equal {what}"):
        concat([word_record().record, other()])


def test_concat_refuses_nothing():
    with pytest.raises(RecordError, match=r"at least one record, but got none"):
        concat([])


# --- stack ---


def test_stack_puts_models_side_by_side():
    a, b = word_record(seed=1).record, renamed(word_record(seed=2).record, strategy="zeros", model="other")
    stacked = stack({"learned": a, "zeros": b})
    assert stacked["attends_to"].dims == ("strategy", "sample", "layer", "head", "token")
    assert stacked["token_mask"].dims == stacked["token_text"].dims == ("sample", "token")
    assert stacked["strategy"].values.tolist() == ["learned", "zeros"]
    for name, record in (("learned", a), ("zeros", b)):
        np.testing.assert_array_equal(stacked["attended_by"].sel(strategy=name), record["attended_by"])
        np.testing.assert_array_equal(stacked["logits"].sel(strategy=name), record["logits"])
    assert stacked.attrs["members"] == {
        "learned": {"strategy": "learned", "model": "hand-made"},
        "zeros": {"strategy": "zeros", "model": "other"},
    }
    assert "strategy" not in stacked.attrs


def test_stack_over_seeds_of_stacks_keeps_the_dims_in_order():
    stacks = {
        seed: stack({"learned": word_record(seed=seed).record, "zeros": word_record(seed=seed + 9).record})
        for seed in (5, 6, 7)
    }
    both = stack(stacks, dim="seed")
    assert both["attends_to"].dims == ("strategy", "seed", "sample", "layer", "head", "token")
    np.testing.assert_array_equal(
        both["attends_to"].sel(seed=6, strategy="zeros"), word_record(seed=15).record["attends_to"]
    )


def test_concat_joins_stacked_records_along_sample():
    stacked = stack({"learned": word_record(seed=1).record, "zeros": word_record(seed=2).record})
    joined = concat([stacked, stacked])
    assert joined["attends_to"].sizes == {"strategy": 2, "sample": 4, "layer": 3, "head": 4, "token": 9}


def other_text():
    record = word_record(seed=2).record.copy(deep=True)
    record["token_text"].values[1, 3] = "lake"
    return record


def other_label():
    return word_record(seed=2).record.assign_coords(label=("sample", [3, 5]))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            other_text,
            r"equal `token_text at sample=1, token=3`, but got 'river & sea' in 'a' and 'lake' in 'b'",
        ),
        (other_label, r"equal `label at sample=1`, but got 4 in 'a' and 5 in 'b'"),
        (lambda: word_record().record.drop_vars("label"), "equal `label`, but got 'present' in 'a'"),
        (lambda: word_record(samples=3).record, "equal `sample`, but got 2 in 'a' and 3 in 'b'"),
        (lambda: word_record(words=("[CLS]", "a", "b", "", "")).record, "equal `token`, but got 9"),
        (lambda: word_record(layers=2).record, "equal `layer`"),
        (lambda: word_record(heads=5).record, "equal `head`"),
        (lambda: renamed(word_record().record, cls_index=1), "equal `cls_index`"),
    ],
)
def test_stack_names_what_differs(other, message):
    with pytest.raises(RecordError, match=message):
        stack({"a": word_record().record, "b": other()})


def test_stack_refuses_an_unknown_dim():
    with pytest.raises(RecordError, match=r"Did you mean `strategy`"):
        stack({"a": word_record().record}, dim="strategies")


def test_stack_refuses_a_dim_that_is_there():
    stacked = stack({"a": word_record().record})
    with pytest.raises(RecordError, match=r"without a `strategy` dimension, but got 'b' with one"):
        stack({"b": stacked})
