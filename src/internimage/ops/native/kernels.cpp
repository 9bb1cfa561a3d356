// The sampling kernels, compiled once for each instruction set (see simd.h).
//
// A query (output pixel) is worked off in two steps.  First a table of its points is computed across points, with full
// vectors: which pixel lies above and left of each point, and the weights of the four pixels around it.  Then, group by
// group, the weighted pixels are summed across channels.  Points whose four pixels are all inside take a path without
// tests; near the border each pixel has a bit that says whether it exists, and one that does not is never multiplied,
// so that an infinity at the edge cannot become NaN outside.

#include "problems.h"
#include "simd.h"

namespace internimage {
namespace SIMD_NAMESPACE {

constexpr int64_t kTablePoints = 256;  // points of a table, unless one group has more: it stays in the first-level cache
constexpr float kFar = 16777216.0f;    // beyond every image; keeps the conversion of wild positions to integers defined
constexpr int32_t kInside = 15;

INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t round_up(int64_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

// Points of some groups of one query, group after group.
class Table {
 public:
  explicit Table(int64_t capacity) : capacity_(round_up(capacity) + kLanes) {
    memory_ = new float[kArrays * capacity_ + kLanes]();
    float* p = memory_;
    float** const floats[] = {&top_left,   &top_right,  &bottom_left, &bottom_right,
                              &fraction_x, &fraction_y, &weight,      &gradient_weight};
    for (float** array : floats) *array = p, p += capacity_;
    place = p, p += 2 * capacity_;
    dots = p, p += 4 * capacity_;
    int32_t** const ints[] = {&pixel, &corners, &step};
    for (int32_t** array : ints) *array = reinterpret_cast<int32_t*>(p), p += capacity_;
  }
  ~Table() { delete[] memory_; }
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  float *top_left, *top_right, *bottom_left, *bottom_right;  // weights of the four pixels
  float *fraction_x, *fraction_y, *weight;
  float* gradient_weight;
  float* place;  // (points, 2): offsets or locations; in the backward pass their gradients
  float* dots;   // (points, 4): the four pixels times the output's gradient
  int32_t *pixel, *corners, *step;  // pixel above left; bits of the pixels that exist; pixels of one row

 private:
  static constexpr int64_t kArrays = 8 + 2 + 4 + 3;
  int64_t capacity_;
  float* memory_;
};

// ---- numbers in and out ------------------------------------------------------------------------------------------

template <class T>
INLINE void read(const T* from, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, load(from + i));
  if (i < count) store(to + i, load_part(from + i, count - i));
}

template <class T>
INLINE void write(const float* from, int64_t count, T* to) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, load(from + i));
  for (; i < count; ++i) put(to + i, from[i]);
}

// `per_group` numbers of each of `groups` groups, which may stand apart, next to each other.
template <class T>
INLINE void read_groups(const T* from, int64_t apart, int64_t groups, int64_t per_group, float* to) {
  if (apart == per_group) return read(from, groups * per_group, to);
  for (int64_t g = 0; g < groups; ++g) read(from + g * apart, per_group, to + g * per_group);
}

template <class T>
INLINE void write_groups(const float* from, T* to, int64_t apart, int64_t groups, int64_t per_group) {
  if (apart == per_group) return write(from, groups * per_group, to);
  for (int64_t g = 0; g < groups; ++g) write(from + g * per_group, per_group, to + g * apart);
}

// One number for each point of a group, written for groups in ascending order: the excess is overwritten by the next.
INLINE void repeat(float value, float* row, int64_t points) {
  for (int64_t p = 0; p < points; p += kLanes) store(row + p, splat(value));
}

