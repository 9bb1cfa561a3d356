// The operators as PyTorch calls them: reads tensors, chooses the instruction set, divides the work among threads.
//
// Registered for CPU tensors; Python has checked that shapes fit together.

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <vector>

#include "problems.h"
#include "torch_abi.h"

namespace internimage {

extern const Kernels kernels_portable;
#if defined(__x86_64__)
extern const Kernels kernels_avx2, kernels_avx512;
#endif

namespace {

constexpr uint64_t kBuiltFor = uint64_t{2} << 56 | uint64_t{10} << 48;  // torch 2.10

const Kernels& choose() {
#if defined(__x86_64__)
  const char* limit = std::getenv("INTERNIMAGE_CPU");  // for tests and bug reports: avx2 or portable
  const bool any = !limit || !*limit, avx2 = any || !std::strcmp(limit, "avx2");
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (any && has_avx512) return kernels_avx512;
  if (avx2 && has_avx2) return kernels_avx2;
#endif
  return kernels_portable;
}

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

void check(AOTITorchError error) {
  if (error) throw std::runtime_error("internimage: a call of LibTorch's stable interface failed");
}

// A tensor received from PyTorch or made here; released at the end unless handed over.
class Tensor {
 public:
  explicit Tensor(StableIValue value) : handle_(reinterpret_cast<AtenTensorHandle>(value)) {}
  Tensor(const std::vector<int64_t>& sizes, int32_t dtype) {
    std::vector<int64_t> strides(sizes.size());
    int64_t stride = 1;
    for (size_t i = sizes.size(); i-- > 0;) strides[i] = stride, stride *= sizes[i] > 0 ? sizes[i] : 1;
    check(aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.data(), strides.data(), dtype,
                                   aoti_torch_device_type_cpu(), 0, &handle_));
  }
  ~Tensor() {
    if (handle_) aoti_torch_delete_tensor_object(handle_);
  }
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;

  void* data() const {
    void* p = nullptr;
    check(aoti_torch_get_data_ptr(handle_, &p));
    return p;
  }
  int64_t size(int dimension) const {
    int64_t* sizes = nullptr;
    check(aoti_torch_get_sizes(handle_, &sizes));
    return sizes[dimension];
  }
  int32_t dtype() const {
    int32_t dtype = 0;
    check(aoti_torch_get_dtype(handle_, &dtype));
    return dtype;
  }
  Type type() const {
    const int32_t kind = dtype();
    if (kind == aoti_torch_dtype_bfloat16()) return Type::kBFloat16;
    return kind == aoti_torch_dtype_float16() ? Type::kFloat16 : Type::kFloat32;
  }
  size_t bytes_each() const { return type() == Type::kFloat32 ? 4 : 2; }
  StableIValue hand_over() {
    const StableIValue value = reinterpret_cast<StableIValue>(handle_);
    handle_ = nullptr;
    return value;
  }

