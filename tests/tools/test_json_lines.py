"""Files of JSON lines, whatever wrote them."""

import json

import json_lines


def test_lines_end_where_json_says(tmp_path):
    """Names may hold what str.splitlines takes for a line's end, and editors begin with a mark."""
    names = ["a\u2028b.png", "c\u0085d.png", "e.png"]
    lines = [json.dumps({"input": [name]}, ensure_ascii=False) for name in names]
    file = tmp_path / "prompts.jsonl"
    file.write_bytes("\r\n\n".join(lines).encode("utf-8-sig"))
    read = json_lines.read(file)
    assert [values["input"] for _, values in read] == [[name] for name in names]
    assert [where for where, _ in read] == [f"{file} line {number}" for number in (1, 3, 5)]
