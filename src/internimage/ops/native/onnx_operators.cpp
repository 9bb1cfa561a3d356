// The operators as ONNX Runtime calls them: nodes DCNv3, DCNv4 and MSDeformAttn of the domain "internimage", float32.
//
// Inputs are those of the PyTorch operators; geometry comes as attributes, the sizes of attention's levels as a tensor of
// int64.  Nobody has checked a file before, so everything is checked here: what is wrong becomes a status with a sentence.

#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "calls.h"
#include "onnx_abi.h"

namespace internimage {
namespace {

using Shape = std::vector<int64_t>;
constexpr int64_t kAny = -1;

void check(const OrtApi& api, OrtStatus* status) {
  if (!status) return;
  const std::string message = api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  throw std::runtime_error(message);
}

std::string text(const Shape& shape) {
  std::string joined;
  for (const int64_t size : shape) joined += (joined.empty() ? "" : ", ") + (size == kAny ? "any" : std::to_string(size));
  return "(" + joined + ")";
}

struct Tensor {
  void* data;
  Shape shape;
  int64_t size(int dimension) const { return shape[dimension]; }
  const float* floats() const { return static_cast<const float*>(data); }

  // Refuses another shape than `expected`, in which kAny stands for any size.
  void expect(const char* name, const Shape& expected) const {
    bool same = shape.size() == expected.size();
    for (size_t i = 0; same && i < shape.size(); ++i) same = expected[i] == kAny || expected[i] == shape[i];
    if (!same) throw std::invalid_argument(std::string(name) + " is " + text(shape) + "; expected " + text(expected));
  }
};

// One run of a node.
class Call {
 public:
  Call(const OrtApi& api, OrtKernelContext* context) : api_(api), context_(context) {}

  Tensor input(size_t index) const {
    const OrtValue* value = nullptr;
    check(api_, api_.KernelContext_GetInput(context_, index, &value));
    if (!value) throw std::invalid_argument("input " + std::to_string(index) + " is missing");
    OrtTensorTypeAndShapeInfo* raw = nullptr;
    check(api_, api_.GetTensorTypeAndShape(value, &raw));
    const std::unique_ptr<OrtTensorTypeAndShapeInfo, void (*)(OrtTensorTypeAndShapeInfo*)> info(
        raw, api_.ReleaseTensorTypeAndShapeInfo);
    size_t count = 0;
    check(api_, api_.GetDimensionsCount(raw, &count));
    Tensor tensor{nullptr, Shape(count)};
    check(api_, api_.GetDimensions(raw, tensor.shape.data(), count));
    check(api_, api_.GetTensorMutableData(const_cast<OrtValue*>(value), &tensor.data));
    return tensor;
  }

  void* output(const Shape& shape) const {
    OrtValue* value = nullptr;
    check(api_, api_.KernelContext_GetOutput(context_, 0, shape.data(), shape.size(), &value));
    void* data = nullptr;
    check(api_, api_.GetTensorMutableData(value, &data));
    return data;
  }

  // On the session's threads, of which there may be but one.
  auto parallel() const {
    return [this](int64_t count, int64_t grain, const auto& work) {
      using Work = std::remove_reference_t<decltype(work)>;
      struct Parts {
        Work& work;
        int64_t count, grain;
      } parts{work, count, grain};
      const auto run = [](void* data, size_t part) {
        const Parts& parts = *static_cast<const Parts*>(data);
        const int64_t begin = static_cast<int64_t>(part) * parts.grain, end = begin + parts.grain;
        parts.work(begin, end < parts.count ? end : parts.count);
      };
      check(api_, api_.KernelContext_ParallelFor(context_, run, (count + grain - 1) / grain, 0, &parts));
    };
  }

 private:
  const OrtApi& api_;
  OrtKernelContext* context_;
};

// Geometry of a convolution's node.
class Attributes {
 public:
  Attributes(const OrtApi& api, const OrtKernelInfo* info) : api_(api), info_(info) {}

  Geometry geometry() const {
    Geometry g{};
    pair("kernel_shape", 1, &g.kernel_h, &g.kernel_w);
    pair("strides", 1, &g.stride_h, &g.stride_w);
    pair("pads", 0, &g.pad_h, &g.pad_w);
    pair("dilations", 1, &g.dilation_h, &g.dilation_w);
    g.groups = integer("groups", 1, kMost);
    found("offset_scale", api_.KernelInfoGetAttribute_float(info_, "offset_scale", &g.scale));
    g.remove_center = integer("remove_center", 0, 1);
    g.softmax = integer("softmax", 0, 1);
    if (g.points() < 1) throw std::invalid_argument("remove_center leaves a kernel of 1 x 1 no point to sample");
    return g;
  }