// Softmax over the points of each group, in place; `factors` is working memory of the same size.
INLINE void softmax(float* x, float* factors, int64_t groups, int64_t points) {
  const int64_t count = groups * points;
  Ints moderate = splat(-1);
  for (int64_t i = 0; i < count; i += kLanes) {
    const Floats v = load(x + i);
    moderate &= (v < 20.0f) & (v > -20.0f);
  }
  if (!all_true(moderate)) {  // otherwise nothing can overflow, and a subtraction would only round
    for (int64_t g = 0; g < groups; ++g) {
      const float* row = x + g * points;
      float largest = row[0];
      for (int64_t p = 1; p < points; ++p) largest = row[p] > largest ? row[p] : largest;
      repeat(largest, factors + g * points, points);
    }
    for (int64_t i = 0; i < count; i += kLanes) store(x + i, load(x + i) - load(factors + i));
  }
  for (int64_t i = 0; i < count; i += kLanes) store(x + i, exponential(load(x + i)));
  for (int64_t g = 0; g < groups; ++g) {
    const float* row = x + g * points;
    float even = 0, odd = 0;
    for (int64_t p = 0; p + 1 < points; p += 2) even += row[p], odd += row[p + 1];
    if (points & 1) even += row[points - 1];
    repeat(1.0f / (even + odd), factors + g * points, points);
  }
  for (int64_t i = 0; i < count; i += kLanes) store(x + i, load(x + i) * load(factors + i));
}

// ---- the table ---------------------------------------------------------------------------------------------------

// Fills kLanes entries from whole positions (x, y), fractions in [0, 1) or NaN, and weights; true where all four pixels
// exist.
INLINE Ints place_points(Table& t, int64_t at, Ints x, Ints y, Floats fx, Floats fy, Floats weight, Ints width,
                         Ints height, Ints start) {
  // on or beyond -1 and the far edge nothing is sampled; comparisons with NaN are false
  Ints some_x = ((x >= 0) | ((x == -1) & (fx > 0))) & (x < width) & (fx >= 0);
  Ints some_y = ((y >= 0) | ((y == -1) & (fy > 0))) & (y < height) & (fy >= 0);
  Ints some = some_x & some_y;
  fx = (Floats)((Ints)fx & some);
  fy = (Floats)((Ints)fy & some);
  Ints left = some & (x >= 0), right = some & (x < width - 1);
  Ints top = y >= 0, bottom = y < height - 1;
  Ints corners = (left & top & 1) | (right & top & 2) | (left & bottom & 4) | (right & bottom & 8);
  Floats low = weight * fy, high = weight - low;
  Floats high_right = high * fx, low_right = low * fx;
  store(t.top_left + at, high - high_right);
  store(t.top_right + at, high_right);
  store(t.bottom_left + at, low - low_right);
  store(t.bottom_right + at, low_right);
  store(t.fraction_x + at, fx);
  store(t.fraction_y + at, fy);
  store(t.pixel + at, (start + y * width + x) & some);
  store(t.corners + at, corners);
  return corners == kInside;
}

INLINE Ints split(Floats position, Floats* fraction) {  // floor and what remains
  position = clamp(position, -kFar, kFar);
  const Floats whole = floor(position);
  *fraction = position - whole;
  return __builtin_convertvector(whole, Ints);
}

template <class T>
INLINE bool fill(Table& t, const Convolution& c, const float* taps, int64_t tap_stride, int64_t n, int64_t q, int64_t g,
                 int64_t groups) {
  const int64_t count = groups * c.points, row = n * c.queries() + q;
  const Layout &o = c.offset_layout, &w = c.weight_layout;
  read_groups(static_cast<const T*>(c.offset) + row * o.row + g * o.group, o.group, groups, 2 * c.points, t.place);
  read_groups(static_cast<const T*>(c.weight) + row * w.row + g * w.group, w.group, groups, c.points, t.weight);
  if (c.softmax) softmax(t.weight, t.gradient_weight, groups, c.points);
  const Ints base_y = splat(static_cast<int32_t>(q / c.out_width * c.stride_y + c.start_y));
  const Ints base_x = splat(static_cast<int32_t>(q % c.out_width * c.stride_x + c.start_x));
  const Ints width = splat(static_cast<int32_t>(c.width)), height = splat(static_cast<int32_t>(c.height));
  const Floats scale = splat(c.scale);
  Ints inside = splat(-1);
  for (int64_t i = 0; i < count; i += kLanes) {
    Floats a = load(t.place + 2 * i), b = load(t.place + 2 * i + kLanes);
    Floats fx, fy;
    // only the displacement from the whole base is rounded, so float is as exact at column 4000 as at column 0
    Ints x = split(multiply_add(evens(a, b), scale, load(taps + i)), &fx) + base_x;
    Ints y = split(multiply_add(odds(a, b), scale, load(taps + tap_stride + i)), &fy) + base_y;
    inside &= place_points(t, i, x, y, fx, fy, load(t.weight + i), width, height, Ints{});
  }
  return all_true(inside);
}

