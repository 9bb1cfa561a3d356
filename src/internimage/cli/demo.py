"""internimage demo"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Demo:
    """Predict a dozen held-out photos with the model of this package and draw truth beside prediction. Offline.

    The model is small and was trained on 500 photos in an hour on a CPU, so it makes mistakes; they are shown.
    """

    output: Path = Path("internimage-demo.png")
    """Picture to write."""

    def run(self) -> int:
        from internimage.demo import predict_photos, prediction_sheet

        results = predict_photos()
        width = max(len(truth) for truth, _ in results)
        for truth, result in results:
            mark = " " if result.label == truth else "x"
            others = ", ".join(f"{scored.label} {scored.score:.0%}" for scored in result.top(3))
            print(f"{mark} is {truth:<{width}}  says {others}")
        self.output.parent.mkdir(parents=True, exist_ok=True)
        prediction_sheet(results).save(self.output)
        right = sum(result.label == truth for truth, result in results)
        print(f"{right} of {len(results)} right; look at {self.output.resolve()}")
        return 0
