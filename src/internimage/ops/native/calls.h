// Calls of the operators in plain numbers, whoever makes them: the instruction set that runs, how images and sampling
// points are laid out, how the work divides among threads.
//
// `parallel(count, grain, work)` runs work(begin, end) for parts of [0, count) of about `grain` or more, on whatever
// threads the caller has.
#pragma once

#include <cstdlib>
#include <cstring>

#include "cpu.h"
#include "memory.h"
#include "problems.h"

#if defined(_WIN32)
#define EXPORTED __declspec(dllexport)
#else
#define EXPORTED __attribute__((visibility("default")))
#endif

namespace internimage {

extern const Kernels kernels_portable;
#if defined(__x86_64__)
extern const Kernels kernels_avx2, kernels_avx512;
#endif

inline const Kernels& choose() {
#if defined(__x86_64__)
  const char* limit = std::getenv("INTERNIMAGE_CPU");  // for tests and bug reports: avx2 or portable
  const bool any = !limit || !*limit, avx2 = any || !std::strcmp(limit, "avx2");
  const Processor processor;
  if (any && processor.avx512) return kernels_avx512;
  if (avx2 && processor.avx2) return kernels_avx2;
#endif
  return kernels_portable;
}

inline const Kernels& kernels() {
  static const Kernels* chosen = nullptr;  // by hand: a guarded one asks for a C++ runtime; all threads find the same
  const Kernels* found = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
  if (!found) __atomic_store_n(&chosen, found = &choose(), __ATOMIC_RELAXED);
  return *found;
}

// Whether the kernels' integers hold an image of a x b pixels (or pixels x heads).
inline bool countable(int64_t a, int64_t b) {
  constexpr int64_t kMost = INT32_MAX / 4;
  return a < kMost && b < kMost && a * b < kMost;
}

constexpr int64_t kGrainSamples = 8192;  // samples (queries x groups x points) worth a thread's while

inline int64_t grain(const Image& image, int64_t points) {
  const int64_t queries = kGrainSamples / (image.groups * points + 1);
  return queries > 1 ? queries : 1;
}

// Both convolutions' arguments beside the tensors.
struct Geometry {
  int64_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
  float scale;
  bool remove_center, softmax;

  int64_t points() const { return kernel_h * kernel_w - remove_center; }
};

// Channels last.
struct Maps {
  const void* data;
  int64_t batch, height, width, channels;
};

// All of `work`, which says of each part whether there was memory for it; false if there was not.
template <class Parallel, class Work>
bool all_done(const Parallel& parallel, int64_t count, int64_t grain, const Work& work) {
  bool done = true;
  parallel(count, grain, [&](int64_t begin, int64_t end) {
    if (!work(begin, end)) __atomic_store_n(&done, false, __ATOMIC_RELAXED);
  });
  return done;
}

// Image and geometry of a call together with the taps, which need memory of their own.
struct ConvolutionCall {
  Image image;
  Convolution problem;
  Memory<float> taps;

  ConvolutionCall(const Maps& input, const Geometry& g, int64_t out_height, int64_t out_width) : taps(2 * g.points()) {
    image = {input.data, input.batch, input.height * input.width, g.groups, input.channels / g.groups};
    const int64_t centre_y = g.dilation_h * (g.kernel_h - 1) / 2, centre_x = g.dilation_w * (g.kernel_w - 1) / 2;
    float *tap_y = taps.data(), *tap_x = tap_y + g.points();
    problem = {};
    problem.height = input.height, problem.width = input.width;
    problem.out_height = out_height, problem.out_width = out_width;
    problem.stride_y = g.stride_h, problem.stride_x = g.stride_w;
    problem.start_y = centre_y - g.pad_h, problem.start_x = centre_x - g.pad_w;
    problem.points = g.points();
    problem.tap_y = tap_y, problem.tap_x = tap_x;
    problem.scale = g.scale;
    problem.softmax = g.softmax;
    if (!taps) return;
    for (int64_t column = 0; column < g.kernel_w; ++column) {
      for (int64_t row = 0; row < g.kernel_h; ++row) {
        if (g.remove_center && row == g.kernel_h / 2 && column == g.kernel_w / 2) continue;
        *tap_y++ = static_cast<float>(row * g.dilation_h - centre_y) * g.scale;
        *tap_x++ = static_cast<float>(column * g.dilation_w - centre_x) * g.scale;
      }
    }
  }
  ConvolutionCall(const ConvolutionCall&) = delete;
  ConvolutionCall& operator=(const ConvolutionCall&) = delete;

  // Offsets and weights in two tensors, group by group.
  void separate(const void* offset, const void* weight) {
    const int64_t points = problem.points;
    problem.offset = offset, problem.weight = weight;
    problem.offset_layout = {image.groups * points * 2, points * 2};
    problem.weight_layout = {image.groups * points, points};
  }

  // Both in one of rows of `width` numbers, the offsets and weights of each group together.
  void packed(const void* packed, int64_t width, size_t bytes_each) {
    const int64_t points = problem.points;
    const char* data = static_cast<const char*>(packed);
    problem.offset = data, problem.weight = data + 2 * points * bytes_each;
    problem.offset_layout = problem.weight_layout = {width, 3 * points};
  }

  // False where there is no memory.
  template <class Parallel>
  bool forward(Type type, void* output, const Parallel& parallel) const {
    if (!taps) return false;
    return all_done(parallel, image.batch * problem.queries(), grain(image, problem.points),
                    [&](int64_t begin, int64_t end) {
                      return kernels().convolve(type, image, problem, output, begin, end);
                    });
  }
};

struct AttentionCall {
  Image image;
  Attention problem;
  Memory<int64_t> shapes;

  // `sizes` of the levels: height, width, height, ...
  AttentionCall(const Image& value, const int64_t* sizes, int64_t levels, int64_t queries, int64_t points,
                const float* location, const float* weight)
      : image(value), shapes(3 * levels) {
    int64_t *heights = shapes.data(), *widths = heights + levels, *starts = widths + levels;
    problem = {levels, points, queries, heights, widths, starts, location, weight};
    if (!shapes) return;
    int64_t start = 0;
    for (int64_t level = 0; level < levels; ++level) {
      heights[level] = sizes[2 * level];
      widths[level] = sizes[2 * level + 1];
      starts[level] = start;
      start += heights[level] * widths[level];
    }
  }
  AttentionCall(const AttentionCall&) = delete;
  AttentionCall& operator=(const AttentionCall&) = delete;

  // False where there is no memory.
  template <class Parallel>
  bool forward(Type type, void* output, const Parallel& parallel) const {
    if (!shapes) return false;
    return all_done(parallel, image.batch * problem.queries(), grain(image, problem.levels * problem.points),
                    [&](int64_t begin, int64_t end) {
                      return kernels().attend(type, image, problem, output, begin, end);
                    });
  }
};

}  // namespace internimage
