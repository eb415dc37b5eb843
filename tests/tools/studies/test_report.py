"""The report on studies that are made up: what it finds is what was put in."""

import json
import math
import pathlib
import shutil

import pytest

from studies import besides_report, choice, found, orderings, plan, reporting, results, scaling_laws
from studies.plan import Run
from tests.tools.studies import made_up

ROOT = pathlib.Path(__file__).resolve().parents[3]
RESULTS = ROOT / "experiments" / "results" / "study"


def runs_of(size, **options):
    return [
        made_up.run(Run(mixture="all", size=size, c=0.64, seed=seed), **options)
        for seed in plan.SEEDS[size]
    ]


def order(groups, task="depth"):
    return orderings.of_runs("of depth", found.of_task(groups, task))


def test_an_order_is_judged_in_both_directions():
    sizes = {size: runs_of(size, noise=0.003) for size in plan.SIZES}
    assert order(sizes).verdict == "holds"
    assert order(dict(reversed(sizes.items()))).verdict == "does not hold"
    step = order(sizes).steps[0]
    assert step.gain == pytest.approx(made_up.law("xs") - made_up.law("s"), abs=0.02)
    assert (step.worse, step.better) == ("xs", "s")


def test_what_is_within_its_error_is_not_decided():
    same = {size: runs_of(size, loss=3.0, noise=0.02) for size in ("xs", "s", "m")}
    assert order(same).verdict == "not decided"
    # One step that is clearly wrong decides, whatever the others are.
    assert order({**same, "l": runs_of("l", loss=3.5)}).verdict == "does not hold"


def test_an_order_with_a_gap_does_not_hold_yet():
    sizes = {size: runs_of(size, noise=0.003) for size in plan.SIZES}
    part = order(sizes | {"m": []})
    assert part.verdict == "not decided" and part.missing == ("m",)
    assert [(s.worse, s.better) for s in part.steps] == [("xs", "s"), ("s", "l")]


def test_seeds_that_differ_widely_say_nothing_of_other_groups():
    wide = {"xs": runs_of("xs", noise=0.5), "s": runs_of("s", noise=1e-3)}
    sizes = wide | {"m": runs_of("m", noise=1e-3), "l": runs_of("l")}
    first, second, last = order(sizes).steps
    assert second.error < 0.01 < 0.1 < first.error
    # Of a single run nobody knows, and the widest counts too.
    assert last.error > 0.1


def test_prompts_are_compared_one_by_one():
    """They differ by 0.4 nats among each other, which says nothing about runs."""
    sizes = {size: runs_of(size) for size in ("xs", "s")}
    assert order(sizes).steps[0].error < 1e-6


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.1, "holds"), (-0.1, "does not hold"), (0.01, "not decided")]
)
def test_context_is_judged_by_its_gains(gain, verdict):
    run = made_up.context(Run(mixture="all", size="m", c=0.64, seed=0), gain=gain)
    own = [run["evaluations"]["animation"]] * 3
    judged = orderings.of_lengths("frames", own, (1, 3, 7), "frames")
    assert judged.verdict == verdict and len(judged.steps) == 2


def test_the_best_c_is_chosen_and_kept(tmp_path):
    made = made_up.study()
    chosen = choice.choose(made)
    assert chosen is not None
    assert chosen["c"] == 0.64 and not chosen["at_edge"]
    assert choice.known(tmp_path, made) == 0.64
    # Once chosen it stays, whatever comes later.
    assert choice.known(tmp_path, {}) == 0.64
    del made["all_xs_c1.28_seed0"]
    assert choice.choose(made) is None
    without = choice.choose(made, failed=["all_xs_c1.28_seed0"])
    assert without is not None
    assert without["c"] == 0.64 and without["loss"]["xs"]["1.28"] is None


def test_the_grid_goes_on_beyond_its_end(tmp_path):
    def swept(best, tried):
        runs = plan.sweep(tried)
        return {r.name: made_up.run(r, loss=3 + abs(math.log2(r.c / best))) for r in runs}

    assert choice.grid({}) == choice.grid(swept(0.64, plan.GRID)) == plan.GRID
    made = swept(2.56, plan.GRID)
    assert choice.grid(made) == (*plan.GRID, 2.56) and choice.choose(made) is None
    assert "all_xs_c2.56_seed0" in found.Found(made, None).missing
    made = swept(2.56, (*plan.GRID, 2.56))
    assert choice.grid(made) == (*plan.GRID, 2.56, 5.12)
    made = swept(2.56, (*plan.GRID, 2.56, 5.12))
    assert choice.grid(made) == (*plan.GRID, 2.56, 5.12)
    chosen = choice.choose(made)
    assert chosen is not None and (chosen["c"], chosen["at_edge"]) == (2.56, False)
    assert choice.grid(swept(0.08, plan.GRID)) == (*plan.GRID, 0.08)
    # Not without end: the report then says that the best is the last.
    made = swept(100.0, (*plan.GRID, 2.56, 5.12))
    chosen = choice.choose(made)
    assert chosen is not None and (chosen["c"], chosen["at_edge"]) == (5.12, True)
    write(tmp_path, made)
    assert "at the end of the grid" in reporting.write(tmp_path)


