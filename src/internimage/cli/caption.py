"""internimage caption"""

from __future__ import annotations

from dataclasses import dataclass, field

from internimage.cli.common import FrameOptions, Images
from internimage.cli.describing import DescribeOptions


@dataclass(frozen=True)
class Caption:
    """Say in a sentence what each picture shows.

    $ internimage caption photos/ --model runs/captions

    $ internimage caption photo.jpg --model transformers:OpenGVLab/InternVL3-1B-hf --beams 3 --json

    Pictures that cannot be read are reported on stderr and skipped; the exit status is then 1.
    """

    images: Images
    model: DescribeOptions
    frames: FrameOptions = field(default_factory=FrameOptions)

    def run(self) -> int:
        return self.model.run(self.images, (), self.frames)
