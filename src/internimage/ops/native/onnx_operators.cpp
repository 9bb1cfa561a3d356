// The operators as ONNX Runtime calls them: nodes DCNv3, DCNv4 and MSDeformAttn of the domain "internimage", float32.
//
// Inputs are those of the PyTorch operators; geometry comes as attributes, the sizes of attention's levels as a tensor of
// int64.  Nobody has checked a file before, so everything is checked here: what is wrong becomes a status with a sentence.

#include "onnx_calls.h"

namespace internimage {
namespace {

// Checks the image of a convolution; at each of its output pixels lie `width` numbers.
struct Placed {
  int64_t sizes[4] = {};

  Placed(const Tensor& input, const Geometry& g, int64_t width, Complaint* complaint) {
    if (!input.expect("input", {kAny, kAny, kAny, kAny}, complaint)) return;
    const int64_t height_left = input.size(1) + 2 * g.pad_h - g.dilation_h * (g.kernel_h - 1) - 1;
    const int64_t width_left = input.size(2) + 2 * g.pad_w - g.dilation_w * (g.kernel_w - 1) - 1;
    if (input.size(3) % g.groups || height_left < 0 || width_left < 0 || !countable(input.size(1), input.size(2))) {
      complaint->say("input is %s; expected an image at least as large as the kernel, of channels in %lld groups, of less "
                     "than 2**29 pixels", input.shape().chars, (long long)g.groups);
      return;
    }
    sizes[0] = input.size(0), sizes[1] = height_left / g.stride_h + 1, sizes[2] = width_left / g.stride_w + 1;
    sizes[3] = width;
  }
};

Maps maps(const Tensor& tensor) {
  return {tensor.data, tensor.size(0), tensor.size(1), tensor.size(2), tensor.size(3)};
}

void convolve(const Call& call, const ConvolutionCall& convolution) {
  const Convolution& problem = convolution.problem;
  const Image& image = convolution.image;
  void* output = call.output({image.batch, problem.out_height, problem.out_width, image.channels()});
  if (output && !convolution.forward(Type::kFloat32, output, call.parallel())) call.complaint->no_memory();
}

void dcnv3(const Call& call, const Geometry& geometry) {
  const Tensor input = call.input(0), offset = call.input(1), mask = call.input(2);
  if (*call.complaint) return;
  const int64_t samples = geometry.groups * geometry.points();
  Placed placed(input, geometry, samples, call.complaint);
  if (*call.complaint || !mask.expect("mask", placed.sizes, call.complaint)) return;
  placed.sizes[3] = 2 * samples;
  if (!offset.expect("offset", placed.sizes, call.complaint)) return;
  ConvolutionCall convolution(maps(input), geometry, placed.sizes[1], placed.sizes[2]);
  convolution.separate(offset.data, mask.data);
  convolve(call, convolution);
}

void dcnv4(const Call& call, const Geometry& geometry) {
  const Tensor input = call.input(0), packed = call.input(1);
  if (*call.complaint) return;
  const int64_t used = 3 * geometry.groups * geometry.points();
  const bool padded = packed.dimensions == 4 && packed.size(3) > used;
  const Placed placed(input, geometry, padded ? packed.size(3) : used, call.complaint);
  if (*call.complaint || !packed.expect("packed", placed.sizes, call.complaint)) return;
  ConvolutionCall convolution(maps(input), geometry, placed.sizes[1], placed.sizes[2]);
  convolution.packed(packed.data, placed.sizes[3], sizeof(float));
  convolve(call, convolution);
}

// Whether the levels' sizes make up the pixels of `value`.
bool levels_fit(const Tensor& value, const int64_t* sizes, int64_t levels) {
  int64_t pixels = 0;
  bool fit = countable(value.size(1), value.size(2));
  for (int64_t level = 0; fit && level < levels; ++level) {
    const int64_t height = sizes[2 * level], width = sizes[2 * level + 1];
    fit = height >= 0 && width >= 0 && countable(height, width);
    if (fit) pixels += height * width;
  }
  return fit && pixels == value.size(1);
}

void ms_deform_attn(const Call& call, const Geometry&) {
  const Tensor value = call.input(0), location = call.input(1), weight = call.input(2), shapes = call.input(3);
  Complaint* complaint = call.complaint;
  if (*complaint || !value.expect("value", {kAny, kAny, kAny, kAny}, complaint)) return;
  if (!weight.expect("weight", {value.size(0), kAny, value.size(2), kAny, kAny}, complaint)) return;
  const int64_t queries = weight.size(1), levels = weight.size(3), points = weight.size(4);
  if (levels < 1 || points < 1) {
    return complaint->say("weight is %s; expected at least one level and one point", weight.shape().chars);
  }
  if (!location.expect("location", {value.size(0), queries, value.size(2), levels, points, 2}, complaint)) return;
  if (shapes.dimensions == 1 ? !shapes.expect("shapes", {2 * levels}, complaint)
                             : !shapes.expect("shapes", {levels, 2}, complaint)) {
    return;
  }
  const int64_t* sizes = static_cast<const int64_t*>(shapes.data);
  if (!levels_fit(value, sizes, levels)) {
    return complaint->say("value is %s; its pixels are not those of the levels' shapes %s", value.shape().chars,
                          Text(sizes, 2 * levels).chars);
  }
  const Image image = {value.data, value.size(0), value.size(1), value.size(2), value.size(3)};
  const AttentionCall attention(image, sizes, levels, queries, points, location.floats(), weight.floats());
  void* output = call.output({image.batch, queries, image.channels()});
  if (output && !attention.forward(Type::kFloat32, output, call.parallel())) complaint->no_memory();
}

// One operator: what ONNX Runtime asks of it, and what runs.
struct Operator : OrtCustomOp {
  const char* name;
  size_t inputs;
  bool convolution;  // the others' last input is of integers
  void (*run)(const Call& call, const Geometry& geometry);

