"""Plans that need no compiler of accelerators: estimated ones, and compiled ones of CPUs."""

import dataclasses
import json
from typing import Any
from unittest import mock

import pytest

from lvm_jax import devices
from lvm_jax.planning import (
    advice,
    compiling,
    estimate,
    hardware,
    html_report,
    plan,
    remembered,
    search,
    text_report,
    topologies,
)
from lvm_jax.training.transformer import transformer_job
from tests.planning.experiments import small

V5E = topologies.parse("v5e:2x4")
BIG = {"preset": "1b", "remat": "full"}
ROWS = {"batch_size": 512, "data": {"shards": "nowhere", "context": 4096}}


@pytest.fixture(scope="module")
def estimated():
    return plan.make("small", small(), V5E, price=2.0, tokens=1e9, compiles=False)


@pytest.fixture(scope="module")
def on_cpus(tmp_path_factory):
    """(Plan compiled for CPUs, the file that remembers it.)"""
    cache = tmp_path_factory.mktemp("plans") / "folder" / "plans.jsonl"
    return plan.make("small", small(), topologies.parse("cpu:8"), cache=cache), cache


def test_eight_bits_cost_less_where_devices_have_them(estimated):
    model = {"preset": "debug", "products": "int8"}
    small_bits = plan.make("small", small(model=model), V5E, tokens=1e9, compiles=False)
    flops, peak = small_bits.flops, devices.DEVICE_PEAKS["TPU v5 lite"]
    assert flops["executed"] == estimated.flops["executed"]
    saved = flops["eight_bit"] / 8 * (1 / peak.flops - 1 / peak.int8)
    seconds = [each.bounds.compute_seconds for each in (estimated, small_bits)]
    assert seconds[0] - seconds[1] == pytest.approx(saved)
    assert "float32, int8" in text_report.text(small_bits)
    message = "^model.products=fp8: no TPU v5 lite multiplies in it, .* use compute, int8$"
    fp8 = small(model={**model, "products": "fp8"})
    with pytest.raises(ValueError, match=message):
        plan.make("small", fp8, V5E, compiles=False)
    with pytest.raises(ValueError, match=message):
        search.candidates(fp8, V5E)


def test_an_estimate_says_so_and_what_is_paid_for(estimated):
    assert estimated.method == "estimated" and estimated.memory.fits
    assert estimated.mesh == {"data": 2, "fsdp": 4, "context": 1, "tensor": 1}
    assert estimated.steps * estimated.tokens_per_step >= 1e9
    bounds = estimated.bounds
    assert bounds.best_seconds <= bounds.serial_seconds
    assert bounds.cost == pytest.approx(2 * bounds.chip_hours)
    assert bounds.chip_hours == pytest.approx(24 * 8 * bounds.days)
    assert "ESTIMATED" in text_report.text(estimated)


def test_a_run_in_epochs_has_the_papers_tokens():
    experiment = small()
    step = 16 * 64
    assert plan.run_tokens(experiment) == pytest.approx(compiling.EPOCH_TOKENS, abs=2 * step)
    in_steps = dataclasses.replace(
        experiment, loop=dataclasses.replace(experiment.loop, num_steps=10)
    )
    assert plan.run_tokens(in_steps) == 10 * step


def test_a_plan_is_json_and_a_page(estimated, tmp_path):
    plan.write(tmp_path / "plan.json", estimated)
    values = json.loads((tmp_path / "plan.json").read_text())
    assert values["bounds"]["limit"] == estimated.bounds.limit
    assert values["memory"]["arguments"] == estimated.memory.arguments
    html_report.write(tmp_path / "plan.html", estimated)
    page = (tmp_path / "plan.html").read_text()
    assert page.count("<svg") == 3 and "src=" not in page and "<script" not in page
    assert "It fits" in page and estimated.topology in page


def test_the_cpus_compiler_needs_what_was_estimated(on_cpus):
    made, _ = on_cpus
    guess = estimate.memory(small(), (2, 4, 1, 1), topologies.parse("cpu:8"))
    assert made.method == "compiled" and made.bounds is None
    # Counters and rounding to whole tiles aside.
    assert made.memory.arguments == pytest.approx(guess.arguments, rel=0.02)
    # Parameters are gathered and gradients summed over fsdp; nothing is estimated about CPUs.
    assert any(move.kind == "all-gather" and move.axes == ("fsdp",) for move in made.moves)


def test_nothing_is_compiled_twice(on_cpus, monkeypatch):
    made, cache = on_cpus
    with cache.open("a") as file:
        file.write('{"key": "half a li')
    monkeypatch.setattr(compiling, "compile_step", lambda *_: pytest.fail("compiled again"))
    again = plan.make("small", small(), topologies.parse("cpu:8"), cache=cache)
    assert dataclasses.replace(again, seconds=made.seconds) == made
    step = compiling.trace(small(accumulation=2), hardware.fake_devices(V5E))
    key = remembered.key_of("a step", V5E, "a compiler")
    assert key != remembered.key_of("a step", V5E, "another") and step.mesh.size == 8


TOO_LARGE = compiling.Compiled(memory=None, problem="too large", seconds=1.0)


