"""Reading an HLO text: instructions, shapes, loops."""

import pytest

from lvm_jax.planning import hlo

TEXT = """HloModule jit_step, is_scheduled=true, entry_computation_layout={()->f32[8]{0}}

%condition (state: (s32[], f32[8])) -> pred[] {
  %state = (s32[]{:T(128)}, f32[8]{0}) parameter(0)
  %counter = s32[]{:T(128)} get-tuple-element(%state), index=0
  %bound = s32[]{:T(128)} constant(9)
  ROOT %less = pred[]{:T(512)} compare(%counter, %bound), direction=LT
}

%body (state.1: (s32[], f32[8])) -> (s32[], f32[8]) {
  %state.1 = (s32[]{:T(128)}, f32[8]{0}) parameter(0)
  %counter.1 = s32[]{:T(128)} get-tuple-element(%state.1), index=0
  %value = f32[8]{0} get-tuple-element(%state.1), index=1
  %two = s32[] constant(2)
  %next = s32[]{:T(128)} add(%counter.1, %two)
  %kernel = f32[8]{0} custom-call(%value), custom_call_target="k", backend_config={"text":"
  func {
}
}
"}
  %sum = f32[8]{0:T(8,128)(2,1)S(1)} all-reduce(%kernel), replica_groups={{0,1}}, to_apply=%add
  ROOT %tuple = (s32[]{:T(128)}, f32[8]{0}) tuple(%next, /*index=1*/%sum)
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %x = f32[8]{0} parameter(0)
  %zero = s32[] constant(1)
  %begin = s32[]{:T(128)} copy(%zero)
  %start = (s32[]{:T(128)}, f32[8]{0}) tuple(%begin, %x)
  %loop = (s32[]{:T(128)}, f32[8]{0}) while(%start), condition=%condition, body=%body
  ROOT %result = f32[8]{0} get-tuple-element(%loop), index=1
}
"""


def test_instructions_after_a_kernels_text_are_found():
    module = hlo.parse(TEXT)
    assert module.entry == "main"
    body = module.computations["body"]
    assert body["sum"].opcode == "all-reduce"
    assert body["sum"].inputs == ("kernel",)
    assert body["sum"].attribute("replica_groups") == "{{0,1}}"
    assert body["tuple"].is_root and body["tuple"].inputs == ("next", "sum")


def test_a_loop_counts_from_its_start_to_its_bound_in_its_steps():
    """1, 3, 5, 7."""
    module = hlo.parse(TEXT)
    assert hlo.trip_count(module, "main", module.computations["main"]["loop"]) == 4


def test_what_the_compiler_knows_goes_first():
    known = ', backend_config={"known_trip_count":{"n":"3"}}'
    module = hlo.parse(TEXT.replace("body=%body", "body=%body" + known))
    assert hlo.trip_count(module, "main", module.computations["main"]["loop"]) == 3


def test_a_loop_without_a_bound_has_no_count():
    module = hlo.parse(TEXT.replace("constant(9)", "parameter(1)"))
    assert hlo.trip_count(module, "main", module.computations["main"]["loop"]) is None


def test_a_condition_inside_a_fusion():
    fused = TEXT.replace(
        "ROOT %less = pred[]{:T(512)} compare(%counter, %bound), direction=LT",
        "ROOT %less = pred[] fusion(%counter, %bound), kind=kLoop, calls=%wrapped",
    ).replace(
        "%body (",
        "%wrapped (a: s32[], b: s32[]) -> pred[] {\n"
        "  %a = s32[] parameter(0)\n  %b = s32[] parameter(1)\n"
        "  ROOT %compare = pred[] compare(%a, %b), direction=LE\n}\n\n%body (",
        1,
    )
    module = hlo.parse(fused)
    # 1, 3, 5, 7 and 9.
    assert hlo.trip_count(module, "main", module.computations["main"]["loop"]) == 5


@pytest.mark.parametrize(
    "shape, num_bytes",
    [
        ("f32[8,2]{1,0}", 64),
        ("bf16[4,64,512]{2,1,0:T(8,128)(2,1)S(1)}", 2 * 4 * 64 * 512),
        ("(f32[8]{0}, (s32[], bf16[2,3]{1,0}), token[])", 32 + 4 + 12),
        ("f8e4m3fn[16]{0}", 16),
        ("s4[3]{0}", 2),
        ("pred[<=8]{0}", 8),
        ("u32[]", 4),
    ],
)
def test_bytes_of_a_shape(shape, num_bytes):
    assert hlo.num_bytes(shape) == num_bytes


def test_elements_of_a_tuple():
    shape = "((f32[2]{0}, f32[4]{0}), (f32[8]{0:T(8,128)}, f32[16]{0}), u32[])"
    assert hlo.elements(shape)[1] == "(f32[8]{0:T(8,128)}, f32[16]{0})"


def test_a_text_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"no HLO module.*as_text"):
        hlo.parse("module @jit_step {}")
