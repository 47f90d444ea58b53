"""The crystals whose columns are counted: what sets one material's particles apart from another's.

Their metal atoms lie on a face-centred cubic lattice, in ceria as in gold. Zone axes, faces and the pattern
of the columns are therefore the same, and lengths scale with the lattice constant; ceria has oxygen between.

Lattice constants at room temperature: ceria 5.411 Å (ICDD PDF 34-0394), gold 4.078 Å (ICDD PDF 04-0784).
"""

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import bulk
from numpy.typing import NDArray

__all__ = ["CRYSTALS", "ZONE_AXES", "Crystal", "crystal_of"]

# Rows are the directions of the image's x, the image's y and the beam, in the crystal's cubic axes.
ZONE_AXES: dict[str, NDArray[np.float64]] = {
    "110": np.array([[-1, 1, 0], [0, 0, 1], [1, 1, 0]]) / np.sqrt([[2.0], [1.0], [2.0]]),
    "100": np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=float),
    "111": np.array([[1, -1, 0], [1, 1, -2], [1, 1, 1]]) / np.sqrt([[2.0], [6.0], [3.0]]),
    "211": np.array([[0, 1, -1], [-1, 1, 1], [2, 1, 1]]) / np.sqrt([[2.0], [3.0], [6.0]]),
}


@dataclass(frozen=True, slots=True)
class Crystal:
    """One material.

    ``formula`` and ``structure`` are what ``ase.build.bulk`` takes; the metal is the atom at its origin.
    ``surface_energies`` are those of {111}, {100} and {110}, relative to the first. ``lengthened`` are the
    lowest and highest share by which a particle's extent along the beam is made longer, and no particle is
    thicker than ``most_periods`` distances of neighbours in a column.
    """

    formula: str
    structure: str
    lattice_constant_A: float
    surface_energies: tuple[float, float, float]
    lengthened: tuple[float, float]
    most_periods: float

    def cell(self) -> Atoms:
        """Return the cubic cell."""
        return bulk(self.formula, self.structure, a=self.lattice_constant_A, cubic=True)

    @property
    def metal(self) -> str:
        """Symbol of the atoms that are counted."""
        return str(self.cell().symbols[0])

    @property
    def neighbour_A(self) -> float:
        """Distance within which metal atoms are neighbours [Å]."""
        return float(1.15 * self.lattice_constant_A / np.sqrt(2.0))

    @property
    def oxygen_bond_A(self) -> float:
        """Distance within which a metal atom holds oxygen [Å]."""
        return float(1.15 * self.lattice_constant_A * np.sqrt(3.0) / 4.0)

    def period_A(self, zone_axis: str) -> float:
        """Distance of neighbouring atoms in a column [Å]: the shortest lattice vector along the axis."""
        a = self.lattice_constant_A
        periods = {"110": a / np.sqrt(2.0), "100": a, "111": a * np.sqrt(3.0), "211": a * np.sqrt(1.5)}
        return float(periods[zone_axis])

    def steps_A(self, zone_axis: str) -> tuple[float, float]:
        """Grid (x, y) that every projected metal site lies on [Å]."""
        a, half_bond = self.lattice_constant_A, self.period_A("110") / 2
        steps = {
            "110": (half_bond, a / 2),
            "100": (a / 2, a / 2),
            "111": (half_bond, a / np.sqrt(24.0)),
            "211": (half_bond, a / np.sqrt(3.0)),
        }
        x, y = steps[zone_axis]
        return float(x), float(y)


CRYSTALS = {
    "ceria": Crystal("CeO2", "fluorite", 5.411, (1.0, 1.6, 1.4), lengthened=(-0.2, 0.3), most_periods=10.2),
    "gold-columns": Crystal("Au", "fcc", 4.078, (1.0, 1.27, 1.33), lengthened=(-0.3, 0.8), most_periods=11.6),
}
"""By the material's name in commands and file names.

Surface energies: ceria after the order of the stabilities in Nolan et al., Surf. Sci. 576 (2005) 217; gold
1.283, 1.627 and 1.700 J/m² in Vitos et al., Surf. Sci. 411 (1998) 186. Gold's particles are longer along the
beam than ceria's and cut later: with ceria's numbers one column in thirty has more than eight atoms along
[100], and the tallest columns are counted badly for want of examples.
"""


def crystal_of(material: str) -> Crystal:
    """Return a material's crystal.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if material not in CRYSTALS:
        raise ValueError(f"no columns are simulated of {material!r}; expected one of {', '.join(CRYSTALS)}")
    return CRYSTALS[material]
