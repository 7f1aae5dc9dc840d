"""Guards against each fault and the edits that take them out, for ``guards.py``."""

from dataclasses import dataclass

from damage import DAMAGES

NEVER = "ZeroDivisionError"  # in place of an error that a guard catches


@dataclass(frozen=True)
class Edit:
    """A text of a file below ``src/anneal``, which is there once, and its replacement."""

    file: str
    text: str
    other: str


@dataclass(frozen=True, kw_only=True)
class Guard:
    """What prevents the loss from some faults.

    Args:
        what: in words.
        edits: that take it out.
        faults: rows of the table of ``faults.py`` that then lose something.
        kills: rows of the table of ``kill_campaign.py`` that then do.
    """

    what: str
    edits: tuple[Edit, ...]
    faults: tuple[str, ...] = ()
    kills: tuple[str, ...] = ()


def damaged(name: str, *kinds: str) -> tuple[str, ...]:
    """Return the faults of one file."""
    return tuple(f"{kind} {name}" for kind in kinds or DAMAGES)


HISTORY_CHECKS = (
    Edit("runs/directory.py", "if len(lines) < num_bytes:", "if False:"),
    Edit(
        "runs/directory.py",
        'if content.get("history_crc32") not in (None, zlib.crc32(lines[:num_bytes])):',
        "if False:",
    ),
)
STORE_CHECKS = (
    Edit("datasets/imagenet/store.py", "if found != size:", "if False:"),
    Edit(
        "datasets/imagenet/store.py", "if stamps.get(name) != _stat(folder / name)[1]:", "if False:"
    ),
    Edit("datasets/imagenet/store.py", "        if found != expected:", "        if False:"),
)
TEXT_CHECKS = tuple(
    Edit("io/files.py", f"except {error} as", f"except {NEVER} as")
    for error in ("UnicodeDecodeError", "yaml.YAMLError", "json.JSONDecodeError")
)
# What prevents a loss and is not in this project: nothing is left to take out.
OF_OTHERS = {
    "read-only folder: data": "the system writes nothing there",
    "no locks: ENOSYS": "filelock takes files as locks",
    **dict.fromkeys(damaged("dvc.lock"), "DVC checks the file"),
    "a kill of dvc repro": "DVC runs a stage again that it has not recorded",
    "a kill of a grid worker": "it has the guards of a run",
}
GUARDS = (
    Guard(
        what="a file is written under another name and renamed when it is whole",
        edits=(
            Edit(
                "io/files.py",
                'temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")\n    try:',
                "temporary = path\n    try:",
            ),
            Edit(
                "io/files.py",
                "with suppress(OSError):  # the folder may not exist\n"
                "            temporary.unlink(missing_ok=True)",
                "pass",
            ),
        ),
        faults=("disk full: checkpoint", "disk full: report"),
        kills=("checkpoint", "result"),
    ),
    Guard(
        what="a resumed run cuts its history off at its checkpoint",
        edits=(
            Edit(
                "runs/directory.py",
                'os.truncate(self.path / HISTORY, content["history_bytes"])',
                "pass",
            ),
        ),
        faults=("disk full: history",),
        kills=("history", "update"),
    ),
    Guard(
        what="a checkpoint has the state of the optimizer",
        edits=(
            Edit(
                "training/loop.py",
                'self.learner.optimizer.load_state_dict(state["optimizer"])',
                "pass",
            ),
        ),
        kills=("evaluation", "rank"),
    ),
    Guard(
        what="an error of the system is one line",
        edits=(Edit("io/terminal.py", "except (ValueError, OSError) as", "except ValueError as"),),
        faults=("read-only folder: run", "read-only folder: report"),
    ),
    Guard(
        what="the checkpoint before the last is resumed",
        edits=(Edit("runs/directory.py", "if not (self.path / PREVIOUS).is_file():", "if True:"),),
        faults=damaged("checkpoint", "truncated", "bit-flipped", "empty"),
    ),
    Guard(
        what="a checkpoint is of this configuration and this history",
        edits=(
            Edit("runs/directory.py", "if found != self.configuration_hash:", "if False:"),
            *HISTORY_CHECKS,
        ),
        faults=damaged("checkpoint", "foreign"),
    ),
    Guard(
        what="a history has the length and the checksum of its checkpoint",
        edits=HISTORY_CHECKS,
        faults=damaged("history"),
    ),
    Guard(
        what="a file that is no JSON is named",
        edits=(Edit("io/files.py", "except json.JSONDecodeError as", f"except {NEVER} as"),),
        faults=damaged("result file", "truncated", "empty"),
    ),
    Guard(
        what="a result has its checksum and its configuration",
        edits=(Edit("runs/result_file.py", "if is_same and len(hashes) < 2:", "if True:"),),
        faults=damaged("result file", "bit-flipped", "foreign"),
    ),
    Guard(
        what="a run has one process at a time",
        edits=(
            Edit(
                "runs/directory.py",
                "holding = FileLock(lock, timeout=LOCK_SECONDS).acquire()",
                "holding = open(os.devnull)",
            ),
        ),
        faults=("two processes on one run",),
    ),
    Guard(
        what="seconds are counted by a clock that does not jump",
        edits=(
            Edit(
                "runs/observers.py", "self._began = time.monotonic()", "self._began = time.time()"
            ),
            Edit(
                "runs/observers.py",
                "round(time.monotonic() - self._began, 3)",
                "round(time.time() - self._began, 3)",
            ),
        ),
        faults=("clock jumps forward", "clock jumps back"),
    ),
    Guard(
        what="an error of W&B stays in its process, and the end of that process is expected",
        edits=(
            Edit(
                "runs/tracking.py",
                "except Exception as error:  # noqa: BLE001 - no error may stop the run",
                f"except {NEVER} as error:",
            ),
            Edit(
                "runs/side_process.py",
                "except OSError:\n            self._waiting.clear()",
                f"except {NEVER}:\n            self._waiting.clear()",
            ),
        ),
        faults=("W&B raises", "W&B is killed"),
    ),
    Guard(
        what="an answer of W&B is waited for for a few seconds",
        edits=(
            Edit(
                "runs/side_process.py",
                "deadline = max(ended + seconds, self._started + START_SECONDS)",
                "deadline = ended + 1e6",
            ),
        ),
        faults=("W&B hangs",),
    ),
    Guard(
        what="a full memory is explained",
        edits=(Edit("runs/memory.py", "        if not is_full and", "        if True or"),),
        faults=("out of memory",),
    ),
    Guard(
        what="a file system that cannot rename over a file is named",
        edits=(Edit("io/files.py", "except FileExistsError as", f"except {NEVER} as"),),
        faults=("no renaming over a file",),
    ),
    Guard(
        what="without hard links a checkpoint is renamed",
        edits=(
            Edit(
                "runs/torch_files.py",
                "except OSError:\n        rename_over",
                f"except {NEVER}:\n        rename_over",
            ),
        ),
        faults=("no hard links",),
    ),
    Guard(
        what="a file system without locks is named",
        edits=(
            Edit(
                "runs/directory.py",
                "except OSError as error:  # it names no file",
                f"except {NEVER} as error:",
            ),
        ),
        faults=("no locks: ENOLCK",),
    ),
    Guard(
        what="a download that the disk does not hold is removed",
        edits=(
            Edit(
                "datasets/archives.py",
                "target.unlink(missing_ok=True)  # a full disk has room again",
                "pass",
            ),
        ),
        faults=("disk full: download",),
    ),
    Guard(
        what="an archive and its members have their checksums, and it is an archive",
        edits=(
            Edit(
                "datasets/archives.py",
                "_check_archive(source, archive)\n                break",
                "break",
            ),
            Edit("datasets/archives.py", "    if found != member.md5:", "    if False:"),
            Edit(
                "datasets/archives.py",
                "except (tarfile.TarError, EOFError, KeyError, zlib.error) as",
                f"except {NEVER} as",
            ),
        ),
        faults=damaged("archive"),
    ),
    Guard(
        what="a prepared store continues after its last whole chunk",
        edits=(Edit("datasets/imagenet/writer.py", "file.truncate(self.num_bytes)", "pass"),),
        faults=("disk full: store",),
    ),
    Guard(
        what="the files of a store have their sizes, times and checksums",
        edits=STORE_CHECKS,
        faults=damaged("store"),
    ),
    Guard(
        what="configurations, tables and claims are text, YAML and as their schema has them",
        edits=(
            *TEXT_CHECKS,
            Edit("config/strict.py", "    if unnamed and rest is None:", "    if False:"),
            Edit("config/strict.py", "    if missing:", "    if False:"),
            Edit("config/strict.py", "    if not isinstance(section, Mapping):", "    if False:"),
            Edit(
                "claims/schema.py",
                "if not isinstance(entries, list) or not entries:",
                "if False:",
            ),
            Edit("claims/schema.py", "    if not isinstance(entry, Mapping):", "    if False:"),
        ),
        faults=(
            *damaged("params.yaml"),
            *damaged("claim"),
            *damaged("table", "truncated", "bit-flipped", "foreign"),
        ),
    ),
    Guard(
        what="a table has rows",
        edits=(Edit("config/tables.py", "    if not documents:", "    if False:"),),
        faults=damaged("table", "empty"),
    ),
    Guard(
        what="files of results have their columns, keys and numbers",
        edits=(
            Edit(
                "results/store.py",
                "except (KeyError, ValueError) as error:\n"
                '            raise ValueError(f"{folder / RUNS_FILE}, line {line}: {error}")',
                f"except {NEVER} as error:\n"
                '            raise ValueError(f"{folder / RUNS_FILE}, line {line}: {error}")',
            ),
            Edit(
                "results/store.py",
                "except (KeyError, ValueError) as error:\n"
                '            raise ValueError(f"{path}, line {line}: {error}")',
                f"except {NEVER} as error:\n"
                '            raise ValueError(f"{path}, line {line}: {error}")',
            ),
            *TEXT_CHECKS,
            Edit("io/files.py", "    if not isinstance(content, dict):", "    if False:"),
            Edit("io/csv_files.py", "    if not text:", "    if False:"),
        ),
        faults=damaged("results/"),
    ),
)
