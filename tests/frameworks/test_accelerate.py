"""ScheduledLR in Accelerate, in one process and in two."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anneal import one_cycle

pytestmark = pytest.mark.frameworks
SCHEDULE = one_cycle(  # the page's
    base_lr=0.01, max_lr=0.1, final_lr=0.0001, half_cycle_steps=5, total_steps=12
)


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two processes"])
def trained(
    request: Any, repository: Path, tmp_path_factory: Any, frameworks_folder: str
) -> tuple[int, list[dict[str, Any]]]:
    """Return how many processes trained and what each of them said."""
    count, folder = request.param, tmp_path_factory.mktemp("accelerate")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(repository), frameworks_folder]),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }
    if count > 1:  # what `accelerate launch` and torchrun set
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        environment |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    script = repository / "tests" / "frameworks" / "accelerate_process.py"
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(folder)],
            env=environment | ({"RANK": str(i), "LOCAL_RANK": str(i)} if count > 1 else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(count)
    ]
    for process in processes:
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
    return count, [json.loads((folder / f"{i}.json").read_text()) for i in range(count)]


def test_rate_of_each_update_is_the_schedules_in_each_process(trained: Any) -> None:
    for said in trained[1]:
        assert said["page"] == [SCHEDULE(update) for update in range(12)]


def test_resumed_run_is_the_one_without_a_stop(trained: Any) -> None:
    for said in trained[1]:
        assert said["resumed"] == [SCHEDULE(update) for update in range(6, 12)]
        assert said["same weights"]


def test_batches_that_are_split_make_one_step_of_one_update(trained: Any) -> None:
    for said in trained[1]:
        assert said["split batches"] == [SCHEDULE(update) for update in range(12)]


def test_defaults_step_once_per_process_as_the_page_warns(trained: Any) -> None:
    count, processes = trained
    for said in processes:
        assert said["defaults"] == [SCHEDULE(update * count) for update in range(12)]
