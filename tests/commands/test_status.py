"""What of a campaign is done, running and left, from run directories made by hand."""

import json
from pathlib import Path

import pytest
from filelock import FileLock

from anneal.commands import status
from anneal.config.compose import PARAMS, compose_plain, load_campaign
from anneal.config.schema import CampaignConfig
from anneal.io.files import write_json, write_yaml
from anneal.runs.campaign_runs import campaign_runs
from anneal.runs.directory import ENVIRONMENT_FILE, PLAN, TIMING
from anneal.runs.directory_lock import lock_of
from anneal.runs.result_file import RESULT
from anneal.runs.status import RunStatus, run_status, seconds_left

STEPS = 250  # of digits/sgdr and digits/one_cycle at a hundredth of their budget
ROWS = ("digits/sgdr", "digits/one_cycle")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> Path:
    """Return a folder with conf/ and a campaign of two experiments and two seeds."""
    for name in ("conf", "pyproject.toml"):
        (tmp_path / name).symlink_to(repository / name)
    monkeypatch.chdir(tmp_path)
    campaign()
    return tmp_path


def campaign(*, rerun_committed: bool = True, seeds_of_sgdr: int | None = None) -> CampaignConfig:
    """Write params.yaml for a campaign of these rows and two seeds."""
    plain = compose_plain("config", ["campaign=quick"])
    plain["seeds"] = [0, 1]
    plain["campaign"]["rerun_committed"] = rerun_committed
    plain["campaign"]["experiments"] = {
        row: {"dataset": "digits", "range_test": "given"} for row in ROWS
    }
    plain["campaign"]["experiments"]["digits/sgdr"]["num_seeds"] = seeds_of_sgdr
    write_yaml(PARAMS, plain)
    return load_campaign()


def make_run(
    experiment: str,
    seed: int,
    *,
    updates: int = 0,
    seconds: float = 0.0,
    from_update: int = 0,
    ended: str | None = None,
    total_steps: int = STEPS,
) -> Path:
    """Make the directory of a run as the training stage leaves it."""
    path = Path("runs/quick") / experiment / f"seed-{seed}"
    path.mkdir(parents=True)
    write_yaml(path / PLAN, {"configuration_hash": "abc", "total_steps": total_steps})
    write_json(path / ENVIRONMENT_FILE, [{"from_update": 0}, {"from_update": from_update}])
    if updates:
        half = from_update + (updates - from_update) // 2
        lines = [{"update": half, "seconds": seconds / 2}, {"update": updates, "seconds": seconds}]
        (path / TIMING).write_text("".join(json.dumps(line) + "\n" for line in lines))
    if ended:
        write_json(path / RESULT, {"status": ended, "code": "c"})
    return path


def campaign_status(config: CampaignConfig) -> list[RunStatus]:
    return [run_status(run) for run in campaign_runs(config)]


def states(config: CampaignConfig | None = None) -> dict[tuple[str, int], str]:
    runs = campaign_status(config or campaign())
    return {(r.experiment.removeprefix("digits/"), r.seed): r.state for r in runs}


def test_where_nothing_was_run_everything_is_left(project: Path) -> None:
    assert set(states().values()) == {"left"}
    assert list(states()) == [("sgdr", 0), ("sgdr", 1), ("one_cycle", 0), ("one_cycle", 1)]
    assert {r.total_steps for r in campaign_status(campaign())} == {STEPS}


def test_only_the_seeds_of_an_experiment_are_expected(project: Path) -> None:
    found = states(campaign(seeds_of_sgdr=1))
    assert list(found) == [("sgdr", 0), ("one_cycle", 0), ("one_cycle", 1)]


def test_run_with_a_result_is_done_or_diverged(project: Path) -> None:
    make_run("digits/sgdr", 0, updates=STEPS, seconds=10.0, ended="finished")
    make_run("digits/sgdr", 1, updates=70, seconds=3.0, ended="diverged")
    assert states()["sgdr", 0] == "done"
    assert states()["sgdr", 1] == "diverged"


@pytest.mark.parametrize("content", [{}, {"status": "finished", "code": "c", "crc32": 1}])
def test_run_whose_result_was_changed_has_failed_and_says_so(
    project: Path, content: dict[str, object]
) -> None:
    path = make_run("digits/sgdr", 0, updates=STEPS, ended="finished")
    write_json(path / RESULT, content)
    found = campaign_status(campaign())[0]
    assert found.state == "failed"
    assert found.failure.startswith(str(path / RESULT))


def test_run_whose_directory_is_held_is_running_and_else_stopped(project: Path) -> None:
    path = make_run("digits/sgdr", 0, updates=100, seconds=5.0)
    assert states()["sgdr", 0] == "stopped"
    with FileLock(lock_of(path)):
        assert states()["sgdr", 0] == "running"
    assert states()["sgdr", 0] == "stopped"  # the lock file stays, its holder does not


