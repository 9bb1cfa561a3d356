// The sampling kernels, compiled once for each instruction set (see simd.h).
//
// A query (output pixel) is worked off in two steps.  First a table of its points is computed across points, with full
// vectors: which pixel lies above and left of each point, and the weights of the four pixels around it.  Then, group by
// group, the weighted pixels are summed across channels.  Points whose four pixels are all inside take a path without
// tests; near the border each pixel has a bit that says whether it exists, and one that does not is never multiplied,
// so that an infinity at the edge cannot become NaN outside.

#include "digest.h"
#include "norm.h"
#include "table.h"
#include "winograd.h"

namespace internimage {
namespace SIMD_NAMESPACE {

// ---- sums over points, across channels ---------------------------------------------------------------------------

template <class T>
INLINE Floats load_some_if(bool exists, const T* p, int64_t count) {
  if (count == kLanes) return load_if(exists, p);
  return exists ? load_part(p, count) : Floats{};
}

// Pointers to the four pixels around a point.
template <class T>
struct Corners {
  const T *top_left, *top_right, *bottom_left, *bottom_right;
  INLINE Corners at(const T* image, int64_t pixel, int64_t step, int64_t channels) {
    const T* p = image + pixel * channels;
    return {p, p + channels, p + step * channels, p + (step + 1) * channels};
  }
};

// Output channels [0, vectors * kLanes) of one group; with one vector, `count` of its channels.
template <class T, int vectors, bool inside, bool levels>
INLINE void gather(const Table& t, int64_t first, int64_t points, const T* image, int64_t channels, int64_t width,
                   int64_t count, T* output) {
  Floats sum[4][vectors] = {};
  for (int64_t p = first; p < first + points; ++p) {
    const Corners<T> at = Corners<T>::at(image, t.pixel[p], levels ? t.step[p] : width, channels);
    const int32_t bits = t.corners[p];
    const Floats w0 = splat(t.top_left[p]), w1 = splat(t.top_right[p]);
    const Floats w2 = splat(t.bottom_left[p]), w3 = splat(t.bottom_right[p]);
    for (int v = 0; v < vectors; ++v) {
      const int64_t c = v * kLanes;
      if (inside) {
        sum[0][v] = multiply_add(w0, load_some(at.top_left + c, count), sum[0][v]);
        sum[1][v] = multiply_add(w1, load_some(at.top_right + c, count), sum[1][v]);
        sum[2][v] = multiply_add(w2, load_some(at.bottom_left + c, count), sum[2][v]);
        sum[3][v] = multiply_add(w3, load_some(at.bottom_right + c, count), sum[3][v]);
      } else {
        sum[0][v] = multiply_add(w0, load_some_if(bits & 1, at.top_left + c, count), sum[0][v]);
        sum[1][v] = multiply_add(w1, load_some_if(bits & 2, at.top_right + c, count), sum[1][v]);
        sum[2][v] = multiply_add(w2, load_some_if(bits & 4, at.bottom_left + c, count), sum[2][v]);
        sum[3][v] = multiply_add(w3, load_some_if(bits & 8, at.bottom_right + c, count), sum[3][v]);
      }
    }
  }
  for (int v = 0; v < vectors; ++v) {
    const Floats total = (sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v]);
    if (count == kLanes) {
      store(output + v * kLanes, total);
    } else {
      store_part(output + v * kLanes, total, count);
    }
  }
}

#if defined(__AVX2__)
// gather() for sixteen channels of bfloat16.
template <bool inside, bool levels>
INLINE void gather_sixteen(const Table& t, int64_t first, int64_t points, const BFloat16* image, int64_t channels,
                           int64_t width, BFloat16* output) {
  EightFloats even[4] = {}, odd[4] = {};
  for (int64_t p = first; p < first + points; ++p) {
    const Corners<BFloat16> at = Corners<BFloat16>::at(image, t.pixel[p], levels ? t.step[p] : width, channels);
    const BFloat16* const corners[4] = {at.top_left, at.top_right, at.bottom_left, at.bottom_right};
    const float weights[4] = {t.top_left[p], t.top_right[p], t.bottom_left[p], t.bottom_right[p]};
    const int32_t bits = t.corners[p];
    for (int c = 0; c < 4; ++c) {
      const EightWords words = inside ? load_words(corners[c]) : load_words_if(bits >> c & 1, corners[c]);
      const EightFloats weight = weights[c] - EightFloats{};
      even[c] = multiply_add(weight, even_channels(words), even[c]);
      odd[c] = multiply_add(weight, odd_channels(words), odd[c]);
    }
  }
  store_channels(output, (even[0] + even[1]) + (even[2] + even[3]), (odd[0] + odd[1]) + (odd[2] + odd[3]));
}
#endif

template <class T>
constexpr bool is_bfloat = false;
template <>
constexpr bool is_bfloat<BFloat16> = true;

template <class T, bool inside, bool levels>
INLINE void gather_group(const Table& t, int64_t first, int64_t points, const T* image, int64_t channels, int64_t width,
                         int64_t depth, T* output) {
  constexpr int kSixteen = 16 / kLanes;
#if defined(__AVX2__)
  if constexpr (is_bfloat<T>) {
    if (depth % 16 == 0) {
      for (int64_t c = 0; c < depth; c += 16) {
        gather_sixteen<inside, levels>(t, first, points, image + c, channels, width, output + c);
      }
      return;
    }
  }
#endif
  if (depth == 16) {
    return gather<T, kSixteen, inside, levels>(t, first, points, image, channels, width, kLanes, output);
  }
  int64_t c = 0;
  for (; c + 2 * kLanes <= depth; c += 2 * kLanes) {
    gather<T, 2, inside, levels>(t, first, points, image + c, channels, width, kLanes, output + c);
  }
  for (; c < depth; c += kLanes) {
    gather<T, 1, inside, levels>(t, first, points, image + c, channels, width, smaller(kLanes, depth - c), output + c);
  }
}

// The gradient of one group's output times the pixels (into t.dots), and its share of the pixels' gradients.
template <class T, int vectors, bool inside, bool levels>
INLINE void scatter(Table& t, int64_t first, int64_t points, const T* image, float* gradient, int64_t channels,
                    int64_t width, int64_t count, const T* output_gradient, bool add) {
  Floats g[vectors];
  for (int v = 0; v < vectors; ++v) g[v] = load_some(output_gradient + v * kLanes, count);
  for (int64_t p = first; p < first + points; ++p) {
    const int64_t step = levels ? t.step[p] : width;
    const Corners<T> at = Corners<T>::at(image, t.pixel[p], step, channels);
    const Corners<float> to = Corners<float>::at(gradient, t.pixel[p], step, channels);
    const int32_t bits = t.corners[p];
    Floats d0 = {}, d1 = {}, d2 = {}, d3 = {};
    for (int v = 0; v < vectors; ++v) {
      const int64_t c = v * kLanes;
      if (inside) {
        d0 = multiply_add(g[v], load_some(at.top_left + c, count), d0);
        d1 = multiply_add(g[v], load_some(at.top_right + c, count), d1);
        d2 = multiply_add(g[v], load_some(at.bottom_left + c, count), d2);
        d3 = multiply_add(g[v], load_some(at.bottom_right + c, count), d3);
      } else {
        d0 = multiply_add(g[v], load_some_if(bits & 1, at.top_left + c, count), d0);
        d1 = multiply_add(g[v], load_some_if(bits & 2, at.top_right + c, count), d1);
        d2 = multiply_add(g[v], load_some_if(bits & 4, at.bottom_left + c, count), d2);
        d3 = multiply_add(g[v], load_some_if(bits & 8, at.bottom_right + c, count), d3);
      }
    }
    float* dots = t.dots + 4 * p;
    if (add) {
      float more[4];
      sum_each(d0, d1, d2, d3, more);
      for (int i = 0; i < 4; ++i) dots[i] += more[i];
    } else {
      sum_each(d0, d1, d2, d3, dots);
    }
    const float weights[4] = {t.top_left[p], t.top_right[p], t.bottom_left[p], t.bottom_right[p]};
    const float* targets[4] = {to.top_left, to.top_right, to.bottom_left, to.bottom_right};
    for (int corner = 0; corner < 4; ++corner) {
      if (!inside && !(bits >> corner & 1)) continue;
      float* target = const_cast<float*>(targets[corner]);
      const Floats w = splat(weights[corner]);
      for (int v = 0; v < vectors; ++v) {
        float* q = target + v * kLanes;
        if (count == kLanes) {
          store(q, multiply_add(w, g[v], load(q)));
        } else {
          store_part(q, multiply_add(w, g[v], load_part(q, count)), count);
        }
      }
    }
  }
}

template <class T, bool inside, bool levels>
INLINE void scatter_group(Table& t, int64_t first, int64_t points, const T* image, float* gradient, int64_t channels,
                          int64_t width, int64_t depth, const T* output_gradient) {
  constexpr int kSixteen = 16 / kLanes;
  if (depth == 16) {
    return scatter<T, kSixteen, inside, levels>(t, first, points, image, gradient, channels, width, kLanes,
                                                output_gradient, false);
  }
  int64_t c = 0;
  for (; c + 2 * kLanes <= depth; c += 2 * kLanes) {
    scatter<T, 2, inside, levels>(t, first, points, image + c, gradient + c, channels, width, kLanes,
                                  output_gradient + c, c > 0);
  }
  for (; c < depth; c += kLanes) {
    scatter<T, 1, inside, levels>(t, first, points, image + c, gradient + c, channels, width, smaller(kLanes, depth - c),
                                  output_gradient + c, c > 0);
  }
}

// From t.dots to gradients of weights (t.gradient_weight) and of positions in pixels (t.place).
INLINE void point_gradients(Table& t, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const float* d = t.dots + 4 * i;
    const Floats d0 = load(d), d1 = load(d + kLanes), d2 = load(d + 2 * kLanes), d3 = load(d + 3 * kLanes);
    const Floats left01 = evens(d0, d1), left23 = evens(d2, d3), right01 = odds(d0, d1), right23 = odds(d2, d3);
    const Floats top_left = evens(left01, left23), bottom_left = odds(left01, left23);
    const Floats top_right = evens(right01, right23), bottom_right = odds(right01, right23);
    const Floats fx = load(t.fraction_x + i), fy = load(t.fraction_y + i), weight = load(t.weight + i);
    const Floats top_slope = top_right - top_left, bottom_slope = bottom_right - bottom_left;
    const Floats top = multiply_add(fx, top_slope, top_left), bottom = multiply_add(fx, bottom_slope, bottom_left);
    store(t.gradient_weight + i, multiply_add(fy, bottom - top, top));
    Floats low, high;
    interleave(weight * (multiply_add(fy, bottom_slope - top_slope, top_slope)), weight * (bottom - top), &low, &high);
    store(t.place + 2 * i, low);
    store(t.place + 2 * i + kLanes, high);
  }
}