INLINE bool fill(Table& t, const Attention& a, const float* levels, int64_t level_stride, int64_t heads, int64_t n,
                 int64_t q, int64_t g, int64_t groups) {
  const int64_t per_head = a.levels * a.points, count = groups * per_head;
  const int64_t first = ((n * a.query_count + q) * heads + g) * per_head;
  read(a.location + 2 * first, 2 * count, t.place);
  read(a.weight + first, count, t.weight);
  const int32_t* shape = reinterpret_cast<const int32_t*>(levels);
  Ints inside = splat(-1);
  for (int64_t i = 0; i < count; i += kLanes) {
    Floats first_half = load(t.place + 2 * i), second_half = load(t.place + 2 * i + kLanes);
    Ints height = load(shape + i), width = load(shape + level_stride + i), start = load(shape + 2 * level_stride + i);
    Floats fx, fy;
    Ints x = split(multiply_add(evens(first_half, second_half), __builtin_convertvector(width, Floats), splat(-0.5f)), &fx);
    Ints y = split(multiply_add(odds(first_half, second_half), __builtin_convertvector(height, Floats), splat(-0.5f)), &fy);
    inside &= place_points(t, i, x, y, fx, fy, load(t.weight + i), width, height, start);
    store(t.step + i, width);
  }
  return all_true(inside);
}

INLINE bool all_inside(const Table& t, int64_t first, int64_t points) {
  int32_t bits = kInside;
  for (int64_t p = first; p < first + points; ++p) bits &= t.corners[p];
  return bits == kInside;
}

// ---- sums over points, across channels ---------------------------------------------------------------------------

template <class T>
INLINE Floats load_some(const T* p, int64_t count) {  // count is kLanes or, at the end of a group's channels, fewer
  return count == kLanes ? load(p) : load_part(p, count);
}

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
  Taps(const Convolution& c, int64_t groups) : stride(round_up(groups * c.points) + kLanes) {
    data = new float[2 * stride]();
    for (int64_t i = 0; i < groups * c.points; ++i) {
      data[i] = c.tap_x[i % c.points];
      data[stride + i] = c.tap_y[i % c.points];
    }
  }
  ~Taps() { delete[] data; }
  Taps(const Taps&) = delete;
  Taps& operator=(const Taps&) = delete;
  int64_t stride;
  float* data;
};

// Height, width and start of every point's level, repeated like Taps.  Lanes beyond the last point have a size of 1.
class Levels {
 public:
  Levels(const Attention& a, int64_t groups) : stride(round_up(groups * a.levels * a.points) + kLanes) {
    data = new float[3 * stride]();
    int32_t* shape = reinterpret_cast<int32_t*>(data);
    for (int64_t i = 0; i < stride; ++i) {
      const int64_t level = i / a.points % a.levels;
      shape[i] = static_cast<int32_t>(a.heights[level]);
      shape[stride + i] = static_cast<int32_t>(a.widths[level]);
      shape[2 * stride + i] = static_cast<int32_t>(a.starts[level]);
    }
  }
  ~Levels() { delete[] data; }
  Levels(const Levels&) = delete;
  Levels& operator=(const Levels&) = delete;
  int64_t stride;
  float* data;
};

