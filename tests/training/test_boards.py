"""Weights & Biases without its package: what it is told, and by which run."""

import json
import sys
import types

import pytest

from lvm_jax.training import boards, metrics
from lvm_jax.training.boards import WandbConfig
from tests.training.toy import run


class FakeRun:
    url, dir = None, "somewhere"

    def __init__(self, told):
        self._told = told

    def define_metric(self, name, step_metric=None):
        self._told.append(("define", name, step_metric))

    def log(self, values):
        self._told.append(("log", values["step"], values.get("train/loss")))

    def finish(self):
        self._told.append(("finish",))


@pytest.fixture
def told(monkeypatch):
    """What the package was told, in order."""
    told = []

    class Error(Exception):
        pass

    def init(**options):
        if options["project"] == "forbidden":
            raise Error("no API key\nconfigured")
        told.append(("init", options))
        return FakeRun(told)

    fake = types.SimpleNamespace(init=init, Settings=dict, Error=Error)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return told


WANDB = {"wandb": WandbConfig(project="lvm", mode="offline")}


def test_a_resumed_run_goes_on_under_its_id(told, tmp_path):
    run(tmp_path, 6, config=WANDB)
    first = list(told)
    told.clear()
    run(tmp_path, 9, config=WANDB)
    (_, begun), (_, resumed) = first[0], told[0]
    assert begun["id"] == resumed["id"] == json.loads((tmp_path / "wandb.json").read_text())["id"]
    assert (begun["resume"], begun["mode"], begun["project"]) == ("allow", "offline", "lvm")
    assert begun["config"]["model"] == {"dim": 4} and begun["name"] == tmp_path.name
    assert ("define", "*", "step") in first and first[-1] == ("finish",)
    losses = [(x["step"], x["train/loss"]) for x in metrics.read_metrics(tmp_path)]
    logged = [entry[1:] for entry in first + told if entry[0] == "log"]
    assert logged == losses and [step for step, _ in logged] == list(range(1, 10))


def test_a_run_that_is_switched_on_later_tells_what_was_before(told, tmp_path):
    run(tmp_path, 6)
    run(tmp_path, 9, config=WANDB)
    assert [entry[1] for entry in told if entry[0] == "log"] == list(range(1, 10))


def test_what_is_not_installed_is_refused_before_anything_is_written(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"loop\.wandb\.project needs wandb; install") as error:
        run(tmp_path / "run", config=WANDB)
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ValueError, match=r"loop\.tensorboard=True needs tensorboardX"):
        run(tmp_path / "run", config={"tensorboard": True})


def test_a_refusal_says_what_to_do(told, tmp_path):
    with pytest.raises(
        RuntimeError, match=r"no API key configured; log in .*mode=offline"
    ) as error:
        boards.opened(tmp_path, False, WandbConfig(project="forbidden"), {})
    assert "\n" not in str(error.value) and told == []
