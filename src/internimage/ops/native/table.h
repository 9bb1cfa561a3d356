// The points of a query: where they lie, with which weights, and their softmax.  Part of kernels.cpp.
#pragma once

#include "memory.h"
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
  explicit Table(int64_t capacity) : capacity_(round_up(capacity) + kLanes), memory_(kArrays * capacity_ + kLanes) {
    float* p = memory_.data();
    float** const floats[] = {&top_left,   &top_right,  &bottom_left, &bottom_right,
                              &fraction_x, &fraction_y, &weight,      &gradient_weight};
    for (float** array : floats) *array = p, p += capacity_;
    place = p, p += 2 * capacity_;
    dots = p, p += 4 * capacity_;
    int32_t** const ints[] = {&pixel, &corners, &step};
    for (int32_t** array : ints) *array = reinterpret_cast<int32_t*>(p), p += capacity_;
  }
  explicit operator bool() const { return bool(memory_); }

  float *top_left, *top_right, *bottom_left, *bottom_right;  // weights of the four pixels
  float *fraction_x, *fraction_y, *weight;
  float* gradient_weight;
  float* place;  // (points, 2): offsets or locations; in the backward pass their gradients
  float* dots;   // (points, 4): the four pixels times the output's gradient
  int32_t *pixel, *corners, *step;  // pixel above left; bits of the pixels that exist; pixels of one row

 private:
  static constexpr int64_t kArrays = 8 + 2 + 4 + 3;
  int64_t capacity_;
  Memory<float> memory_;
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

}  // namespace SIMD_NAMESPACE
}  // namespace internimage
