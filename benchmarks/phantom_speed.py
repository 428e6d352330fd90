"""How fast the phantom is drawn: windows of cortex at several pixel sizes, on one thread and on two.

python benchmarks/phantom_speed.py
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cytokeras.phantom import LEVELS, PhantomBrain
from cytokeras.phantom._section_fields import LATTICE_MM, OTHER_CORTEX

WINDOW_PX = 1019
REPEATS = 12


def main() -> None:
    print(
        "| level | µm/px | s for 1019 px, one thread | Mpx/s, one thread | Mpx/s, two threads |\n|---|---|---|---|---|"
    )
    for level in LEVELS:
        brains = {um: PhantomBrain(3, um, [-84.0], ["left"], level) for um in (1.0, 2.0, 8.0, 16.0)}
        for um, brain in brains.items():
            image = brain.sections[0].image
            labels = image.fields().labels
            places = np.argwhere(labels >= OTHER_CORTEX)
            picked = places[np.linspace(0, len(places) - 1, REPEATS).astype(int)]
            corners = np.rint(picked * LATTICE_MM * 1000 / um).astype(int) - WINDOW_PX // 2

            def draw(corner: np.ndarray, image=image) -> None:
                image.read(int(corner[0]), int(corner[1]), WINDOW_PX, WINDOW_PX)

            draw(corners[0])
            times = []
            for corner in corners:
                begun = time.perf_counter()
                draw(corner)
                times.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(draw, corners))
            both = time.perf_counter() - begun
            mpx = REPEATS * WINDOW_PX**2 / 1e6
            print(
                f"| {level} | {um:g} | {np.median(times):.3f} (largest {max(times):.3f}) | {mpx / sum(times):.1f} | "
                f"{mpx / both:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
