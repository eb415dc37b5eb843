"""The check of a machine: right ways pass, wrong ones are found."""

import dataclasses

import jax
import pytest

from lvm_jax.model.attention import backends
from lvm_jax.model.transformer_config import PRESETS
from lvm_jax.training.transformer import device_check

CONTEXT = 32
MODEL = dataclasses.replace(PRESETS["debug"], context=CONTEXT)


def check(*names: str, devices: int = 1) -> list[device_check.Result]:
    return list(
        device_check.run(
            MODEL,
            context=CONTEXT,
            devices=jax.devices()[:devices],
            wanted=lambda case: case.name in names,
        )
    )


def test_right_ways_pass_and_kernels_of_other_machines_are_refused():
    names = (
        "blockwise float32 packed",
        "xla bfloat16 packed",
        "splash bfloat16 packed",
        "4 loss chunks",
    )
    results = {result.case: result for result in check(*names)}
    assert results.keys() == set(names)
    assert results["splash bfloat16 packed"].reason == "compiled for tpu; this is cpu"
    for name in set(names) - {"splash bfloat16 packed"}:
        assert results[name].verdict == "ok", results[name]
    # Exactness is asked for where it can be had.
    assert results["blockwise float32 packed"].gradient < 1e-5
    assert results["xla bfloat16 packed"].gradient > 1e-4


def test_a_mesh_of_all_axes_passes():
    (result,) = check("fsdp 2 context 2 tensor 2 2 micro-batches", devices=8)
    assert result.verdict == "ok", result


def break_attention(monkeypatch, change):
    """Backend "blockwise" with other arguments than it is given."""
    right = backends.BACKENDS["blockwise"]
    wrong = lambda *arguments: right.attend(*change(*arguments))
    monkeypatch.setitem(backends.BACKENDS, "blockwise", dataclasses.replace(right, attend=wrong))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda q, k, v, segments, place: (q, k, v, None, place),
            id="segments",
        ),
        pytest.param(
            lambda q, k, v, segments, place: (q, k[:, :, ::-1], v[:, :, ::-1], segments, place),
            id="groups",
        ),
        pytest.param(
            lambda q, k, v, segments, place: (q, jax.lax.stop_gradient(k), v, segments, place),
            id="gradients",
        ),
    ],
)
def test_what_is_wrong_in_attention_is_found(monkeypatch, change):
    break_attention(monkeypatch, change)
    (result,) = check("blockwise bfloat16 packed")  # whose tolerance is the widest
    assert result.verdict == "differs"


def test_what_fails_on_the_way_is_not_called_refused(monkeypatch):
    def fail(*arguments):
        raise NotImplementedError("no such\n instruction")

    right = backends.BACKENDS["blockwise"]
    monkeypatch.setitem(backends.BACKENDS, "blockwise", dataclasses.replace(right, attend=fail))
    (result,) = check("blockwise float32 packed")
    assert (result.verdict, result.reason) == ("failed", "no such instruction")
    assert "failed: no such instruction" in str(result)


def test_cases_split_every_axis():
    cases = list(device_check.cases(num_devices=8, num_heads=4))
    assert len({case.name for case in cases}) == len(cases)
    for axis in ("data", "fsdp", "context", "tensor"):
        assert any(getattr(case.mesh, axis) > 1 for case in cases)
    assert not any(case.mesh.tensor > 4 for case in cases)


def test_a_narrow_model_keeps_what_kernels_see():
    for preset in ("300m", "3b", "30b"):
        model = PRESETS[preset]
        narrow = device_check.narrow(model, 1024)
        assert narrow.head_dim == model.head_dim and narrow.num_heads == 8
        assert narrow.num_parameters < 2e8
    grouped = dataclasses.replace(PRESETS["7b"], num_kv_heads=8)
    assert device_check.narrow(grouped, 1024).kv_heads == 2