 private:
  AtenTensorHandle handle_ = nullptr;
};

std::vector<int64_t> as_list(StableIValue value) {
  const auto list = reinterpret_cast<StableListHandle>(value);
  size_t size = 0;
  check(torch_list_size(list, &size));
  std::vector<int64_t> items(size);
  for (size_t i = 0; i < size; ++i) {
    StableIValue item;
    check(torch_list_get_item(list, i, &item));
    items[i] = static_cast<int64_t>(item);
  }
  check(torch_delete_list(list));
  return items;
}
double as_double(StableIValue value) {
  double result;
  std::memcpy(&result, &value, sizeof result);
  return result;
}
bool as_bool(StableIValue value) { return value & 0xff; }

template <class Work>
void parallel(int64_t count, int64_t grain, const Work& work) {
  check(torch_parallel_for(
      0, count, grain, [](int64_t begin, int64_t end, void* work) { (*static_cast<const Work*>(work))(begin, end); },
      const_cast<Work*>(&work)));
}

constexpr int64_t kGrainSamples = 8192;  // samples (queries x groups x points) worth a thread's while

int64_t grain(const Image& image, int64_t points) {
  const int64_t queries = kGrainSamples / (image.groups * points + 1);
  return queries > 1 ? queries : 1;
}

// Groups of a backward block: all of an image's if there are many images, so that rows are read whole.  The choice
// does not change a single bit of the result, as groups share no sums.
int64_t groups_per_block(const Image& image) {
  constexpr int64_t kBlocks = 64;  // enough for the threads of a large machine
  const int64_t blocks = image.batch >= kBlocks ? 1 : (kBlocks + image.batch - 1) / (image.batch > 0 ? image.batch : 1);
  const int64_t groups = (image.groups + blocks - 1) / blocks;
  return groups < 4 && image.groups >= 4 ? 4 : groups;
}

// Hands over the float32 `sums`, which have the shape `sizes` of `tensor`, in that tensor's dtype.
StableIValue rounded_like(const Tensor& tensor, Tensor& sums, const std::vector<int64_t>& sizes) {
  const Type type = tensor.type();
  if (type == Type::kFloat32) return sums.hand_over();
  Tensor rounded(sizes, tensor.dtype());
  const float* from = static_cast<const float*>(sums.data());
  void* to = rounded.data();
  int64_t count = 1;
  for (const int64_t size : sizes) count *= size;
  parallel(count, 1 << 15, [&](int64_t begin, int64_t end) { kernels().convert(type, from, to, begin, end); });
  return rounded.hand_over();
}

int32_t dtype_of(StableIValue tensor) {
  int32_t dtype = 0;
  check(aoti_torch_get_dtype(reinterpret_cast<AtenTensorHandle>(tensor), &dtype));
  return dtype;
}

// Whether the kernels know a call: `same` tensors of one half or single precision type, then `single` ones of float32,
// all contiguous, and an image (at `image`) whose pixels an int32 counts.  Others, float64 among them, are handed to
// the plain implementation, stack and all.
bool known(const StableIValue* stack, int same, int single, int image) {
  const int32_t first = dtype_of(stack[0]), single_precision = aoti_torch_dtype_float32();
  if (first != single_precision && first != aoti_torch_dtype_bfloat16() && first != aoti_torch_dtype_float16()) {
    return false;
  }
  for (int i = 1; i < same; ++i) {
    if (dtype_of(stack[i]) != first) return false;
  }
  for (int i = same; i < same + single; ++i) {
    if (dtype_of(stack[i]) != single_precision) return false;
  }
  for (int i = 0; i < same + single; ++i) {
    bool contiguous = false;
    check(aoti_torch_is_contiguous(reinterpret_cast<AtenTensorHandle>(stack[i]), &contiguous));
    if (!contiguous) return false;
  }
  int64_t* sizes = nullptr;
  check(aoti_torch_get_sizes(reinterpret_cast<AtenTensorHandle>(stack[image]), &sizes));
  return sizes[1] < INT32_MAX / 4 && sizes[2] < INT32_MAX / 4 && sizes[1] * sizes[2] < INT32_MAX / 4;
}

template <void (*kernel)(StableIValue*), int same, int single, int image>
struct Entry {
  static const char* plain;
  static void call(StableIValue* stack, uint64_t, uint64_t) {
    if (known(stack, same, single, image)) return kernel(stack);
    check(torch_call_dispatcher(plain, "", stack, kBuiltFor));
  }
};
template <void (*kernel)(StableIValue*), int same, int single, int image>
const char* Entry<kernel, same, single, image>::plain = nullptr;

// The integers and numbers that follow the tensors in both convolutions' schemas.
struct Geometry {
  int64_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
  float scale;
  bool remove_center, softmax;

  explicit Geometry(const StableIValue* v)
      : kernel_h(v[0]), kernel_w(v[1]), stride_h(v[2]), stride_w(v[3]), pad_h(v[4]), pad_w(v[5]), dilation_h(v[6]),
        dilation_w(v[7]), groups(v[8]), scale(static_cast<float>(as_double(v[9]))), remove_center(as_bool(v[10])), softmax(as_bool(v[11])) {}

