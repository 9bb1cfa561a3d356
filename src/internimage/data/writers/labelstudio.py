"""Label Studio's tasks with annotations, to be imported beside local files: ``PART.json`` and ``images/PART``.

The labelling configuration needs an ``Image`` called ``image`` and ``RectangleLabels`` and ``PolygonLabels`` called
``box`` and ``outline``; ``label_config.xml`` is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import quoteattr

from internimage.data.converting.outlines import outline_of
from internimage.data.converting.target import Target, below, size_of
from internimage.data.objects import ObjectAnnotation, ObjectImage, ObjectImages


def write(parts: Mapping[str, ObjectImages], target: Target) -> None:
    """Boxes and polygons, in per cent of the picture."""
    for name, part in parts.items():
        tasks = []
        for number, image in enumerate(part.images, 1):
            folder = below(name, "images")
            file = target.picture(image.file, folder)
            result = [_region(one, index, image, part.classes) for index, one in enumerate(image.objects)]
            data = {"image": f"/data/local-files/?d={folder}/{file}"}
            tasks.append({"id": number, "data": data, "annotations": [{"id": number, "result": result}]})
        target.write_json(f"{'tasks' if name == 'all' else name}.json", tasks)
    labels = "".join(f"<Label value={quoteattr(name)}/>" for name in next(iter(parts.values())).classes)
    target.write(
        "label_config.xml",
        f'<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">{labels}'
        f'</RectangleLabels><PolygonLabels name="outline" toName="image">{labels}</PolygonLabels></View>\n',
    )


def _region(one: ObjectAnnotation, index: int, image: ObjectImage, classes: tuple[str, ...]) -> dict[str, Any]:
    width, height = size_of(image)
    common = {"to_name": "image", "original_width": width, "original_height": height, "image_rotation": 0}
    polygon, name = outline_of(one, image.size), classes[one.label]
    if polygon is None:
        x1, y1, x2, y2 = one.box
        value: dict[str, Any] = {"x": 100 * x1 / width, "y": 100 * y1 / height, "rotation": 0}
        value |= {"width": 100 * (x2 - x1) / width, "height": 100 * (y2 - y1) / height, "rectanglelabels": [name]}
        return {"id": f"o{index}", "from_name": "box", "type": "rectanglelabels", "value": value, **common}
    points = [[100 * x / width, 100 * y / height] for x, y in zip(polygon[::2], polygon[1::2], strict=True)]
    value = {"points": points, "closed": True, "polygonlabels": [name]}
    return {"id": f"o{index}", "from_name": "outline", "type": "polygonlabels", "value": value, **common}
