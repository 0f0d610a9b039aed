"""Architecture rules, checked in the source: import order, modules without torch, names, sizes, portability."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import resexp

ROOT = Path(resexp.__file__).parent
FILES = {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py"))}
every_file = pytest.mark.parametrize("file", FILES)


def words(text: str) -> list[str]:
    return text.split()


# A module may import only modules to its left.
ORDER = words(
    "renamed config user_code streams theory shortcuts networks datasets runs probes extensions checkpoint weights stacking "
    "training pairs costs initial_diagnostics describe modules doctor dissect executors "
    "result_files inference comparison claims reproduction tables figures report api trackers screen cli __main__"
)
TRAINING_HALF = words(
    "streams shortcuts networks datasets probes extensions checkpoint weights stacking training pairs costs "
    "initial_diagnostics describe modules doctor dissect"
)
REPORTING_HALF = words(
    "renamed config user_code theory runs result_files inference comparison claims reproduction tables figures report api "
    "trackers screen cli"
)
FORBIDDEN = {"manager", "helper", "helpers", "util", "utils", "common", "misc", "base", "core", "factory", "handler", "engine"}


def module_of(file: str) -> str:
    """config/models.py -> config, train.py -> train"""
    return Path(file).parts[0].removesuffix(".py")


def present(modules: list[str]) -> list[str]:
    return [module for module in modules if module in {module_of(file) for file in FILES}]


def import_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes that run when a module is imported: not the bodies of functions, and nothing for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from import_time_nodes(node)


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """The dotted names that import statements among `nodes` may load."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own_modules(names: set[str]) -> set[str]:
    """The modules of resexp among dotted names."""
    return {name.split(".")[1] for name in names if name.startswith("resexp.") and name.split(".")[1] in ORDER}


def packages(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


# ---- imports -----------------------------------------------------------------------------------------------------------


def test_every_module_is_in_the_order():
    assert {module_of(file) for file in FILES} - {"__init__", *ORDER} == set()


@every_file
def test_a_module_imports_only_modules_to_its_left(file):
    module = module_of(file)
    allowed = set(ORDER[: ORDER.index(module) + 1]) if module in ORDER else set(ORDER)  # __init__ may import all

    assert own_modules(imported(ast.walk(FILES[file]))) - allowed == set()


@every_file
def test_imports_are_absolute_and_explicit(file):
    imports = [node for node in ast.walk(FILES[file]) if isinstance(node, ast.ImportFrom)]

    assert [node.lineno for node in imports if node.level or node.names[0].name == "*"] == []


@pytest.mark.parametrize(
    "file", [file for file in FILES if module_of(file) in {*REPORTING_HALF, "executors", "__init__", "__main__"}]
)
def test_the_reporting_half_and_the_executors_do_not_import_torch(file):
    names = imported(import_time_nodes(FILES[file]))

    assert packages(names) & {"torch", "torchvision"} == set()
    assert own_modules(names) & set(TRAINING_HALF) == set()


@pytest.mark.parametrize("file", [file for file in FILES if module_of(file) in REPORTING_HALF and module_of(file) != "cli"])
def test_the_reporting_half_never_imports_the_training_half(file):
    """Includes imports inside functions; only the command line may import both halves."""
    assert own_modules(imported(ast.walk(FILES[file]))) & {*TRAINING_HALF, "executors"} == set()


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        pytest.param(present(["cli", "executors"]), ["torch", "pandas", "altair", "scipy.stats"], id="imports of --help"),
        pytest.param(present(REPORTING_HALF), ["torch", "torchvision", "sklearn", "scipy.stats"], id="reporting half"),
    ],
)
def test_unneeded_packages_are_not_imported(modules, absent):
    program = f"import sys, {', '.join(f'resexp.{m}' for m in modules)}; print(*[m for m in {absent} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)

    assert result.stdout.split() == []


# ---- names and sizes ------------------------------------------------------------------------------------------------------


@every_file
def test_file_names_contain_no_generic_words(file):
    words = {word for part in Path(file).with_suffix("").parts for word in part.split("_")}

    assert words & FORBIDDEN == set()


@every_file
def test_class_names_contain_no_generic_words(file):
    classes = [node.name for node in ast.walk(FILES[file]) if isinstance(node, ast.ClassDef)]
    endings = tuple(word.capitalize() for word in FORBIDDEN | {"trainer", "callback", "hook"})

    assert [name for name in classes if name.endswith(endings)] == []


@every_file
def test_a_file_has_at_most_350_lines(file):
    assert len((ROOT / file).read_text(encoding="utf-8").splitlines()) <= 350


@every_file
def test_a_function_has_at_most_60_lines(file):
    functions = [node for node in ast.walk(FILES[file]) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    too_long = {f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno - f.lineno >= 60}

    assert too_long == {}


# ---- forbidden code ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", [file for file in FILES if module_of(file) != "cli"])
def test_only_the_command_line_prints(file):
    nodes = list(ast.walk(FILES[file]))
    called = [node.func for node in nodes if isinstance(node, ast.Call)]
    prints = [function for function in called if getattr(function, "id", getattr(function, "attr", "")) == "print"]
    streams = [node for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.stdout", "sys.stderr")]

    assert [node.lineno for node in prints + streams] == []


@every_file
def test_no_handler_catches_all_exceptions(file):
    handlers = [node for node in ast.walk(FILES[file]) if isinstance(node, ast.ExceptHandler)]
    caught = [(handler.lineno, node) for handler in handlers for node in ast.walk(handler.type or ast.Name("Exception"))]

    assert [line for line, node in caught if isinstance(node, ast.Name) and node.id in ("Exception", "BaseException")] == []


@pytest.mark.parametrize("file", [file for file in FILES if module_of(file) in TRAINING_HALF])
def test_no_code_branches_on_whether_a_network_is_residual(file):
    branches = [node.test for node in ast.walk(FILES[file]) if isinstance(node, ast.If | ast.IfExp)]
    conditions = [node for test in branches for node in ast.walk(test) if isinstance(node, ast.Name | ast.Attribute)]

    assert [node.lineno for node in conditions if ast.unparse(node).split(".")[-1] in ("residual", "is_residual")] == []


POSIX_CALLS = {f"os.{name}" for name in words("fork killpg setsid getuid geteuid getpgid mkfifo sched_getaffinity")}
POSIX_MODULES = set(words("fcntl pwd grp resource termios pty"))


@every_file
def test_no_posix_only_function_or_module_is_used(file):
    calls = {ast.unparse(node) for node in ast.walk(FILES[file]) if isinstance(node, ast.Attribute)}
    allowed = {"os.sched_getaffinity"} if module_of(file) in ("runs", "executors") else set()

    assert calls & POSIX_CALLS - allowed == set()
    assert packages(imported(ast.walk(FILES[file]))) & POSIX_MODULES == set()
