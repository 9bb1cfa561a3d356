"""internimage features"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, arg

from internimage.cli.common import FrameOptions, Images, ModelOptions, Reading, depth, list_given, refuse_among

if TYPE_CHECKING:
    from internimage.images import ImageSource


@dataclass(frozen=True)
class Features:
    """Write features of images to one file.

    Layers: pooled (the vector before the classifier; of detectors and segmenters the mean over the last map), logits
    (of classifiers), stage1 ... stage4 (the backbone's maps, strides 4 to 32) and single blocks such as stage3.block5.
    The file holds one array per layer, images first, and the image names as `images`. Detectors and segmenters see
    whole pictures: where those differ in shape, maps need --average.

    $ internimage features photos/ --layers pooled stage3 --average --output photos.npz

    $ internimage features photos/ --layers stage1 stage2 stage3 stage4 --sheet maps.png
    """

    images: Images
    model: ModelOptions = field(default_factory=ModelOptions)
    frames: FrameOptions = field(default_factory=FrameOptions)
    layers: tuple[str, ...] = ("pooled",)
    """Layers to write."""
    average: FlagCreatePairsOff[bool] = False
    """Average feature maps over space, to one vector per image."""
    output: Annotated[
        Path | None, arg(metavar="FILE", help_behavior_hint="(default: features.npz, or none with --sheet)")
    ] = None
    """File to write: .npz, or .safetensors (with the image names in its metadata)."""

    sheet: Annotated[Path | None, arg(metavar="PNG", help_behavior_hint="")] = None
    """Draw the feature maps of the first dozen images, three principal components as colours; features of all images
    are written beside it only with --output."""

    def run(self) -> int:
        from internimage.errors import ConfigError
        from internimage.inference.feature_files import FeatureFile, FeatureSheet
        from internimage.writing import check_picture_name

        if not self.images:
            raise ConfigError("no image given; name files, folders, URLs or quoted patterns")
        output = self.output or (None if self.sheet else Path("features.npz"))
        file = FeatureFile(output) if output else None
        if self.sheet and self.average:
            raise ConfigError("--sheet shows maps over space; leave --average out")
        if self.sheet:
            check_picture_name(self.sheet)
            refuse_among(self.images, sheet=self.sheet)
        sheet = FeatureSheet(self.layers) if self.sheet else None
        reading = Reading(list_given(self.images), self.frames)
        for source, features in reading.good(self._stream(reading), "extracting"):
            if file:
                file.add(source.name, features)
            if sheet:
                sheet.add(source, features)
                if sheet.full and file is None:
                    break
        if len(reading.failures) < reading.count:
            if file:
                shapes = file.write()
                print(f"{file.path}: " + ", ".join(f"{name} {shape}" for name, shape in shapes.items()))
            if sheet and self.sheet:
                sheet.save(self.sheet)
                print(f"maps: {self.sheet.resolve()}")
        return reading.report()

    def _stream(self, reading: Reading) -> Iterator[tuple[ImageSource, Any]]:
        """Pictures with their features, of a model or of an exported file."""
        from internimage.description import is_exported

        chosen = depth(self.model.deep_range, self.model.deep_percentiles)
        if is_exported(self.model.name):
            from internimage.exporting.features import ExportedFeatures

            self.model.refuse_what_files_have()
            file = ExportedFeatures(
                self.model.name, device=self.model.device, batch_size=self.model.batch_size, depth=chosen
            )
            reading.look_at_pixels(file.preprocessing)
            return file.extract(reading.pictures(), self.layers, average=self.average)
        from internimage.inference.features import extract_features
        from internimage.inference.predictor import load_for_inference

        model: Any = load_for_inference(
            self.model.name, self.model.checkpoint, self.model.labels, self.model.device, self.model.torch_dtype()
        )
        if model.description is not None and model.description.preprocessing is not None:
            reading.look_at_pixels(model.description.preprocessing.seen_with(chosen))
        pictures, size = reading.pictures(), self.model.batch_size
        return extract_features(model, pictures, self.layers, average=self.average, batch_size=size, depth=chosen)
