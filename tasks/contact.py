"""Stage: the body of one person, refined together with everybody who comes near, where bodies go through each other.

Reads everybody's bodies. What is found for a group of people is the same whoever of them it is found for, and a body
that touches nobody comes out as it went in, so that nothing below is made anew because of others.
"""

from __future__ import annotations

import numpy as np

from pipeline.body.parameters import BodyTrack
from pipeline.errors import InputError
from tasks.bodies import fit_options, load_model, put_body
from tasks.execution import Context
from tasks.people import track_of


def compute(context: Context) -> None:
    from pipeline.body.contact import contact_depths, people_near, refine_contacts

    bodies = {p.person: BodyTrack.from_arrays(context.open(p).arrays()) for p in context.parts("bodies")}
    tracks, sets = {}, {}
    for part in context.parts("identities"):
        tracks[part.person] = track_of(context, part)
        sets[part.person] = context.open(part).attribute("joint_set")
    mine = context.part.person
    if mine not in bodies:
        raise InputError(f"bodies/person_{mine}", "was not made", "See its log")
    (group,) = (g for g in people_near(bodies) if mine in g)
    group &= set(tracks)
    before = bodies[mine]
    after = before
    if mine in group:
        options = fit_options(context)
        near = {i: bodies[i] for i in sorted(group)}
        refined = refine_contacts(
            load_model(context.session), context.rig(), near, tracks, options, sets, mine, context.progress
        )
        after = refined[mine]
        changed = (after.transl != before.transl).any(1) & before.valid
        print(f"{int(changed.sum())} frames refined, together with {len(group) - 1} others")
        if changed.any():
            frames = before.frames[changed][:: max(1, int(changed.sum()) // 20)]
            for name, found in (("before", near), ("after", refined)):
                depths = contact_depths(load_model(context.session), found, frames)[mine]
                others, oneself = (1e3 * np.nanmean(d) for d in (depths.between, depths.within))
                print(f"{name}: {others:.1f} mm deep in others, {oneself:.1f} mm in oneself, in {len(frames)} frames")
    put_body(context, after)
