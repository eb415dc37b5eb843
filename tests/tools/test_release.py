"""What a release is refused for, before anything is built."""

import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def git(folder, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    """What the script reads, committed, at a version with a section."""
    for name in ("tools/release.sh", "lvm_jax/version.py"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "lvm_jax" / "version.py").write_text('__version__ = "9.8.7"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n\n## [9.8.7] - today\n\n- All.\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "all")
    return tmp_path


def release(checkout):
    command = ["bash", "tools/release.sh"]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True)


def test_a_tree_with_changes_is_refused(checkout):
    (checkout / "new.py").write_text("")
    refused = release(checkout)
    assert refused.returncode == 2
    assert refused.stderr == "release: the tree has changes; commit them or put them away\n"


@pytest.mark.parametrize("heading", ["[Unreleased]", "[9.8.70] - today", "[9.8.7]\n\n## [9.8.6]"])
def test_a_version_that_nothing_is_said_of_is_refused(checkout, heading):
    (checkout / "CHANGELOG.md").write_text(f"# Changes\n\n## {heading}\n\n- All.\n")
    git(checkout, "commit", "-q", "-a", "-m", "another")
    refused = release(checkout)
    assert refused.returncode == 2
    assert refused.stderr.startswith("release: CHANGELOG.md has no section ## [9.8.7];")


def test_a_version_that_is_tagged_is_refused(checkout):
    git(checkout, "tag", "v9.8.7")
    refused = release(checkout)
    assert refused.returncode == 2
    assert refused.stderr.startswith("release: the tag v9.8.7 exists; raise __version__")
