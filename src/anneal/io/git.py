"""Where the sources of this checkout are published (edge)."""

import re
import subprocess
from pathlib import Path

from anneal.io.files import read_yaml

CITATION = Path("CITATION.cff")


def repository_address() -> str | None:
    """Return the repository's web address: of Git's ``origin``, else what CITATION.cff says."""
    try:
        done = subprocess.run(
            ["git", "remote", "get-url", "origin"], capture_output=True, text=True, check=False
        )
        address = web_address(done.stdout.strip())
    except OSError:
        address = None
    if address is None and CITATION.is_file():
        address = web_address(str(read_yaml(CITATION).get("repository-code") or ""))
    return address


def web_address(remote: str) -> str | None:
    """Return a remote's address for a browser, without user or password; None for a local one.

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