INLINE void softmax_gradient(Table& t, int64_t groups, int64_t points) {
  float* sums = t.dots;  // no longer needed
  for (int64_t g = 0; g < groups; ++g) {
    float sum = 0;
    for (int64_t p = g * points; p < (g + 1) * points; ++p) sum += t.weight[p] * t.gradient_weight[p];
    repeat(sum, sums + g * points, points);
  }
  for (int64_t i = 0; i < groups * points; i += kLanes) {
    store(t.gradient_weight + i, load(t.weight + i) * (load(t.gradient_weight + i) - load(sums + i)));
  }
}

// ---- the operators -----------------------------------------------------------------------------------------------

// The kernel's grid, repeated for as many groups as a table holds: first x, then, `stride` later, y.
class Taps {
 public:
  Taps(const Convolution& c, int64_t groups) : stride(round_up(groups * c.points) + kLanes), memory(2 * stride) {
    data = memory.data();
    for (int64_t i = 0; memory && i < groups * c.points; ++i) {
      data[i] = c.tap_x[i % c.points];
      data[stride + i] = c.tap_y[i % c.points];
    }
  }
  int64_t stride;
  Memory<float> memory;
  float* data;
};

// Height, width and start of every point's level, repeated like Taps.  Lanes beyond the last point have a size of 1.
class Levels {
 public:
  Levels(const Attention& a, int64_t groups)
      : stride(round_up(groups * a.levels * a.points) + kLanes), memory(3 * stride) {
    data = memory.data();
    int32_t* shape = reinterpret_cast<int32_t*>(data);
    for (int64_t i = 0; memory && i < stride; ++i) {
      const int64_t level = i / a.points % a.levels;
      shape[i] = static_cast<int32_t>(a.heights[level]);
      shape[stride + i] = static_cast<int32_t>(a.widths[level]);
      shape[2 * stride + i] = static_cast<int32_t>(a.starts[level]);
    }
  }
  int64_t stride;
  Memory<float> memory;
  float* data;
};

