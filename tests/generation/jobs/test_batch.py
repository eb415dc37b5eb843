"""Batches of jobs: nothing is made twice, mixed up or lost, whatever stops them."""

import dataclasses
import json
import os
import pathlib

import numpy as np
import pytest

from lvm_jax import images
from lvm_jax.generation import answers
from lvm_jax.generation.jobs import batch, outputs, records
from lvm_jax.images import ImageConfig


@pytest.fixture
def jobs(make_job):
    """Of different lengths and seeds; the second has its truth."""
    return [
        make_job("a.png", 0, 1, seed=1, where="line 1"),
        make_job("b/b.png", 2, seed=2, targets=[3], where="line 2"),
        make_job("c.png", 4, 5, 0, seed=3, where="line 3"),
    ]


def run(model, tokenizer, jobs, overwrite=False):
    todo = batch.pending(jobs, model, tokenizer, overwrite=overwrite)
    return list(batch.run(model, tokenizer, jobs, todo))


def contents(jobs):
    return {
        path: path.read_bytes() for job in jobs for path in (*outputs.paths(job), records.path(job))
    }


def test_each_job_is_answered_as_if_alone(model, tokenizer, jobs, pictures):
    progress = []
    todo = batch.pending(jobs, model, tokenizer, overwrite=False)
    finished = list(batch.run(model, tokenizer, jobs, todo, progress=progress.append))
    assert {done.job.where for done in finished} == {"line 1", "line 2", "line 3"}
    assert sum(progress) == 3 and not any(done.problem for done in finished)
    for job, numbers in zip(jobs, ([0, 1], [2], [4, 5, 0])):
        (alone,) = answers.answer_prompts(model, tokenizer, [pictures[numbers]], job.answer)
        np.testing.assert_array_equal(
            images.read_image(job.path), images.to_uint8(alone[0, 0]), err_msg=job.where
        )
    (psnr,) = [done.psnr for done in finished if done.job is jobs[1]]
    drawn = images.read_image(jobs[1].path) / 255.0
    expected = -10 * np.log10(np.mean((drawn - pictures[3] / 255.0) ** 2))
    assert psnr.item() == pytest.approx(expected, abs=0.05)  # the file's pixels are rounded
    assert json.loads(records.path(jobs[1]).read_text())["psnr"] == [[round(psnr.item(), 4)]]


def test_an_interrupted_batch_goes_on(model, tokenizer, jobs):
    todo = batch.pending(jobs, model, tokenizer, overwrite=False)
    started = batch.run(model, tokenizer, jobs, todo)
    first = next(started).job
    started.close()
    before = contents([first])
    times = {path: os.stat(path).st_mtime_ns for path in before}
    left = [done.job for done in run(model, tokenizer, jobs)]
    assert first not in left and len(left) == 2
    assert times == {path: os.stat(path).st_mtime_ns for path in before}
    assert run(model, tokenizer, jobs) == []
    whole = contents(jobs)
    # What was taken away comes back the same; nothing else is touched.
    jobs[2].path.unlink()
    records.path(jobs[0]).unlink()
    jobs[0].path.unlink()
    assert [done.job for done in run(model, tokenizer, jobs)] != []
    assert contents(jobs) == whole


def test_outputs_of_other_settings_are_never_kept_silently(model, tokenizer, make_job):
    job = make_job("a.png", 0, seed=1)
    run(model, tokenizer, [job])
    other_model = dataclasses.replace(
        model, params={**model.params, "head": {"kernel": model.params["head"]["kernel"] * 2}}
    )
    seed = dataclasses.replace(job, answer=dataclasses.replace(job.answer, seed=2))
    squash = dataclasses.replace(job, reading=ImageConfig(resize="squash"))
    for other, of_model, message in (
        (seed, model, r"a job: .*a.png was made with other settings \(answer.seed=1, now 2\)"),
        (squash, model, r"\(reading.resize=crop, now squash\); .*--overwrite"),
        (make_job("a.png", 1, seed=1), model, r"\(other images\)"),
        (job, other_model, r"\(another model\)"),
    ):
        with pytest.raises(ValueError, match=message):
            run(of_model, tokenizer, [other])
        assert len(batch.pending([other], of_model, tokenizer, overwrite=True)) == 1
    batch_size = dataclasses.replace(job, answer=dataclasses.replace(job.answer, batch_size=9))
    assert run(model, tokenizer, [batch_size]) == []
    assert len(run(model, tokenizer, [seed], overwrite=True)) == 1
    assert run(model, tokenizer, [seed], overwrite=True) == []


def test_what_others_wrote_is_not_touched(model, tokenizer, make_job):
    job = make_job("a.png", 0)
    job.path.write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"a.png is there, and no .*a.png.json says how"):
        run(model, tokenizer, [job])
    job.path.unlink()
    run(model, tokenizer, [job])
    job.path.write_bytes(b"changed")
    with pytest.raises(ValueError, match=r"a.png is not what .*a.png.json says"):
        run(model, tokenizer, [job])
    assert job.path.read_bytes() == b"changed"
    assert len(run(model, tokenizer, [job], overwrite=True)) == 1


