"""Finished frames of a part that is being made: ``<part>.partial/<frame>.h5``, through the same door, under the part's
key. A part that was interrupted goes on after the last of them; they are removed once the part is complete."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import Artifact, ArtifactWriter, DamagedArtifact, read_header
from tasks.parts import Part
from tasks.stages import STAGES

if TYPE_CHECKING:
    from tasks.execution import Context


def partial_folder(cache: Path, part: Part) -> Path:
    return cache / part.stage / f"{part.name}.partial"


class Partial:
    """The finished frames of a context's part. Those of another key are removed when it is made."""

    def __init__(self, context: Context) -> None:
        self._context, self._key = context, context.writer.key
        self.folder = partial_folder(context.graph.cache, context.part)
        for path in self.folder.glob("*.h5"):
            header = read_header(path)
            if header is None or header.key != self._key:
                path.unlink()

    @contextmanager
    def frame(self, frame: int, make: Callable[[ArtifactWriter], None]) -> Iterator[Artifact]:
        """The artifact of one frame, which ``make`` writes unless it is there."""
        path, schema = self.folder / f"{frame:06d}.h5", STAGES[self._context.part.stage].schema
        with suppress(FileNotFoundError, DamagedArtifact), Artifact(path, schema) as found:
            yield found
            return
        with ArtifactWriter(path, stage=self._context.part.stage, schema=schema, key=self._key) as writer:
            make(writer)
        with Artifact(path, schema) as made:
            yield made


def remove_partial(cache: Path, part: Part) -> None:
    """Once the part is complete."""
    shutil.rmtree(partial_folder(cache, part), ignore_errors=True)
