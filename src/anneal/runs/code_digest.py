"""Digest of the sources that change numbers; a run with another digest is trained again.

It ignores comments, docstrings and layout of Python.
"""

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

NUMBERS = (  # files and folders of this package that change the numbers of training
    "config/scheduler.py",
    "config/signals.py",
    "datasets",
    "models",
    "runs/last_batch.py",
    "runs/optimizers.py",
    "runs/plan.py",
    "runs/setup.py",
    "schedules",
    "training",
)


@functools.cache
def code_digest(*more: str) -> str:
    """Return the digest of the sources of numbers and of ``more``, 12 hexadecimal digits."""
    return digest_of(Path(__file__).parents[1], (*NUMBERS, *more))


def code_of_run(numerics: str) -> str:
    """Return what a run directory keeps as the code of a run.

    Args:
        numerics: of its settings: what may change a number's last digits.
    """
    return f"{code_digest()} {numerics}"


def sources_of(code: str) -> str:
    """Return the part of :func:`code_of_run` that is of the sources, whatever the numerics."""
    return code.partition(" ")[0]


def source_times() -> dict[Path, int]:
    """Return when each source of the package was written; another answer: other sources."""
    return {file: file.stat().st_mtime_ns for file in Path(__file__).parents[1].rglob("*.py")}


def digest_of(package: Path, names: Iterable[str]) -> str:
    """Return the digest of these files and folders of a package, 12 hexadecimal digits."""
    digest = hashlib.sha256()
    for name in names:
        path = package / name
        files = [*path.rglob("*.py"), *path.rglob("*.cpp")] if path.is_dir() else [path]
        for file in sorted(files):
            digest.update(file.relative_to(package).as_posix().encode())
            source = file.read_text()
            digest.update((meaning(source) if file.suffix == ".py" else source).encode())
    return digest.hexdigest()[:12]


def meaning(source: str) -> str:
    """Return the syntax tree of a source, without comments, docstrings and layout.

    >>> meaning("x = 1  # one") == meaning("x=1")
    True
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return ast.dump(tree)
