"""What several processes do about a checkpoint that only one of them finds damaged."""

import shutil

from lvm_jax.training import metrics, recovery
from lvm_jax.training import workdir as workdir_lib
from tests.distributed.toy_runs import losses


def test_all_processes_go_back_to_the_same_checkpoint(toy_run):
    straight = toy_run(2, num_steps=25)
    assert [one.code for one in straight.end()] == [0, 0]
    expected = losses(straight.workdir)
    folder = straight.workdir / workdir_lib.FOLDER / "25"
    part = max((folder / "state").rglob("d/*"), key=lambda path: path.stat().st_size)
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(data)
    damages = [recovery.find_damage(folder, share=(index, 2)) for index in range(2)]
    assert damages.count(None) == 1  # of the two, one reads that file

    again = toy_run(2, num_steps=25)
    ended = again.end()
    assert [one.code for one in ended] == [0, 0], ended
    for one in ended:
        assert f"step 25 ({part.relative_to(folder).as_posix()} is not" in one.stderr
    assert losses(again.workdir) == expected
    evaluated = [
        line["step"] for line in metrics.read_metrics(again.workdir) if "eval/toy/w" in line
    ]
    assert evaluated == [10, 20, 25]
    assert (folder.parent / "25.damaged").is_dir() and recovery.find_damage(folder) is None

    shutil.rmtree(folder.parent / "20" / "state")
    (folder / "checksums.json").unlink()
    ended = toy_run(2, num_steps=30).end()
    assert [one.code for one in ended] == [2, 2]
    for one in ended:
        assert "is whole: step 25 (checksums.json is missing); step 20 (" in one.last
