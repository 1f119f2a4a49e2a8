"""The lab capture: two people, one behind the other in camera 3, a bystander in cameras 1 and 2."""

from pathlib import Path

import numpy as np
import pytest

from data.model_files import blazepose_files
from data.video import open_video
from pipeline.keypoints.blazepose import BlazePose

VIDEOS = Path(__file__).parents[3] / "shared/data/two_person_lab/videos"
MIDDLE_OF_HIPS = {  # of the man and the woman, over the whole clip, pixels
    "cam01": [(479, 790), (730, 1323)],
    "cam02": [(520, 787), (181, 1077)],
    "cam03": [(531, 839), (286, 777)],
    "cam04": [(494, 859), (790, 677)],
}
FACING = {"cam01": (1, -1), "cam02": (1, -1), "cam03": (-1, 1), "cam04": (-1, 1)}  # 1: towards the camera
HIPS, SHOULDERS = [23, 24], [11, 12]


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("camera", sorted(MIDDLE_OF_HIPS))
def test_both_people_are_followed_through_the_lab_capture(camera):
    video = open_video(VIDEOS / f"{camera}.mp4")
    found = BlazePose(*blazepose_files()).run(video.frames(range(100)), 0)
    assert np.diff(found.offsets).max() <= 4
    for place, facing in zip(MIDDLE_OF_HIPS[camera], FACING[camera], strict=True):
        tracks = np.unique(found.tracks)
        hips = [found.keypoints[found.tracks == t][:, HIPS].mean((0, 1)) for t in tracks]
        track = tracks[np.linalg.norm(np.array(hips) - place, axis=1).argmin()]
        mine = found.tracks == track
        assert mine.sum() >= 98
        left, right = found.keypoints[mine][:, SHOULDERS, 0].T
        assert np.mean((left - right) * facing > 0) >= 0.98
