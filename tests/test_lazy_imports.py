"""What is slow to import comes when it is needed: `import lvm_jax` and `--help` are quick."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TOOLS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "tools").rglob("*.py")
    if '__name__ == "__main__"' in path.read_text()
)
IMPORT = """
import sys, time
start = time.process_time()
import lvm_jax
print(time.process_time() - start)
assert lvm_jax.__version__
assert "jax" not in sys.modules and "numpy" not in sys.modules
"""
HELP = """
import pathlib, runpy, sys
sys.modules["jax"] = None  # an import of it fails
sys.argv = [sys.argv[1], "--help"]
sys.path.insert(0, str(pathlib.Path(sys.argv[0]).resolve().parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True
    )


def test_importing_the_package_is_quick_and_brings_no_jax():
    """Seconds of the processor, of which other programs take none; the best of some tries."""
    tries = [run(IMPORT) for _ in range(5)]
    assert not any(done.returncode for done in tries), tries[0].stderr
    assert min(float(done.stdout) for done in tries) < 0.1


@pytest.mark.parametrize("tool", TOOLS)
def test_help_needs_no_jax(tool):
    done = run(HELP, tool)
    assert done.returncode == 0, done.stderr
    assert "--help" in done.stdout
