"""A brain: its sections, surfaces, classes and atlas, in memory or in a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cytokeras.brain._folder_format import BrainFolder, SectionRow, read_brain_folder
from cytokeras.brain._lazy import Lazy, LazyImage, LazyLabels, LazySurfaces
from cytokeras.brain.atlas import Atlas
from cytokeras.brain.labels import ImageLabels, LabelScheme, PolygonLabels, SectionLabels
from cytokeras.brain.section import Section
from cytokeras.brain.section_images import SectionImage
from cytokeras.errors import UserError, nearest_name_hint
from cytokeras.surfaces import Hemisphere, Mesh, hemisphere_faults


class Brain:
    """The sections of one brain with everything that is known about them.

    Args:
        name: The brain.
        space: The reference space of all positions in mm, for example ``"BigBrain"`` or ``"fsaverage"``.
        labels: The classes that annotations and predictions share.
        sections: The sections; their ids differ.
        surfaces: ``"left"`` and ``"right"``, or one of them.
        atlas: Probability maps in ``space``, or None.
        synthetic: Whether the images are drawn rather than scanned, which all that derives from them says.

    Raises:
        UserError: A repeated section id or an unknown hemisphere.
    """

    def __init__(
        self,
        name: str,
        space: str,
        labels: LabelScheme,
        sections: Sequence[Section],
        surfaces: Mapping[str, Hemisphere],
        atlas: Atlas | None = None,
        synthetic: bool = False,
    ) -> None:
        self.name = name
        self.space = space
        self.labels = labels
        self.sections = tuple(sections)
        self.surfaces = surfaces
        self.synthetic = bool(synthetic)
        self.folder: Path | None = None
        self._atlas: Lazy[Atlas | None] = Lazy(lambda: atlas, name)
        self._index = {section.id: index for index, section in enumerate(self.sections)}
        if len(self._index) != len(self.sections):
            ids = [section.id for section in self.sections]
            repeated = next(id for id in ids if ids.count(id) > 1)
            raise UserError(f"brain {name}: the section id {repeated!r} is given twice; ids must differ.")
        for side in surfaces:
            if side not in ("left", "right"):
                raise UserError(f"brain {name}, surfaces: a hemisphere is 'left' or 'right'; received {side!r}.")

    @property
    def atlas(self) -> Atlas | None:
        """The probabilistic atlas, read at its first use, or None."""
        return self._atlas.get()

    def section(self, id: str | int) -> Section:
        """Return the section with this id, or at this index.

        Raises:
            UserError: There is none; the message offers the nearest id.
        """
        if isinstance(id, str) and id in self._index:
            return self.sections[self._index[id]]
        if isinstance(id, int) and -len(self.sections) <= id < len(self.sections):
            return self.sections[id]
        hint = nearest_name_hint(str(id), self._index)
        raise UserError(f"brain {self.name}: no section {id!r} among its {len(self.sections)} sections.{hint}")

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Brain:
        """Open a brain folder; images, labels, surfaces and atlas are read when they are first used.

        Args:
            folder: Holds ``brain.json``, ``sections.csv`` and the files they name.

        Raises:
            UserError: Something is wrong with it, named with file and field; ``check_brain`` lists all.
        """
        content = read_brain_folder(folder)
        if content.problems:
            more = len(content.problems) - 1
            hint = f" ({more} more; see: cytokeras check {folder})" if more else ""
            raise UserError(content.problems[0] + hint)
        assert content.scheme is not None
        brain = Brain(
            name=content.name,
            space=content.space,
            labels=content.scheme,
            sections=[lazy_section(content, row) for row in content.sections],
            surfaces=LazySurfaces({side: lazy_hemisphere(content, side) for side in content.surfaces}),
            synthetic=content.synthetic,
        )
        brain.folder = content.path
        brain._atlas = lazy_atlas(content)
        return brain

    def save(
        self,
        folder: str | os.PathLike[str],
        sections: Sequence[int | str] | None = None,
        progress: bool = True,
        overwrite: bool = False,
        *,
        label_step: int = 1,
    ) -> None:
        """Write the brain as a folder that ``Brain.open`` reads.

        Images become tiled 8-bit OME-TIFF, labels uint8 OME-TIFF (zlib). ``brain.json`` is written last: a
        folder without it was interrupted, and saving the same brain there again keeps the sections that are
        complete (same size, pixel size and central window).

        Args:
            folder: Created where absent; must be empty unless ``overwrite`` is set or an interrupted save of
                this brain goes on.
            sections: Indices or ids of the sections to write; None: all.
            progress: Show progress on standard error.
            overwrite: Write into a folder that is not empty; files of the same names are replaced.
            label_step: Image pixels per label pixel; label pixel l is the class at image pixel step * l.

        Raises:
            UserError: The folder is not empty, is the one this brain is read from, or cannot be written to.
        """
        from cytokeras.brain._save_brain import save_brain

        save_brain(self, Path(folder), sections, progress, overwrite, label_step)

    def __repr__(self) -> str:
        kind = ", synthetic" if self.synthetic else ""
        sides = " + ".join(self.surfaces)
        count = len(self.sections)
        return f"{type(self).__name__}({self.name!r} in {self.space}, {count} sections, {sides}{kind})"


def lazy_section(content: BrainFolder, row: SectionRow) -> Section:
    """Return the section of a line of ``sections.csv``, its files unopened."""
    image = LazyImage(
        Lazy(lambda: SectionImage.open(row.image, row.pixel_size_um), f"{row.where}, image"),
        row.pixel_size_um,
    )
    labels = None
    if row.labels is not None:
        labels = LazyLabels(Lazy(lambda: _open_labels(content, row, image), f"{row.where}, labels"))
    return Section(row.id, image, row.plane, labels, row.split)


def _open_labels(content: BrainFolder, row: SectionRow, image: SectionImage) -> SectionLabels:
    assert row.labels is not None and content.scheme is not None
    if row.labels.suffix.lower() in (".geojson", ".json"):
        return PolygonLabels(row.labels, content.scheme, image.shape, content.ignored_classes)
    return ImageLabels(row.labels, row.label_scale, row.label_offset)


def lazy_hemisphere(content: BrainFolder, side: str) -> Lazy[Hemisphere]:
    """Return a hemisphere whose files are read at its first use."""

    def load() -> Hemisphere:
        meshes = {kind: Mesh.read(path) for kind, path in content.surfaces[side].items()}
        hemisphere = Hemisphere(side, **meshes)
        errors = [fault.message for fault in hemisphere_faults(hemisphere) if fault.severity == "error"]
        if errors:
            raise UserError("; ".join(errors))
        return hemisphere

    return Lazy(load, f"{content.json_path}, surfaces.{side}")


def lazy_atlas(content: BrainFolder) -> Lazy[Atlas | None]:
    """Return the atlas, read at its first use."""

    def load() -> Atlas | None:
        return None if content.atlas is None else Atlas.read(*content.atlas)

    return Lazy(load, f"{content.json_path}, atlas")
