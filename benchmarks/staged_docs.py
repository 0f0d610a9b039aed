"""Collects the pages of the documentation site in build/docs, with links that are valid there. `make docs` runs it.

python benchmarks/staged_docs.py

Pages are docs/ and some files outside it (PAGES); the notebook is a page and a file. A link to any other file of the repository
becomes the address of that file in the repository (project.urls in pyproject.toml). A link to nothing is an error, and so is a
page outside the navigation.
"""

import json
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "build" / "docs"
PAGES = {  # file outside docs/ -> page
    "README.md": "overview.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "runs/README.md": "reference/results-folder.md",
    "runs/digits/report.html": "demo/report.html",  # written by `make demo`
}
NOTEBOOK = "notebook.md"  # page of docs/resexp.ipynb, which is also part of the site
CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<=\]\()[^()\s]+(?=\))|(?<=src=\")[^\"]+(?=\")|(?<=href=\")[^\"]+(?=\")")


def pages() -> dict[str, str]:
    """The file of the repository -> its path in the site."""
    documents = [path.relative_to(ROOT) for path in sorted((ROOT / "docs").rglob("*")) if path.is_file()]
    return {**{path.as_posix(): path.relative_to("docs").as_posix() for path in documents}, **PAGES}


def staged(source: str, targets: dict[str, str], broken: list[str]) -> str:
    """The text of a Markdown file with the links of the site; adds each broken link to `broken`."""
    text = (ROOT / source).read_text(encoding="utf-8")
    folder, page_folder = Path(source).parent, Path(targets[source]).parent

    def link(match: re.Match[str]) -> str:
        path, hash_sign, anchor = match[0].partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        file = Path(os.path.normpath(folder / path)).as_posix()
        if file in targets:
            return os.path.relpath(targets[file], page_folder).replace(os.sep, "/") + hash_sign + anchor
        if not (ROOT / file).exists():
            line = text.count("\n", 0, text.index(match[0])) + 1
            broken.append(f"{source}:{line}: {match[0]} does not exist")
        return repository_address(file) + hash_sign + anchor

    parts = zip([*CODE.split(text)], [*CODE.findall(text), ""], strict=True)
    return "".join(
        LINK.sub(link, prose) + code.replace("\\|", "|") for prose, code in parts
    )  # a table needs \\| on GitHub only


def notebook(path: Path) -> str:
    """A notebook as Markdown with its outputs; images are part of the page."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        parts += [part for output in cell.get("outputs", []) for part in output_parts(output)]
    return "\n\n".join(parts) + "\n"


def output_parts(output: dict[str, Any]) -> Iterator[str]:
    """The output of a cell as Markdown: a picture, HTML or text."""
    data = output.get("data", {})
    if "image/png" in data:
        yield f'<img alt="chart" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    elif "text/html" in data:
        yield f"<div>{' '.join(''.join(data['text/html']).split())}</div>"
    else:
        yield f"```text\n{''.join(output.get('text', data.get('text/plain', ''))).rstrip()}\n```"


def repository_address(file: str) -> str:
    """The address of a file or folder of the repository."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return f"{project['urls']['Repository']}/{'tree' if (ROOT / file).is_dir() else 'blob'}/main/{file}"


def navigation() -> Iterator[str]:
    """The pages in the navigation of zensical.toml."""
    yield from _paths(tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"])


def _paths(entries: Iterable[dict[str, str | list]]) -> Iterator[str]:
    for entry in entries:
        for target in entry.values():
            yield from [target] if isinstance(target, str) else _paths(target)


def problems() -> list[str]:
    """Every broken link, every page outside the navigation, and every entry of the navigation without a page."""
    targets, broken = pages(), []
    sources = [source for source in targets if source.endswith(".md")]
    for source in sources:
        staged(source, targets, broken)
    listed, existing = set(navigation()), {targets[source] for source in sources} | {NOTEBOOK}
    broken += [f"zensical.toml: nav does not contain {page}" for page in sorted(existing - listed)]
    return broken + [f"zensical.toml: nav contains {page}, which does not exist" for page in sorted(listed - existing)]


def main() -> None:
    targets = pages()
    missing = [f"{source}: does not exist; run `make demo`" for source in targets if not (ROOT / source).exists()]
    if errors := [*problems(), *missing]:
        sys.exit("\n".join(errors))
    shutil.rmtree(TARGET, ignore_errors=True)
    for source, page in targets.items():
        path = TARGET / page
        path.parent.mkdir(parents=True, exist_ok=True)
        if source.endswith(".md"):
            path.write_text(staged(source, targets, []), encoding="utf-8")
        else:
            shutil.copyfile(ROOT / source, path)
    (TARGET / NOTEBOOK).write_text(notebook(ROOT / "docs" / "resexp.ipynb"), encoding="utf-8")


if __name__ == "__main__":
    main()