// What the two operators do differently.
template <class T>
struct ConvolutionPoints {
  static constexpr bool kLevels = false;
  const Convolution& problem;
  Taps taps;
  ConvolutionPoints(const Convolution& c, int64_t groups, int64_t) : problem(c), taps(c, groups) {}
  explicit operator bool() const { return bool(taps.memory); }
  static int64_t points(const Convolution& c) { return c.points; }
  int64_t width() const { return problem.width; }
  INLINE bool fill_table(const ConvolutionPoints& self, Table& t, int64_t n, int64_t q, int64_t g, int64_t groups) {
    return fill<T>(t, self.problem, self.taps.data, self.taps.stride, n, q, g, groups);
  }
  INLINE void write_gradients(const ConvolutionPoints& self, Table& t, const Gradients& to, int64_t n, int64_t q,
                              int64_t g, int64_t groups) {
    const Convolution& c = self.problem;
    const int64_t row = n * c.queries() + q, count = groups * c.points;
    if (c.softmax) softmax_gradient(t, groups, c.points);
    for (int64_t i = 0; i < 2 * count; i += kLanes) store(t.place + i, load(t.place + i) * c.scale);
    const Layout &o = c.offset_layout, &w = c.weight_layout;
    write_groups(t.place, static_cast<T*>(to.offset) + row * o.row + g * o.group, o.group, groups, 2 * c.points);
    write_groups(t.gradient_weight, static_cast<T*>(to.weight) + row * w.row + g * w.group, w.group, groups, c.points);
  }
};

