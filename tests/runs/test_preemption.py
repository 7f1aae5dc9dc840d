"""Signals that stop a run, and what happens to a preempted job."""

import signal
from types import SimpleNamespace

import pytest

from anneal.runs import preemption
from anneal.runs.preemption import (
    grace_seconds,
    hand_on,
    interruptible,
    preemption_signal,
    warn_of_short_grace,
)


@pytest.fixture(autouse=True)
def _no_job(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_JOB_PARTITION", "SUBMITIT_PREEMPT_SIGNAL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def scontrol(monkeypatch):
    """Collect calls of scontrol; the answer is settable."""
    calls, answer = [], SimpleNamespace(returncode=0, stdout="", stderr="")
    monkeypatch.setattr(preemption, "_scontrol", lambda *words: calls.append(words) or answer)

    def waited():  # until SLURM ends the job
        raise InterruptedError

    monkeypatch.setattr(preemption.signal, "pause", waited)
    return SimpleNamespace(calls=calls, answer=answer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
def test_first_signal_is_a_question_and_handlers_come_back(number):
    before = signal.getsignal(number)
    with interruptible() as asked:
        assert asked() == 0
        signal.raise_signal(number)
        assert asked() == number
        assert signal.getsignal(number) == before  # a second one acts
    assert signal.getsignal(number) == before


def test_preemption_signal_is_the_one_submitit_was_told(monkeypatch):
    assert preemption_signal() == signal.SIGUSR2
    monkeypatch.setenv("SUBMITIT_PREEMPT_SIGNAL", "USR1")
    with interruptible() as asked:
        signal.raise_signal(signal.SIGUSR1)
        assert asked() == signal.SIGUSR1
    monkeypatch.setenv("SUBMITIT_PREEMPT_SIGNAL", "USR9")
    with pytest.raises(ValueError, match="must name a signal such as USR2, got USR9"):
        preemption_signal()


def test_preemption_is_handed_to_the_handler_that_was_there(monkeypatch):
    got = []
    before = signal.signal(signal.SIGUSR2, lambda number, _frame: got.append(number))
    try:
        hand_on(signal.SIGTERM, leads=True)
        assert got == []
        hand_on(signal.SIGUSR2, leads=True)
        assert got == [signal.SIGUSR2]
        monkeypatch.setenv("ANNEAL_RANK_FOLDER", "x")  # the process that started this one does it
        hand_on(signal.SIGUSR2, leads=True)
        assert len(got) == 1
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.mark.parametrize(("leads", "calls"), [(True, [("requeue", "17")]), (False, [])])
def test_preempted_job_without_submitit_is_requeued_by_rank_0(monkeypatch, scontrol, leads, calls):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with pytest.raises(InterruptedError):  # it waits
        hand_on(signal.SIGUSR2, leads=leads)
    assert scontrol.calls == calls


def test_job_that_slurm_does_not_take_back_is_an_error(monkeypatch, scontrol):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    scontrol.answer.returncode, scontrol.answer.stderr = 1, "Requested operation is disabled\n"
    with pytest.raises(ValueError, match="scontrol requeue 17: Requested operation is disabled"):
        hand_on(signal.SIGUSR2, leads=True)


def test_preemption_outside_a_job_returns(scontrol):
    hand_on(signal.SIGUSR2, leads=True)
    assert scontrol.calls == []


def test_grace_is_that_of_the_partition(monkeypatch, scontrol):
    assert grace_seconds() is None
    monkeypatch.setenv("SLURM_JOB_PARTITION", "low")
    scontrol.answer.stdout = "PartitionName=low\n   DisableRootJobs=NO GraceTime=30 Hidden=NO\n"
    assert grace_seconds() == 30.0
    assert scontrol.calls == [("show", "partition", "low")]
    scontrol.answer.stdout = ""
    assert grace_seconds() is None


@pytest.mark.parametrize(("seconds", "said"), [(29.0, False), (31.0, True)])
def test_grace_shorter_than_a_checkpoint_is_said(monkeypatch, scontrol, capsys, seconds, said):
    monkeypatch.setenv("SLURM_JOB_PARTITION", "low")
    scontrol.answer.stdout = "GraceTime=30"
    warn_of_short_grace(seconds)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == said
    assert not said or "a checkpoint took 31.0 s" in lines[0]
