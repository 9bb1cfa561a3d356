// The operators as PyTorch calls them: reads tensors, makes the results, runs on PyTorch's threads.
//
// Registered for CPU tensors; Python has checked that shapes fit together.  An operator that finds no memory
// says so to who called it, so that its tensors are released before PyTorch throws.

#include <cstring>
#include <type_traits>

#include "calls.h"
#include "tensors.h"

namespace internimage {
namespace {

constexpr uint64_t kBuiltFor = uint64_t{2} << 56 | uint64_t{10} << 48;  // torch 2.10

constexpr auto parallel = [](int64_t count, int64_t grain, const auto& work) {
  using Work = std::remove_reference_t<decltype(work)>;
  check(torch_parallel_for(
      0, count, grain, [](int64_t begin, int64_t end, void* work) { (*static_cast<Work*>(work))(begin, end); },
      const_cast<std::remove_const_t<Work>*>(&work)));
};

// Groups of a backward block: all of an image's if there are enough images for the threads, so that tables are full and
// rows are read whole.  The choice does not change a single bit of the result, as groups share no sums.
int64_t groups_per_block(const Image& image) {
  uint32_t threads = 1;
  check(torch_get_num_threads(&threads));
  const int64_t wanted = threads > 1 ? int64_t{4} * threads : 1;  // several a thread, which may be unequally fast
  const int64_t batch = image.batch > 0 ? image.batch : 1, blocks = (wanted + batch - 1) / batch;
  const int64_t groups = (image.groups + blocks - 1) / blocks;
  return groups < 4 && image.groups >= 4 ? 4 : groups;
}

// Hands over the float32 `sums`, which have the shape `sizes` of `tensor`, in that tensor's dtype; 0 without memory.
StableIValue rounded_like(const Tensor& tensor, Tensor& sums, const int64_t (&sizes)[4]) {
  const Type type = tensor.type();
  if (type == Type::kFloat32) return sums.hand_over();
  Tensor rounded(sizes, tensor.dtype());
  if (!rounded) return 0;
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
  return countable(sizes[1], sizes[2]);
}

// An operator leaves its results on the stack, or is false where there is no memory for them.
using Operator = bool(StableIValue*);

template <Operator* kernel>
void alone(StableIValue* stack, uint64_t, uint64_t) {
  if (!kernel(stack)) fail("internimage: there is not enough memory for the operator's results");
}

template <Operator* kernel, int same, int single, int image>
struct Entry {
  static inline const char* plain = nullptr;
  static void call(StableIValue* stack, uint64_t inputs, uint64_t outputs) {
    if (known(stack, same, single, image)) return alone<kernel>(stack, inputs, outputs);
    check(torch_call_dispatcher(plain, "", stack, kBuiltFor));
  }
};

// From the integers and numbers that follow the tensors in both convolutions' schemas.
Geometry geometry(const StableIValue* v) {
  const auto number = [&](int i) { return static_cast<int64_t>(v[i]); };
  return {number(0), number(1), number(2), number(3), number(4),    number(5), number(6),
          number(7), number(8), static_cast<float>(as_double(v[9])), as_bool(v[10]), as_bool(v[11])};
}

Maps maps(const Tensor& tensor) {
  return {tensor.data(), tensor.size(0), tensor.size(1), tensor.size(2), tensor.size(3)};
}

Tensor forward(const ConvolutionCall& call, const Tensor& input) {
  const Image& image = call.image;
  Tensor output({image.batch, call.problem.out_height, call.problem.out_width, image.channels()}, input.dtype());
  const bool done = output && call.forward(input.type(), output.data(), parallel);
  return Tensor(done ? output.hand_over() : 0);
}

// The gradient of the input; those of offsets and weights are written to `offset` and `weight`.
Tensor backward(const ConvolutionCall& call, const Tensor& input, const Tensor& grad, void* offset, void* weight) {
  const Image& image = call.image;
  const int64_t sizes[] = {input.size(0), input.size(1), input.size(2), input.size(3)};
  const Type type = input.type();
  Tensor sums(sizes, aoti_torch_dtype_float32());
  if (!sums || !call.taps) return Tensor();
  const Gradients to = {grad.data(), static_cast<float*>(sums.data()), offset, weight};
  const int64_t per_block = groups_per_block(image), blocks = (image.groups + per_block - 1) / per_block;
  const bool done = all_done(parallel, image.batch * blocks, 1, [&](int64_t begin, int64_t end) {
    return kernels().convolve_backward(type, image, call.problem, to, per_block, begin, end);
  });
  return Tensor(done ? rounded_like(input, sums, sizes) : 0);
}

// dcnv3(input, offset, mask, geometry) -> output
bool dcnv3(StableIValue* stack) {
  const Tensor input(stack[0]), offset(stack[1]), mask(stack[2]);
  ConvolutionCall call(maps(input), geometry(stack + 3), offset.size(1), offset.size(2));
  call.separate(offset.data(), mask.data());
  Tensor output = forward(call, input);
  stack[0] = output.hand_over();
  return stack[0];
}

// dcnv3_backward(grad_output, input, offset, mask, geometry) -> (grad_input, grad_offset, grad_mask)
bool dcnv3_backward(StableIValue* stack) {
  const Tensor grad(stack[0]), input(stack[1]), offset(stack[2]), mask(stack[3]);
  ConvolutionCall call(maps(input), geometry(stack + 4), offset.size(1), offset.size(2));
  call.separate(offset.data(), mask.data());
  Tensor grad_offset({offset.size(0), offset.size(1), offset.size(2), offset.size(3)}, offset.dtype());
  Tensor grad_mask({mask.size(0), mask.size(1), mask.size(2), mask.size(3)}, mask.dtype());
  if (!grad_offset || !grad_mask) return false;
  Tensor grad_input = backward(call, input, grad, grad_offset.data(), grad_mask.data());
  if (!grad_input) return false;
  stack[0] = grad_input.hand_over();
  stack[1] = grad_offset.hand_over();
  stack[2] = grad_mask.hand_over();
  return true;
}

// dcnv4(input, packed, geometry) -> output
bool dcnv4(StableIValue* stack) {
  const Tensor input(stack[0]), packed(stack[1]);
  ConvolutionCall call(maps(input), geometry(stack + 2), packed.size(1), packed.size(2));
  call.packed(packed.data(), packed.size(3), packed.bytes_each());
  Tensor output = forward(call, input);
  stack[0] = output.hand_over();
  return stack[0];
}

// dcnv4_backward(grad_output, input, packed, geometry) -> (grad_input, grad_packed)
bool dcnv4_backward(StableIValue* stack) {
  const Tensor grad(stack[0]), input(stack[1]), packed(stack[2]);
  ConvolutionCall call(maps(input), geometry(stack + 3), packed.size(1), packed.size(2));
  call.packed(packed.data(), packed.size(3), packed.bytes_each());
  Tensor grad_packed({packed.size(0), packed.size(1), packed.size(2), packed.size(3)}, packed.dtype());
  if (!grad_packed) return false;
  char* data = static_cast<char*>(grad_packed.data());
  const size_t each = packed.bytes_each();
  const int64_t points = call.problem.points, used = 3 * points * call.image.groups, width = packed.size(3);
  if (used < width) {  // nobody reads the padding, so its gradient is zero
    for (int64_t row = 0; row < call.image.batch * call.problem.queries(); ++row) {
      std::memset(data + (row * width + used) * each, 0, (width - used) * each);
    }
  }
  Tensor grad_input = backward(call, input, grad, data, data + 2 * points * each);
  if (!grad_input) return false;
  stack[0] = grad_input.hand_over();
  stack[1] = grad_packed.hand_over();
  return true;
}

Image image(const Tensor& value) {
  return {value.data(), value.size(0), value.size(1), value.size(2), value.size(3)};
}

const float* floats(const Tensor& tensor) { return static_cast<const float*>(tensor.data()); }

// ms_deform_attn(value, location, weight, shapes) -> output
bool ms_deform_attn(StableIValue* stack) {
  const Tensor value(stack[0]), location(stack[1]), weight(stack[2]);
  const Shapes shapes{List(stack[3])};
  if (!shapes.sizes) return false;
  const AttentionCall call(image(value), shapes.sizes.data(), shapes.levels, location.size(1), location.size(4),
                           floats(location), floats(weight));
  Tensor output({call.image.batch, call.problem.queries(), call.image.channels()}, value.dtype());
  if (!output || !call.forward(value.type(), output.data(), parallel)) return false;
  stack[0] = output.hand_over();
  return true;
}

// ms_deform_attn_backward(grad_output, value, location, weight, shapes) -> (grad_value, grad_location, grad_weight)
bool ms_deform_attn_backward(StableIValue* stack) {
  const Tensor grad(stack[0]), value(stack[1]), location(stack[2]), weight(stack[3]);
  const Shapes shapes{List(stack[4])};
  if (!shapes.sizes) return false;
  const AttentionCall call(image(value), shapes.sizes.data(), shapes.levels, location.size(1), location.size(4),
                           floats(location), floats(weight));
  const Image& image = call.image;
  const int64_t sizes[] = {value.size(0), value.size(1), value.size(2), value.size(3)};
  const int64_t n = image.batch, q = call.problem.queries(), m = image.groups;
  const int64_t levels = call.problem.levels, points = call.problem.points;
  Tensor grad_location({n, q, m, levels, points, 2}, location.dtype());
  Tensor grad_weight({n, q, m, levels, points}, weight.dtype());
  Tensor sums(sizes, aoti_torch_dtype_float32());
  if (!call.shapes || !grad_location || !grad_weight || !sums) return false;
  const Gradients to = {grad.data(), static_cast<float*>(sums.data()), grad_location.data(), grad_weight.data()};
  const int64_t per_block = groups_per_block(image), blocks = (m + per_block - 1) / per_block;
  const Type type = value.type();
  const bool done = all_done(parallel, n * blocks, 1, [&](int64_t begin, int64_t end) {
    return kernels().attend_backward(type, image, call.problem, to, per_block, begin, end);
  });
  if (!done || !(stack[0] = rounded_like(value, sums, sizes))) return false;
  stack[1] = grad_location.hand_over();
  stack[2] = grad_weight.hand_over();
  return true;
}

// A new map (N, H, W, C) like `input`, normalised; 0 without memory.
StableIValue normalised(const Tensor& input, const Normalisation& problem) {
  const int64_t rows = input.size(0) * input.size(1) * input.size(2), channels = problem.channels;
  Tensor output({input.size(0), input.size(1), input.size(2), channels}, input.dtype());
  if (!output) return 0;
  void* data = output.data();
  const Type type = input.type();
  const bool done = all_done(parallel, rows, (1 << 15) / (channels + 1) + 1, [&](int64_t begin, int64_t end) {
    return kernels().normalise(type, problem, data, begin, end);
  });
  return done ? output.hand_over() : 0;
}

// layer_norm(input, weight, bias, epsilon, gelu) -> output, for maps (N, H, W, C)
bool layer_norm(StableIValue* stack) {
  const Tensor input(stack[0]), weight(stack[1]), bias(stack[2]);
  const float epsilon = static_cast<float>(as_double(stack[3]));
  return stack[0] = normalised(input, {input.data(), weight.data(), bias.data(), input.size(3), epsilon,
                                       as_bool(stack[4]), nullptr, nullptr});
}

// layer_norm_add(input, residual, scale, weight, bias, epsilon) -> output; a scale of no elements is none
bool layer_norm_add(StableIValue* stack) {
  const Tensor input(stack[0]), residual(stack[1]), scale(stack[2]), weight(stack[3]), bias(stack[4]);
  const float epsilon = static_cast<float>(as_double(stack[5]));
  return stack[0] = normalised(input, {input.data(), weight.data(), bias.data(), input.size(3), epsilon, false,
                                       residual.data(), scale.size(0) ? scale.data() : nullptr});
}

Tiles tiles(const Tensor& maps) { return {maps.data(), maps.size(0), maps.size(1), maps.size(2), maps.size(3)}; }

int64_t grain(const Tiles& t) { return 4096 / (t.channels + 1) + 1; }

// winograd_transform(input, first, count) -> (36, count, C), of maps (N, H, W, C)
bool winograd_transform(StableIValue* stack) {
  const Tensor input(stack[0]);
  const int64_t first = static_cast<int64_t>(stack[1]), count = static_cast<int64_t>(stack[2]);
  const Tiles t = tiles(input);
  Tensor output({36, count, t.channels}, input.dtype());
  if (!output) return false;
  float* to = static_cast<float*>(output.data());
  parallel(count, grain(t), [&](int64_t begin, int64_t end) { kernels().transform(t, to, first, count, begin, end); });
  stack[0] = output.hand_over();
  return true;
}

// winograd_untransform(output, products, bias, relu, first), 36 products of (count, C), into maps (N, H, W, C)
bool winograd_untransform(StableIValue* stack) {
  const Tensor output(stack[0]);
  constexpr int kProducts = 36;
  const float* products[kProducts];
  Tensor owned[kProducts];
  const List list(stack[1]);
  for (int i = 0; i < kProducts; ++i) {
    owned[i].take(list[i]);
    products[i] = floats(owned[i]);
  }
  const Tensor bias(stack[2]);
  const bool relu = as_bool(stack[3]);
  const int64_t first = static_cast<int64_t>(stack[4]), count = owned[0].size(0);
  const Tiles t = tiles(output);
  parallel(count, grain(t), [&](int64_t begin, int64_t end) {
    kernels().untransform(t, products, floats(bias), relu, first, begin, end);
  });
  return true;
}

// digest(tensor) -> int, of the bits of a contiguous tensor
bool digest(StableIValue* stack) {
  const Tensor tensor(stack[0]);
  int64_t count = 0;
  check(aoti_torch_get_numel(reinterpret_cast<AtenTensorHandle>(stack[0]), &count));
  stack[0] = kernels().digest(tensor.data(), count * static_cast<int64_t>(tensor.bytes_each()));
  return true;
}

class Registration {
 public:
  Registration() {
    check(aoti_torch_library_init_impl("internimage", "CPU", "operators.cpp", 0, &library_));
    add<dcnv3, 3, 0, 0>("dcnv3", "internimage::dcnv3_plain");
    add<dcnv3_backward, 4, 0, 1>("dcnv3_backward", "internimage::dcnv3_backward_plain");
    add<dcnv4, 2, 0, 0>("dcnv4", "internimage::dcnv4_plain");
    add<dcnv4_backward, 3, 0, 1>("dcnv4_backward", "internimage::dcnv4_backward_plain");
    add<ms_deform_attn, 1, 2, 0>("ms_deform_attn", "internimage::ms_deform_attn_plain");
    add<layer_norm, 3, 0, 0>("layer_norm", "internimage::layer_norm_plain");
    add<layer_norm_add, 5, 0, 0>("layer_norm_add", "internimage::layer_norm_add_plain");
    add<ms_deform_attn_backward, 2, 2, 1>("ms_deform_attn_backward", "internimage::ms_deform_attn_backward_plain");
    check(torch_library_impl(library_, "winograd_transform", alone<winograd_transform>, kBuiltFor));
    check(torch_library_impl(library_, "winograd_untransform", alone<winograd_untransform>, kBuiltFor));
    check(torch_library_impl(library_, "digest", alone<digest>, kBuiltFor));
  }

 private:
  template <Operator* kernel, int same, int single, int image>
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
extern "C" EXPORTED const char* internimage_cpu_kernels() {
  return internimage::kernels().name;
}