  int64_t points() const { return kernel_h * kernel_w - remove_center; }
};

// Image and geometry of a call together with the taps, which need memory of their own.
struct ConvolutionCall {
  Image image;
  Convolution problem;
  std::vector<float> tap_y, tap_x;

  ConvolutionCall(const Tensor& input, const Geometry& g, int64_t out_height, int64_t out_width) {
    image = {input.data(), input.size(0), input.size(1) * input.size(2), g.groups, input.size(3) / g.groups};
    const int64_t centre_y = g.dilation_h * (g.kernel_h - 1) / 2, centre_x = g.dilation_w * (g.kernel_w - 1) / 2;
    for (int64_t column = 0; column < g.kernel_w; ++column) {
      for (int64_t row = 0; row < g.kernel_h; ++row) {
        if (g.remove_center && row == g.kernel_h / 2 && column == g.kernel_w / 2) continue;
        tap_y.push_back(static_cast<float>(row * g.dilation_h - centre_y) * g.scale);
        tap_x.push_back(static_cast<float>(column * g.dilation_w - centre_x) * g.scale);
      }
    }
    problem = {};
    problem.height = input.size(1), problem.width = input.size(2);
    problem.out_height = out_height, problem.out_width = out_width;
    problem.stride_y = g.stride_h, problem.stride_x = g.stride_w;
    problem.start_y = centre_y - g.pad_h, problem.start_x = centre_x - g.pad_w;
    problem.points = g.points();
    problem.tap_y = tap_y.data(), problem.tap_x = tap_x.data();
    problem.scale = g.scale;
    problem.softmax = g.softmax;
  }

  // Offsets and weights in two tensors, group by group.
  void separate(const Tensor& offset, const Tensor& weight) {
    const int64_t points = problem.points;
    problem.offset = offset.data(), problem.weight = weight.data();
    problem.offset_layout = {image.groups * points * 2, points * 2};
    problem.weight_layout = {image.groups * points, points};
  }

  // Both in one, the offsets and weights of each group together.
  void packed(const Tensor& packed) {
    const int64_t points = problem.points, width = packed.size(3);
    const char* data = static_cast<const char*>(packed.data());
    problem.offset = data, problem.weight = data + 2 * points * packed.bytes_each();
    problem.offset_layout = problem.weight_layout = {width, 3 * points};
  }

  Tensor forward(const Tensor& input) const {
    Tensor output({image.batch, problem.out_height, problem.out_width, image.channels()}, input.dtype());
    void* data = output.data();
    const Type type = input.type();
    parallel(image.batch * problem.queries(), grain(image, problem.points), [&](int64_t begin, int64_t end) {
      kernels().convolve(type, image, problem, data, begin, end);
    });
    return Tensor(output.hand_over());
  }

