"""The wheel, installed where nothing else is: the library alone, with torch, and with ``conf/``."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
PROGRAMS = Path(sys.executable).parent
NOT_CACHED = r"not found in the cache|Network connectivity is disabled"
# What the lines of README take for granted.
GIVEN = """
import torch
from torch.nn import functional
model = torch.nn.Linear(8, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(400, 8)
y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
loader = list(zip(x[:300].split(20), y[:300].split(20)))
"""
RANGE_TEST = """
import anneal
held_out = [(x[300:], y[300:])]
curve = anneal.sweep_rates(
    model, optimizer, loader, held_out, first_lr=0.0, last_lr=0.4, total_steps=200
)
print(len(curve.points), *anneal.suggest(curve))
"""


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def said_by(*command: str | Path, folder: Path) -> str:
    ended = run(*command, folder=folder)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def lines_of_the_readme(repository: Path) -> str:
    """Return the block that puts a schedule into somebody's own loop."""
    blocks = re.findall(
        r"^```python\n(.*?)^```", (repository / "README.md").read_text(), re.M | re.S
    )
    return next(block for block in blocks if "ScheduledLR(" in block)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of what it is made of."""
    root = tmp_path_factory.mktemp("wheel")
    repository = Path(__file__).parents[2]
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(repository / name, root)
    for name in ("src", "conf"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(repository / name, root / name, ignore=ignored)
    command = ("-m", "build", "--wheel", "--no-isolation", "--outdir", root / "dist", root)
    said_by(sys.executable, *command, folder=root)
    (built,) = (root / "dist").iterdir()
    return built


def install(wheel: Path, extra: str, folder: Path) -> Path:
    """Return the Python of a new environment with the wheel, and what it needs from uv's cache."""
    uv, python = PROGRAMS / "uv", folder / "environment" / "bin" / "python"
    lock = Path(__file__).parents[2] / "requirements.lock"
    said_by(uv, "venv", "--python", sys.executable, python.parents[1], folder=folder)
    ended = run(
        *(uv, "pip", "install", "--offline", "--link-mode", "symlink", "--python", python),
        *("--constraint", lock, f"anneal-lr{extra} @ {wheel.as_uri()}"),
        folder=folder,
    )
    if ended.returncode and re.search(NOT_CACHED, ended.stderr):
        pytest.skip("uv's cache lacks what the lock names: the set-up fell back on pip")
    assert ended.returncode == 0, ended.stderr
    return python


def test_library_alone_runs_the_schedule_lines_of_the_readme(
    wheel: Path, tmp_path: Path, repository: Path
) -> None:
    python = install(wheel, "", tmp_path)
    listed = said_by(PROGRAMS / "uv", "pip", "freeze", "--python", python, folder=tmp_path)
    names = {re.split(r"[ =@]", line)[0] for line in listed.splitlines()}
    assert names == {"anneal-lr", "numpy", "scipy"}
    (schedule,) = [
        ast.unparse(node)
        for node in ast.parse(lines_of_the_readme(repository)).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "schedule"
    ]
    code = f"from anneal import *\n{schedule}\nprint(schedule(0), schedule(2_000))"
    code = code.replace("import *", f"import {re.split(r'[ (]', schedule)[2]}")
    assert said_by(python, "-c", code, folder=tmp_path).split() == ["0.001", "0.006"]
    refused = run(python, "-c", "import anneal; anneal.ScheduledLR", folder=tmp_path)
    assert refused.stderr.splitlines()[-1].endswith(
        "anneal.ScheduledLR needs torch: in a clone, pip install '.[torch]'"
    )
    refused = run(python, "-m", "anneal", "run", folder=tmp_path)
    assert re.fullmatch(
        r"error: `anneal run` needs \w+: pip install 'anneal-lr\[pipeline\]'\n", refused.stderr
    )


def test_torch_extra_runs_the_loop_of_the_readme_and_the_range_test(
    wheel: Path, tmp_path: Path, repository: Path
) -> None:
    python = install(wheel, "[torch]", tmp_path)
    loop = lines_of_the_readme(repository).replace(
        "    ...\n", "    functional.cross_entropy(model(images), labels).backward()\n"
    )
    ended = "print(round(optimizer.param_groups[0]['lr'], 9))\n"
    said = said_by(python, "-c", f"{GIVEN}{loop}{ended}{RANGE_TEST}", folder=tmp_path)
    # 15 updates of the 2,000 from 0.001 to 0.006
    assert said.split() == ["0.0010375", "21", "smith", "minimum", "steepest", "valley"]


def test_commands_of_the_wheel_work_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    uv, installed, here = PROGRAMS / "uv", tmp_path / "installed", tmp_path / "here"
    here.mkdir()
    command = ("pip", "install", "--offline", "--no-deps", "--python", sys.executable)
    said_by(uv, *command, "--target", installed, wheel, folder=tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(installed)!r}); "
        "from anneal.commands.main import main; main()"
    )

    def anneal(*arguments: str) -> str:
        return said_by(sys.executable, "-c", code, *arguments, folder=here)

    where = "from anneal.config.folders import conf_folder; print(conf_folder())"
    setup = code.split("from")[0]
    said = said_by(sys.executable, "-c", setup + where, folder=here)
    assert Path(said.strip()) == installed / "anneal" / "conf"
    assert "one_cycle" in anneal("run", "--help")
    assert anneal("plot", "scheduler=one_cycle", "to=x.svg") == "x.svg\n"
    assert "experiment: null" not in anneal("run", "--cfg", "job", "scheduler=hann")
    assert [path.name for path in here.iterdir() if path.name != "multirun"] == ["x.svg"]
