"""Schedules that are simulated, and what is written for clusters: scripts that run, manifests that hold together."""

import os
import socket
import subprocess
from argparse import Namespace

import numpy as np
import pytest
import yaml

from pipeline.config import load_session
from pipeline.errors import InputError
from tasks import submit
from tasks.graph import Graph
from tasks.parts import Part
from tasks.plan import Cost, Foreseen, jobs_of, measured, rows, together
from tasks.records import Made, Records
from tasks.simulation import Job, longest_chain, simulate
from tests.tasks.stub_science import write_session
from tests.tasks.walkers_session import command, write_capture


def chain(seconds, session=0, gpu=False):
    jobs = [Job(session, k, s, gpu, needs=int(k > 0)) for k, s in enumerate(seconds)]
    for k in range(len(jobs) - 1):
        jobs[k].below.append(k + 1)
    return jobs


def test_a_chain_takes_as_long_as_its_parts_whatever_there_is():
    jobs = chain([3, 4, 5])
    assert simulate(jobs, 8, 0).seconds == longest_chain(jobs) == 12
    assert simulate(jobs, 8, 0, overhead_s=1).seconds == 15


def test_independent_parts_fill_the_processes():
    jobs = [Job(0, 0, 2.0) for _ in range(12)]
    assert simulate(jobs, 4, 0).seconds == 6
    assert simulate(jobs, 5, 0).seconds == 6  # the last two leave three idle
    assert np.isclose(simulate(jobs, 5, 0).busy_share, 24 / 30)


def test_gpus_are_what_there_are():
    jobs = [Job(0, 1, 5.0, gpu=True) for _ in range(4)] + [Job(0, 0, 1.0) for _ in range(4)]
    night = simulate(jobs, 4, 1)
    assert night.seconds == 20 and night.gpu_busy_share == 1
    with pytest.raises(ValueError, match="nothing to compute on"):
        simulate(jobs, 4, 0)


def test_what_is_far_along_goes_first():
    first, second = chain([1, 1], session=0), chain([1, 1], session=1)
    for job in second:
        job.below = [b + 2 for b in job.below]
    night = simulate([*first, *second], 1, 0)
    assert night.ended == (2, 4)


def foreseen(tmp_path, cameras=4, frames=1200, people=2):
    session = load_session(write_session(tmp_path, cameras=cameras))
    return Foreseen(session, [f"cam{k:02d}" for k in range(cameras)], frames, people)


def test_a_session_is_foreseen_part_for_part(tmp_path):
    graph = foreseen(tmp_path)
    jobs = jobs_of(graph, {"keypoints": Cost(0.5, False, 1), "bodies": Cost(0.1, False, 1)}, 0)
    stages = [s.name for s in graph.stages()]
    assert len(jobs) == sum(len(graph.parts(s)) for s in graph.stages())
    assert np.isclose(sum(j.seconds for j in jobs), 0.5 * 1200 * 4 + 0.1 * 1200 * 2)
    roots = [j for j in jobs if not j.needs]
    assert len(roots) == 1 and {"calibration", "association", "export"} <= set(stages)
    night = simulate(jobs, 16, 1)
    # A chunk's keypoints can be made on 16 processes at once; of the bodies two.
    assert 0.5 * 1200 * 4 / 16 + 120 <= night.seconds <= 0.5 * 1200 * 4 / 16 + 120 + 60 + 1


def test_more_machines_help_until_the_longest_chain(tmp_path):
    graph = foreseen(tmp_path)
    costs = {"keypoints": Cost(0.5, False, 1), "bodies": Cost(0.1, False, 1)}
    table = rows([graph] * 3, costs, workers=4, gpus=0)
    hours = [r["hours"] for r in table]
    assert hours == sorted(hours, reverse=True) and [r["machines"] for r in table][:2] == [1, 2]
    assert hours[-1] * 3600 >= longest_chain(together([graph], costs))
    assert hours[-1] > 0.85 * hours[-2]  # where it stops


