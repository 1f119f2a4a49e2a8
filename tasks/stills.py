"""Stage: everybody in a batch of still images. A bad image is recorded and never stops the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.model_files import open_weights
from data.stills import BadImage, names_of, read_still, still_files
from pipeline.config import Session
from pipeline.errors import InputError
from tasks import bodies
from tasks.execution import Context
from tasks.keys import FileDigests
from tasks.leases import leased_device
from tasks.parts import Part

GROUP = "image_{:06d}"
"""Of an image's people, by its row in the batch."""


def files_of(session: Session) -> list[Path]:
    """All images of the session, in order. Raises InputError if there are none."""
    return still_files(session.config.stills.images, session.path.parent)


def batches(session: Session) -> list[tuple[int, int]]:
    """Runs of images, as numbers into ``files_of``."""
    count, size = len(files_of(session)), session.config.stills.images_per_batch
    return [(k, min(k + size, count)) for k in range(0, count, size)]


def weights_path(session: Session) -> Path:
    """The network's file. Raises InputError if there is none."""
    network = session.config.stills.network
    path = open_weights("stills") if network == "open" else session.resolve(network)
    if path is None or not path.is_file():
        raise InputError("stills.network", f"{network}: there are no such weights", "Give the path of weights")
    return path


def input_files(session: Session, part: Part) -> dict[str, Path]:
    start, stop = part.chunk
    files = files_of(session)[start:stop]
    images = {f"image {k}": p for k, p in enumerate(files)}
    return {"network": weights_path(session)} | images | bodies.input_files(session, part)


def digests(session: Session, files: FileDigests) -> dict[str, str]:
    return bodies.digests(session, files)


def parameters(session: Session, part: Part) -> dict[str, object]:
    start, stop = part.chunk
    return {"names": names_of(files_of(session))[start:stop]}


def compute(context: Context) -> None:
    from nets.mili.weights import load_network
    from pipeline.body.regressor import regressor_for
    from pipeline.stills.find import FindOptions, find_people
    from pipeline.stills.tiles import TileOptions

    session, config = context.session, context.session.config.stills
    start, stop = context.part.chunk
    every = files_of(session)
    files, names = every[start:stop], names_of(every)[start:stop]
    network = load_network(weights_path(session))
    model = bodies.load_model(session)
    regressor = regressor_for(model)
    options = FindOptions(
        threshold=config.threshold,
        resolution=config.resolution,
        tiles=TileOptions(smallest_person=config.smallest_person_px),
    )
    reasons = []
    with leased_device(config.device) as device:
        network.to(device)
        for row, file in enumerate(files):
            try:
                image = read_still(file)
                found = find_people(image, network, model, regressor, options, config.focal_px)
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
