"""Packs of ended runs: their histories and results, to be merged on another machine.

A pack is a folder with ``pack.json`` and an archive that is cut into files of a given size. It has
no weights: the metrics of its runs are those that their machine measured.
"""

import hashlib
import io
import json
import re
import shutil
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml

from anneal.config.strict import NOT_NEGATIVE, Rule, parse, to_plain
from anneal.datasets.identity import identity_of
from anneal.io.files import read_json, write_json, write_whole
from anneal.runs.code_digest import code_digest, sources_of
from anneal.runs.directory import ENVIRONMENT_FILE, HISTORY, PLAN, TIMING, RunDirectory
from anneal.runs.inputs import load_experiment, load_range_test
from anneal.runs.layout import RUNS, identity_file, seed_folder
from anneal.runs.plan import Plan, plan_run
from anneal.runs.result_file import CHECKSUM, MERGED, RESULT, checked

MANIFEST = "pack.json"
FORMAT = 1
FILES = (PLAN, ENVIRONMENT_FILE, HISTORY, TIMING, RESULT)  # of each run
MIB = 2**20
MOST_UNPACKED_MIB = 2048  # of a pack

_PLACE = Rule(
    "must be letters, digits, - _ . and single slashes, without ..",
    lambda v: re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", v) is not None and ".." not in v,
)


@dataclass(frozen=True, kw_only=True)
class PackedRun:
    """One seed of one experiment of a campaign."""

    campaign: Annotated[str, _PLACE]
    experiment: Annotated[str, _PLACE]
    seed: Annotated[int, NOT_NEGATIVE]

    @property
    def path(self) -> Path:
        """Its run directory."""
        return seed_folder(RUNS / self.campaign / self.experiment, self.seed)


