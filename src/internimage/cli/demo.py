"""internimage demo"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Demo:
    """Run InternImage-T over four photos and draw what each stage sees. Offline, seconds on a CPU.

    The weights are random, so this shows that everything works, not what the model has learned.
    """

    output: Path = Path("internimage-demo.png")
    """Picture to write."""

    def run(self) -> int:
        from internimage.demo import feature_sheet

        self.output.parent.mkdir(parents=True, exist_ok=True)
        feature_sheet().save(self.output)
        print(f"InternImage-T (untrained) ran over four photos; look at {self.output.resolve()}")
        return 0