  Operator(const char* name, size_t inputs, bool convolution, void (*run)(const Call&, const Geometry&));
};

const Operator& of(const OrtCustomOp* op) { return *static_cast<const Operator*>(op); }

// A node of a session.
struct Kernel {
  const OrtApi* api;
  const OrtCustomOp* op;
  Geometry geometry;
};

OrtStatus* create(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** made) {
  Complaint complaint(*api, of(op).name);
  const Geometry geometry = of(op).convolution ? Attributes(*api, info, &complaint).geometry() : Geometry{};
  Kernel* kernel = complaint ? nullptr : static_cast<Kernel*>(std::malloc(sizeof(Kernel)));
  if (kernel) {
    *kernel = {api, op, geometry};
  } else if (!complaint) {
    complaint.no_memory();
  }
  *made = kernel;
  return complaint.status();
}

OrtStatus* compute(void* made, OrtKernelContext* context) {
  const Kernel& kernel = *static_cast<const Kernel*>(made);
  Complaint complaint(*kernel.api, of(kernel.op).name);
  of(kernel.op).run(Call(*kernel.api, context, &complaint), kernel.geometry);
  return complaint.status();
}

Operator::Operator(const char* name, size_t inputs, bool convolution, void (*run)(const Call&, const Geometry&))
    : OrtCustomOp{}, name(name), inputs(inputs), convolution(convolution), run(run) {
  version = kOnnxInterface;
  GetName = [](const OrtCustomOp* op) { return of(op).name; };
  GetExecutionProviderType = [](const OrtCustomOp*) { return "CPUExecutionProvider"; };
  GetInputTypeCount = [](const OrtCustomOp* op) { return of(op).inputs; };
  GetInputType = [](const OrtCustomOp* op, size_t index) {
    const bool sizes = !of(op).convolution && index + 1 == of(op).inputs;
    return sizes ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  };
  GetOutputTypeCount = [](const OrtCustomOp*) { return size_t{1}; };
  GetOutputType = [](const OrtCustomOp*, size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; };
  GetInputCharacteristic = GetOutputCharacteristic = GetInputMemoryType = [](const OrtCustomOp*, size_t) { return 0; };
  CreateKernelV2 = create;
  KernelComputeV2 = compute;
  KernelDestroy = [](void* kernel) { std::free(kernel); };
}

const Operator operators[] = {
    {"DCNv3", 3, true, dcnv3}, {"DCNv4", 2, true, dcnv4}, {"MSDeformAttn", 4, false, ms_deform_attn}};

// The domain of a runtime, made once: sessions refer to it until the process ends.  A process has hardly ever two.
struct Domain {
  const OrtApi* api;
  OrtCustomOpDomain* made;
  Domain* next;
};

OrtCustomOpDomain* domain(const OrtApi* api, Complaint* complaint) {
  static Domain* newest = nullptr;
  for (Domain* known = newest; known; known = known->next) {
    if (known->api == api) return known->made;
  }
  OrtCustomOpDomain* made = nullptr;
  if (!complaint->good(api->CreateCustomOpDomain("internimage", &made))) return nullptr;
  for (const Operator& op : operators) complaint->good(api->CustomOpDomain_Add(made, &op));
  Domain* kept = *complaint ? nullptr : static_cast<Domain*>(std::malloc(sizeof(Domain)));
  if (!kept) {
    complaint->no_memory();
    api->ReleaseCustomOpDomain(made);
    return nullptr;
  }
  *kept = {api, made, newest};
  newest = kept;
  return made;
}

// One thread at a time; the work is short, so that the others may spin.
class Turn {
 public:
  Turn() {
    while (__atomic_test_and_set(&taken, __ATOMIC_ACQUIRE)) {
    }
  }
  ~Turn() { __atomic_clear(&taken, __ATOMIC_RELEASE); }

 private:
  static inline bool taken = false;
};

}  // namespace
}  // namespace internimage

extern "C" EXPORTED OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  using namespace internimage;
  const OrtApi* api = base->GetApi(kOnnxInterface);
  if (!api) {
    char message[120];
    std::snprintf(message, sizeof message, "internimage: its operators need ONNX Runtime 1.17 or newer; this is %s",
                  base->GetVersionString());
    return base->GetApi(1)->CreateStatus(ORT_FAIL, message);
  }
  Complaint complaint(*api, "internimage");
  const Turn turn;
  OrtCustomOpDomain* made = domain(api, &complaint);
  if (made) complaint.good(api->AddCustomOpDomain(options, made));
  return complaint.status();
}
