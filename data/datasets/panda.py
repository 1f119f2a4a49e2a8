"""PANDA: gigapixel pictures of crowds with boxes of heads, visible and full bodies.

    ROOT/image_annos/person_bbox_<split>.json
    ROOT/image_<split>/<scene>/IMG_<..>.jpg

The file maps picture names to "image size" (height, width) and "objects list"; boxes (tl, br) are shares of the size.
"person" has rects "head", "visible body", "full body"; other categories (people as a crowd, fake people, "ignore")
have one rect and are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data.datasets.files import entry, folder, read_json, table
from data.datasets.stills import Still, StillPerson, person

PARTS = ("full body", "visible body", "head")


class Panda:
    """``data.datasets.stills.StillsDataset`` with boxes alone.

    Args:
        part: which box of a person counts, one of ``PARTS``.
        scenes: the first two digits of scenes ("10"), None for all.
    """

    joint_set = None

    def __init__(
        self, root: Path, split: str = "train", part: str = "full body", scenes: Sequence[str] | None = None
    ) -> None:
        self.path = root / "image_annos" / f"person_bbox_{split}.json"
        self._content = read_json(self.path)
        self._folder, self._part = folder(root / f"image_{split}", "every scene"), part
        self._scenes = None if scenes is None else tuple(scenes)

    def stills(self) -> Iterator[Still]:
        for name in sorted(self._content):
            scene = Path(name).parent.name
            if self._scenes is not None and not scene.startswith(self._scenes):
                continue
            picture = self._content[name]
            size = np.array([float(entry(self.path, picture, "image size", k)) for k in ("width", "height")])
            people = tuple(self._person(o, size) for o in entry(self.path, picture, "objects list"))
            yield Still(Path(name).stem, scene, self._folder / scene / Path(name).name, None, None, people)

    def _person(self, thing: dict, size: np.ndarray) -> StillPerson:
        whole = thing.get("category") == "person"
        box = entry(self.path, thing, *(("rects", self._part) if whole else ("rect",)))
        corners = [[entry(self.path, box, c, axis) for axis in ("x", "y")] for c in ("tl", "br")]
        shares = table(self.path, corners, (2, 2), "a box")
        return person(None, box=(shares * size).ravel(), ignored=not whole)
