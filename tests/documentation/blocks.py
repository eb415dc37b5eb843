"""The code blocks of README and of the pages in docs/, and the command lines in them."""

import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block.

    Attributes:
        page: relative to the checkout.
        line: of its first line of code, from 1.
        language: what stands behind the fence, such as "bash".
        text: the code.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """All blocks of some languages, page by page, in order."""
    found = []
    for page in PAGES:
        text, name = page.read_text(), page.relative_to(ROOT).as_posix()
        for match in re.finditer(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            if match[1] in languages:
                line = text.count("\n", 0, match.start(2)) + 1
                found.append(Block(page=name, line=line, language=match[1], text=match[2]))
    return found


def bash_commands(text: str) -> list[str]:
    """The commands of a block: joined lines, without comments; a loop is one command.

    A variable is replaced by its value where a later command uses it.
    """
    joined = re.sub(r"\\\n\s*", "", text)
    for name, value in re.findall(r"^(\w+)=(\S+)$", joined, re.MULTILINE):
        joined = joined.replace(f"{name}={value}\n", "").replace(f"${name}", value)
    lines = [re.sub(r"(^|\s+)(#.*|&)$", "", line).strip() for line in joined.splitlines()]
    complete, loop = [], []
    for line in filter(None, lines):
        loop.append(line)
        if not loop[0].startswith("for ") or line == "done":
            complete.append("; ".join(loop).replace("do; ", "do "))
            loop = []
    return complete


def commands() -> dict[str, str]:
    """Every command -> where it is first: of bash blocks, and of cells that hold nothing else."""
    places: dict[str, str] = {}
    for page in PAGES:
        name = page.relative_to(ROOT).as_posix()
        pattern = r"^```bash\n(.*?)^```|^\| [^|]*\| `(python tools/[^`]*)`"
        for block, cell in re.findall(pattern, page.read_text(), re.MULTILINE | re.DOTALL):
            for command in bash_commands(block) if block else [cell]:
                places.setdefault(command, name)
    return places