struct AttentionPoints {
  static constexpr bool kLevels = true;
  const Attention& problem;
  Levels levels;
  int64_t heads;
  AttentionPoints(const Attention& a, int64_t groups, int64_t all) : problem(a), levels(a, groups), heads(all) {}
  explicit operator bool() const { return bool(levels.memory); }
  static int64_t points(const Attention& a) { return a.levels * a.points; }
  int64_t width() const { return 0; }
  INLINE bool fill_table(const AttentionPoints& self, Table& t, int64_t n, int64_t q, int64_t g, int64_t groups) {
    return fill(t, self.problem, self.levels.data, self.levels.stride, self.heads, n, q, g, groups);
  }
  INLINE void write_gradients(const AttentionPoints& self, Table& t, const Gradients& to, int64_t n, int64_t q,
                              int64_t g, int64_t groups) {
    const Attention& a = self.problem;
    const int64_t count = groups * points(a);
    const int64_t first = ((n * a.query_count + q) * self.heads + g) * points(a);
    const int32_t* shape = reinterpret_cast<const int32_t*>(self.levels.data);
    for (int64_t i = 0; i < count; ++i) {
      t.place[2 * i] *= static_cast<float>(shape[self.levels.stride + i]);
      t.place[2 * i + 1] *= static_cast<float>(shape[i]);
    }
    write(t.place, 2 * count, static_cast<float*>(to.offset) + 2 * first);
    write(t.gradient_weight, count, static_cast<float*>(to.weight) + first);
  }
};

template <class T, class Points, class Problem>
bool forward(const Image& image, const Problem& problem, T* output, int64_t begin, int64_t end) {
  const int64_t points = Points::points(problem), channels = image.channels(), queries = problem.queries();
  const int64_t at_once = larger(1, smaller(image.groups, kTablePoints / points));
  const Points place(problem, at_once, image.groups);
  Table t(at_once * points);
  if (!place || !t) return false;
  for (int64_t index = begin; index < end; ++index) {
    const int64_t n = index / queries, q = index % queries;
    const T* data = static_cast<const T*>(image.data) + n * image.pixels * channels;
    for (int64_t g0 = 0; g0 < image.groups; g0 += at_once) {
      const int64_t groups = smaller(at_once, image.groups - g0);
      const bool inside = Points::fill_table(place, t, n, q, g0, groups);
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t c = (g0 + g) * image.depth;
        T* to = output + index * channels + c;
        if (inside || all_inside(t, g * points, points)) {
          gather_group<T, true, Points::kLevels>(t, g * points, points, data + c, channels, place.width(), image.depth,
                                                 to);
        } else {
          gather_group<T, false, Points::kLevels>(t, g * points, points, data + c, channels, place.width(), image.depth,
                                                  to);
        }
      }
    }
  }
  return true;
}

