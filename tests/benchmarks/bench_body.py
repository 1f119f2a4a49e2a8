"""Speed of fitting a whole track at once: against fitting it frame after frame, and over the length of a session.

Frame after frame, everything else is the same: the code, the terms, the weights, the shape (which it is given), and
each frame starts from the one before it and knows the two before it for the accelerations. It cannot know those to
come, so its loss stays a little higher; both losses are told.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import replace

from data.body_models import load_body_arrays, open_body_model
from tests.benchmarks.memory import forget_peak, memory_mb

FRAMES, SAMPLE, PEOPLE_FRAMES = 100, 40, 100
LENGTHS = (150, 600, 2400)
TOLERANCE = 1e-5
"""A frame is finished when a step gains less than this share of its loss."""


def rows() -> list[dict]:
    """Rows ``body/against_per_frame`` (L-BFGS, as bodies are usually fitted) and ``body/against_per_frame_newton``:
    seconds a frame; ``body/two_people``; ``body/<length>_frames``."""
    return [*_against_frames(), _two_people(), *_lengths()]


def _against_frames() -> list[dict]:
    from pipeline.body.fit import fit_track, reopened
    from pipeline.body.initial import initial_state
    from pipeline.body.options import FitOptions
    from pipeline.body.problem import Problem
    from pipeline.body.solver import solve

    model, scene = _scene(FRAMES)
    track, options = scene.tracks[0], FitOptions(fps=scene.fps)
    body = fit_track(model, scene.rig, track, options)
    opened = reopened(model, scene.rig, track, body, options)
    kinematics, obs, weights = opened.kinematics, opened.obs, opened.weights
    wide = replace(weights, joint_m=0.6 * weights.joint_m, pixel=12.0 + 0 * weights.pixel)

    def from_nothing(obs):
        first = initial_state(kinematics, obs.joints, obs.joint_weights, obs.up)
        first = solve(Problem(kinematics, obs, wide), replace(first, betas=opened.state.betas)).state
        return solve(Problem(kinematics, obs, weights), first).state

    ours, whole = _timed(lambda: from_nothing(obs))
    part = obs.part(slice(0, SAMPLE))
    problem = Problem(kinematics, part, weights)
    loss = problem.cost(whole.part(slice(0, SAMPLE)))
    found = []
    for name, step, what in (
        ("body/against_per_frame", _quasi_newton, "L-BFGS (SciPy) with exact gradients"),
        ("body/against_per_frame_newton", _newton, "Levenberg-Marquardt with our own equations"),
    ):
        def alone(step: Callable = step):
            state = from_nothing(part.part(slice(0, 1)))
            for f in range(1, SAMPLE):
                state = step(kinematics, part, weights, state, f)
            return state

        seconds, state = _timed(alone)
        detail = (
            f"{FRAMES} frames, six cameras, one thread, shape given, loss {loss:.0f} in the first {SAMPLE}; baseline: "
            f"these frame after frame by {what}, each from the one before it, loss {problem.cost(state):.0f}"
        )
        found.append({"name": name, "seconds": ours / FRAMES, "baseline_seconds": seconds / SAMPLE,
                      "unit": "s a frame", "detail": detail})  # fmt: skip
    return found


def _timed(work: Callable) -> tuple[float, object]:
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result


def _next_frame(kinematics, obs, weights, state, frame: int):
    """The problem of a frame and the two before it, and its first state: the one before, stepping on as it did."""
    import numpy as np

    from pipeline.body.problem import Problem

    start = max(0, frame - 2)
    transl = 2 * state.transl[-1] - state.transl[-2] if frame > 1 else state.transl[-1]
    grown = replace(
        state, transl=np.concatenate([state.transl, transl[None]]),
        rotations=np.concatenate([state.rotations, state.rotations[-1:]]),
    )  # fmt: skip
    return Problem(kinematics, obs.part(slice(start, frame + 1)), weights), grown.part(slice(start, None))


def _moved(state, step):
    import numpy as np

    steps = np.zeros((len(state.transl), len(step)))
    steps[-1] = step
    return state.moved(steps, np.zeros(10 + len(state.offsets)))


def _appended(state, last):
    import numpy as np

    return replace(
        state, transl=np.concatenate([state.transl, last.transl[-1:]]),
        rotations=np.concatenate([state.rotations, last.rotations[-1:]]),
    )  # fmt: skip


def _quasi_newton(kinematics, obs, weights, state, frame: int):
    import numpy as np
    from scipy.optimize import minimize

    from pipeline.body.kinematics import UNKNOWNS
    from pipeline.body.rotations import logarithm_jacobian

    problem, near = _next_frame(kinematics, obs, weights, state, frame)

    def loss(step):
        at = _moved(near, step)
        slope = 2 * problem.normal_equations(at).gradient[-1]
        turn = np.linalg.inv(logarithm_jacobian(step[3:].reshape(-1, 3)))
        slope[3:] = np.einsum("jba,jb->ja", turn, slope[3:].reshape(-1, 3)).ravel()
        return problem.cost(at), slope

    found = minimize(loss, np.zeros(UNKNOWNS), jac=True, method="L-BFGS-B", options={"ftol": TOLERANCE, "maxiter": 200})
    return _appended(state, _moved(near, found.x))


def _newton(kinematics, obs, weights, state, frame: int):
    import numpy as np

    problem, at = _next_frame(kinematics, obs, weights, state, frame)
    cost, damping, equations = problem.cost(at), 1e-3, None
    for _ in range(30):
        if equations is None:
            equations = problem.normal_equations(at)
        matrix = equations.blocks[0][-1]
        matrix = matrix + np.diag(damping * np.diag(matrix) + 1e-6)
        trial = _moved(at, np.linalg.solve(matrix, -equations.gradient[-1]))
        trial_cost = problem.cost(trial)
        if not trial_cost < cost:
            damping *= 5
            if damping > 1e4:
                break
            continue
        gain = (cost - trial_cost) / cost
        at, cost, equations, damping = trial, trial_cost, None, max(damping / 4, 1e-7)
        if gain < TOLERANCE:
            break
    return _appended(state, at)


def _two_people() -> dict:
    from pipeline.body.fit import fit_track
    from pipeline.body.options import FitOptions

    model, scene = _scene(PEOPLE_FRAMES, "hugging")
    options = FitOptions(fps=scene.fps)
    begin = time.perf_counter()
    for track in scene.tracks:
        fit_track(model, scene.rig, track, options)
    seconds = time.perf_counter() - begin
    detail = f"whole fits of two people over {PEOPLE_FRAMES} frames, one after the other, one thread; baseline: the aim"
    return {"name": "body/two_people", "seconds": seconds, "baseline_seconds": 60.0, "unit": "s", "detail": detail}


def _lengths() -> list[dict]:
    """Each length in a process of its own, so that memory is its own too."""
    found = []
    for length in LENGTHS:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, before, peak = pool.apply(_one_length, (length,))
        first = found[0]["seconds"] if found else seconds
        detail = f"whole fit; {peak - before:.0f} MB more than the {before:.0f} MB that track and model take"
        found.append({"name": f"body/{length}_frames", "seconds": seconds, "baseline_seconds": first,
                      "unit": "s a frame", "detail": f"{detail}; baseline: {LENGTHS[0]} frames"})  # fmt: skip
    return found


def _one_length(length: int) -> tuple[float, float, float]:
    """Seconds a frame; memory before and at its highest, MB."""
    from tasks.threads import limit_threads

    limit_threads()
    from pipeline.body.fit import fit_track
    from pipeline.body.options import FitOptions

    model, scene = _scene(length)
    forget_peak()
    before = memory_mb("VmRSS")
    seconds, _ = _timed(lambda: fit_track(model, scene.rig, scene.tracks[0], FitOptions(fps=scene.fps)))
    return seconds / length, before, memory_mb("VmHWM")


def _scene(frames: int, name: str = "crouching"):
    import torch

    from data.synthetic.body_scenes import SETTINGS, body_scene
    from nets.body import BodyModel

    torch.set_num_threads(1)
    model = BodyModel(load_body_arrays(open_body_model()))
    return model, body_scene(model, name, SETTINGS["six_cameras"], 1, frames)