// What the two operators do differently.
template <class T>
struct ConvolutionPoints {
  static constexpr bool kLevels = false;
  const Convolution& problem;
  Taps taps;
  ConvolutionPoints(const Convolution& c, int64_t groups, int64_t) : problem(c), taps(c, groups) {}
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
void forward(const Image& image, const Problem& problem, T* output, int64_t begin, int64_t end) {
  const int64_t points = Points::points(problem), channels = image.channels(), queries = problem.queries();
  const int64_t at_once = larger(1, smaller(image.groups, kTablePoints / points));
  const Points place(problem, at_once, image.groups);
  Table t(at_once * points);
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
}

template <class T, class Points, class Problem>
void backward(const Image& image, const Problem& problem, const Gradients& to, int64_t groups_per_block, int64_t begin,
              int64_t end) {
  const int64_t points = Points::points(problem), channels = image.channels(), queries = problem.queries();
  const int64_t at_once = larger(1, smaller(groups_per_block, kTablePoints / points));
  const int64_t blocks = (image.groups + groups_per_block - 1) / groups_per_block;
  const Points place(problem, at_once, image.groups);
  Table t(at_once * points);
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
}

// ---- types -------------------------------------------------------------------------------------------------------

void convolve(Type type, const Image& image, const Convolution& c, void* output, int64_t begin, int64_t end) {
  switch (type) {
    case Type::kFloat32:
      return forward<float, ConvolutionPoints<float>>(image, c, static_cast<float*>(output), begin, end);
    case Type::kBFloat16:
      return forward<BFloat16, ConvolutionPoints<BFloat16>>(image, c, static_cast<BFloat16*>(output), begin, end);
    case Type::kFloat16:
      return forward<Float16, ConvolutionPoints<Float16>>(image, c, static_cast<Float16*>(output), begin, end);
  }
}

void convolve_backward(Type type, const Image& image, const Convolution& c, const Gradients& to, int64_t per_block,
                       int64_t begin, int64_t end) {
  switch (type) {
    case Type::kFloat32:
      return backward<float, ConvolutionPoints<float>>(image, c, to, per_block, begin, end);
    case Type::kBFloat16:
      return backward<BFloat16, ConvolutionPoints<BFloat16>>(image, c, to, per_block, begin, end);
    case Type::kFloat16:
      return backward<Float16, ConvolutionPoints<Float16>>(image, c, to, per_block, begin, end);
  }
}

void attend(Type type, const Image& image, const Attention& a, void* output, int64_t begin, int64_t end) {
  switch (type) {
    case Type::kFloat32:
      return forward<float, AttentionPoints>(image, a, static_cast<float*>(output), begin, end);
    case Type::kBFloat16:
      return forward<BFloat16, AttentionPoints>(image, a, static_cast<BFloat16*>(output), begin, end);
    case Type::kFloat16:
      return forward<Float16, AttentionPoints>(image, a, static_cast<Float16*>(output), begin, end);
  }
}

void attend_backward(Type type, const Image& image, const Attention& a, const Gradients& to, int64_t per_block,
                     int64_t begin, int64_t end) {
  switch (type) {
    case Type::kFloat32:
      return backward<float, AttentionPoints>(image, a, to, per_block, begin, end);
    case Type::kBFloat16:
      return backward<BFloat16, AttentionPoints>(image, a, to, per_block, begin, end);
    case Type::kFloat16:
      return backward<Float16, AttentionPoints>(image, a, to, per_block, begin, end);
  }
}

void convert(Type type, const float* from, void* to, int64_t begin, int64_t end) {
  switch (type) {
    case Type::kFloat32:
      return write(from + begin, end - begin, static_cast<float*>(to) + begin);
    case Type::kBFloat16:
      return write(from + begin, end - begin, static_cast<BFloat16*>(to) + begin);
    case Type::kFloat16:
      return write(from + begin, end - begin, static_cast<Float16*>(to) + begin);
  }
}

}  // namespace SIMD_NAMESPACE

extern const Kernels SIMD_KERNELS;
const Kernels SIMD_KERNELS = {
    SIMD_NAME,
    SIMD_NAMESPACE::convolve,
    SIMD_NAMESPACE::convolve_backward,
    SIMD_NAMESPACE::attend,
    SIMD_NAMESPACE::attend_backward,
    SIMD_NAMESPACE::convert,
};

}  // namespace internimage
