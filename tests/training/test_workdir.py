"""Which run a directory holds."""

import json

import pytest

from lvm_jax.training import workdir as workdir_lib
from lvm_jax.training.workdir import RunIdentity

CONFIG = {
    "model": {"num_layers": 2, "remat": "none"},
    "seed": 0,
    "optimizer": {"peak_lr": 1.0},
    "data_fingerprint": "aaa",
}


def prepare(workdir, config=CONFIG, **options):
    identity = RunIdentity(
        resolved=config,
        fixed=("model", "seed"),
        data=("data_fingerprint",),
        free=("model.remat",),
    )
    workdir_lib.prepare_workdir(workdir, identity, **options)


@pytest.fixture
def begun(tmp_path):
    """A run with what stands for a checkpoint."""
    prepare(tmp_path)
    (tmp_path / workdir_lib.FOLDER / "3").mkdir()
    return tmp_path


def test_another_models_directory_is_refused(begun):
    for key, value in (("model", {"num_layers": 3}), ("seed", 1)):
        with pytest.raises(ValueError, match=rf"another run: its {key}.* was .* and is") as error:
            prepare(begun, {**CONFIG, key: value})
        assert "\n" not in str(error.value)
    assert workdir_lib.read_config(begun) == CONFIG


def test_a_model_is_not_made_a_run(tmp_path):
    (tmp_path / workdir_lib.CONFIG).write_text('{"kind": "model", "model": {}}')
    with pytest.raises(ValueError, match=r"holds a model, not a run; .* and init_from=.* to start"):
        prepare(tmp_path)
    assert workdir_lib.read_config(tmp_path)["kind"] == "model"


def test_changed_data_is_refused_unless_accepted(begun):
    changed = {**CONFIG, "data_fingerprint": "bbb"}
    with pytest.raises(ValueError, match=r"data changed .*aaa .* bbb.*accept_changed_data=True"):
        prepare(begun, changed)
    prepare(begun, changed, accept_changed_data=True)
    assert workdir_lib.read_config(begun)["data_fingerprint"] == "bbb"


def test_other_settings_may_change_and_are_logged(begun, caplog):
    prepare(begun, {**CONFIG, "optimizer": {"peak_lr": 2.0}})
    assert "optimizer.peak_lr was 1.0 and is 2.0" in caplog.text


def test_a_switch_of_a_fixed_part_that_an_older_version_had_not_is_off(begun):
    identity = lambda table: RunIdentity(
        resolved={**CONFIG, "model": {**CONFIG["model"], "table": table}},
        fixed=("model", "seed"),
        switches={"model.table": "float32"},
    )
    with pytest.raises(ValueError, match=r"its model\.table was float32 and is bfloat16 now"):
        workdir_lib.prepare_workdir(begun, identity("bfloat16"))
    workdir_lib.prepare_workdir(begun, identity("float32"))


def test_keys_that_an_older_version_had_not_are_one_line(begun, caplog):
    caplog.set_level("INFO")
    newer = {**CONFIG, "optimizer": {"peak_lr": 1.0, "b3": 0.5}, "ema": {"decay": 0.0}}
    prepare(begun, newer)
    (line,) = (r.getMessage() for r in caplog.records if "config" in r.getMessage())
    assert line == "new in the config since the last start: ema, optimizer.b3"


def test_a_run_without_checkpoint_may_start_afresh(tmp_path):
    prepare(tmp_path)
    prepare(tmp_path, {**CONFIG, "model": {"num_layers": 3}})
    assert workdir_lib.read_config(tmp_path)["model"] == {"num_layers": 3}


def test_a_workdir_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"workdir .*/file/run cannot be written \(Not a dir"):
        prepare(tmp_path / "file" / "run")


def test_how_it_is_computed_may_change_and_is_logged(begun, caplog):
    prepare(begun, {**CONFIG, "model": {"num_layers": 2, "remat": "full"}})
    assert "model.remat was none and is full" in caplog.text


def test_checkpoints_without_a_config_are_nobodys(begun):
    (begun / workdir_lib.CONFIG).unlink()
    with pytest.raises(ValueError, match=r"has checkpoints but no config\.json; choose another"):
        prepare(begun)


def test_what_adds_arrays_to_a_state_is_neither_turned_on_nor_off(begun):
    def resolved(**average):
        return {**CONFIG, "average": average} if average else CONFIG

    def go_on(before, now):
        (begun / workdir_lib.CONFIG).write_text(json.dumps(before))
        identity = RunIdentity(resolved=now, fixed=("model",), switches={"average.decay": 0.0})
        workdir_lib.prepare_workdir(begun, identity)

    # A config of before there was such a field says that it is off.
    for before, now in (({}, {"decay": 0.0}), ({"decay": 0.9}, {"decay": 0.8})):
        go_on(resolved(**before), resolved(**now))
    for before, now, said in (
        ({}, {"decay": 0.9}, "was 0.0 and is 0.9"),
        ({"decay": 0.9}, {"decay": 0.0}, "was 0.9 and is 0.0"),
    ):
        with pytest.raises(ValueError, match=rf"another run: its average.decay {said} now; choose"):
            go_on(resolved(**before), resolved(**now))
