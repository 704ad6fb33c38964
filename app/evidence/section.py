"""What a section hands to the report, and how that is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from app.evidence.words import listed


@dataclass(frozen=True)
class Table:
    """A table of texts: `rows` under `header`; `about` says what stands in its cells."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    about: str = ""

    def markdown(self) -> str:
        """As Markdown; a bar in a cell would end it."""
        lines = [self.header, ["---", *("---:" for _ in self.header[1:])], *self.rows]
        table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        return f"{table}\n\n{self.about}" if self.about else table


@dataclass
class Section:
    """One question and its answer.

    Attributes:
        title, question: what is asked, short and long.
        answer: one sentence, made of the numbers; where a section was left out, why.
        tables, figures: what the answer is read off; figures by the name of their file.
        raw: the CSV files of raw rows that every number comes from.
        counted, measured, quoted: what of all this was reckoned from counts, what was observed of a model that ran, and
            what others say.
        notes: what has to be known to read it.
        left_out: whether this run could not ask.
    """

    title: str
    question: str
    answer: str = ""
    tables: list[Table] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    raw: list[Path] = field(default_factory=list)
    counted: str = "nothing"
    measured: str = "nothing"
    quoted: str = "nothing"
    notes: list[str] = field(default_factory=list)
    left_out: bool = False

    def heading(self, number: int) -> str:
        """Its number and title."""
        return f"{number}. {self.title}"

    def markdown(self, number: int, out: Path) -> str:
        """As Markdown, under its number. out: the folder of the report, from which files are linked."""
        parts = [f"## {self.heading(number)}", f"*{self.question}*", f"**{self.answer}**"]
        if self.left_out:
            return "\n\n".join(parts) + "\n"
        parts += [f"![{self.title}]({name}.svg)" for name in self.figures]
        parts += [table.markdown() for table in self.tables]
        parts += self.notes
        parts.append(f"Counted: {self.counted}. Measured: {self.measured}. Quoted: {self.quoted}.")
        links = [f"[{path.name}]({path.relative_to(out).as_posix()})" for path in self.raw]
        parts.append(f"Raw rows: {listed(links)}.")
        return "\n\n".join(parts) + "\n"


def left_out(title: str, question: str, why: str) -> Section:
    """A section that this run could not ask."""
    return Section(title, question, f"Left out: {why}.", left_out=True)
