# ruff: noqa: E501  # rows of exports
"""Small data sets as labelling tools export them, written by hand from their documentation.

All describe the same three pictures of 40x30 pixels: ``a`` shows a cat, ``b`` a dog and a cat, ``c`` nothing; where a
tool knows outlines, ``a`` shows a dog too, a triangle.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

WIDTH, HEIGHT = 40, 30
BOXES: dict[str, list[tuple[str, tuple[float, float, float, float]]]] = {
    "a": [("cat", (4, 6, 20, 18))],
    "b": [("dog", (8, 3, 30, 27)), ("cat", (0, 0, 40, 30))],
    "c": [],
}
TRIANGLE = [(10, 10), (22, 10), (10, 25)]
CLASSES = ("cat", "dog")


def picture(path: Path) -> None:
    """A picture that no other is equal to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90))
    image.paste((200, 40, 40), (2, 2, 6 + 4 * (ord(path.stem[-1]) % 8), 12))
    image.save(path)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_json(path: Path, content: Any) -> None:
    write(path, json.dumps(content))


def coco(root: Path) -> None:
    images = [{"id": n, "file_name": f"{name}.png", "width": 40, "height": 30} for n, name in enumerate(BOXES)]
    rows = [(n, label, box) for n, objects in enumerate(BOXES.values()) for label, box in objects]
    annotations: list[dict[str, Any]] = [
        {"id": i, "image_id": n, "category_id": CLASSES.index(label), "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for i, (n, label, (x1, y1, x2, y2)) in enumerate(rows)
    ]
    triangle = [edge for point in TRIANGLE for edge in point]
    annotations.append({"id": 9, "image_id": 0, "category_id": 1, "segmentation": [triangle]})
    categories = [{"id": n, "name": name} for n, name in enumerate(CLASSES)]
    write_json(root / "instances.json", {"images": images, "annotations": annotations, "categories": categories})
    for name in BOXES:
        picture(root / f"{name}.png")


YOLO_LINES = {"a": "0 0.3 0.4 0.4 0.4\n", "b": "1 0.475 0.5 0.55 0.8\n0 0.5 0.5 1 1\n"}
YOLO_TRIANGLE = "1 0.25 0.33333333 0.55 0.33333333 0.25 0.83333333\n"


def yolo(root: Path) -> None:
    """As Ultralytics documents it, with polygons."""
    write(root / "data.yaml", "path: ../datasets/pets\ntrain: images/train\nval:\nnames:\n  0: cat\n  1: dog\n")
    for name in BOXES:
        picture(root / "images" / "train" / f"{name}.png")
    write(root / "labels" / "train" / "a.txt", YOLO_LINES["a"] + YOLO_TRIANGLE)
    write(root / "labels" / "train" / "b.txt", YOLO_LINES["b"])


def yolo_roboflow(root: Path) -> None:
    write(root / "data.yaml", "train: ../train/images\nval: ../valid/images\n\nnc: 2\nnames: ['cat', 'dog']\n")
    for part, names in (("train", "ac"), ("valid", "b")):
        for name in names:
            picture(root / part / "images" / f"{name}.png")
            write(root / part / "labels" / f"{name}.txt", YOLO_LINES.get(name, ""))


def yolo_darknet(root: Path) -> None:
    """As CVAT exports YOLO 1.1."""
    write(root / "obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
    write(root / "obj.names", "cat\ndog\n")
    write(root / "train.txt", "".join(f"data/obj_train_data/{name}.png\n" for name in BOXES))
    for name in BOXES:
        picture(root / "obj_train_data" / f"{name}.png")
        write(root / "obj_train_data" / f"{name}.txt", YOLO_LINES.get(name, ""))


def yolo_names(root: Path) -> None:
    """As labelImg and Label Studio write it."""
    write(root / "classes.txt", "cat\ndog\n")
    for name in BOXES:
        picture(root / "images" / f"{name}.png")
    for name, lines in YOLO_LINES.items():
        write(root / "labels" / f"{name}.txt", lines)


def voc_xml(name: str, shift: int, suffix: str = ".png") -> str:
    """One picture; ``shift`` 1 counts pixels from 1, as VOC does."""
    objects = "".join(
        f"<object><name>{label}</name><pose>Unspecified</pose><truncated>0</truncated><difficult>{int(x2 == 40)}"
        f"</difficult><bndbox><xmin>{x1 + shift}</xmin><ymin>{y1 + shift}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for label, (x1, y1, x2, y2) in BOXES[name]
    )
    size = "<size><width>40</width><height>30</height><depth>3</depth></size>"
    return f"<annotation><folder>x</folder><filename>{name}{suffix}</filename>{size}{objects}</annotation>"


def voc(root: Path) -> None:
    for name in BOXES:
        picture(root / "JPEGImages" / f"{name}.png")
        write(root / "Annotations" / f"{name}.xml", voc_xml(name, 1))
    write(root / "ImageSets" / "Main" / "train.txt", "a\nc\n")
    write(root / "ImageSets" / "Main" / "val.txt", "b\n")
    write(root / "ImageSets" / "Main" / "trainval.txt", "a\nb\nc\n")
    write(root / "ImageSets" / "Main" / "cat_train.txt", "a  1\nc -1\n")


def voc_beside(root: Path) -> None:
    """As Roboflow lays it; here with edges from 0, as CVAT writes them."""
    for part, names in (("train", "ac"), ("valid", "b")):
        for name in names:
            picture(root / part / f"{name}.png")
            write(root / part / f"{name}.xml", voc_xml(name, 0))


def labelme(root: Path) -> None:
    for name, objects in BOXES.items():
        picture(root / f"{name}.png")
        shapes: list[dict[str, Any]] = [
            {"label": label, "points": [[x2, y1], [x1, y2]], "group_id": None, "shape_type": "rectangle", "flags": {}}
            for label, (x1, y1, x2, y2) in objects
        ]
        if name == "a":
            shapes.append({"label": "dog", "points": [list(one) for one in TRIANGLE], "shape_type": "polygon"})
            shapes.append({"label": "nose", "points": [[5, 5]], "shape_type": "point"})
        content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"..\\img\\{name}.png"}
        write_json(root / f"{name}.json", {**content, "imageData": None, "imageHeight": 30, "imageWidth": 40})


def via_regions(name: str) -> list[dict[str, Any]]:
    shapes: list[tuple[str, dict[str, Any]]] = [
        (label, {"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1})
        for label, (x1, y1, x2, y2) in BOXES[name]
    ]
    if name == "a":
        x, y = (list(values) for values in zip(*TRIANGLE, strict=True))
        shapes.append(("dog", {"name": "polygon", "all_points_x": x, "all_points_y": y}))
    return [{"shape_attributes": shape, "region_attributes": {"kind": label}} for label, shape in shapes]


def via(root: Path) -> None:
    """A project of VIA 2."""
    metadata = {
        f"{name}.png123": {"filename": f"{name}.png", "size": 123, "regions": via_regions(name), "file_attributes": {}}
        for name in BOXES
    }
    attributes = {"region": {"kind": {"type": "dropdown", "options": {"cat": "", "dog": ""}}}, "file": {}}
    content = {"_via_settings": {}, "_via_img_metadata": metadata, "_via_attributes": attributes}
    write_json(root / "via_project.json", content)
    for name in BOXES:
        picture(root / f"{name}.png")


def via_csv(root: Path) -> None:
    rows = ["filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"]
    for name in BOXES:
        picture(root / f"{name}.png")
        regions = via_regions(name)
        for number, region in enumerate(regions):
            shape, said = (
                json.dumps(region[key]).replace('"', '""') for key in ("shape_attributes", "region_attributes")
            )
            rows.append(f'{name}.png,123,"{{}}",{len(regions)},{number},"{shape}","{said}"')
        if not regions:
            rows.append(f'{name}.png,123,"{{}}",0,0,"{{}}","{{}}"')
    write(root / "via_export.csv", "\n".join(rows))


def cvat(root: Path) -> None:
    images = ""
    for number, (name, objects) in enumerate(BOXES.items()):
        picture(root / "images" / f"{name}.png")
        drawn = "".join(
            f'<box label="{label}" source="manual" occluded="0" xtl="{x1}.00" ytl="{y1}" xbr="{x2}" ybr="{y2}" z_order="0">'
            '<attribute name="age">3</attribute></box>'
            for label, (x1, y1, x2, y2) in objects
        )
        if name == "a":
            points = ";".join(f"{x}.00,{y}.00" for x, y in TRIANGLE)
            drawn += f'<polygon label="dog" source="manual" occluded="1" points="{points}" z_order="0"></polygon>'
            drawn += (
                '<polyline label="dog" occluded="0" points="1,1;5,5" z_order="0"></polyline><tag label="cat"></tag>'
            )
        subset = "Train" if name != "b" else "Validation"
        images += f'<image id="{number}" name="{name}.png" subset="{subset}" width="40" height="30">{drawn}</image>'
    labels = "".join(f"<label><name>{name}</name><color>#ff0000</color></label>" for name in CLASSES)
    meta = f"<meta><project><labels>{labels}</labels></project></meta>"
    write(
        root / "annotations.xml", f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>{meta}{images}</annotations>'
    )


def per_cent(box: tuple[float, float, float, float]) -> dict[str, float]:
    x1, y1, x2, y2 = box
    return {"x": x1 / 0.4, "y": y1 / 0.3, "width": (x2 - x1) / 0.4, "height": (y2 - y1) / 0.3, "rotation": 0}


def labelstudio(root: Path) -> None:
    tasks = []
    for number, (name, objects) in enumerate(BOXES.items(), 1):
        picture(root / "images" / f"{name}.png")
        result: list[dict[str, Any]] = [
            {"type": "rectanglelabels", "value": {**per_cent(box), "rectanglelabels": [label]}}
            for label, box in objects
        ]
        if name == "a":
            points = [[x / 0.4, y / 0.3] for x, y in TRIANGLE]
            result.append({"type": "polygonlabels", "value": {"points": points, "polygonlabels": ["dog"]}})
        common = {
            "original_width": 40,
            "original_height": 30,
            "image_rotation": 0,
            "from_name": "tag",
            "to_name": "img",
        }
        annotation = {"id": number, "was_cancelled": False, "result": [{"id": "x", **common, **one} for one in result]}
        data = {"image": f"/data/upload/7/1f2e3d4c-{name}.png"}
        tasks.append({"id": number, "data": data, "annotations": [annotation], "predictions": []})
    write_json(root / "project-7.json", tasks)


def labelstudio_min(root: Path) -> None:
    tasks = []
    for number, (name, objects) in enumerate(BOXES.items(), 1):
        picture(root / f"{name}.png")
        regions = [
            {**per_cent(box), "rectanglelabels": [label], "original_width": 40, "original_height": 30}
            for label, box in objects
        ]
        task = {"image": f"/data/upload/7/1f2e3d4c-{name}.png", "id": number, "annotator": 1, "annotation_id": number}
        tasks.append({**task, "label": regions} if regions else task)
    write_json(root / "min.json", tasks)


def labelstudio_choices(root: Path) -> None:
    tasks = []
    for number, (name, label) in enumerate(WHOLE.items(), 1):
        picture(root / f"{name}.png")
        result = [{"type": "choices", "value": {"choices": [label]}, "from_name": "choice", "to_name": "img"}]
        data = {"image": f"s3://bucket/pets/{name}.png"}
        tasks.append({"id": number, "data": data, "annotations": [{"id": 1, "result": result}]})
    write_json(root / "export.json", tasks)


def supervisely(root: Path) -> None:
    """Corners of rectangles are pixels, both in the box."""
    write_json(root / "meta.json", {"classes": [{"title": name, "shape": "any"} for name in CLASSES], "tags": []})
    for name, objects in BOXES.items():
        folder = root / ("train" if name != "b" else "val")
        picture(folder / "img" / f"{name}.png")
        drawn = [
            {"classTitle": label, "geometryType": "rectangle", "points": {"exterior": [[x1, y1], [x2 - 1, y2 - 1]]}}
            for label, (x1, y1, x2, y2) in objects
        ]
        if name == "a":
            exterior = [list(point) for point in TRIANGLE]
            drawn.append(
                {"classTitle": "dog", "geometryType": "polygon", "points": {"exterior": exterior, "interior": []}}
            )
        content = {"description": "", "tags": [], "size": {"height": 30, "width": 40}, "objects": drawn}
        write_json(folder / "ann" / f"{name}.png.json", content)


def imagefolder(root: Path) -> None:
    for part, names in (("train", "ac"), ("validation", "b")):
        rows = []
        for name in names:
            picture(root / part / f"{name}.png")
            boxes = [[x1, y1, x2 - x1, y2 - y1] for _, (x1, y1, x2, y2) in BOXES[name]]
            objects = {"bbox": boxes, "categories": [label for label, _ in BOXES[name]]}
            rows.append(json.dumps({"file_name": f"{name}.png", "objects": objects}))
        write(root / part / "metadata.jsonl", "\n".join(rows))


def imagefolder_labels(root: Path) -> None:
    write(
        root / "metadata.csv", "file_name,label\n" + "".join(f"{name}.png,{label}\n" for name, label in WHOLE.items())
    )
    for name in WHOLE:
        picture(root / f"{name}.png")


def masks(root: Path) -> None:
    for name in BOXES:
        picture(root / "images" / f"{name}.png")
        mask = Image.new("L", (WIDTH, HEIGHT))
        mask.paste(1, (4, 6, 20, 18))
        (root / "labels").mkdir(exist_ok=True)
        mask.save(root / "labels" / f"{name}.png")
    write(root / "classes.txt", "background\ncat\n")


WHOLE = {"a": "cat", "b": "dog", "c": "cat"}  # classes of whole pictures


def class_folders(root: Path) -> None:
    for name, label in WHOLE.items():
        picture(root / label / f"{name}.png")


def table(root: Path) -> None:
    """Kaggle's: ids without suffix, pictures in a folder beside."""
    write(root / "train.csv", "id;breed\n" + "".join(f"{name};{label}\n" for name, label in WHOLE.items()))
    for name in WHOLE:
        picture(root / "train" / f"{name}.png")


def one_hot(root: Path) -> None:
    """Roboflow's."""
    rows = "".join(f"{name}.png, {int(label == 'cat')}, {int(label == 'dog')}\n" for name, label in WHOLE.items())
    write(root / "train" / "_classes.csv", f"filename, cat, dog\n{rows}")
    for name in WHOLE:
        picture(root / "train" / f"{name}.png")


Builder = Callable[[Path], None]
OUTLINES: dict[str, Builder] = {
    one.__name__: one for one in (coco, yolo, labelme, via, via_csv, cvat, labelstudio, supervisely)
}
BOXED: dict[str, Builder] = {
    one.__name__: one
    for one in (yolo_roboflow, yolo_darknet, yolo_names, voc, voc_beside, labelstudio_min, imagefolder)
}
LABELLED: dict[str, Builder] = {
    one.__name__: one for one in (labelstudio_choices, imagefolder_labels, class_folders, table, one_hot)
}
BUILDERS: dict[str, Builder] = {**OUTLINES, **BOXED, "masks": masks, **LABELLED}
