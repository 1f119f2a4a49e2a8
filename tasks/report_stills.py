"""What the report tells of stills: figures of each image, what to look at, pictures of the fullest ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tasks.cached import Cached
from tasks.stills import GROUP, LANDMARKS

if TYPE_CHECKING:
    from pipeline.quality.report import Picture
    from pipeline.quality.summary import Flag, StillFigures

MOST_PICTURES, PICTURE_PX = 12, 480
"""Pictures on the page, and their longer side."""
MOST_NAMES = 5
BY_LANDMARKS = (
    "Bodies in stills are fitted to one view each: poses follow the landmarks that the detector sees, distances assume "
    "adults of average height unless feet show a common floor, shapes are near the mean, half of those below 16 pixels "
    "are missed, and some of the smallest face the wrong way."
)
OWN_WEIGHTS = (
    "Stills were looked at with the small weights that ship, which know synthetic people alone: of people in "
    "photographs they miss most and find others who are not there, and poses are a mean pose."
)


def figures(cached: Cached) -> tuple[StillFigures, ...]:
    """Of every image that was looked at, in their order; nothing for a session without stills."""
    from pipeline.quality.summary import StillFigures

    found = []
    for artifact in map(cached.open, cached.parts("stills")):
        words = artifact.attribute("words")
        for row, (name, reason) in enumerate(zip(artifact["names"], artifact["reason"], strict=True)):
            if words[reason]:
                found.append(StillFigures(name.decode(), 0, words[reason]))
                continue
            group = GROUP.format(row)
            width, height = artifact[f"{group}/size"].tolist()
            scores, boxes = artifact[f"{group}/scores"], artifact[f"{group}/boxes"]
            shortest = np.min(boxes[:, 3] - boxes[:, 1], initial=np.inf)
            found.append(
                StillFigures(
                    name.decode(), len(scores), "", width, height,
                    float(scores.min()) if len(scores) else None, float(shortest) if len(scores) else None,
                )
            )  # fmt: skip
    return tuple(found)


def counts(stills: Sequence[StillFigures]) -> dict[str, int]:
    """For the top of the report."""
    if not stills:
        return {}
    unusable = sum(bool(s.reason) for s in stills)
    return {"stills": len(stills), "stills_people": sum(s.people for s in stills), "stills_unusable": unusable}


def flags(stills: Sequence[StillFigures], network: str) -> tuple[Flag, ...]:
    """What our own weights (``network`` "open") are worth, and images that could not be used."""
    from pipeline.quality.summary import Flag

    remedy = "Use stills.network: landmarks, give it a CRMH checkpoint, or train weights."
    own = (Flag("warning", "stills", OWN_WEIGHTS, remedy),)
    return (*(own if stills and network == "open" else ()), *_unusable(stills))


def method(network: str) -> str:
    """What the page says of how stills were looked at; nothing of a user's own network."""
    return {LANDMARKS: BY_LANDMARKS, "open": OWN_WEIGHTS}.get(network, "")


def _unusable(stills: Sequence[StillFigures]) -> tuple[Flag, ...]:
    from pipeline.quality.summary import Flag

    bad = [s for s in stills if s.reason]
    if not bad:
        return ()
    named = [f"{s.image} ({s.reason})" for s in bad[:MOST_NAMES]]
    more = [f"{len(bad) - MOST_NAMES} more"] if len(bad) > MOST_NAMES else []
    told = f"{len(bad)} of {len(stills)} stills could not be used: {', '.join(named + more)}."
    return (Flag("warning", "stills", told, "Save these images again, or take them out of stills.images."),)


def pictures(cached: Cached, stills: Sequence[StillFigures]) -> list[Picture]:
    """Overlays, as exported, of the images with most people."""
    import cv2

    from pipeline.quality.inspect import encoded_picture
    from pipeline.quality.report import Picture

    out = []
    folder = cached.session.output / "export" / "stills"
    for still in sorted(stills, key=lambda s: -s.people)[:MOST_PICTURES]:
        path = folder / still.image / "overlay.jpg"
        image = cv2.imread(str(path)) if still.people and path.is_file() else None
        if image is None:
            continue
        scale = min(1.0, PICTURE_PX / max(image.shape[:2]))
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        small = np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA)[..., ::-1])
        told = f"{still.people} {'person' if still.people == 1 else 'people'}."
        out.append(Picture(still.image, told, encoded_picture(small, "jpeg")))
    return out