  // The gradient of the input; those of offsets and weights are written to `offset` and `weight`.
  Tensor backward(const Tensor& input, const Tensor& grad, void* offset, void* weight) const {
    const std::vector<int64_t> sizes = {input.size(0), input.size(1), input.size(2), input.size(3)};
    const Type type = input.type();
    Tensor sums(sizes, aoti_torch_dtype_float32());
    const Gradients to = {grad.data(), static_cast<float*>(sums.data()), offset, weight};
    const int64_t per_block = groups_per_block(image), blocks = (image.groups + per_block - 1) / per_block;
    parallel(image.batch * blocks, 1, [&](int64_t begin, int64_t end) {
      kernels().convolve_backward(type, image, problem, to, per_block, begin, end);
    });
    return Tensor(rounded_like(input, sums, sizes));
  }
};

// dcnv3(input, offset, mask, geometry) -> output
void dcnv3(StableIValue* stack) {
  const Tensor input(stack[0]), offset(stack[1]), mask(stack[2]);
  ConvolutionCall call(input, Geometry(stack + 3), offset.size(1), offset.size(2));
  call.separate(offset, mask);
  stack[0] = call.forward(input).hand_over();
}

// dcnv3_backward(grad_output, input, offset, mask, geometry) -> (grad_input, grad_offset, grad_mask)
void dcnv3_backward(StableIValue* stack) {
  const Tensor grad(stack[0]), input(stack[1]), offset(stack[2]), mask(stack[3]);
  ConvolutionCall call(input, Geometry(stack + 4), offset.size(1), offset.size(2));
  call.separate(offset, mask);
  Tensor grad_offset({offset.size(0), offset.size(1), offset.size(2), offset.size(3)}, offset.dtype());
  Tensor grad_mask({mask.size(0), mask.size(1), mask.size(2), mask.size(3)}, mask.dtype());
  stack[0] = call.backward(input, grad, grad_offset.data(), grad_mask.data()).hand_over();
  stack[1] = grad_offset.hand_over();
  stack[2] = grad_mask.hand_over();
}

// dcnv4(input, packed, geometry) -> output
void dcnv4(StableIValue* stack) {
  const Tensor input(stack[0]), packed(stack[1]);
  ConvolutionCall call(input, Geometry(stack + 2), packed.size(1), packed.size(2));
  call.packed(packed);
  stack[0] = call.forward(input).hand_over();
}

// dcnv4_backward(grad_output, input, packed, geometry) -> (grad_input, grad_packed)
void dcnv4_backward(StableIValue* stack) {
  const Tensor grad(stack[0]), input(stack[1]), packed(stack[2]);
  ConvolutionCall call(input, Geometry(stack + 3), packed.size(1), packed.size(2));
  call.packed(packed);
  Tensor grad_packed({packed.size(0), packed.size(1), packed.size(2), packed.size(3)}, packed.dtype());
  char* data = static_cast<char*>(grad_packed.data());
  const size_t each = packed.bytes_each();
  const int64_t points = call.problem.points, used = 3 * points * call.image.groups, width = packed.size(3);
  if (used < width) {  // nobody reads the padding, so its gradient is zero
    for (int64_t row = 0; row < call.image.batch * call.problem.queries(); ++row) {
      std::memset(data + (row * width + used) * each, 0, (width - used) * each);
    }
  }
  stack[0] = call.backward(input, grad, data, data + 2 * points * each).hand_over();
  stack[1] = grad_packed.hand_over();
}

struct AttentionCall {
  Image image;
  Attention problem;
  std::vector<int64_t> heights, widths, starts;