def test_run_of_another_length_is_none_of_this_campaign(project: Path) -> None:
    make_run("digits/sgdr", 0, updates=90, seconds=5.0, ended="finished", total_steps=100)
    assert states()["sgdr", 0] == "left"


def test_row_in_results_is_committed_unless_the_campaign_runs_it_again(project: Path) -> None:
    Path("results/quick").mkdir(parents=True)
    rows = (
        "experiment,seed,configuration_hash,status,updates\n"
        f"digits/sgdr,1,abc,finished,{STEPS}\n"
        f"digits/sgdr,0,abc,finished,{STEPS + 1}\n"  # of another length
        f"digits/other,0,abc,finished,{STEPS}\n"
    )
    Path("results/quick/runs.csv").write_text(rows)
    assert states()["sgdr", 1] == "left"
    found = states(campaign(rerun_committed=False))
    assert [key for key, state in found.items() if state == "committed"] == [("sgdr", 1)]
    make_run("digits/sgdr", 1, updates=STEPS, seconds=1.0, ended="finished")
    assert states(campaign(rerun_committed=False))["sgdr", 1] == "done"


def test_pace_is_that_of_the_last_start(project: Path) -> None:
    """60 updates before a stop, 40 after it in 8 s: 0.2 s each, and not 0.08."""
    make_run("digits/sgdr", 0, updates=100, from_update=60, seconds=8.0)
    (run, *_) = campaign_status(campaign())
    assert run.updates == 100
    assert run.seconds_per_update == pytest.approx(0.2)


def test_start_that_made_no_update_yet_has_no_pace(project: Path) -> None:
    make_run("digits/sgdr", 0, updates=100, from_update=100, seconds=8.0)
    make_run("digits/sgdr", 1)
    assert [r.seconds_per_update for r in campaign_status(campaign())] == [None] * 4


def a_run(experiment: str, state: str, *, updates: int = 0, pace: float | None = None) -> RunStatus:
    return RunStatus(
        experiment=experiment,
        seed=0,
        state=state,
        updates=updates,
        total_steps=100,
        seconds_per_update=pace,
    )


def test_time_left_is_the_updates_left_at_the_pace_of_their_experiment() -> None:
    runs = [
        a_run("a", "done", updates=100, pace=1.0),
        a_run("a", "left"),  # 100 x 1 s
        a_run("b", "running", updates=75, pace=4.0),  # 25 x 4 s
        a_run("b", "stopped", updates=50),  # 50 x 4 s
    ]
    assert seconds_left(runs) == pytest.approx(100 + 100 + 200)


def test_experiment_without_a_pace_goes_at_the_median_of_the_others() -> None:
    measured = {"a": 1.0, "b": 2.0, "c": 9.0}
    paces = [a_run(name, "done", updates=100, pace=pace) for name, pace in measured.items()]
    assert seconds_left([*paces, a_run("d", "left")]) == pytest.approx(200)


@pytest.mark.parametrize("state", ["done", "diverged", "committed"])
def test_what_has_ended_takes_no_time(state: str) -> None:
    runs = [a_run("a", state, updates=10, pace=1.0), a_run("a", "left")]
    assert seconds_left(runs) == pytest.approx(100)
    assert seconds_left(runs[:1]) == 0


def test_before_the_first_measurement_nobody_knows() -> None:
    assert seconds_left([a_run("a", "left")]) is None


def test_command_says_it_all_in_one_line_each(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("digits/sgdr", 0, updates=STEPS, seconds=250.0, ended="finished")
    make_run("digits/one_cycle", 1, updates=50, seconds=50.0)
    status.main([])
    assert capsys.readouterr().out.splitlines() == [
        "campaign quick: Handwritten digits at 1/100 of the updates of CLR, Table 1",
        "  digits/sgdr       seed 0 done, seed 1 left",
        "  digits/one_cycle  seed 0 left, seed 1 stopped at 50 of 250",
        "1 of 4 runs ended, about 12 min left",  # 250 + 250 + 200 s at 1 s each
    ]


def test_command_says_so_when_nothing_is_left_or_nothing_was_measured(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status.main([])
    assert capsys.readouterr().out.splitlines()[-1] == ("0 of 4 runs ended, no pace measured yet")
    for experiment in ROWS:
        for seed in (0, 1):
            make_run(experiment, seed, updates=STEPS, seconds=1.0, ended="finished")
    status.main([])
    assert capsys.readouterr().out.splitlines()[-1] == "4 of 4 runs ended"


def test_any_campaign_can_be_asked_for_by_name(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status.main(["clr_cifar10_short"])
    assert capsys.readouterr().out.startswith("campaign clr_cifar10_short: CLR, Table 1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["quik"], "error: conf/campaign has no option 'quik'; did you mean 'quick'?"),
        (["quick", "more"], "error: needs at most the name of one campaign, got quick more"),
    ],
)
def test_mistake_is_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit):
        status.main(arguments)
    assert capsys.readouterr().err == f"{said}\n"
