"""The content of a report as Markdown or plain text."""

from collections.abc import Iterator, Sequence

from resexp import tables
from resexp.report.content import Listing, Part, Picture, Points, collect
from resexp.runs import Results, Track
from resexp.tables.text_layout import plain_lines
from resexp.tables.writers import markdown_lines


def text(results: Results, tune: Sequence[str] = (), track: Track = iter) -> str:
    """Plain text for a terminal of 80 columns; `tune` and `track` as in `collect`.

    Raises:
        RunsError: no trial has finished, or a damaged file.
    """
    content = collect(results, tune, track)
    lines = [content.title, "=" * 80]
    for section in content.sections:
        lines += ["", section.title, "-" * min(80, len(section.title))]
        for part in section.parts:
            lines += _text_part(part)
    return "\n".join(tables.fitted(lines)) + "\n"


def _text_part(part: Part) -> Iterator[str]:
    match part:
        case str():
            yield from ("", part)
        case Points():
            yield from ("", *(f"- {line}" for line in part.lines))
        case Listing():
            yield from ("", *([part.title] if part.title else []), *(f"  {line}" for line in part.lines))
        case Picture():
            if part.sentences or part.letters:
                yield from ("", part.title, *(f"- {line}" for line in part.sentences), *part.letters)
        case _:
            yield from ("", part.title, "", *plain_lines(part))


def markdown(results: Results, tune: Sequence[str] = (), track: Track = iter) -> str:
    """Markdown, for example for a README; `tune` and `track` as in `collect`.

    Raises:
        RunsError: no trial has finished, or a damaged file.
    """
    content = collect(results, tune, track)
    lines = [f"# {content.title}"]
    for section in content.sections:
        lines += ["", f"## {section.title}"]
        for part in section.parts:
            lines += _markdown_part(part)
    return "\n".join(lines) + "\n"


def _markdown_part(part: Part) -> Iterator[str]:
    match part:
        case str():
            yield from ("", part)
        case Points():
            yield from ("", *(f"- {line}" for line in part.lines))
        case Listing():
            yield from ("", *([f"{part.title}:", ""] if part.title else []), "```text", *part.lines, "```")
        case Picture():
            if part.sentences or part.letters:
                yield from ("", f"### {part.title}")
                yield from _markdown_part(Points(part.sentences)) if part.sentences else ()
                yield from _markdown_part(Listing(part.letters)) if part.letters else ()
        case _:
            yield from ("", f"### {part.title}", "", *markdown_lines(part))
