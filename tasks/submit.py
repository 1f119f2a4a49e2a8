"""``submit``: a Slurm script or a Kubernetes manifest that runs sessions, on one machine or on several.

It is written, not sent: read it, then give it to ``sbatch`` or ``kubectl apply -f``. Both may be stopped and started
again at any time; what was made stays made.
"""

from __future__ import annotations

import re
import shlex
import sys
from argparse import Namespace
from pathlib import Path, PurePosixPath

import yaml

from pipeline.config import load_session
from pipeline.errors import InputError
from pipeline.files import write_atomic

ROOT = Path(__file__).resolve().parent.parent
MOUNT = PurePosixPath("/sessions")
PORT = 8082
MEMORY_GB_PER_WORKER = 4
RESERVE_S = 120
"""Before its time is up a job is told to stop, so that it can end in order."""


def command(options: Namespace) -> int:
    """Write it to ``--out`` or standard output."""
    text = slurm(options) if options.system == "slurm" else kubernetes(options)
    if options.out:
        try:
            write_atomic(Path(options.out), text)
        except OSError as error:
            raise InputError("--out", f"{options.out} cannot be written ({error.strerror})", "Choose another") from None
        print(options.out)
    else:
        sys.stdout.write(text)
    return 0


def _memory_gb(options: Namespace) -> int:
    return options.memory_gb or MEMORY_GB_PER_WORKER * options.workers


def _time(hours: float) -> str:
    minutes = max(1, round(60 * hours))
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"


def slurm(options: Namespace) -> str:
    """A batch script. Machines find the scheduler through SSH tunnels: it listens on its own machine alone."""
    sessions = [load_session(c) for c in options.configs]  # a misspelt one is told now, not in the night
    name = sessions[0].name + (f"-and-{len(sessions) - 1}-more" if len(sessions) > 1 else "")
    configs = " ".join(shlex.quote(str(s.path)) for s in sessions)
    python = shlex.quote(str(ROOT / ".venv" / "bin" / "python"))
    lines = [
        "#!/usr/bin/env bash",
        f"#SBATCH --job-name=troupe-{name}",
        f"#SBATCH --nodes={options.machines}",
        "#SBATCH --ntasks-per-node=1",
        f"#SBATCH --cpus-per-task={options.workers}",
        f"#SBATCH --mem={_memory_gb(options)}G",
        *([f"#SBATCH --gres=gpu:{options.gpus}"] if options.gpus else []),
        f"#SBATCH --time={_time(options.hours)}",
        f"#SBATCH --signal=B:TERM@{RESERVE_S}",
        "#SBATCH --requeue",
        "#SBATCH --output=%x-%j.log",
        "",
        "# Written by run_pipeline.py submit slurm. Give it to sbatch; give it again to go on where it stopped.",
        "set -euo pipefail",
        f"cd {shlex.quote(str(ROOT))}",
        f"python={python}",
        f"configs=({configs})",
        f"workers={options.workers}",
        "",
    ]
    if options.machines == 1:
        lines += ['exec "$python" run_pipeline.py run "${configs[@]}" --workers "$workers"']
        return "\n".join(lines) + "\n"
    lines += [
        "# The scheduler has no login, so it listens on the first machine alone; the others reach it through ssh.",
        "port=$((20000 + SLURM_JOB_ID % 20000))",
        "url=http://127.0.0.1:$port",
        # No pipe into head: what still writes when that has its line dies of it, and the job with it.
        'nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")',
        "head=${nodes%%$'\\n'*}",
        '"$python" run_pipeline.py scheduler --port "$port" --state "$HOME/.local/state/troupe/job-$SLURM_JOB_ID" &',
        "scheduler=$!",
        "trap 'kill \"$scheduler\" 2>/dev/null || true' EXIT",
        'until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do kill -0 "$scheduler"; sleep 1; done',
        "",
        'for node in $(scontrol show hostnames "$SLURM_JOB_NODELIST" | tail -n +2); do',
        '  srun --nodes=1 --ntasks=1 --nodelist="$node" bash -c \'',
        "    set -euo pipefail",
        '    head=$1 port=$2 python=$3 workers=$4; shift 4',
        '    ssh -o BatchMode=yes -o ExitOnForwardFailure=yes -N -L "$port:127.0.0.1:$port" "$head" & tunnel=$!',
        '    trap "kill $tunnel 2>/dev/null || true" EXIT',
        '    "$python" run_pipeline.py worker "$@" --scheduler-url "http://127.0.0.1:$port" --workers "$workers"',
        '  \' worker "$head" "$port" "$python" "$workers" "${configs[@]}" &',
        "done",
        "",
        '"$python" run_pipeline.py run "${configs[@]}" --scheduler-url "$url" --workers "$workers" & run=$!',
        "trap 'kill -TERM \"$run\" 2>/dev/null || true' TERM",
        'code=0; wait "$run" || code=$?',
        'if kill -0 "$run" 2>/dev/null; then wait "$run" || code=$?; fi  # the signal itself ends the first wait',
        'exit "$code"',
    ]
    return "\n".join(lines) + "\n"


