"""internimage models"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from internimage.cli.common import print_json


@dataclass(frozen=True)
class Models:
    """List the models: parameters, cost, available weights, published score.

    $ internimage models '*_1k_*'
    """

    pattern: Annotated[Positional[str], arg(metavar="PATTERN", help="Shell pattern, quoted.")] = "*"
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object per line instead of a table."""

    def run(self) -> int:
        from rich.console import Console
        from rich.table import Table

        from internimage.checkpoints.hub import PackagedModel
        from internimage.errors import UnknownModelError
        from internimage.recipes import get_recipe, list_models

        recipes = [get_recipe(name) for name in list_models(self.pattern)]
        if not recipes:
            raise UnknownModelError(f"no model matches {self.pattern!r}; `internimage models` lists all")
        if self.json:
            for recipe in recipes:
                row = asdict(recipe) | {"parameters": recipe.parameters, "gmacs": recipe.gmacs}
                row["config"] = asdict(recipe.config)
                print_json({key: value for key, value in row.items() if key not in ("plain", "training")})
            return 0
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("model", no_wrap=True, min_width=max(len(recipe.name) for recipe in recipes))
        for heading in ("params", "size", "GMACs", "weights", "score"):
            table.add_column(heading, justify="right" if heading in ("params", "size", "GMACs") else "left")
        for recipe in recipes:
            score = str(recipe.published or "-")
            score = f"{recipe.measured} (ours)" if recipe.measured else score
            packaged = isinstance(recipe.weights, PackagedModel)
            table.add_row(
                recipe.name,
                f"{recipe.parameters / 1e6:.1f} M",
                recipe.preprocessing.extent,
                f"{recipe.gmacs:.1f}",
                "packaged" if packaged else "released" if recipe.weights or recipe.elsewhere else "none",
                score,
            )
        Console(width=None if Console().is_terminal else 120).print(table)
        print(
            "\nScores are the authors' own, unless marked ours. "
            "GMACs: multiply-additions of one image of that size (detectors: 800x1280; segmenters: a training "
            "crop, as in the name; 3D detectors: a frame of six cameras), counted here."
        )
        return 0
