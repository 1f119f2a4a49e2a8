"""``export.blur_faces``: pictures as they may be shown, whatever shows them."""

from __future__ import annotations

import numpy as np

from pipeline.cameras import Camera
from tasks.people import Blur, Source, bodies_of, camera_detections, tracks_of

NEAR_FRAMES = 3
"""Of somebody who is not known in a frame, the head is taken from so many frames before or after."""


def blur_of(source: Source) -> Blur:
    """The blur of a session; one that changes nothing where faces may be seen. Faces are where a source's bodies,
    skeletons and detections have them, as far as it reads those."""
    if not source.session.config.export.blur_faces:
        return lambda camera, frame, image: image
    return _Faces(source)


class _Faces:
    def __init__(self, source: Source) -> None:
        self._source, self._bodies, self._tracks = source, bodies_of(source), tracks_of(source)
        self._detections: dict[str, object] = {}
        self._heads: dict[int, list[np.ndarray]] = {}
        self._model = None

    def __call__(self, camera: Camera, frame: int, image: np.ndarray) -> np.ndarray:
        from pipeline.quality.faces import blurred, circles, detected_circles

        if frame not in self._heads:
            self._heads = {frame: [*self._of_bodies(frame), *self._of_tracks(frame)]}
        faces = circles(camera, self._heads[frame])
        if camera.name not in self._detections:
            self._detections[camera.name] = camera_detections(self._source, camera.name, masks=False)
        found = self._detections[camera.name]
        if found is not None and frame in found.frames:
            faces += detected_circles(found, int(np.searchsorted(found.frames, frame)))
        return blurred(image, faces)

    def _of_bodies(self, frame: int) -> list[np.ndarray]:
        from pipeline.export.bodies import posed_vertices
        from pipeline.quality.faces import face_vertices
        from tasks.bodies import load_model

        heads = []
        for body in self._bodies.values():
            row = int(np.searchsorted(body.frames, frame))
            if row == len(body.frames) or body.frames[row] != frame:
                continue
            if self._model is None:
                self._model = load_model(self._source.session)
                self._of_head = face_vertices(self._model)
            heads.append(posed_vertices(self._model, body, np.array([row]))[0, self._of_head].mean(0))
        return heads

    def _of_tracks(self, frame: int) -> list[np.ndarray]:
        from pipeline.quality.faces import heads_of_joints

        heads = []
        for track in self._tracks.values():
            rows = np.flatnonzero(np.abs(track.frames - frame) <= NEAR_FRAMES)
            for row in rows[np.argsort(np.abs(track.frames[rows] - frame), kind="stable")]:
                (head,) = heads_of_joints(track.joints[row])
                if np.isfinite(head).all():
                    heads.append(head)
                    break
        return heads