 private:
  static constexpr int64_t kMost = 1 << 20;  // so that no product of three of them overflows

  static int64_t limited(const char* name, int64_t value, int64_t least, int64_t most) {
    if (value >= least && value <= most) return value;
    throw std::invalid_argument(std::string("attribute ") + name + " is " + std::to_string(value) + "; expected " +
                                std::to_string(least) + " to " + std::to_string(most));
  }
  void found(const char* name, OrtStatus* status) const {
    try {
      check(api_, status);
    } catch (const std::runtime_error& error) {
      throw std::invalid_argument(std::string("attribute ") + name + ": " + error.what());
    }
  }
  int64_t integer(const char* name, int64_t least, int64_t most) const {
    int64_t value = 0;
    found(name, api_.KernelInfoGetAttribute_int64(info_, name, &value));
    return limited(name, value, least, most);
  }
  void pair(const char* name, int64_t least, int64_t* height, int64_t* width) const {
    int64_t values[2] = {};
    size_t count = 2;
    found(name, api_.KernelInfoGetAttributeArray_int64(info_, name, values, &count));
    if (count != 2) throw std::invalid_argument(std::string("attribute ") + name + " needs two numbers, height and width");
    *height = limited(name, values[0], least, kMost), *width = limited(name, values[1], least, kMost);
  }

