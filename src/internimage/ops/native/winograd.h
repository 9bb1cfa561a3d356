// The transforms around the 36 products of Winograd's convolution F(4x4, 3x3): Lavin and Gray, "Fast Algorithms for
// Convolutional Neural Networks", CVPR 2016, section 4.  Part of kernels.cpp.
#pragma once

#include "table.h"

namespace internimage {
namespace SIMD_NAMESPACE {

// The polynomials are evaluated at 0, a, -a, b, -b and infinity.  With 3/4 and 3/2 the results are four times as exact
// as with the usual 1 and 2, whose large constants cancel; all of these are exact in float32.
constexpr float kA = 0.75f, kB = 1.5f;
constexpr float kA2 = kA * kA, kB2 = kB * kB;

// Six numbers of the input to six: B transposed.
INLINE void into(const Floats* from, int64_t apart, Floats* to, int64_t to_apart) {
  const Floats zeroth = from[0], first = from[apart], second = from[2 * apart], third = from[3 * apart],
               fourth = from[4 * apart], fifth = from[5 * apart];
  const Floats minus_a2 = splat(-kA2), minus_b2 = splat(-kB2), both = splat(kA2 * kB2), minus_sum = splat(-kA2 - kB2);
  const Floats even_a = multiply_add(second, minus_b2, fourth), odd_a = kA * multiply_add(first, minus_b2, third);
  const Floats even_b = multiply_add(second, minus_a2, fourth), odd_b = kB * multiply_add(first, minus_a2, third);
  to[0] = multiply_add(both, zeroth, multiply_add(minus_sum, second, fourth));
  to[to_apart] = even_a + odd_a;
  to[2 * to_apart] = even_a - odd_a;
  to[3 * to_apart] = even_b + odd_b;
  to[4 * to_apart] = even_b - odd_b;
  to[5 * to_apart] = multiply_add(both, first, multiply_add(minus_sum, third, fifth));
}

// Six products to four numbers of the output: A transposed.
INLINE void out_of(const Floats* from, int64_t apart, Floats* to, int64_t to_apart) {
  const Floats plus_a = from[apart], minus_a = from[2 * apart], plus_b = from[3 * apart], minus_b = from[4 * apart];
  const Floats even_a = plus_a + minus_a, odd_a = plus_a - minus_a, even_b = plus_b + minus_b, odd_b = plus_b - minus_b;
  to[0] = from[0] + even_a + even_b;
  to[to_apart] = multiply_add(splat(kB), odd_b, kA * odd_a);
  to[2 * to_apart] = multiply_add(splat(kB2), even_b, kA2 * even_a);
  to[3 * to_apart] = multiply_add(splat(kB2 * kB), odd_b, multiply_add(splat(kA2 * kA), odd_a, from[5 * apart]));
}

struct Place {
  int64_t image, y, x;  // of the first pixel of the output
};

INLINE Place place_of(const Tiles& t, int64_t tile) {
  const int64_t in_image = t.down() * t.across(), rest = tile % in_image;
  return {tile / in_image, rest / t.across() * 4, rest % t.across() * 4};
}

// Tiles [begin, end) of those from `first` on: input to 36 arrays of (count, channels).
INLINE void transform_tiles(const Tiles& t, float* to, int64_t first, int64_t count, int64_t begin, int64_t end) {
  const int64_t channels = t.channels;
  for (int64_t tile = begin; tile < end; ++tile) {
    const Place place = place_of(t, first + tile);
    const float* image = static_cast<const float*>(t.data) + place.image * t.height * t.width * channels;
    const float* pixels[36];
    for (int64_t i = 0; i < 36; ++i) {
      const int64_t y = place.y + i / 6 - 1, x = place.x + i % 6 - 1;
      const bool exists = y >= 0 && y < t.height && x >= 0 && x < t.width;
      pixels[i] = exists ? image + (y * t.width + x) * channels : nullptr;
    }
    for (int64_t c = 0; c < channels; c += kLanes) {
      const int64_t lanes = smaller(kLanes, channels - c);
      Floats values[36], half[36];
      for (int64_t i = 0; i < 36; ++i) values[i] = pixels[i] ? load_some(pixels[i] + c, lanes) : Floats{};
      for (int64_t x = 0; x < 6; ++x) into(values + x, 6, half + x, 6);
      for (int64_t y = 0; y < 6; ++y) into(half + 6 * y, 1, values + 6 * y, 1);
      float* from_here = to + tile * channels + c;
      for (int64_t i = 0; i < 36; ++i) {
        float* p = from_here + i * count * channels;
        if (lanes == kLanes) {
          store(p, values[i]);
        } else {
          store_part(p, values[i], lanes);
        }
      }
    }
  }
}

// The same back: 36 arrays of (count, channels) to the output, with a bias and, if asked for, a ReLU.
INLINE void untransform_tiles(const Tiles& t, const float* const* products, const float* bias, bool relu, int64_t first,
                              int64_t begin, int64_t end) {
  const int64_t channels = t.channels;
  for (int64_t tile = begin; tile < end; ++tile) {
    const Place place = place_of(t, first + tile);
    float* image = static_cast<float*>(t.data) + place.image * t.height * t.width * channels;
    const int64_t rows = smaller(4, t.height - place.y), columns = smaller(4, t.width - place.x);
    for (int64_t c = 0; c < channels; c += kLanes) {
      const int64_t lanes = smaller(kLanes, channels - c);
      Floats values[36], half[24];
      for (int64_t i = 0; i < 36; ++i) values[i] = load_some(products[i] + tile * channels + c, lanes);
      for (int64_t x = 0; x < 6; ++x) out_of(values + x, 6, half + x, 6);
      for (int64_t y = 0; y < 4; ++y) out_of(half + 6 * y, 1, values + 4 * y, 1);
      const Floats shift = bias ? load_some(bias + c, lanes) : Floats{};
      for (int64_t y = 0; y < rows; ++y) {
        for (int64_t x = 0; x < columns; ++x) {
          Floats v = values[4 * y + x] + shift;
          if (relu) v = (Floats)((Ints)v & ~(v < 0.0f));  // NaN stays NaN
          float* p = image + ((place.y + y) * t.width + place.x + x) * channels + c;
          if (lanes == kLanes) {
            store(p, v);
          } else {
            store_part(p, v, lanes);
          }
        }
      }
    }
  }
}

}  // namespace SIMD_NAMESPACE
}  // namespace internimage