def test_fewer_files_than_before_leave_none_behind(model, tokenizer, make_job):
    asked = {"form": "files", "num_new_images": 1}
    run(model, tokenizer, [make_job("a.png", 0, num_candidates=3, **asked)])
    fewer = make_job("a.png", 0, num_candidates=2, **asked)
    run(model, tokenizer, [fewer], overwrite=True)
    names = sorted(path.name for path in fewer.path.parent.iterdir())
    assert names == ["a.png.json", "a_candidate1_image1.png", "a_candidate2_image1.png"]


def test_a_picture_that_breaks_late_costs_its_own_job_alone(model, tokenizer, make_job, tmp_path):
    good, bad = make_job("a.png", 0), make_job("b.png", 1, where="line 2")
    cut = tmp_path / "cut.png"
    cut.write_bytes(pathlib.Path(bad.images[0].path).read_bytes()[:400])
    bad = dataclasses.replace(bad, images=(dataclasses.replace(bad.images[0], path=str(cut)),))
    batch.check([good, bad])
    finished = run(model, tokenizer, [bad, good])
    assert [bool(done.problem) for done in finished] == [True, False]
    assert "cut.png" in finished[0].problem and good.path.exists() and not bad.path.exists()


def test_answers_get_the_form_of_the_query(model, tokenizer, make_job, tmp_path):
    images.write_image(tmp_path / "wide.png", np.full((24, 40, 3), 9, np.uint8))
    job = make_job("a.png", 0, original_size=True)
    wide = dataclasses.replace(job.images[0], path=str(tmp_path / "wide.png"))
    for resize, seen in (("crop", slice(8, 32)), ("squash", slice(0, 40))):
        asked = dataclasses.replace(
            job, images=(*job.images, wide), reading=ImageConfig(resize=resize)
        )
        run(model, tokenizer, [asked], overwrite=True)
        drawn = images.read_image(asked.path)
        assert drawn.shape == (24, 40, 3)
        gray = (drawn == 128).all((0, 2))
        assert not gray[seen].any() and gray.sum() == 40 - (seen.stop - seen.start)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda jobs, t: [jobs[0], jobs[0]], "line 1: .*a.png is an output of line 1 too"),
        (
            lambda jobs, t: [dataclasses.replace(jobs[0], output=jobs[0].images[0].path)],
            "is an input; give another output",
        ),
        (lambda jobs, t: [dataclasses.replace(jobs[0], output=str(t / "d.png"))], "is a folder"),
        (
            lambda jobs, t: [dataclasses.replace(jobs[0], output=str(t / "text" / "a.png"))],
            "line 1: .*text is no folder",
        ),
        (
            lambda jobs, t: [
                dataclasses.replace(
                    jobs[0],
                    targets=(dataclasses.replace(jobs[0].images[0], path=str(t / "text")),),
                )
            ],
            "line 1: cannot read image .*text",
        ),
    ],
)
def test_what_can_be_known_before_is_refused(jobs, tmp_path, change, message):
    (tmp_path / "text").write_text("no picture")
    (tmp_path / "d.png").mkdir()
    with pytest.raises(ValueError, match=message):
        batch.check(change(jobs, tmp_path))
    batch.check(jobs)


def test_a_folder_that_takes_no_files_is_refused(jobs, monkeypatch):
    """Asked of the system, since whoever runs tests as root may write anywhere."""
    monkeypatch.setattr(batch.os, "access", lambda path, mode: str(path) == "elsewhere")
    with pytest.raises(ValueError, match=r"line 1: nothing can be written to .*; choose another"):
        batch.check(jobs)


def test_a_model_is_told_by_every_layer(model):
    known = records.model_fingerprint(model)
    scale = np.asarray(model.params["layers"]["mlp_norm"]["scale"]).copy()
    scale[-1] *= 2  # of the last layer
    layers = {**model.params["layers"], "mlp_norm": {"scale": scale}}
    changed = dataclasses.replace(model, params={**model.params, "layers": layers})
    assert records.model_fingerprint(changed) != known
    assert records.model_fingerprint(dataclasses.replace(model)) == known


def test_prompts_that_are_too_long_are_named(model, tokenizer, make_job):
    long = make_job("a.png", 0, 1, 2, 3, drop_oldest=False, where="line 7")
    sizes = model.config.context, tokenizer.tokens_per_image
    with pytest.raises(ValueError, match=r"line 7: a prompt of 4 images does not fit.* so 3 of"):
        batch.check_room([long], *sizes)
    batch.check_room([make_job("a.png", 0, 1, 2, 3)], *sizes)
