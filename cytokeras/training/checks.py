"""What is looked at before the first step, so that a night is not lost to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cytokeras._auxiliary_tasks import require_tasks
from cytokeras.errors import UserError

if TYPE_CHECKING:
    from cytokeras.models import AtlasUNet, SiameseDistanceNet
    from cytokeras.sampling import LabelledCentres
    from cytokeras.training.recipes import PretrainingRecipe


def check_recipe_fits(net: SiameseDistanceNet, recipe: PretrainingRecipe) -> None:
    """Raise UserError where recipe and network disagree on what both hold."""
    require_tasks(recipe.auxiliary, net.auxiliary)
    config = net.get_config()
    for name in ("output_scale_mm", "weight_decay"):
        if config[name] != getattr(recipe, name):
            raise UserError(
                f"The network was built with {name}={config[name]:g}, but recipe {recipe.name!r} has "
                f"{getattr(recipe, name):g}: build the network with the recipe's, or use "
                f"dataclasses.replace(recipe, {name}={config[name]:g})."
            )


def missing_classes(centres: LabelledCentres, unet: AtlasUNet) -> str | None:
    """Say which classes of the network the annotation lacks; None where there is none."""
    missing = sorted(set(range(unet.num_classes)) - set(centres.classes))
    if not missing:
        return None
    names = [unet.class_names[index] if unet.class_names is not None else str(index) for index in missing]
    return (
        f"No training section shows {', '.join(names)}: the network cannot learn "
        f"{'it' if len(names) == 1 else 'them'}. Annotate some, or leave the class out of the class list."
    )
