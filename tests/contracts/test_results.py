"""What results/ holds was made by a commit, and by nothing that is not in it."""

import csv
import io
import subprocess

import pytest


def committed(repository, *arguments):
    done = subprocess.run(
        ["git", *arguments], cwd=repository, capture_output=True, text=True, check=False
    )
    return done.stdout


def test_every_committed_row_names_the_clean_commit_that_made_it(repository):
    files = committed(repository, "ls-tree", "-r", "--name-only", "HEAD", "results").split()
    tables = [name for name in files if name.endswith("/runs.csv")]
    if not tables:
        pytest.skip("no results are committed here")
    for name in tables:
        for row in csv.DictReader(io.StringIO(committed(repository, "show", f"HEAD:{name}"))):
            made_by = row["commit"]
            assert made_by, f"{name}: {row['experiment']} seed {row['seed']} names no commit"
            assert not made_by.endswith("+"), f"{name}: {made_by} was not clean"