def test_hundreds_of_sessions_need_more_than_one_scheduler(tmp_path):
    graph = foreseen(tmp_path, frames=300)
    table = rows([graph] * 150, {"keypoints": Cost(0.005, False, 1)}, workers=32, gpus=0, machines=16)
    assert table[0]["scheduler_load"] > 1 and table[0]["schedulers"] > 1


def test_costs_are_those_that_were_measured(tmp_path):
    session = load_session(write_session(tmp_path))
    graph, records = Graph(session), Records(session.output / "cache")
    records.note_made(Part("calibration"), Made("a", 0.0, 2.0, 1.0, frames=0))
    assert measured([session]) == {"calibration": Cost(2.0, False, 1, 1.0)}
    assert graph.parts(graph.stages()[0]) == [Part("calibration")]


def test_surfaces_count_for_the_frames_that_have_them(tmp_path):
    path = write_session(tmp_path, cameras=4)
    path.write_text(path.read_text() + "surface: {frames: {start: 100, stop: 140, step: 2}}\n")
    session = load_session(path)
    graph = Foreseen(session, ["cam00"], 1200, 1)
    assert graph.surface_frames == 20
    jobs = jobs_of(graph, {"surface": Cost(10.0, False, 1)}, 0)
    assert sum(j.seconds for j in jobs) == 200
    assert graph.frames_of(Part("surface", person=0, chunk=(120, 240))) == 10
    assert graph.frames_of(Part("keypoints", camera="cam00", chunk=(1080, 1320))) == 120


def test_plan_tells_machines_hours_and_storage(tmp_path):
    write_capture(tmp_path, frames=8)
    assert command("plan", tmp_path / "session.yaml").returncode == 2  # nothing was ever made
    assert command("run", tmp_path / "session.yaml", "--until", "identities").returncode == 0
    done = command("plan", tmp_path / "session.yaml", "--sessions", "6", "--frames", "5000", "--gpus", "0")
    assert done.returncode == 1 and "Never measured, so counted as nothing: bodies" in done.stdout
    assert "6 sessions" in done.stdout and "needs 1 machine of" in done.stdout and "GB a night" in done.stdout


# What is written for clusters


def options(*configs, **changes):
    given = {"system": "slurm", "configs": list(map(str, configs)), "machines": 1, "workers": 8, "memory_gb": None,
             "gpus": 0, "hours": 12.0, "image": None, "claim": None, "out": None}  # fmt: skip
    return Namespace(**(given | changes))


@pytest.mark.parametrize("machines", [1, 3])
def test_the_slurm_script_is_one_that_bash_reads(tmp_path, machines):
    folder = tmp_path / "it's a $(touch PWNED) folder"
    write_capture(folder, frames=2)
    text = submit.slurm(options(folder / "session.yaml", machines=machines, gpus=1, hours=1.5))
    (tmp_path / "job.sh").write_text(text)
    subprocess.run(["bash", "-n", str(tmp_path / "job.sh")], check=True)
    for line in (f"#SBATCH --nodes={machines}", "#SBATCH --cpus-per-task=8", "#SBATCH --mem=32G",
                 "#SBATCH --gres=gpu:1", "#SBATCH --time=01:30:00", "#SBATCH --job-name=troupe-walkers"):  # fmt: skip
        assert line in text.splitlines()
    assert ("--address" not in text) and (machines == 1 or "ssh" in text)  # never open to the network