@dataclass(frozen=True, kw_only=True)
class PackFile:
    """A file of a pack: a part of its archive."""

    name: Annotated[str, _PLACE]
    num_bytes: Annotated[int, NOT_NEGATIVE]
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Content of ``pack.json``.

    Args:
        format: of the pack.
        code: digest of the sources that the runs were made by.
        runs: in the archive.
        files: parts of the archive, in order.
    """

    format: Annotated[int, Rule(f"must be {FORMAT}", lambda v: v == FORMAT)]
    code: str
    runs: tuple[PackedRun, ...]
    files: tuple[PackFile, ...]


def write_pack(folder: Path, runs: Sequence[PackedRun], *, max_file_mib: int) -> Manifest:
    """Write the pack of ended runs; one that was in the folder is replaced when it is whole.

    Raises:
        ValueError: they are more than :func:`read_pack` unpacks; nothing is written.
    """
    num_bytes = sum((run.path / name).stat().st_size for run in runs for name in FILES)
    if num_bytes > MOST_UNPACKED_MIB * MIB:
        raise ValueError(
            f"{folder}: a pack must have at most {MOST_UNPACKED_MIB} MiB of runs, got "
            f"{num_bytes / MIB:.0f}: pack some of them into another folder"
        )
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for run in runs:
            for name in FILES:
                tar.add(run.path / name)
    whole, most, files = archive.getvalue(), max_file_mib * MIB, []
    digest = hashlib.sha256(whole).hexdigest()[:12]  # another pack has other names
    for number, start in enumerate(range(0, len(whole), most)):
        part = whole[start : start + most]
        file = PackFile(
            name=f"{digest}-{number:03}.part",
            num_bytes=len(part),
            sha256=hashlib.sha256(part).hexdigest(),
        )
        write_whole(folder / file.name, part)
        files.append(file)
    manifest = Manifest(format=FORMAT, code=code_digest(), runs=tuple(runs), files=tuple(files))
    write_json(folder / MANIFEST, to_plain(manifest))
    for old in set(folder.glob("*.part")) - {folder / file.name for file in files}:
        old.unlink()
    return manifest


def packed_here(folder: Path) -> list[PackedRun]:
    """Return the runs of a pack that are still in ``runs/``; none of a pack of other code.

    Raises:
        ValueError: its manifest is damaged; names the file and the rule.
    """
    if not (folder / MANIFEST).is_file():
        return []
    manifest = _read_manifest(folder)
    if manifest.code != code_digest():
        return []
    return [run for run in manifest.runs if all((run.path / name).is_file() for name in FILES)]


def merge_pack(folder: Path) -> tuple[list[PackedRun], list[PackedRun]]:
    """Put the runs of a pack into ``runs/``, all of them or none.

    Each comes as a whole; after a kill, the same call adds those that are missing.

    Returns:
        those that were put there, and those that had ended there before.

    Raises:
        ValueError: the pack is damaged, or of other code or configurations than those here, or a
            run here has not ended; names the file and the rule.
    """
    manifest, contents = read_pack(folder)
    where = folder / MANIFEST
    if manifest.code != code_digest():
        raise ValueError(
            f"{where}: code must be {code_digest()}, the digest of the sources here, got "
            f"{manifest.code}: merge in a checkout of the commit that made the pack"
        )
    plans = {run: _check(run, content, where) for run, content in contents.items()}
    staged, before = RUNS / ".merging", []
    with ExitStack() as held:
        held.enter_context(RunDirectory(staged, configuration_hash="").held())
        shutil.rmtree(staged, ignore_errors=True)  # of a merge that was killed
        try:
            for number, (run, plan) in enumerate(plans.items()):
                directory = RunDirectory(run.path, configuration_hash=plan.configuration_hash)
                held.enter_context(directory.held())
                if _has_ended(directory):
                    before.append(run)
                    continue
                for name, content in contents[run].items():
                    write_whole(staged / str(number) / name, content)
                result = json.loads(contents[run][RESULT]) | {MERGED: True}
                write_json(staged / str(number) / RESULT, checked(result))
            for number, run in enumerate(plans):
                if run not in before:
                    (staged / str(number)).replace(run.path)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return [run for run in plans if run not in before], before


def _has_ended(directory: RunDirectory) -> bool:
    """Tell whether a run ended here; an empty or missing folder is none.

    Raises:
        ValueError: there is one that has not, or ended under other code.
    """
    path = directory.path
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return False
    result = directory.result()
    if result is not None and sources_of(str(result["code"])) == code_digest():
        return True
    raise ValueError(f"{path} must be an ended run of this code or missing: move it away")


def read_pack(folder: Path) -> tuple[Manifest, dict[PackedRun, dict[str, bytes]]]:
    """Read a pack, after comparing its checksums.

    Returns:
        the manifest, and for each run the content of its files.

    Raises:
        ValueError: it is damaged; names the file and the rule.
    """
    path, manifest = folder / MANIFEST, _read_manifest(folder)
    whole = b"".join(_read_file(folder, file) for file in manifest.files)
    found, num_bytes = {}, 0
    try:
        with tarfile.open(fileobj=io.BytesIO(whole), mode="r:gz") as tar:
            for member in tar:
                if (num_bytes := num_bytes + member.size) > MOST_UNPACKED_MIB * MIB:
                    raise ValueError(
                        f"{path}: files must unpack to at most {MOST_UNPACKED_MIB} MiB"
                    )
                if (file := tar.extractfile(member)) is not None:
                    found[member.name] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: files must be a compressed archive, got {error}") from None
    expected = {(run.path / name).as_posix() for run in manifest.runs for name in FILES}
    if odd := sorted(expected ^ found.keys()):
        raise ValueError(
            f"{path}: the archive must have the files of its runs and no other, see {odd[0]}"
        )
    return manifest, {
        run: {name: found[(run.path / name).as_posix()] for name in FILES} for run in manifest.runs
    }


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    return parse(Manifest, read_json(path), where=str(path))


def _read_file(folder: Path, file: PackFile) -> bytes:
    path = folder / file.name
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    content = path.read_bytes()
    if len(content) != file.num_bytes:
        raise ValueError(f"{path}: must have {file.num_bytes} bytes, got {len(content)}")
    if (found := hashlib.sha256(content).hexdigest()) != file.sha256:
        raise ValueError(f"{path}: sha256 must be {file.sha256}, got {found}")
    return content


def expected_plan(run: PackedRun) -> Plan:
    """Return the plan that a run has here, from ``experiments/`` and the identity of its images.

    Raises:
        ValueError: one of them is missing or invalid, or has no such seed; names the file.
    """
    loaded = load_experiment(run.campaign, run.experiment)
    if run.seed not in loaded.seeds:
        raise ValueError(f"{loaded.path}: seeds has no {run.seed}")
    dataset = loaded.experiment.dataset
    return plan_run(
        loaded.experiment,
        identity_of(dataset, read_json(identity_file(dataset.name))),
        bounds=load_range_test(run.campaign, run.experiment),
        where=str(loaded.path),
    )


def _check(run: PackedRun, files: Mapping[str, bytes], where: Path) -> Plan:
    """Return the plan of a packed run, after comparing its files with it.

    Raises:
        ValueError: they are damaged, or of another run; names the file and the rule.
    """
    plan = expected_plan(run)

    def demand(name: str, key: str, found: object, wanted: object) -> None:
        if found != wanted:
            raise ValueError(f"{where}, {run.path / name}: {key} must be {wanted}, got {found}")

    try:
        planned: Any = yaml.safe_load(files[PLAN])
        result: Any = json.loads(files[RESULT])
        starts: Any = json.loads(files[ENVIRONMENT_FILE])
        history: Any = [json.loads(line) for line in files[HISTORY].splitlines()]
        for name, content in ((PLAN, planned), (RESULT, result)):
            digest = content["configuration_hash"]
            demand(name, "configuration_hash", digest, plan.configuration_hash)
        demand(RESULT, CHECKSUM, result.get(CHECKSUM), checked(result)[CHECKSUM])
        demand(RESULT, "code", sources_of(str(result["code"])), code_digest())
        if result["status"] != "diverged":
            demand(RESULT, "status", result["status"], "finished")
            demand(RESULT, "updates", result["updates"], plan.total_steps)
        demand(HISTORY, "update of the last line", history[-1]["update"], result["updates"])
        demand(ENVIRONMENT_FILE, "to_update", starts[-1]["to_update"], result["updates"])
    except (yaml.YAMLError, json.JSONDecodeError, KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"{where}: {run.path} must be a run that has ended, got {error!r}"
        ) from None
    return plan
