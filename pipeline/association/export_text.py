"""``association.txt``: skeletons in the text format of the 4D association program, which scorers read.

``J F``, then for every frame the number of people, and for each an id followed by four rows of J numbers: x, y, z in
metres and confidence.
"""

from __future__ import annotations

import numpy as np

from pipeline.association.tracks import Tracks


def association_text(tracks: Tracks, confidence: float | None = None) -> str:
    """Tracks as text; frames in which somebody is absent leave that person out.

    Args:
        tracks: frames are written in order, the first becoming row 0.
        confidence: written for every joint instead of each joint's own.
    """
    lines = [f"19 {len(tracks.frames)}"]
    for f in range(len(tracks.frames)):
        people = np.flatnonzero(tracks.present[f])
        lines.append(str(len(people)))
        for p in people:
            lines.append(str(int(tracks.person_ids[p])))
            own = tracks.confidence[f, p] if confidence is None else np.full(19, confidence)
            for row in (*tracks.joints[f, p].T, own):
                lines.append(" ".join(f"{value:.6g}" for value in row))
    return "\n".join(lines) + "\n"
