"""A SLURM cluster of one machine, in a folder of its own, with partitions ``low`` and ``high``.

``high`` preempts ``low``, whose jobs go back into the queue. There is no accounting (``sacct``).
"""

import getpass
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers import free_port, start_server, stop_server

START_SECONDS = 60.0
CONFIGURATION = """\
ClusterName=anneal
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
MinJobAge=300
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 GraceTime={grace} MaxTime=INFINITE
PartitionName=high Nodes={host} PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE
"""


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Args:
        folder: with its configuration, its logs and its state.
    """

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which SLURM's programs find it."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """Run a program of SLURM; return what it printed."""
        done = subprocess.run(
            command,
            cwd=cwd,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def states(self) -> dict[str, str]:
        """Return the state of each job that waits or runs, and of those that ended lately."""
        lines = self.run("squeue", "--noheader", "--array", "--states=all", "--format=%i %T")
        return dict(line.split() for line in lines.splitlines())

    def logs(self) -> str:
        """Return the end of what its programs said, for a test that fails."""
        said = [f"{p.name}: {p.read_text()[-3000:]}" for p in sorted(self.folder.glob("*.log"))]
        return "\n".join(said)


@contextmanager
def running_cluster(folder: Path, *, cpus: int, grace_seconds: int) -> Iterator[Cluster]:
    """Start a cluster on 127.0.0.1; stop what was started at the end, by its process id.

    Args:
        folder: a new one, for all that it writes.
        cpus: of its node, which may be more than the machine has.
        grace_seconds: between the signal and the end of a preempted job.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0],
            user=getpass.getuser(),
            controller_port=free_port(),
            node_port=free_port(),
            folder=folder,
            cpus=cpus,
            grace=grace_seconds,
        )
    )
    cluster = Cluster(folder)
    started: list[subprocess.Popen[bytes]] = []

    def start(program: str, *arguments: str) -> None:
        log = folder / f"{program}.out.log"
        variables = cluster.environment
        started.append(start_server(program, *arguments, log=log, variables=variables))

    munged = ["--foreground", "--force", "--num-threads=2", f"--key-file={key}"]
    munged += [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "seed", "log")]
    try:
        start("munged", *munged, f"--socket={folder}/munge.socket")
        _wait(cluster, (folder / "munge.socket").exists)
        start("slurmctld", "-D")
        start("slurmd", "-D")
        _wait(cluster, lambda: _is_idle(cluster))
        yield cluster
        cluster.run("scancel", f"--user={getpass.getuser()}")
    finally:
        for server in reversed(started):
            stop_server(server)


def _is_idle(cluster: Cluster) -> bool:
    command = ("sinfo", "--noheader", "--partition=low", "--format=%T")
    variables = os.environ | cluster.environment
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    return done.stdout.strip() == "idle"


def _wait(cluster: Cluster, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        assert time.monotonic() < deadline, cluster.logs()
        time.sleep(0.05)
