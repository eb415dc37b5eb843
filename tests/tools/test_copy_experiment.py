"""Experiments that come along: found by name from anywhere, copied, and then preferred."""

import sys

import pytest

import copy_experiment
from experiment_files import load_experiment


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A folder that is not the checkout, where nobody has imported an experiment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "experiments"]:
        monkeypatch.delitem(sys.modules, name)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "experiments"]:
        del sys.modules[name]


def copy(name, out=None):
    copy_experiment.copy(copy_experiment.Copy(copy=name, out=out))


def edit(path):
    path.write_text(path.read_text().replace('"seed": 0,', '"seed": 7,'))


def test_a_name_means_what_is_here_before_what_comes_along(elsewhere):
    assert load_experiment("experiments/lvm.py:size=3b")["seed"] == 0
    copy("experiments/lvm.py")
    edit(elsewhere / "experiments" / "lvm.py")
    assert load_experiment("experiments/lvm.py:size=3b")["seed"] == 7
    # What it reads came with it.
    assert load_experiment("experiments/lvm.py:size=3b,topology=v5p-512")["mesh"]


def test_copies_import_the_copies_beside_them(elsewhere):
    copy("experiments/uvdv1.py")
    copy("experiments/lvm.py")
    edit(elsewhere / "experiments" / "lvm.py")
    assert load_experiment("experiments/uvdv1.py")["seed"] == 7


def test_what_is_not_copied_comes_along(elsewhere):
    copy("experiments/uvdv1.py", "elsewhere/mine.py")
    assert load_experiment("elsewhere/mine.py")["seed"] == 0


def test_nothing_is_overwritten_and_names_are_known(elsewhere):
    copy("experiments/debug.py")
    with pytest.raises(ValueError, match=r"experiments/debug\.py exists; remove it, or name"):
        copy("experiments/debug.py")
    with pytest.raises(ValueError, match=r"--copy=debug\.py: no file debug\.py; did you mean exp"):
        copy("debug.py")


def test_the_listing_has_a_line_for_each(capsys):
    copy_experiment.show(copy_experiment.Listing())
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("experiments/lvm.py  ") for line in lines)
    assert all(len(line.split()) > 3 for line in lines) and "common.py" not in "".join(lines)
