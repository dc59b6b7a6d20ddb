"""Write the table of environment.md from the list that the code reads.

python docs/reference/environment.py
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.environment import RULES

PAGE = Path(__file__).resolve().parent / "environment.md"
_BEGIN, _END = "<!-- generated: environment.py -->\n", "<!-- end -->"
_FATES = {"ours": "set by us", "dropped": "not seen", "named": "named", "yours": "yours"}


def written() -> str:
    """The page with its table as the list has it."""
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    lines = ["| variables | read by | what happens | why |", "|---|---|---|---|"]
    for rule in RULES:
        names = ", ".join(f"`{name}`" for name in rule.names.split())
        fate = _FATES[rule.fate] + (f": `{rule.value}`" if rule.value else "")
        lines.append(f"| {names} | {rule.reader} | {fate} | {rule.why} |")
    return f"{head}{_BEGIN}" + "\n".join(lines) + f"\n{_END}{rest.partition(_END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
