"""Segment Anything without its weights: tiny random models, and one that knows what it is asked for."""

from types import SimpleNamespace
from typing import Any

import torch
import transformers
from torch import Tensor, nn

SIDE = 128


def tiny_sam() -> Any:
    """58,000 parameters, pictures of 128 pixels."""
    torch.manual_seed(0)
    vision = transformers.SamVisionConfig(
        **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE, "patch_size": 16},
        **{"output_channels": 16, "mlp_dim": 64, "global_attn_indexes": [1], "window_size": 4, "num_pos_feats": 8},
    )
    prompts = transformers.SamPromptEncoderConfig(hidden_size=16, image_size=SIDE, patch_size=16, mask_input_channels=4)
    decoder = transformers.SamMaskDecoderConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_dim=32, iou_head_hidden_dim=16, iou_head_depth=2
    )
    config = transformers.SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    return transformers.SamModel(config).eval()


def tiny_sam2() -> Any:
    """The same for SAM 2."""
    torch.manual_seed(0)
    backbone = transformers.Sam2HieraDetConfig(
        **{"hidden_size": 8, "image_size": [SIDE, SIDE], "blocks_per_stage": [1, 1, 2, 1]},
        **{"embed_dim_per_stage": [8, 16, 32, 64], "num_attention_heads_per_stage": [1, 2, 4, 8]},
        **{"window_size_per_stage": [8, 4, 4, 2], "global_attention_blocks": [3]},
    )
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[SIDE // scale] * 2 for scale in (4, 8, 16)],
        fpn_hidden_size=16,
    )
    prompts = transformers.Sam2PromptEncoderConfig(hidden_size=16, image_size=SIDE, mask_input_channels=4)
    decoder = transformers.Sam2MaskDecoderConfig(
        hidden_size=16, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16, iou_head_depth=2
    )
    return transformers.Sam2Model(
        transformers.Sam2Config(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    ).eval()


class Boxes(nn.Module):
    """Its logits are the distance to the edge of the box that it is asked for, inside positive."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        vision = SimpleNamespace(image_size=1024, backbone_config=SimpleNamespace(image_size=[1024, 1024]))
        self.config = SimpleNamespace(model_type=kind, vision_config=vision)

    def get_image_embeddings(self, pixels: Tensor) -> Tensor:
        return pixels

    def forward(self, image_embeddings: Tensor, input_boxes: Tensor, multimask_output: bool) -> Any:
        places = (torch.arange(256) + 0.5) * 4
        x1, y1, x2, y2 = (one[..., None] for one in input_boxes[0].unbind(-1))
        across, down = torch.minimum(places - x1, x2 - places), torch.minimum(places - y1, y2 - places)
        logits = torch.minimum(down[:, :, None], across[:, None, :])
        return SimpleNamespace(pred_masks=logits[None, :, None], iou_scores=torch.full((1, len(logits), 1), 0.5))
