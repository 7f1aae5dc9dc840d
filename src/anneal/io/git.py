"""Queries to Git: commit, state and address of a checkout."""

import re
import shutil
import subprocess
from pathlib import Path

from anneal.io.files import read_yaml, write_whole

CITATION = Path("CITATION.cff")
COPIED = "anneal-copied"  # in the .git of a copy: the tree that it was brought to


def run_git(*arguments: str) -> bytes | None:
    """Return the output of Git, or None if it fails.

    Raises:
        OSError: Git is not installed.
    """
    done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def read_git(*arguments: str) -> str:
    """Return the stripped output of Git as text; empty if it fails.

    Raises:
        OSError: Git is not installed.
    """
    return (run_git(*arguments) or b"").decode(errors="replace").strip()


def commit_of(checkout: Path) -> str | None:
    """Return the commit of a checkout, with ``+`` if tracked sources differ from it."""
    here = ("-C", str(checkout))
    options = ("--porcelain", "--untracked-files=no", "--", "src", "conf")
    try:
        head, changed = read_git(*here, "rev-parse", "HEAD"), run_git(*here, "status", *options)
    except OSError:
        return None
    if not head or changed is None:
        return None
    return f"{head[:12]}{'+' if changed.strip() else ''}"


def repository_address() -> str | None:
    """Return the repository's web address: Git's ``origin``, else the one in CITATION.cff."""
    try:
        address = web_address(read_git("remote", "get-url", "origin"))
    except OSError:
        address = None
    if address is None and CITATION.is_file():
        address = web_address(str(read_yaml(CITATION).get("repository-code") or ""))
    return address


def web_address(remote: str) -> str | None:
    """Return the web address of a remote, without user or password; None for a local one.

    >>> web_address("git@example.org:us/anneal.git"), web_address("https://me:key@example.org/a.git")
    ('https://example.org/us/anneal', 'https://example.org/a')
    >>> web_address("/srv/git/anneal.git")
    """
    found = re.fullmatch(
        r"(?:https?://|ssh://|git://)(?:[^@/]*@)?(?P<host>[^/:]+)(?::\d+)?/(?P<path>.+)", remote
    ) or re.fullmatch(r"(?:[^@/]+@)(?P<host>[^/:]+):(?P<path>[^/].*)", remote)
    if found is None:
        return None
    return f"https://{found['host']}/{found['path'].rstrip('/').removesuffix('.git')}"


def copy_tree(folder: Path, *, without: Path) -> bool:
    """Copy what Git tracks here, as it is now, into a repository of its own below ``folder``.

    A copy that was made before is brought to this state, unless it has it already: then nothing in
    it is touched. What Git does not track in it stays.

    Args:
        folder: gets the copy.
        without: a folder of the tree that the copy begins without.

    Returns:
        Whether files were written.

    Raises:
        ValueError: Git cannot; its own words.
    """
    here, place = Path(), folder / ".git"
    # with modified files, a commit of them that no branch has; without, HEAD
    wanted = _git(here, "stash", "create") or _git(here, "rev-parse", "HEAD")
    tree = _git(here, "rev-parse", f"{wanted}^{{tree}}")
    if not place.is_dir():
        _git(here, "clone", "--quiet", "--shared", "--no-checkout", ".", str(folder))
        objects = Path(_git(here, "rev-parse", "--git-path", "objects")).resolve()
        (place / "objects/info/alternates").write_text(f"{objects}\n")  # a shallow clone has none
    copied = place / COPIED
    if copied.is_file() and copied.read_text() == tree:
        return False
    copied.unlink(missing_ok=True)  # what is stopped from here on is no copy
    _git(folder, "checkout", "--quiet", "--force", "--detach", wanted)
    shutil.rmtree(folder / without, ignore_errors=True)
    write_whole(copied, tree)
    return True


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()