def test_laws_are_those_that_were_put_in():
    runs = [run for size in plan.SIZES for run in runs_of(size)]
    for name, law in scaling_laws.held_out(runs).items():
        if "constant" not in name and "layers" not in name:
            assert law.exponent == pytest.approx(0.05, abs=1e-3), name
            assert law.interval is not None and law.interval[0] <= law.interval[1]
    assert scaling_laws.of_task(runs, "depth").exponent == pytest.approx(0.05, abs=1e-3)
    assert scaling_laws.of_envelope(runs).exponent > 0


def write(folder, made):
    for name, values in made.items():
        results.write(folder, name, values)


def test_a_whole_study_is_reported_from_its_files_alone(tmp_path):
    write(tmp_path, made_up.study(noise=0.002))
    text = reporting.write(tmp_path)
    assert text == (tmp_path / reporting.FILE).read_text().rstrip("\n")
    assert "chosen: c = 0.64" in text
    for title in plan.TASKS.values():
        assert f"- {title} falls with size: **holds**" in text
        assert f"- {title} in the paper's order: **holds**" in text
    assert "animation falls up to 7 frames, size m: **holds**" in text
    # What was tried besides has the losses of its size and mixture.
    assert "| all_xs_c0.64_seed0_stream | 1,250 | 1.0 |" in text
    assert f"| all_m, animation | {made_up.law('m') / 2:.3f} |" in text
    for name in ("curves", "scaling", "data", "rare", "context"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
        assert f"({name}.png)" in text
    assert "prompts_all_l_c0.64_seed0" in text.split("Missing yet: ")[1].split("\n")[0]


def test_rare_annotations_are_set_beside_all_with_as_few():
    whole = made_up.study()
    text = "\n".join(besides_report.lines(found.Found(whole, 0.64)))
    law = made_up.law("xs")
    for few in (1, *plan.FEW):
        (alone,) = [row for row in text.splitlines() if f"| 1 in {few}, annotations |" in row]
        gain = 0.1 * law + 0.2 * math.log10(few)
        assert f"{law + gain:.3f} ({gain:+.3f} ± " in alone
    (row,) = [row for row in text.splitlines() if row.startswith("| 1 in 100, all")]
    assert f"| {law:.3f} |" in row


def test_what_is_missing_is_named_and_the_rest_reported(tmp_path):
    made = made_up.study()
    gone = ("all_m_c0.64_seed1", "both_s_c0.64_seed0", "both_s_c0.64_seed1", "both_s_c0.64_seed2")
    write(tmp_path, {name: values for name, values in made.items() if name not in gone})
    text = reporting.write(tmp_path)
    missing = text.split("Missing yet: ")[1].split("\n")[0].rstrip(".").split(", ")
    assert set(gone) <= set(missing) and "all_l_c0.64_seed0" not in missing
    assert "segmentation falls with size: **holds**" in text
    assert "in the paper's order: **not decided**" in text and "missing: both)" in text


@pytest.mark.parametrize("kept", [(), ("all_xs_c0.32_seed0",)])
def test_a_study_that_has_hardly_begun_is_reported_too(tmp_path, kept):
    made = made_up.study()
    write(tmp_path, {name: made[name] for name in kept})
    text = reporting.write(tmp_path)
    assert "## Scaling\n\nNo run yet." in text and "Missing yet: " in text


def test_held_out_losses_of_other_rows_are_said_not_to_be_comparable():
    sizes = {size: runs_of(size) for size in plan.SIZES}
    assert "within a seed alone" in reporting._same_for_all(sizes)
    for run in [run for runs in sizes.values() for run in runs]:
        run["config"]["held_out_data"] = "e534eb363cdea6c5"
    assert "the same for every run" in reporting._same_for_all(sizes)
    sizes["s"][0]["config"]["held_out_data"] = "579ff8557c00fecf"
    assert "within a seed alone" in reporting._same_for_all(sizes)


def test_files_of_results_are_read_again_and_damaged_ones_named(tmp_path):
    made = made_up.study()
    write(tmp_path, made)
    assert results.read(tmp_path) == json.loads(json.dumps(made))
    (tmp_path / "tokenizer.json").write_text("{")  # none of a job
    assert len(results.read(tmp_path)) == len(made)
    (tmp_path / "all_s_c0.64_seed0.json").write_text("{")
    with pytest.raises(ValueError, match=r"all_s_c0\.64_seed0\.json is no JSON"):
        results.read(tmp_path)


def test_the_report_that_is_kept_is_of_the_files_beside_it(tmp_path):
    for file in RESULTS.glob("*.json"):
        shutil.copy(file, tmp_path)
    assert reporting.write(tmp_path) == (RESULTS / reporting.FILE).read_text().rstrip("\n")


def test_tables_of_the_page_are_those_of_the_report():
    report = (RESULTS / reporting.FILE).read_text().splitlines()
    page = (ROOT / "docs" / "study.md").read_text().splitlines()
    rows = [line for line in page if line.startswith("|")]
    assert len(rows) > 20 and [row for row in rows if row not in report] == []
