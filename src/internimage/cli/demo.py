"""internimage demo"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Demo:
    """Predict held-out images with the models in this package and draw the truth beside each prediction. Offline.

    A classifier of clothes, a detector of blood cells, a detector of cell nuclei with masks, and a segmenter of cell
    nuclei. They are small and were trained on 500, 205 and 60 images, each in less than an hour on a CPU, so they make
    mistakes; the demo marks them.
    """

    output: Path = Path("internimage-demo.png")
    """Image file to write."""

    def run(self) -> int:
        from internimage.demo import (
            DETECTORS,
            cell_sheet,
            covered_share,
            found_classes,
            mask_sheet,
            predict_cells,
            predict_masks,
            predict_photos,
            prediction_sheet,
            stack,
        )
        from internimage.writing import check_picture_name, save_picture

        check_picture_name(self.output)

        results = predict_photos()
        width = max(len(truth) for truth, _ in results)
        for truth, result in results:
            mark = " " if result.label == truth else "x"
            others = ", ".join(f"{scored.label} {scored.score:.0%}" for scored in result.top(3))
            print(f"{mark} is {truth:<{width}}  says {others}")
        right = sum(result.label == truth for truth, result in results)
        print(f"{right} of {len(results)} right")
        sheets = [prediction_sheet(results)]
        for name in DETECTORS:
            cells = predict_cells(name)
            for labelled, found in cells:
                counts = found_classes(found)
                texts = [f"{counts[label]} of {labelled[label]} {label}" for label in sorted(labelled | counts)]
                print(f"  found {', '.join(texts)} in {Path(found.source.name).name}")
            sheets.append(cell_sheet(name, cells))
        masks = predict_masks()
        for share, segmented in masks:
            name = Path(segmented.source.name).name
            print(f"  nuclei cover {covered_share(segmented):.1%} of {name}, labelled {share:.1%}")
        sheets.append(mask_sheet(masks))
        save_picture(stack(sheets), self.output)
        print(f"look at {self.output.resolve()}")
        return 0