def free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("machines", [1, 2])
def test_the_slurm_script_runs_what_it_says(tmp_path, machines):
    """With stand-ins for Slurm's own programs, ssh and ours, which write down how they are called."""
    folder = tmp_path / "it's a $(touch PWNED) folder"
    write_capture(folder, frames=2)
    text = submit.slurm(options(folder / "session.yaml", machines=machines))
    log, bin_ = tmp_path / "log", tmp_path / "bin"
    bin_.mkdir()
    ours = bin_ / "python"
    serve = "import socket,sys,time; s=socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)"
    programs = {
        "scontrol": "echo node1; echo node2",
        "srun": 'while [[ "$1" == --* ]]; do shift; done; exec "$@"',
        "ssh": f"echo ssh \"$@\" >> {log}; exec sleep 30",
        "python": f'printf "%s|" "$@" >> {log}; echo >> {log}; '
                  f'if [ "$2" = scheduler ]; then exec python3 -c "{serve}" "$4"; fi; '
                  # As a worker does, it outlives the start of its tunnel, which the job ends with it.
                  f'if [ "$2" = worker ]; then for i in $(seq 500); do '
                  f'grep -q "^ssh" {log} && break; sleep 0.1; done; fi; '
                  f'if [ "$2" = run ]; then for i in $(seq {0 if machines == 1 else 500}); do '
                  f'grep -q "|worker|" {log} && grep -q "^ssh" {log} && break; sleep 0.1; done; exit 1; fi',
    }  # fmt: skip
    for name, body in programs.items():
        (bin_ / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (bin_ / name).chmod(0o755)
    lines = [f"python={ours}" if line.startswith("python=") else line for line in text.splitlines()]
    (tmp_path / "job.sh").write_text("\n".join(lines))
    port = next(p for p in range(20077, 40000) if free(p))  # another run of this test may hold one
    told = {"PATH": f"{bin_}:{os.environ['PATH']}", "SLURM_JOB_ID": str(port - 20000), "SLURM_JOB_NODELIST": "x"}
    script = ["bash", str(tmp_path / "job.sh")]
    done = subprocess.run(script, env=os.environ | told, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr  # as the run ended
    calls = log.read_text()
    assert f"run_pipeline.py|run|{folder / 'session.yaml'}|" in calls
    if machines > 1:
        assert f"ssh -o BatchMode=yes -o ExitOnForwardFailure=yes -N -L {port}:127.0.0.1:{port} node1" in calls
        worker = f"run_pipeline.py|worker|{folder / 'session.yaml'}|--scheduler-url|http://127.0.0.1:{port}|--workers|8|"
        assert worker in calls
    assert not list(tmp_path.rglob("PWNED"))


def test_the_manifest_holds_together(tmp_path):
    given = options("/sessions/pair 04/session.yaml", system="kubernetes", image="lab/troupe:1", claim="captures",
                    machines=3, gpus=2)  # fmt: skip
    service, policy, job = yaml.safe_load_all(submit.kubernetes(given))
    assert (service["kind"], policy["kind"], job["kind"]) == ("Service", "NetworkPolicy", "Job")
    name = job["metadata"]["name"]
    pod = job["spec"]["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"] == name
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == policy["spec"]["podSelector"]["matchLabels"] == labels
    assert policy["spec"]["ingress"][0]["from"] == [{"podSelector": {"matchLabels": labels}}]
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 3
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "2"}
    assert container["command"][4:] == ["/sessions/pair 04/session.yaml"]
    assert f"http://{name}-0.{name}:8082" in container["command"][2]
    subprocess.run(["bash", "-n", "-c", container["command"][2]], check=True)
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "captures"
    (alone,) = yaml.safe_load_all(submit.kubernetes(options("/sessions/a.yaml", image="i", claim="c")))
    assert "scheduler" not in alone["spec"]["template"]["spec"]["containers"][0]["command"][2]


@pytest.mark.parametrize(
    ("configs", "changes", "words"),
    [
        (["/sessions/a.yaml"], {"claim": "c"}, "--image"),
        (["/sessions/a.yaml"], {"image": "i"}, "--claim"),
        (["/elsewhere/a.yaml"], {"image": "i", "claim": "c"}, "not below /sessions"),
        (["/sessions/../etc/a.yaml"], {"image": "i", "claim": "c"}, "not below /sessions"),
        (["/sessions/a.yaml"], {"image": "i", "claim": "C; x"}, "no name of Kubernetes"),
    ],
)
def test_a_manifest_that_could_not_work_is_refused(configs, changes, words):
    with pytest.raises(InputError, match=words):
        submit.kubernetes(options(*configs, **changes))
