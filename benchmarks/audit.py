"""Look up known vulnerabilities of every locked package with pip-audit.

``python benchmarks/audit.py [--required] [<lock> ...]``

pip-audit asks the package index's own service of advisories. Packages that it knows nothing of are
counted, never passed over. Exit status: 1 if a vulnerability is known; 2 with ``--required`` if a
package could not be audited.
"""

import argparse
import json
import subprocess
import sys
from typing import Any

PIP_AUDIT = "pip-audit==2.10.1"
LOCKS = ("requirements-all.lock", "requirements-frameworks.lock")


def main() -> None:
    """Audit each lock and print its counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--required", action="store_true")
    parser.add_argument("locks", nargs="*", default=LOCKS)
    arguments = parser.parse_args()
    status = 0
    for lock in arguments.locks:
        found = audit(lock)
        if found is None:
            print(f"{lock}: not run: the service of advisories cannot be reached")
            status = max(status, 2 if arguments.required else 0)
            continue
        lines, is_vulnerable, num_skipped = summarise(lock, found)
        print("\n".join(lines))
        if is_vulnerable:
            status = 1
        elif num_skipped and arguments.required:
            status = max(status, 2)
    sys.exit(status)


def audit(lock: str) -> dict[str, Any] | None:
    """Return pip-audit's report on a lock; None if it has none."""
    command = ["uv", "tool", "run", "--quiet", PIP_AUDIT, "--requirement", lock]
    options = ["--require-hashes", "--disable-pip", "--format", "json"]
    ended = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    try:
        return dict(json.loads(ended.stdout))
    except json.JSONDecodeError:
        return None


def summarise(lock: str, found: dict[str, Any]) -> tuple[list[str], bool, int]:
    """Return the lines to print, whether a vulnerability is known, and how many were skipped.

    >>> summarise("a.lock", {"dependencies": [{"name": "x", "skip_reason": "unknown"}]})
    (['a.lock: not run: the service knows none of its 1 packages'], False, 1)
    """
    packages = found["dependencies"]
    skipped = [package for package in packages if "skip_reason" in package]
    if len(skipped) == len(packages):
        words = f"{lock}: not run: the service knows none of its {len(packages)} packages"
        return [words], False, len(skipped)
    bad = [package for package in packages if package.get("vulns")]
    lines = [
        f"{lock}: {len(packages) - len(skipped)} of {len(packages)} packages audited, "
        f"{len(bad)} with a known vulnerability"
    ]
    for package in bad:
        names = ", ".join(vulnerability["id"] for vulnerability in package["vulns"])
        lines.append(f"  {package['name']} {package['version']}: {names}")
    return lines, bool(bad), len(skipped)


if __name__ == "__main__":
    main()
