"""Messages name tools as the program that says them was run."""

import sys
import types

import pytest

from lvm_jax import commands

HELP = "  python tools/plan.py --x; see tools/plan.py, plan.py or tools/nothing.py in a/plan.py"


def run_as(monkeypatch, typed, file=None, module=None):
    main = types.ModuleType("__main__")
    main.__file__ = file
    main.__spec__ = module and types.SimpleNamespace(name=module)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", [typed])


@pytest.mark.parametrize(
    "typed, folder, job",
    [
        ("tools/train.py", "tools/", "tools/launch/gke_jobset.py"),
        ("train.py", "", "launch/gke_jobset.py"),
        ("../my lvm/tools/train.py", "../my lvm/tools/", "'../my lvm/tools/launch/gke_jobset.py'"),
    ],
)
def test_a_file_names_files_of_the_folder_that_was_typed(monkeypatch, typed, folder, job):
    run_as(monkeypatch, typed, file=str(commands.TOOLS / "train.py"))
    quote = "'" if " " in folder else ""
    assert commands.command("plan") == f"python {quote}{folder}plan.py{quote}"
    assert commands.command("launch/gke_jobset") == f"python {job}"
    assert commands.program() == "train.py"


def test_a_file_of_a_folder_below_names_those_above(monkeypatch):
    file = str(commands.TOOLS / "launch" / "gke_jobset.py")
    run_as(monkeypatch, "tools/launch/gke_jobset.py", file=file)
    assert commands.command("train") == "python tools/train.py"
    assert commands.spelled(HELP) == HELP


def test_a_module_names_modules(monkeypatch):
    run_as(monkeypatch, "/site/lvm_jax/tools/train.py", module="lvm_jax.tools.train")
    assert commands.command("launch/gke_jobset") == "python -m lvm_jax.tools.launch.gke_jobset"
    assert commands.spelled(HELP) == (
        "  python -m lvm_jax.tools.plan --x; see lvm_jax.tools.plan, lvm_jax.tools.plan or "
        "tools/nothing.py in a/plan.py"
    )
    assert commands.program() == "train.py"


def test_a_word_names_words(monkeypatch):
    monkeypatch.setattr(commands, "_typed", None)
    commands.run_as_word("lvm-jax", "train")
    assert commands.command("launch/gke_jobset") == "lvm-jax gke_jobset"
    assert commands.spelled(HELP) == (
        "  lvm-jax plan --x; see lvm-jax plan, lvm-jax plan or tools/nothing.py in a/plan.py"
    )
    assert commands.program() == "lvm-jax train"


def test_a_program_of_the_user_is_told_what_is_there(monkeypatch):
    run_as(monkeypatch, "notebook", file="/home/me/notebook.py")
    assert commands.command("plan") == "python tools/plan.py"
    monkeypatch.setattr(commands, "TOOLS", commands._INSIDE)  # as of an installed package
    assert commands.command("launch/gke_jobset") == "lvm-jax gke_jobset"
