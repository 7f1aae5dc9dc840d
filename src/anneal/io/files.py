"""Read and write YAML and JSON files atomically."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import yaml

from anneal.io.text import renew_block

DEEPEST = 100  # parts within parts of a YAML file; thousands of them crash libyaml
_Fast: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where PyYAML has it


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        ValueError: it is not UTF-8; names the file and the byte.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not UTF-8 text") from None


def read_yaml(path: Path) -> Any:
    """Read one YAML file.

    Raises:
        ValueError: the file is missing or not YAML; names the file and the line.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    return _parsed(path, _load)


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """Read one YAML file of keys and values.

    Raises:
        ValueError: the file is missing or has none; names it.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} must have keys and values")
    return content


def read_yaml_documents(path: Path) -> list[Any]:
    """Read a YAML file of several documents with Hydra's rules: unique keys, 1e-4 is a number.

    Raises:
        ValueError: the file is not YAML or repeats a key; names the file and the line.
    """
    return list(_parsed(path, lambda text: list(yaml.load_all(text, Loader=_Strict))))


def _parsed(path: Path, parse: Callable[[str], Any]) -> Any:
    """Return what a parser makes of a YAML file.

    Raises:
        ValueError: it is not YAML, or some part of it contains itself; names the file.
    """
    try:
        text = read_text(path)
        _check_depth(text)
        content = parse(text)
        _check_finite(content, inside=set(), done=set())
    except yaml.YAMLError as error:
        raise _not_yaml(path, error) from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deep, or a part contains itself") from None
    return content


def _load(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Fast)  # noqa: S506 - it is a safe one
    except yaml.YAMLError:
        return yaml.safe_load(text)  # its errors say more


def _check_depth(text: str) -> None:
    """Raise RecursionError for parts within parts within parts, without end."""
    depth = 0
    with suppress(yaml.YAMLError):  # the parser says it better
        for event in yaml.parse(text, Loader=_Fast):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise RecursionError


def _check_finite(node: object, *, inside: set[int], done: set[int]) -> None:
    """Raise RecursionError for a part that contains itself, which aliases can make.

    Args:
        node: to check.
        inside: parts that it is in.
        done: parts that were checked.
    """
    if id(node) in inside:
        raise RecursionError
    if id(node) in done or not isinstance(node, list | dict):
        return
    for part in node if isinstance(node, list) else node.values():
        _check_finite(part, inside=inside | {id(node)}, done=done)
    done.add(id(node))


def _not_yaml(path: Path, error: yaml.YAMLError) -> ValueError:
    mark = getattr(error, "problem_mark", None)
    line = f", line {mark.line + 1}" if mark else ""
    return ValueError(f"{path}{line}: {getattr(error, 'problem', None) or 'not YAML'}")


class _Strict(_Fast):  # type: ignore[misc]
    """Safe loader that refuses repeated keys and reads numbers as Hydra does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        """Build one mapping."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be one word", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_Strict.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"), list("-+0123456789")
)


def write_yaml(path: Path, content: Any) -> None:
    """Write one YAML file in block style, keys in their order."""
    write_whole(path, yaml.safe_dump(content, sort_keys=False, default_flow_style=False, width=100))


def write_json(path: Path, content: Any) -> None:
    """Write one JSON file, indented."""
    write_whole(path, json_text(content))


def json_text(content: Any) -> str:
    """Return content as indented JSON with a newline at the end."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read one JSON file.

    Raises:
        ValueError: the file is missing or not JSON; names the file.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: {error.msg}") from None


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file atomically.

    Raises:
        OSError: the disk is full or read-only; no partial file is left, the old one is unchanged.
    """
    with synced(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_if_changed(path: Path, text: str) -> bool:
    """Write a file unless it has this text already; return whether it was written."""
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    write_whole(path, text)
    return True


def renew_page(page: Path, blocks: Mapping[str, str]) -> bool:
    """Replace blocks of a page; return whether that changed it.

    Args:
        page: a Markdown file with the marks of :func:`anneal.io.text.renew_block`.
        blocks: name -> its new text.

    Raises:
        ValueError: the page lacks the marks of a block; names both.
    """
    text = page.read_text()
    for name, body in blocks.items():
        if f"<!-- {name}:begin -->" not in text:
            raise ValueError(f"{page}: must have <!-- {name}:begin --> and <!-- {name}:end -->")
        text = renew_block(text, name=name, body=body, where=str(page))
    return write_if_changed(page, text)


class Watched:
    """File that keeps the first write error, for writers that raise another error instead."""

    def __init__(self, file: BinaryIO) -> None:
        self.failure: OSError | None = None
        self._file = file

    def write(self, content: bytes) -> int:  # noqa: D102 - a file's
        try:
            return self._file.write(content)
        except OSError as error:
            self.failure = self.failure or error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def synced(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file for writing; sync it and rename it to ``path`` if nothing failed.

    Raises:
        OSError: always names ``path``. The system would name the temporary file or, for a full
            disk, none; ``torch.save`` would raise another error instead.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            watched = Watched(file)
            try:
                yield cast(BinaryIO, watched)
            except Exception:
                if watched.failure is not None:
                    raise watched.failure from None
                raise
            if watched.failure is not None:  # the writer ignored the error
                raise watched.failure
            file.flush()
            os.fsync(file.fileno())
        rename_over(temporary, path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):  # the folder may not exist
            temporary.unlink(missing_ok=True)


def rename_over(file: Path, target: Path) -> None:
    """Rename a file, replacing ``target`` atomically.

    Raises:
        OSError: for one, the file system has no such renaming.
    """
    try:
        file.replace(target)
    except FileExistsError as error:
        why = "this file system replaces no file by renaming; use another"
        raise OSError(error.errno, why, str(target)) from error
