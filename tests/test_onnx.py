"""Under ONNX export the operators become standard ones, which ONNX Runtime computes to the same numbers."""

from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch
from helpers.goldens import near
from torch import Tensor, nn

from internimage.factory import create_model
from internimage.ops import dcnv3, dcnv4, ms_deform_attn

DYNAMIC = torch.export.Dim.DYNAMIC


class Call(nn.Module):
    def __init__(self, run: Callable[..., Tensor]) -> None:
        super().__init__()
        self.run = run

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.run(*tensors)


def exported(model: nn.Module, inputs: tuple[Tensor, ...], path: Path, dynamic: object) -> onnxruntime.InferenceSession:
    program = torch.onnx.export(model, inputs, dynamo=True, dynamic_shapes=dynamic, opset_version=18, verbose=False)
    assert program is not None
    assert {node.domain for node in program.model.graph} == {""}
    program.save(path)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def close(session: onnxruntime.InferenceSession, model: nn.Module, inputs: tuple[Tensor, ...], atol: float) -> None:
    feeds = {slot.name: tensor.numpy() for slot, tensor in zip(session.get_inputs(), inputs, strict=True)}
    (found,) = session.run(None, feeds)
    with torch.inference_mode():
        near(torch.from_numpy(found), model(*inputs), atol)


@pytest.mark.full
def test_a_network_with_any_batch_height_and_width(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model("internimage_atto", num_classes=10)
    with torch.no_grad():  # offsets start at zero, where every sample lies on a pixel
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    images = torch.randn(2, 3, 96, 80)
    session = exported(model, (images,), tmp_path / "model.onnx", ({0: DYNAMIC, 2: DYNAMIC, 3: DYNAMIC},))
    for size in ((2, 96, 80), (1, 128, 160), (3, 70, 101)):
        close(session, model, (torch.randn(size[0], 3, *size[1:]),), 5e-6)


@pytest.mark.parametrize("softmax", [pytest.param(False, marks=pytest.mark.full), True])
def test_operators(tmp_path: Path, softmax: bool) -> None:
    torch.manual_seed(0)
    odd = {"kernel_size": (2, 3), "stride": (2, 1), "padding": (1, 2), "dilation": (2, 1), "groups": 2}
    options = {**odd, "offset_scale": 1.5, "remove_center": True, "softmax": softmax}
    image, offset, mask = torch.randn(2, 9, 8, 6), torch.randn(2, 5, 10, 20), torch.randn(2, 5, 10, 10)
    shapes = [(6, 7), (3, 4)]
    for name, run, inputs in (
        ("dcnv3", lambda *t: dcnv3(*t, **options), (image, offset, mask)),
        ("dcnv4", lambda *t: dcnv4(*t, **options), (image, torch.randn(2, 5, 10, 32))),
        (
            "ms_deform_attn",
            lambda value, location, weight: ms_deform_attn(value, shapes, location, weight),
            (torch.randn(2, 54, 3, 5), torch.rand(2, 7, 3, 2, 4, 2) * 1.4 - 0.2, torch.randn(2, 7, 3, 2, 4)),
        ),
    ):
        model = Call(run).eval()
        close(exported(model, inputs, tmp_path / f"{name}.onnx", None), model, inputs, 2e-5)