template <class T, class Points, class Problem>
bool backward(const Image& image, const Problem& problem, const Gradients& to, int64_t groups_per_block, int64_t begin,
              int64_t end) {
  const int64_t points = Points::points(problem), channels = image.channels(), queries = problem.queries();
  const int64_t at_once = larger(1, smaller(groups_per_block, kTablePoints / points));
  const int64_t blocks = (image.groups + groups_per_block - 1) / groups_per_block;
  const Points place(problem, at_once, image.groups);
  Table t(at_once * points);
  if (!place || !t) return false;
  for (int64_t block = begin; block < end; ++block) {
    const int64_t n = block / blocks, first = block % blocks * groups_per_block;
    const int64_t last = smaller(first + groups_per_block, image.groups);
    const T* data = static_cast<const T*>(image.data) + n * image.pixels * channels;
    float* gradient = to.image + n * image.pixels * channels;
    const int64_t row = (last - first) * image.depth;
    for (int64_t pixel = 0; pixel < image.pixels; ++pixel) {
      std::memset(gradient + pixel * channels + first * image.depth, 0, row * sizeof(float));
    }
    for (int64_t q = 0; q < queries; ++q) {
      const T* output = static_cast<const T*>(to.output) + (n * queries + q) * channels;
      for (int64_t g0 = first; g0 < last; g0 += at_once) {
        const int64_t groups = smaller(at_once, last - g0);
        const bool inside = Points::fill_table(place, t, n, q, g0, groups);
        for (int64_t g = 0; g < groups; ++g) {
          const int64_t c = (g0 + g) * image.depth;
          if (inside || all_inside(t, g * points, points)) {
            scatter_group<T, true, Points::kLevels>(t, g * points, points, data + c, gradient + c, channels,
                                                    place.width(), image.depth, output + c);
          } else {
            scatter_group<T, false, Points::kLevels>(t, g * points, points, data + c, gradient + c, channels,
                                                     place.width(), image.depth, output + c);
          }
        }
        point_gradients(t, groups * points);
        Points::write_gradients(place, t, to, n, q, g0, groups);
      }
    }
  }
  return true;
}

// ---- types -------------------------------------------------------------------------------------------------------

template <class Work>
auto with_type(Type type, const Work& work) {
  if (type == Type::kBFloat16) return work(BFloat16{});
  if (type == Type::kFloat16) return work(Float16{});
  return work(float{});
}

bool convolve(Type type, const Image& image, const Convolution& c, void* output, int64_t begin, int64_t end) {
  return with_type(type, [&](auto number) {
    using T = decltype(number);
    return forward<T, ConvolutionPoints<T>>(image, c, static_cast<T*>(output), begin, end);
  });
}

bool convolve_backward(Type type, const Image& image, const Convolution& c, const Gradients& to, int64_t per_block,
                       int64_t begin, int64_t end) {
  return with_type(type, [&](auto number) {
    using T = decltype(number);
    return backward<T, ConvolutionPoints<T>>(image, c, to, per_block, begin, end);
  });
}

bool attend(Type type, const Image& image, const Attention& a, void* output, int64_t begin, int64_t end) {
  return with_type(type, [&](auto number) {
    using T = decltype(number);
    return forward<T, AttentionPoints>(image, a, static_cast<T*>(output), begin, end);
  });
}

bool attend_backward(Type type, const Image& image, const Attention& a, const Gradients& to, int64_t per_block,
                     int64_t begin, int64_t end) {
  return with_type(type, [&](auto number) { return backward<decltype(number), AttentionPoints>(image, a, to, per_block, begin, end); });
}

bool normalise(Type type, const Normalisation& problem, void* output, int64_t begin, int64_t end) {
  return with_type(type, [&](auto number) { return normalise_rows(problem, static_cast<decltype(number)*>(output), begin, end); });
}

void convert(Type type, const float* from, void* to, int64_t begin, int64_t end) {
  with_type(type, [&](auto number) {
    write(from + begin, end - begin, static_cast<decltype(number)*>(to) + begin);
  });
}

}  // namespace SIMD_NAMESPACE

extern const Kernels SIMD_KERNELS;
const Kernels SIMD_KERNELS = {
    SIMD_NAME,
    SIMD_NAMESPACE::convolve,
    SIMD_NAMESPACE::convolve_backward,
    SIMD_NAMESPACE::attend,
    SIMD_NAMESPACE::attend_backward,
    SIMD_NAMESPACE::normalise,
    SIMD_NAMESPACE::convert,
    SIMD_NAMESPACE::transform_tiles,
    SIMD_NAMESPACE::untransform_tiles,
    SIMD_NAMESPACE::digest,
};

}  // namespace internimage
