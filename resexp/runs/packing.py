"""An experiment as one zip file without weights and checkpoints: everything that compare, report and watch read. No torch."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from resexp.runs.files import TEMPORARY_FILE, RunsError
from resexp.runs.folders import read_experiment, refuse_links
from resexp.runs.locks import is_training

LEFT_OUT = (".pt", ".previous", ".safetensors", ".zip")  # suffixes of weights, checkpoints and packed experiments
TIME = (1980, 1, 1, 0, 0, 0)  # the earliest time of the format; the times of files are no result


def pack(folder: Path, name: str) -> tuple[bytes, int]:
    """(zip file, number of files) of an experiment; everything in it is in the folder `name`. Equal files give equal bytes.

    Raises:
        RunsError: the experiment is damaged, contains a symbolic link, or is being trained.
    """
    read_experiment(folder)
    refuse_links(folder)
    if is_training(folder):
        raise RunsError(f"{folder}: is being trained; pack it after training")
    content, paths = io.BytesIO(), sorted(_packed(folder))
    with zipfile.ZipFile(content, "w") as archive:
        for path in paths:
            entry = zipfile.ZipInfo(f"{name}/{path}", TIME)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            archive.writestr(entry, (folder / path).read_bytes())
    return content.getvalue(), len(paths)


def _packed(folder: Path) -> Iterator[str]:
    """The files to pack, relative to the folder."""
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        is_temporary = path.name.lstrip(".").startswith("lock") or TEMPORARY_FILE.fullmatch(path.name)
        if path.is_file() and not (path.suffix in LEFT_OUT or is_temporary or inside.parts[0] == "checkpoints"):
            yield inside.as_posix()