def kubernetes(options: Namespace) -> str:
    """A Job; with several machines also a Service to find the first by, and a policy that lets only them reach it.

    Raises:
        InputError: no image or claim is given, or a configuration is not below ``MOUNT``.
    """
    for field in ("image", "claim"):
        if not getattr(options, field):
            raise InputError(f"--{field}", "is missing", "Kubernetes needs --image and --claim")
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", options.claim):
        raise InputError("--claim", f"{options.claim!r} is no name of Kubernetes'", "Use a-z, 0-9, . and -")
    for config in options.configs:
        if MOUNT not in PurePosixPath(config).parents or ".." in PurePosixPath(config).parts:
            raise InputError(config, f"is not below {MOUNT}", "The claim is mounted there: name it as it is in it")
    name = _object_name(PurePosixPath(options.configs[0]))
    several = options.machines > 1
    documents = [_job(options, name, several)]
    if several:
        documents = [_service(name), _policy(name), *documents]
    head = "# Written by run_pipeline.py submit kubernetes. kubectl apply -f it; for several machines the claim has\n"
    head += "# to be ReadWriteMany. Deleting and applying it again goes on where it stopped.\n"
    return head + yaml.safe_dump_all(documents, sort_keys=False)


def _object_name(config: PurePosixPath) -> str:
    """Of the configuration's folder or file, as Kubernetes wants names."""
    plain = re.sub(r"[^a-z0-9]+", "-", f"{config.parent.name}-{config.stem}".lower()).strip("-")[:40].strip("-")
    return f"troupe-{plain or 'session'}"


def _labels(name: str) -> dict[str, str]:
    return {"app": "troupe", "run": name}


def _job(options: Namespace, name: str, several: bool) -> dict:
    limits = {"cpu": str(options.workers), "memory": f"{_memory_gb(options)}Gi"}
    if options.gpus:
        limits["nvidia.com/gpu"] = str(options.gpus)
    container = {
        "name": "troupe",
        "image": options.image,
        "workingDir": "/troupe",
        "command": ["/bin/bash", "-c", _pod_script(name, several), "troupe", *options.configs],
        "env": [{"name": "WORKERS", "value": str(options.workers)}, {"name": "HOME", "value": "/tmp"}],
        "resources": {"limits": limits, "requests": dict(limits)},
        "volumeMounts": [{"name": "sessions", "mountPath": str(MOUNT)}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": RESERVE_S,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "sessions", "persistentVolumeClaim": {"claimName": options.claim}}],
    }
    if several:
        pod["subdomain"] = name
    spec = {
        "completions": options.machines,
        "parallelism": options.machines,
        "completionMode": "Indexed",
        "backoffLimit": 6,
        "activeDeadlineSeconds": round(3600 * options.hours),
        "template": {"metadata": {"labels": _labels(name)}, "spec": pod},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": _labels(name)}, "spec": spec}


def _pod_script(name: str, several: bool) -> str:
    python = "/troupe/.venv/bin/python run_pipeline.py"
    if not several:
        return f'exec {python} run "$@" --workers "$WORKERS"'
    return "\n".join(
        [
            "set -euo pipefail",
            'if [ "$JOB_COMPLETION_INDEX" != 0 ]; then',
            f'  exec {python} worker "$@" --scheduler-url http://{name}-0.{name}:{PORT} --workers "$WORKERS"',
            "fi",
            f"{python} scheduler --address 0.0.0.0 --port {PORT} --state /tmp/scheduler &",
            f'until (exec 3<>"/dev/tcp/127.0.0.1/{PORT}") 2>/dev/null; do kill -0 $!; sleep 1; done',
            f'exec {python} run "$@" --scheduler-url http://127.0.0.1:{PORT} --workers "$WORKERS"',
        ]
    )


def _service(name: str) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": _labels(name)},
        "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": _labels(name),
                 "ports": [{"name": "luigi", "port": PORT}]},
    }  # fmt: skip


def _policy(name: str) -> dict:
    """The scheduler has no login: only the pods of this run may reach it."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "labels": _labels(name)},
        "spec": {
            "podSelector": {"matchLabels": _labels(name)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": _labels(name)}}],
                         "ports": [{"protocol": "TCP", "port": PORT}]}],
        },
    }  # fmt: skip
