"""internimage ask"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import Positional, arg

from internimage.cli.common import FrameOptions
from internimage.cli.describing import DescribeOptions


@dataclass(frozen=True)
class Ask:
    """Answer questions about pictures.

    $ internimage ask photo.jpg "what colour is the light?" --model runs/answers

    $ internimage ask photos/ "is it raining?" "how many people are there?" --model runs/answers --json

    Pictures that cannot be read are reported on stderr and skipped; the exit status is then 1.
    """

    image: Annotated[
        Positional[str],
        arg(metavar="IMAGE", help="A file, a folder, a URL or a quoted pattern such as 'photos/*.jpg'."),
    ]
    questions: Annotated[
        Positional[tuple[str, ...]], arg(metavar="QUESTION...", help="Each is asked about each picture.")
    ]
    model: DescribeOptions
    frames: FrameOptions = field(default_factory=FrameOptions)

    def run(self) -> int:
        from internimage.errors import ConfigError

        if not self.questions:
            raise ConfigError("no question given; expected words after the image, such as 'what colour is the light?'")
        for question in self.questions:
            if os.path.exists(question):  # noqa: PTH110  no question is too long
                raise ConfigError(
                    f"{question} is a file, expected a question; quote patterns, so that one image is named"
                )
        return self.model.run([self.image], self.questions, self.frames)
