"""A forked process is told apart from a started one by its speed alone."""

import json
import signal
import subprocess

import pytest
from tests.warm import warm_python

pytestmark = pytest.mark.slow
SAY = """
import json, os, sys
anneal = [name for name in sys.modules if name.split(".")[0] == "anneal"]
print(json.dumps([sys.argv, os.getcwd(), os.environ["WORD"], sys.stdin.read(), anneal]))
print("no", file=sys.stderr)
sys.exit(7)
"""


def test_forked_process_has_arguments_folder_environment_and_streams(tmp_path):
    done = subprocess.run(
        [warm_python(), "-c", SAY, "a", "b c"], cwd=tmp_path, env={"WORD": "w"}, input="in",
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert json.loads(done.stdout) == [["-c", "a", "b c"], str(tmp_path), "w", "in", []]
    assert (done.returncode, done.stderr) == (7, "no\n")


def test_forked_process_changes_no_word_and_draws_its_own_numbers():
    code = "import numpy; print('\\33[31mred', numpy.random.rand())"
    said = [
        subprocess.run(
            [warm_python(), "-c", code], capture_output=True, text=True, check=True, timeout=120
        ).stdout.split()
        for _ in range(2)
    ]
    assert [colour for colour, _ in said] == ["\33[31mred"] * 2
    assert said[0][1] != said[1][1]


def test_forked_process_imports_the_sources_of_its_path(tmp_path):
    (tmp_path / "anneal").mkdir()
    (tmp_path / "anneal/__init__.py").touch()
    (tmp_path / "anneal/__main__.py").write_text("print('of the copy')")
    done = subprocess.run(
        [warm_python(), "-m", "anneal"], env={"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == "of the copy\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGKILL])
def test_signal_ends_a_forked_process(number):
    code = "import time; print('there', flush=True); time.sleep(600)"
    process = subprocess.Popen([warm_python(), "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    process.send_signal(number)
    process.communicate(timeout=60)  # the fork holds its output no longer
    assert process.returncode == -number
