// Layer normalisation of rows of channels, with what follows it.  Part of kernels.cpp.
#pragma once

#include "memory.h"
#include "table.h"

namespace internimage {
namespace SIMD_NAMESPACE {

constexpr int64_t kRows = 4;  // in flight at once: a row alone waits for its own sums

// Mean and variance are taken in two passes over rows that lie in the first-level cache: one pass over sums of squares
// loses all digits where the mean is large.
template <class T>
bool normalise_rows(const Normalisation& problem, T* output, int64_t begin, int64_t end) {
  const int64_t channels = problem.channels, whole = channels / kLanes * kLanes;
  const int64_t padded = round_up(channels);
  const Memory<float> weight(padded), bias(padded), factor(padded), copies(kRows * padded);
  if (!weight || !bias || !factor || !copies) return false;
  read(static_cast<const T*>(problem.weight), channels, weight.data());
  read(static_cast<const T*>(problem.bias), channels, bias.data());
  if (problem.scale) {
    read(static_cast<const T*>(problem.scale), channels, factor.data());
    for (int64_t c = 0; c < channels; ++c) weight.data()[c] *= factor.data()[c], bias.data()[c] *= factor.data()[c];
  }
  const float count = static_cast<float>(channels);
  for (int64_t first = begin; first < end; first += kRows) {
    const int64_t rows = smaller(kRows, end - first);
    Floats sum[kRows] = {}, squares[kRows] = {};
    float means[kRows], variances[kRows];
    for (int64_t r = 0; r < rows; ++r) {
      const T* x = static_cast<const T*>(problem.input) + (first + r) * channels;
      float* copy = copies.data() + r * padded;
      for (int64_t c = 0; c < padded; c += kLanes) {
        const Floats v = c < whole ? load(x + c) : load_part(x + c, channels - c);
        store(copy + c, v);
        sum[r] = sum[r] + v;
      }
    }
    sum_each(sum[0], sum[1], sum[2], sum[3], means);
    for (int64_t r = 0; r < rows; ++r) {
      float* copy = copies.data() + r * padded;
      means[r] /= count;
      for (int64_t c = channels; c < padded; ++c) copy[c] = means[r];  // adds nothing to the variance
      for (int64_t c = 0; c < padded; c += kLanes) {
        const Floats away = load(copy + c) - means[r];
        squares[r] = multiply_add(away, away, squares[r]);
      }
    }
    sum_each(squares[0], squares[1], squares[2], squares[3], variances);
    for (int64_t r = 0; r < rows; ++r) {
      const float* copy = copies.data() + r * padded;
      T* to = output + (first + r) * channels;
      const T* residual = static_cast<const T*>(problem.residual);
      if (residual) residual += (first + r) * channels;
      const Floats scale = splat(1.0f / __builtin_sqrtf(variances[r] / count + problem.epsilon));
      for (int64_t c = 0; c < padded; c += kLanes) {
        const Floats unit = (load(copy + c) - means[r]) * scale;
        Floats y = multiply_add(unit, load(weight.data() + c), load(bias.data() + c));
        if (problem.gelu) y = gelu(y);
        if (residual) y = y + load_some(residual + c, smaller(kLanes, channels - c));
        if (c < whole) {
          store(to + c, y);
        } else {
          store_part(to + c, y, channels - c);
        }
      }
    }
  }
  return true;
}

}  // namespace SIMD_NAMESPACE
}  // namespace internimage