@pytest.fixture
def compile_step(monkeypatch):
    """`remembered.compile_step` with a compiler that is asked once; takes the file."""
    answers = iter([TOO_LARGE])
    monkeypatch.setattr(compiling, "compile_step", lambda *_: next(answers))
    step: Any = mock.Mock()
    step.traced.lower().as_text.return_value = "a step"
    return lambda cache: remembered.compile_step(step, V5E, "a compiler", cache)


def test_lines_that_say_nothing_are_passed_over(compile_step, tmp_path):
    cache = tmp_path / "plans.jsonl"
    lines = ["[]", "5", '{"key": 3}', '{"key": []}', '{"key": "a", "memory": 1}', '\xff{"key']
    cache.write_text("\n".join(lines), encoding="latin-1")
    assert compile_step(cache) == compile_step(cache) == TOO_LARGE


@pytest.mark.parametrize("name", ["file/plans.jsonl", "."])
def test_a_plan_is_made_where_nothing_can_be_kept(compile_step, tmp_path, name):
    (tmp_path / "file").touch()
    assert compile_step(tmp_path / name) == TOO_LARGE


def test_what_divides_is_what_a_mesh_can_be_made_of():
    devices = hardware.fake_devices(V5E)
    for sizes in ((8, 1, 1, 1), (1, 8, 1, 1), (2, 2, 1, 2), (1, 1, 1, 8), (1, 2, 4, 1)):
        for changes in ({}, {"accumulation": 4}, {"loss_chunks": 32}):
            mesh = dict(zip(("data", "fsdp", "context", "tensor"), sizes))
            experiment = small(mesh=mesh, **changes)
            try:
                transformer_job.make_mesh(experiment, devices)
                made = True
            except ValueError:
                made = False
            assert estimate.divides(experiment, sizes) == made, (sizes, changes)


def test_every_way_to_save_memory_saves_it():
    sizes = (1, 8, 1, 1)
    base = small(model={**BIG, "remat": "none"}, mesh={"fsdp": 8}, **ROWS)
    need = lambda experiment: estimate.memory(experiment, sizes, V5E).total
    model = lambda remat: dataclasses.replace(base.model, remat=remat)
    by_remat = [need(dataclasses.replace(base, model=model(remat))) for remat in search.REMAT]
    assert by_remat == sorted(by_remat, reverse=True) and len(set(by_remat)) == len(by_remat)
    assert need(dataclasses.replace(base, accumulation=4)) < need(base)
    assert need(dataclasses.replace(base, loss_chunks=4)) < need(base)
    whole = estimate.memory(base, (8, 1, 1, 1), V5E)
    assert whole.arguments > estimate.memory(base, sizes, V5E).arguments


def test_what_does_not_fit_is_told_what_would():
    experiment = small(model=BIG, mesh={"data": 1, "fsdp": 8}, **ROWS)
    made = plan.make("1b", experiment, V5E, compiles=False)
    assert not made.memory.fits
    lines = advice.of_plan(made, experiment, V5E)
    counts = [line for line in lines if line.startswith("accumulation=")]
    assert counts
    count = int(counts[0].split()[0].partition("=")[2])
    changed = dataclasses.replace(experiment, accumulation=count)
    assert plan.make("1b", changed, V5E, compiles=False).memory.fits
    half = dataclasses.replace(experiment, accumulation=count // 2)
    assert not plan.make("1b", half, V5E, compiles=False).memory.fits


def test_a_search_ranks_what_fits():
    experiment = small(model=BIG, mesh={"data": 1, "fsdp": 8}, **ROWS)
    every = search.candidates(experiment, V5E)
    for tensor in {each.sizes[3] for each in every}:
        seconds = [each.seconds for each in every if each.sizes[3] == tensor]
        assert seconds == sorted(seconds)
    # A split of matrices must save something to come first.
    first = {each.sizes[3] > 1: each.seconds for each in reversed(every)}
    assert every[0].sizes[3] == 1 or first[True] < 0.98 * first[False]
    found = search.search("1b", experiment, V5E, most=2, compiles=False)
    assert len(found.plans) == 2 and all(made.memory.fits for made in found.plans)
    assert search.score(found.plans[0]) <= search.score(found.plans[1])
    text = text_report.ranking(found.plans)
    assert text.index("1. ") < text.index("2. ")


def test_a_search_without_time_compiles_nothing():
    found = search.search("small", small(), V5E, most=2, minutes=0, compiles=False)
    assert found.plans == () and found.left > 0


def test_what_lies_in_the_hosts_memory_is_estimated_too(estimated):
    moments = plan.make("small", small(optimizer={"offload": True}), V5E, compiles=False)
    assert moments.memory.arguments < estimated.memory.arguments / 2
    kept = [
        plan.make("small", small(model={"preset": "debug", "remat": remat}), V5E, compiles=False)
        for remat in ("offload", "projections")
    ]
    assert kept[0].remat == "offload" and kept[0].flops == kept[1].flops
    assert kept[0].memory.needed < kept[1].memory.needed


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(hardware.importlib.util, "find_spec", lambda name: None)
    made = plan.make("small", small(), V5E)
    assert made.method == "estimated" and "lvm_jax[plan]" in made.compiler
    with pytest.raises(ValueError, match=r"lvm_jax\[plan-gpu\]"):
        hardware.compile_devices(topologies.parse("h100:8"))