  AttentionCall(const Tensor& value, const Tensor& location, const Tensor& weight, const std::vector<int64_t>& sizes) {
    image = {value.data(), value.size(0), value.size(1), value.size(2), value.size(3)};
    const int64_t levels = static_cast<int64_t>(sizes.size() / 2);
    int64_t start = 0;
    for (int64_t level = 0; level < levels; ++level) {
      heights.push_back(sizes[2 * level]);
      widths.push_back(sizes[2 * level + 1]);
      starts.push_back(start);
      start += heights.back() * widths.back();
    }
    problem = {levels,         location.size(4), location.size(1),
               heights.data(), widths.data(),    starts.data(),
               static_cast<const float*>(location.data()), static_cast<const float*>(weight.data())};
  }
};

// ms_deform_attn(value, location, weight, shapes) -> output
void ms_deform_attn(StableIValue* stack) {
  const Tensor value(stack[0]), location(stack[1]), weight(stack[2]);
  const AttentionCall call(value, location, weight, as_list(stack[3]));
  Tensor output({call.image.batch, call.problem.queries(), call.image.channels()}, value.dtype());
  void* data = output.data();
  const Type type = value.type();
  const int64_t work = grain(call.image, call.problem.levels * call.problem.points);
  parallel(call.image.batch * call.problem.queries(), work, [&](int64_t begin, int64_t end) {
    kernels().attend(type, call.image, call.problem, data, begin, end);
  });
  stack[0] = output.hand_over();
}

// ms_deform_attn_backward(grad_output, value, location, weight, shapes) -> (grad_value, grad_location, grad_weight)
void ms_deform_attn_backward(StableIValue* stack) {
  const Tensor grad(stack[0]), value(stack[1]), location(stack[2]), weight(stack[3]);
  const AttentionCall call(value, location, weight, as_list(stack[4]));
  const Image& image = call.image;
  const std::vector<int64_t> sizes = {value.size(0), value.size(1), value.size(2), value.size(3)};
  const int64_t n = image.batch, q = call.problem.queries(), m = image.groups;
  const int64_t levels = call.problem.levels, points = call.problem.points;
  Tensor grad_location({n, q, m, levels, points, 2}, location.dtype());
  Tensor grad_weight({n, q, m, levels, points}, weight.dtype());
  Tensor sums(sizes, aoti_torch_dtype_float32());
  const Gradients to = {grad.data(), static_cast<float*>(sums.data()), grad_location.data(), grad_weight.data()};
  const int64_t per_block = groups_per_block(image), blocks = (m + per_block - 1) / per_block;
  const Type type = value.type();
  parallel(n * blocks, 1, [&](int64_t begin, int64_t end) {
    kernels().attend_backward(type, image, call.problem, to, per_block, begin, end);
  });
  stack[1] = grad_location.hand_over();
  stack[2] = grad_weight.hand_over();
  stack[0] = rounded_like(value, sums, sizes);
}

// layer_norm(input, weight, bias, epsilon) -> output, for maps (N, H, W, C)
void layer_norm(StableIValue* stack) {
  const Tensor input(stack[0]), weight(stack[1]), bias(stack[2]);
  const int64_t rows = input.size(0) * input.size(1) * input.size(2), channels = input.size(3);
  const Normalisation problem = {input.data(), weight.data(), bias.data(), channels, static_cast<float>(as_double(stack[3]))};
  Tensor output({input.size(0), input.size(1), input.size(2), channels}, input.dtype());
  void* data = output.data();
  const Type type = input.type();
  parallel(rows, (1 << 15) / (channels + 1) + 1, [&](int64_t begin, int64_t end) {
    kernels().normalise(type, problem, data, begin, end);
  });
  stack[0] = output.hand_over();
}

class Registration {
 public:
  Registration() {
    check(aoti_torch_library_init_impl("internimage", "CPU", __FILE__, __LINE__, &library_));
    add<dcnv3, 3, 0, 0>("dcnv3", "internimage::dcnv3_plain");
    add<dcnv3_backward, 4, 0, 1>("dcnv3_backward", "internimage::dcnv3_backward_plain");
    add<dcnv4, 2, 0, 0>("dcnv4", "internimage::dcnv4_plain");
    add<dcnv4_backward, 3, 0, 1>("dcnv4_backward", "internimage::dcnv4_backward_plain");
    add<ms_deform_attn, 1, 2, 0>("ms_deform_attn", "internimage::ms_deform_attn_plain");
    add<layer_norm, 3, 0, 0>("layer_norm", "internimage::layer_norm_plain");
    add<ms_deform_attn_backward, 2, 2, 1>("ms_deform_attn_backward", "internimage::ms_deform_attn_backward_plain");
  }

 private:
  template <void (*kernel)(StableIValue*), int same, int single, int image>
  void add(const char* name, const char* plain) {
    Entry<kernel, same, single, image>::plain = plain;
    check(torch_library_impl(library_, name, Entry<kernel, same, single, image>::call, kBuiltFor));
  }
  TorchLibraryHandle library_ = nullptr;
};

const Registration registration;

}  // namespace
}  // namespace internimage

// Which instruction set runs, for `internimage doctor`.
extern "C" __attribute__((visibility("default"))) const char* internimage_cpu_kernels() {
  return internimage::kernels().name;
}