  const OrtApi& api_;
  const OrtKernelInfo* info_;
};

// Checks the image of a convolution; the shape of what lies at its output pixels, `width` numbers each.
Shape placed(const Tensor& input, const Geometry& g, int64_t width) {
  input.expect("input", {kAny, kAny, kAny, kAny});
  const int64_t height_left = input.size(1) + 2 * g.pad_h - g.dilation_h * (g.kernel_h - 1) - 1;
  const int64_t width_left = input.size(2) + 2 * g.pad_w - g.dilation_w * (g.kernel_w - 1) - 1;
  if (input.size(3) % g.groups || height_left < 0 || width_left < 0 || !countable(input.size(1), input.size(2))) {
    throw std::invalid_argument("input is " + text(input.shape) + "; expected an image at least as large as the kernel, " +
                                "of channels in " + std::to_string(g.groups) + " groups, of less than 2**29 pixels");
  }
  return {input.size(0), height_left / g.stride_h + 1, width_left / g.stride_w + 1, width};
}

Maps maps(const Tensor& tensor) {
  return {tensor.data, tensor.size(0), tensor.size(1), tensor.size(2), tensor.size(3)};
}

void convolve(const Call& call, const ConvolutionCall& convolution) {
  const Convolution& problem = convolution.problem;
  const Image& image = convolution.image;
  void* output = call.output({image.batch, problem.out_height, problem.out_width, image.channels()});
  convolution.forward(Type::kFloat32, output, call.parallel());
}

void dcnv3(const Call& call, const Geometry& geometry) {
  const Tensor input = call.input(0), offset = call.input(1), mask = call.input(2);
  const int64_t samples = geometry.groups * geometry.points();
  Shape shape = placed(input, geometry, samples);
  mask.expect("mask", shape);
  shape[3] = 2 * samples;
  offset.expect("offset", shape);
  ConvolutionCall convolution(maps(input), geometry, shape[1], shape[2]);
  convolution.separate(offset.data, mask.data);
  convolve(call, convolution);
}

void dcnv4(const Call& call, const Geometry& geometry) {
  const Tensor input = call.input(0), packed = call.input(1);
  const int64_t used = 3 * geometry.groups * geometry.points();
  const bool padded = packed.shape.size() == 4 && packed.size(3) > used;
  const Shape shape = placed(input, geometry, padded ? packed.size(3) : used);
  packed.expect("packed", shape);
  ConvolutionCall convolution(maps(input), geometry, shape[1], shape[2]);
  convolution.packed(packed.data, shape[3], sizeof(float));
  convolve(call, convolution);
}

void ms_deform_attn(const Call& call, const Geometry&) {
  const Tensor value = call.input(0), location = call.input(1), weight = call.input(2), shapes = call.input(3);
  value.expect("value", {kAny, kAny, kAny, kAny});
  weight.expect("weight", {value.size(0), kAny, value.size(2), kAny, kAny});
  const int64_t queries = weight.size(1), levels = weight.size(3), points = weight.size(4);
  if (levels < 1 || points < 1) {
    throw std::invalid_argument("weight is " + text(weight.shape) + "; expected at least one level and one point");
  }
  location.expect("location", {value.size(0), queries, value.size(2), levels, points, 2});
  shapes.expect("shapes", shapes.shape.size() == 1 ? Shape{2 * levels} : Shape{levels, 2});
  const int64_t* sizes = static_cast<const int64_t*>(shapes.data);
  int64_t pixels = 0;
  bool fit = countable(value.size(1), value.size(2));
  for (int64_t level = 0; fit && level < levels; ++level) {
    const int64_t height = sizes[2 * level], width = sizes[2 * level + 1];
    fit = height >= 0 && width >= 0 && countable(height, width);
    if (fit) pixels += height * width;
  }
  if (!fit || pixels != value.size(1)) {
    throw std::invalid_argument("value is " + text(value.shape) + "; its pixels are not those of the levels' shapes " +
                                text(Shape(sizes, sizes + 2 * levels)));
  }
  const Image image = {value.data, value.size(0), value.size(1), value.size(2), value.size(3)};
  const AttentionCall attention(image, Shape(sizes, sizes + 2 * levels), queries, points, location.floats(),
                                weight.floats());
  void* output = call.output({image.batch, queries, image.channels()});
  attention.forward(Type::kFloat32, output, call.parallel());
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
  const OrtApi& api;
  const Operator& op;
  Geometry geometry;
};

// What `act` throws as a status; ONNX Runtime is C on the other side.
template <class Act>
OrtStatus* guarded(const OrtApi& api, const char* name, const Act& act) {
  const auto status = [&](OrtErrorCode code, const std::exception& error) {
    return api.CreateStatus(code, (std::string(name) + ": " + error.what()).c_str());
  };
  try {
    act();
    return nullptr;
  } catch (const std::invalid_argument& error) {
    return status(ORT_INVALID_ARGUMENT, error);
  } catch (const std::exception& error) {
    return status(ORT_FAIL, error);
  }
}

OrtStatus* create(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
  return guarded(*api, of(op).name, [&] {
    const Geometry geometry = of(op).convolution ? Attributes(*api, info).geometry() : Geometry{};
    *kernel = new Kernel{*api, of(op), geometry};
  });
}

OrtStatus* compute(void* made, OrtKernelContext* context) {
  const Kernel& kernel = *static_cast<const Kernel*>(made);
  return guarded(kernel.api, kernel.op.name, [&] { kernel.op.run(Call(kernel.api, context), kernel.geometry); });
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
  KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
}

const Operator operators[] = {
    {"DCNv3", 3, true, dcnv3}, {"DCNv4", 2, true, dcnv4}, {"MSDeformAttn", 4, false, ms_deform_attn}};

// The domain of a runtime, made once: sessions refer to it as long as this library is loaded.
OrtCustomOpDomain* domain(const OrtApi& api) {
  static std::mutex mutex;
  static std::map<const OrtApi*, std::unique_ptr<OrtCustomOpDomain, void (*)(OrtCustomOpDomain*)>> domains;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = domains.find(&api);
  if (found != domains.end()) return found->second.get();
  OrtCustomOpDomain* made = nullptr;
  check(api, api.CreateCustomOpDomain("internimage", &made));
  domains.emplace(&api, decltype(domains)::mapped_type(made, api.ReleaseCustomOpDomain));
  for (const Operator& op : operators) check(api, api.CustomOpDomain_Add(made, &op));
  return made;
}

}  // namespace
}  // namespace internimage

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* base) {
  using namespace internimage;
  const OrtApi* api = base->GetApi(kOnnxInterface);
  if (!api) {
    const std::string message = std::string("internimage: its operators need ONNX Runtime 1.17 or newer; this is ") +
                                base->GetVersionString();
    return base->GetApi(1)->CreateStatus(ORT_FAIL, message.c_str());
  }
  return guarded(*api, "internimage", [&] { check(*api, api->AddCustomOpDomain(options, domain(*api))); });
}
