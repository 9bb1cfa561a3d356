"""Architectures of backbones: InternImage, FlashInternImage, ResNet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Literal, TypeAlias, get_args

from internimage.errors import ConfigError

NormLayer = Literal["layer", "batch"]
Activation = Literal["gelu", "silu", "relu"]
Operator = Literal["dcnv3", "dcnv4"]
ResNetStyle = Literal["pytorch", "caffe"]

# blocks of each stage
RESNET_50 = (3, 4, 6, 3)
RESNET_101 = (3, 4, 23, 3)


@dataclass(frozen=True)
class InternImageConfig:
    """Architecture of an InternImage backbone.  Stage i has ``channels * 2**i`` channels and stride ``4 * 2**i``.

    Attributes:
        channels: width of the first stage.
        depths: blocks of each stage.
        groups: groups of the deformable layers of each stage; a divisor of the stage's channels.
        mlp_ratio: hidden width of the MLP over the block's width.
        norm_layer: normalisation in the stem, the downsampling layers and DCNv3's depthwise branch.  Block and stage
            norms are always LayerNorm.
        activation: non-linearity of stem, DCNv3's depthwise branch and MLP.
        post_norm: normalise a branch's output instead of its input.
        res_post_norm: normalise a branch's output as well as its input (InternImage-H).
        layer_scale: initial value of the learned per-channel scale of each branch; None for no scale.
        offset_scale: stretches kernel grid and offsets.
        depthwise_kernel_size: kernel of the depthwise convolution before the prediction of offsets and mask; of DCNv4
            None for no such convolution.
        center_feature_scale: blend the operator's output with its input by a learned gate per group; with DCNv4 it
            only adds the norms at the ends of stages, as in the released code.
        remove_center: eight points instead of nine, without the central one.
        mask_softmax: whether DCNv3's weights of a group's points sum to one.  False leaves them unbounded, as DCNv4's
            always are (Xiong et al., CVPR 2024, section 3.1).
        random_filters: start each group's weights as a random filter, which learns faster from scratch, instead
            of all equal (DCNv3: an average; DCNv4 and unbounded weights: zero).
        post_norm_blocks: blocks of the third stage followed by an extra LayerNorm (InternImage-H and G).
        layer: the deformable layer of a block; "dcnv4" makes a FlashInternImage (Xiong et al., CVPR 2024).
        operator: what samples.  None for the layer's own; "dcnv4" lets DCNv3 layers pass offsets and weights in one
            tensor, with the same parameters and results.
        output_bias: whether the deformable layer's last linear layer has a bias.
        mlp_bias: whether that of the MLP has one.
        in_channels: of the images.
        linear_std: standard deviation with which linear layers start; None for the inverse root of their inputs.
    """

    channels: int
    depths: tuple[int, ...]
    groups: tuple[int, ...]
    mlp_ratio: float = 4.0
    norm_layer: NormLayer = "layer"
    activation: Activation = "gelu"
    post_norm: bool = False
    res_post_norm: bool = False
    layer_scale: float | None = None
    offset_scale: float = 1.0
    depthwise_kernel_size: int | None = 3
    center_feature_scale: bool = False
    remove_center: bool = False
    mask_softmax: bool = True
    random_filters: bool = False
    post_norm_blocks: tuple[int, ...] = ()
    layer: Operator = "dcnv3"
    operator: Operator | None = None
    output_bias: bool = True
    mlp_bias: bool = True
    linear_std: float | None = 0.02
    in_channels: int = 3

    def __post_init__(self) -> None:
        optional = ("layer_scale", "linear_std", "depthwise_kernel_size")
        for name in ("channels", "mlp_ratio", "offset_scale", *optional):
            value = getattr(self, name)
            if not isinstance(value, Real) and not (value is None and name in optional):
                raise ConfigError(f"{name} is {value!r}; expected a number{' or None' * (name in optional)}")
        if not isinstance(self.in_channels, int) or self.in_channels < 1:
            raise ConfigError(f"in_channels is {self.in_channels!r}; expected a number of channels, 1 or more")
        if self.channels < 2 or min(self.groups, default=0) < 1 or min(self.depths, default=0) < 1:
            raise ConfigError(
                f"channels {self.channels}, depths {self.depths} and groups {self.groups} must all be at least 1, "
                "channels 2"
            )
        if len(self.depths) != len(self.groups):
            raise ConfigError(f"depths {self.depths} and groups {self.groups} must name the same number of stages")
        for width, groups in zip(self.stage_channels, self.groups, strict=True):
            if width % groups:
                raise ConfigError(f"{width} channels do not divide into {groups} groups")
        if self.res_post_norm and (self.post_norm or self.layer_scale is not None):
            raise ConfigError("res_post_norm cannot be combined with post_norm or layer_scale; choose one")
        size = self.depthwise_kernel_size
        if self.layer == "dcnv3" if size is None else size < 1 or size % 2 != 1:
            raise ConfigError(f"depthwise_kernel_size is {size}; expected an odd number >= 1, or None for DCNv4")
        kinds = {"norm_layer": NormLayer, "activation": Activation, "layer": Operator, "operator": Operator}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if value not in get_args(kind) and (name, value) != ("operator", None):
                known = ", ".join(get_args(kind))
                raise ConfigError(f"unknown {name} {value!r}; expected one of {known}")
        if self.layer == "dcnv4" and self.operator == "dcnv3":
            raise ConfigError("DCNv4 layers run on the operator dcnv4 alone; leave operator out")
        if self.operator == self.layer:
            object.__setattr__(self, "operator", None)
        third = range(self.depths[2]) if len(self.depths) > 2 else range(0)
        if self.post_norm_blocks != tuple(sorted(set(self.post_norm_blocks) & set(third))):
            raise ConfigError(f"post_norm_blocks {self.post_norm_blocks} are not ascending blocks of the third stage")

    def shares_weights_with(self, other: BackboneConfig) -> bool:
        """Whether weights of one are weights of the other: equal but for how they start, what samples and channels."""
        if not isinstance(other, InternImageConfig):
            return False
        alike = {"operator": None, "random_filters": False, "linear_std": None, "in_channels": 3}
        own, others = (replace(one, **alike) for one in (self, other))  # type: ignore[arg-type]
        return own == others

    def with_operator(self, operator: Operator) -> InternImageConfig:
        """The same network, whose layers sample with this operator."""
        return replace(self, operator=operator)

    @property
    def family(self) -> str:
        """What people call such networks."""
        return "FlashInternImage" if self.layer == "dcnv4" else "InternImage"

    @property
    def backbone(self) -> InternImageConfig:
        """Itself: a backbone alone is asked for its backbone as every model is."""
        return self

    @property
    def num_classes(self) -> int:
        """A backbone alone has no classes."""
        return 0

    @property
    def stage_channels(self) -> tuple[int, ...]:
        return tuple(self.channels * 2**stage for stage in range(len(self.depths)))

    @property
    def has_stage_norm(self) -> bool:
        """Whether a stage ends in a LayerNorm, which its feature map then includes."""
        return not self.post_norm or self.center_feature_scale


@dataclass(frozen=True)
class ResNetConfig:
    """Architecture of a ResNet of bottleneck blocks.

    Stage i has ``4 * channels * 2**i`` channels and stride ``4 * 2**i``.

    Attributes:
        depths: blocks of each stage: :data:`RESNET_50`, :data:`RESNET_101`.
        channels: width of the stem and of the 3x3 convolutions of the first stage.
        style: where a stage's first block halves its map: in the 3x3 convolution ("pytorch") or in the 1x1 convolution
            before it ("caffe", as He et al. have it).
        deformable: of each stage whether its 3x3 convolutions are modulated deformable ones (Zhu et al., CVPR 2019).
        bgr: the weights see blue, green, red.  Images are RGB all the same: the network turns them round.
        frozen_stages: stages that are never trained, with the stem before them; 0 for none.
        frozen_norm: batch normalisation is never trained and keeps its statistics, as where batches are small.
        in_channels: of the images.
    """

    depths: tuple[int, ...] = RESNET_50
    channels: int = 64
    style: ResNetStyle = "pytorch"
    deformable: tuple[bool, ...] = (False, False, False, False)
    bgr: bool = False
    frozen_stages: int = 0
    frozen_norm: bool = False
    in_channels: int = 3

    def __post_init__(self) -> None:
        for name in ("channels", "in_channels"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} is {value!r}; expected a number of channels, 1 or more")
        if min(self.depths, default=0) < 1:
            raise ConfigError(f"depths are {self.depths}; expected 1 block or more in each stage")
        if len(self.deformable) != len(self.depths):
            raise ConfigError(f"depths {self.depths} and deformable {self.deformable} must name as many stages")
        if self.style not in get_args(ResNetStyle):
            raise ConfigError(f"unknown style {self.style!r}; expected one of {', '.join(get_args(ResNetStyle))}")
        if not 0 <= self.frozen_stages <= len(self.depths):
            raise ConfigError(f"frozen_stages is {self.frozen_stages}; the network has {len(self.depths)} stages")

    def shares_weights_with(self, other: BackboneConfig) -> bool:
        """Whether weights of one are weights of the other: equal but for what is trained, and channels of images."""
        if not isinstance(other, ResNetConfig):
            return False
        own, others = (replace(one, frozen_stages=0, frozen_norm=False, in_channels=3) for one in (self, other))
        return own == others

    def with_operator(self, operator: Operator) -> ResNetConfig:
        """Raise :class:`ConfigError`: it does not sample with an operator of ours."""
        raise ConfigError(f"a ResNet does not sample with the operator {operator}; leave operator out")

    @property
    def family(self) -> str:
        """What people call such networks."""
        return "ResNet"

    @property
    def backbone(self) -> ResNetConfig:
        """Itself, see :attr:`InternImageConfig.backbone`."""
        return self

    @property
    def num_classes(self) -> int:
        """A backbone alone has no classes."""
        return 0

    @property
    def stage_channels(self) -> tuple[int, ...]:
        return tuple(4 * self.channels * 2**stage for stage in range(len(self.depths)))


BackboneConfig: TypeAlias = InternImageConfig | ResNetConfig
