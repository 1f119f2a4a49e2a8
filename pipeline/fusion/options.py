"""Options of temporal fusion, with units.

Kernel, sigma and neighbours were measured on five dressed synthetic people at 30 frames a second, each carried from one
frame to the next and over two, against where their true surface is. The choice hardly matters: over one frame the root
mean square error is 1.48 to 1.57 mm for every pair of kernel and sigma from 5 to 40 mm and 4 to 16 neighbours, over two
2.61 to 3.12 mm, most of it cloth that does not follow the body; more neighbours and wider kernels are the worse end.

Bodies that err matter far more: with one centimetre in every frame, each in its own way, exact meshes of a walker came
out 4.6 mm off at 8 mm voxels, and 0.8 mm where they were brought onto the frame's own first (``aligned``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.errors import InputError

KERNELS = ("plain", "squared")
STEADY_REACH = 2
"""Frames on either side that a result is steadied by."""


@dataclass(frozen=True)
class FusionOptions:
    """How the meshes of a window become one.

    Attributes:
        window: frames that are averaged, odd (h, 3 in the paper; 1 only re-meshes).
        voxel_m: metres between the points at which signed distances are taken.
        kernel: ``plain``: exp(-d / sigma_m), ``squared``: exp(-d² / 2 sigma_m²), d the distance to a body vertex
            (equation 8 prints the plain norm over σ²: its σ² is ``sigma_m`` here).
        sigma_m: metres.
        neighbours: body vertices that a vertex of the mesh is carried by.
        weighted: weights by visibility, agreement and how sure the skinning is, frames beyond the next ones as far as
            the body is ``calm``; else the plain mean of equation 10.
        aligned: weighted: carried meshes are brought onto the frame's own, part by part of the body (``align``).
        steadied: aligned: the result's parts are put where the two frames before and after say they are (``steady``).
        spread_m: weighted: where the body vertices that carry a point disagree by this much about where it goes
            (armpits, limbs in contact, loose cloth), its frame counts e⁻¹ as much.
        agreement_m: weighted: a frame this far from the median of the window counts a quarter as much.
        far_m: a mesh whose vertices are farther than this from the body (median) is not its body's mesh.
    """

    window: int = 5
    voxel_m: float = 0.003
    kernel: str = "squared"
    sigma_m: float = 0.01
    neighbours: int = 4
    weighted: bool = True
    aligned: bool = True
    steadied: bool = True
    spread_m: float = 0.006
    agreement_m: float = 0.06
    far_m: float = 0.15

    def __post_init__(self) -> None:
        where = "fusion"
        if self.window < 1 or self.window % 2 == 0:
            raise InputError(f"{where}.window", f"{self.window} is not an odd number of frames", "Give 1, 3, 5 ...")
        if self.kernel not in KERNELS:
            raise InputError(f"{where}.kernel", f"{self.kernel!r} is unknown", f"Give one of {', '.join(KERNELS)}")
        for name in ("voxel_m", "sigma_m", "spread_m", "agreement_m", "far_m"):
            if not getattr(self, name) > 0:
                raise InputError(f"{where}.{name}", f"{getattr(self, name)} is not positive", "Give metres above zero")
        if self.neighbours < 1:
            raise InputError(f"{where}.neighbours", f"{self.neighbours} is below 1", "Give 1 or more body vertices")

    @property
    def steadies(self) -> bool:
        """Whether results are steadied; a window of one frame only re-meshes."""
        return self.weighted and self.aligned and self.steadied and self.window > 1

    @property
    def reach(self) -> int:
        """Frames on either side that a frame's result depends on."""
        return max(self.window // 2, STEADY_REACH if self.steadies else 0)

    def as_in_the_paper(self) -> FusionOptions:
        """The plain mean of equation 10."""
        return replace(self, weighted=False)
