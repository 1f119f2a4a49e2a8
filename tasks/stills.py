"""Stage: everybody in a batch of still images. A bad image is recorded and never stops the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.model_files import blazepose_files, open_weights
from data.stills import BadImage, focal_of, names_of, read_still, still_files
from pipeline.config import Session, StillsConfig
from pipeline.errors import InputError
from tasks import bodies
from tasks.execution import Context
from tasks.keys import FileDigests
from tasks.leases import leased_device
from tasks.parts import Part

if TYPE_CHECKING:
    from pipeline.stills.people import StillPeople

LANDMARKS = "landmarks"
"""``stills.network`` that is no MILI network: the capture branch's detector, and bodies fitted to its landmarks."""
GROUP = "image_{:06d}"
"""Of an image's people, by its row in the batch."""


def files_of(session: Session) -> list[Path]:
    """All images of the session, in order. Raises InputError if there are none."""
    return still_files(session.config.stills.images, session.path.parent)


def batches(session: Session) -> list[tuple[int, int]]:
    """Runs of images, as numbers into ``files_of``."""
    count, size = len(files_of(session)), session.config.stills.images_per_batch
    return [(k, min(k + size, count)) for k in range(0, count, size)]


def network_files(session: Session) -> dict[str, Path]:
    """What looks at the images. Raises InputError if it is not there."""
    network = session.config.stills.network
    if network == LANDMARKS:
        files = dict(zip(("detector", "landmarks"), blazepose_files(), strict=True))
        suggests = open_weights("stills")
        return files if suggests is None else files | {"network": suggests}
    path = open_weights("stills") if network == "open" else session.resolve(network)
    if path is None or not path.is_file():
        raise InputError("stills.network", f"{network}: there are no such weights", "Give the path of weights")
    return {"network": path}


def input_files(session: Session, part: Part) -> dict[str, Path]:
    start, stop = part.chunk
    files = files_of(session)[start:stop]
    images = {f"image {k}": p for k, p in enumerate(files)}
    return network_files(session) | images | bodies.input_files(session, part)


def digests(session: Session, files: FileDigests) -> dict[str, str]:
    return bodies.digests(session, files)


def parameters(session: Session, part: Part) -> dict[str, object]:
    start, stop = part.chunk
    return {"names": names_of(files_of(session))[start:stop]}


def compute(context: Context) -> None:
    session, config = context.session, context.session.config.stills
    start, stop = context.part.chunk
    every = files_of(session)
    files, names = every[start:stop], names_of(every)[start:stop]
    reasons = []
    with _opened(session) as find:
        for row, file in enumerate(files):
            try:
                image = read_still(file)
                found = find(image, config.focal_px or focal_of(file, (image.shape[1], image.shape[0])))
                context.writer.put_all(found.to_arrays(), GROUP.format(row))
                reasons.append("")
                print(f"{names[row]}: {len(found)} people")
            except BadImage as error:
                reasons.append(str(error))
                print(f"warning: {file.name} {error}")
            context.progress((row + 1) / len(files))
    words = sorted({"", *reasons})
    context.writer.put("names", np.array([n.encode() for n in names]))
    context.writer.put("reason", np.array([words.index(r) for r in reasons], np.uint8))
    context.writer.attribute("words", words)


Find = Callable[[np.ndarray, "float | None"], "StillPeople"]
"""Image (H, W, 3) uint8 and focal length, pixels, if it is known."""


@contextmanager
def _opened(session: Session) -> Iterator[Find]:
    """The configured method, loaded, while it may use its device."""
    from nets.mili.weights import load_network
    from pipeline.body.regressor import regressor_for

    model = bodies.load_model(session)
    regressor, config, files = regressor_for(model), session.config.stills, network_files(session)
    network = load_network(files["network"]) if "network" in files else None
    with leased_device(config.device) as device:
        if network is not None:
            network.to(device)
        if config.network == LANDMARKS:
            yield _by_landmarks(config, files, model, regressor, network)
        else:
            yield _by_network(config, model, regressor, network)


def _by_network(config: StillsConfig, model, regressor, network) -> Find:
    from pipeline.stills.find import FindOptions, find_people
    from pipeline.stills.tiles import TileOptions

    tiles = TileOptions(smallest_person=config.smallest_person_px)
    options = FindOptions(threshold=config.threshold, resolution=config.resolution, tiles=tiles)
    return lambda image, focal: find_people(image, network, model, regressor, options, focal)


def _by_landmarks(config: StillsConfig, files: dict[str, Path], model, regressor, network) -> Find:
    from pipeline.stills.fitted import BodyFitter
    from pipeline.stills.landmarks import LandmarkFinder, LandmarkOptions

    fitter = BodyFitter(LandmarkFinder(files["detector"], files["landmarks"]), model, regressor, network)
    options = LandmarkOptions.of(config.threshold, config.smallest_person_px)
    return lambda image, focal: fitter.find(image, options, focal)
