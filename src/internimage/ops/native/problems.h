// What one call of an operator has to do, in plain numbers and pointers.
#pragma once

#include <cstdint>

namespace internimage {

enum class Type { kFloat32, kBFloat16, kFloat16 };

// The image that is sampled: channels last, (batch, pixels, channels), channels = groups * depth.
struct Image {
  const void* data;
  int64_t batch, pixels, groups, depth;
  int64_t channels() const { return groups * depth; }
};

// Where numbers of (output pixel, group) stand: elements between output pixels and between groups.
struct Layout {
  int64_t row, group;
};

// Deformable convolution: a grid around each output pixel, displaced by learned offsets.
struct Convolution {
  int64_t height, width, out_height, out_width;
  int64_t stride_y, stride_x;
  int64_t start_y, start_x;  // position of the kernel's centre for output pixel (0, 0)
  int64_t points;
  const float *tap_y, *tap_x;  // (points): the kernel's grid around its centre, scaled
  float scale;
  bool softmax;
  const void *offset, *weight;
  Layout offset_layout, weight_layout;
  int64_t queries() const { return out_height * out_width; }
};

// Multi-scale deformable attention: points anywhere in several levels.
struct Attention {
  int64_t levels, points;  // points of one level
  int64_t query_count;
  const int64_t *heights, *widths, *starts;  // (levels)
  const float *location, *weight;            // (batch, queries, heads, levels, points[, 2])
  int64_t queries() const { return query_count; }
};

// Layer normalisation of rows of channels, and what follows it in the same pass: GELU, or the sum with a residual.
struct Normalisation {
  const void *input, *weight, *bias;
  int64_t channels;
  float epsilon;
  bool gelu;
  const void *residual, *scale;  // null without; output = residual + scale * norm, where there is a scale
};

// Maps, channels last, as tiles of 4 x 4 pixels, image by image and row by row.
struct Tiles {
  void* data;
  int64_t batch, height, width, channels;
  int64_t down() const { return (height + 3) / 4; }
  int64_t across() const { return (width + 3) / 4; }
};

// Gradients of a loss.  grad_image is float and is written for the groups of a block; the others are in the operands' type.
struct Gradients {
  const void* output;
  float* image;
  void *offset, *weight;  // laid out like the operands
};

// One instruction set's kernels.  Forward works on output pixels [begin, end) of the whole batch; backward on blocks
// [begin, end) of (image, `groups_per_block` groups), which share nothing, so that sums have one order; normalise on rows.
// Those that need memory of their own say false where there is none.
struct Kernels {
  const char* name;
  bool (*convolve)(Type, const Image&, const Convolution&, void* output, int64_t begin, int64_t end);
  bool (*convolve_backward)(Type, const Image&, const Convolution&, const Gradients&, int64_t groups_per_block,
                            int64_t begin, int64_t end);
  bool (*attend)(Type, const Image&, const Attention&, void* output, int64_t begin, int64_t end);
  bool (*attend_backward)(Type, const Image&, const Attention&, const Gradients&, int64_t groups_per_block,
                          int64_t begin, int64_t end);
  bool (*normalise)(Type, const Normalisation&, void* output, int64_t begin, int64_t end);
  void (*convert)(Type, const float* from, void* to, int64_t begin, int64_t end);
  // Tiles [begin, end) of `count` from `first` on; see winograd.h.
  void (*transform)(const Tiles&, float* to, int64_t first, int64_t count, int64_t begin, int64_t end);
  void (*untransform)(const Tiles&, const float* const* products, const float* bias, bool relu, int64_t first,
                      int64_t begin, int64_t end);
  uint64_t (*digest)(const void* data, int64_t bytes);
};

}  // namespace internimage
