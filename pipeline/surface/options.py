"""How a surface is extracted."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import InputError


@dataclass(frozen=True)
class SurfaceOptions:
    """Settings of the query engine.

    Attributes:
        first_cell: metres; side of the first cells is at most this. Thinner things far from the body may be missed.
        tolerance: voxels; cells whose estimated error of interpolation is below this are not halved further. 0 halves
            every cell that the surface may cross down to one voxel.
        caution: how many times the estimated error a corner has to be from zero for its cell to be let go.
        reach: the same for the first cells, times what the steepest edge about them allows.
        batch: points asked at a time; what a CPU's cache holds is fastest there, a GPU wants a hundred thousand.
        most_blocks: limit on the sparse grid, 8 x 8 x 8 nodes or about 3.6 kB each.
        smallest_component: share of the largest component's area that another needs to be kept; 0 keeps everything.
        cavities: whether closed surfaces that face inwards are kept.
        device: where grid and points live.
    """

    first_cell: float = 0.05
    tolerance: float = 0.25
    caution: float = 1.0
    reach: float = 1.0
    batch: int = 2048
    most_blocks: int = 150_000
    smallest_component: float = 0.05
    cavities: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("first_cell", "batch", "most_blocks"):
            if not getattr(self, name) > 0:
                raise InputError(f"surface.{name}", f"{getattr(self, name)} is not positive", "Leave the default.")
        for name in ("tolerance", "caution", "reach", "smallest_component"):
            if not getattr(self, name) >= 0:
                raise InputError(f"surface.{name}", f"{getattr(self, name)} is negative", "Leave the default.")
