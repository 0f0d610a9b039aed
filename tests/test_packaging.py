"""The package as others see it: metadata, versions, types, and the commands that CONTRIBUTING.md names."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import resexp

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TARGETS = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


def test_every_file_states_the_same_version():
    bibtex = re.search(r"version = {([^}]+)}", text("README.md")).group(1)
    newest = re.search(r"^## \[([^]]+)\]", text("CHANGELOG.md"), re.MULTILINE).group(1)

    assert {PROJECT["project"]["version"], yaml.safe_load(text("CITATION.cff"))["version"], bibtex, newest} == {
        resexp.__version__
    }


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "resexp" / "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["project"]["classifiers"]


def test_the_address_of_the_repository_is_in_one_file():
    folders = [ROOT / name for name in ("resexp", "docs", "tests", "configs", ".github")]
    pages = [path for folder in folders for path in folder.rglob("*") if path.suffix in {".md", ".py", ".yml", ".yaml"}]
    pages += [path for path in ROOT.iterdir() if path.suffix in {".md", ".toml", ".cff"}]
    address = PROJECT["project"]["urls"]["Repository"]

    assert [path.name for path in pages if address in path.read_text(encoding="utf-8")] == ["pyproject.toml"]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "AGENTS.md", "README.md", ".ci/run", ".github/workflows/check.yml"])
def test_pages_name_existing_make_targets(page):
    named = re.findall(
        r"\bmake (?:VENV=\S+ )?([a-z]+(?: [a-z]+)*)",
        "\n".join(re.findall(r"`make[^`]*`|^.*make VENV.*$|run: make.*", text(page), re.MULTILINE)),
    )

    assert {target for targets in named for target in targets.split()} - set(TARGETS) == set()


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "AGENTS.md"])
def test_pages_name_existing_files(page):
    paths = re.findall(r"`((?:resexp|tests|configs|docs)/[\w./-]*\w(?:/|\.\w+))`", text(page))

    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_hooks_have_the_versions_of_the_lint_group():
    hooks = {
        repo["repo"].rsplit("/", 1)[-1]: repo.get("rev") for repo in yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    }

    assert f"ruff=={hooks['ruff-pre-commit'].removeprefix('v')}" in PROJECT["dependency-groups"]["lint"]
