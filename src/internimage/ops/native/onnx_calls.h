// A run of a node as ONNX Runtime sees it: tensors, attributes, threads, and what is wrong with them.  Without exceptions,
// as in tensors.h: the first complaint stays, and whoever is asked for more gives nothing.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <type_traits>

#include "calls.h"
#include "onnx_abi.h"

namespace internimage {

constexpr int64_t kAny = -1;

// "(2, any, 3)"; what does not fit in is left out.
struct Text {
  char chars[240] = "(";

  Text(const int64_t* sizes, int64_t count) {
    size_t at = 1;
    for (int64_t i = 0; i < count && at + 40 < sizeof chars; ++i) {
      const char* comma = i ? ", " : "";
      const auto written = sizes[i] == kAny
                               ? std::snprintf(chars + at, sizeof chars - at, "%sany", comma)
                               : std::snprintf(chars + at, sizeof chars - at, "%s%lld", comma, (long long)sizes[i]);
      at += static_cast<size_t>(written);
    }
    chars[at] = ')';  // what follows is zero
  }
};

class Complaint {
 public:
  Complaint(const OrtApi& api, const char* name) : api_(api), name_(name) {}
  explicit operator bool() const { return code_ != 0; }

  // About what was given, unless there is a complaint already.
  __attribute__((format(printf, 2, 3))) void say(const char* format, ...) {
    if (code_) return;
    va_list values;
    va_start(values, format);
    std::vsnprintf(words_, sizeof words_, format, values);
    va_end(values);
    code_ = ORT_INVALID_ARGUMENT;
  }
  void no_memory() { fail("there is not enough memory"); }

  // Whether a call of ONNX Runtime's went well; `attribute` says what it was to find.
  bool good(OrtStatus* status, const char* attribute = nullptr) {
    if (!status) return !code_;
    if (attribute) {
      say("attribute %s: %s", attribute, api_.GetErrorMessage(status));
    } else {
      fail(api_.GetErrorMessage(status));
    }
    api_.ReleaseStatus(status);
    return false;
  }
  OrtStatus* status() const {
    char all[sizeof words_ + 40];
    std::snprintf(all, sizeof all, "%s: %s", name_, words_);
    return code_ ? api_.CreateStatus(static_cast<OrtErrorCode>(code_), all) : nullptr;
  }

 private:
  void fail(const char* words) {
    if (code_) return;
    say("%s", words);
    code_ = ORT_FAIL;
  }

  const OrtApi& api_;
  const char* name_;
  int code_ = 0;
  char words_[760] = {};
};

struct Tensor {
  static constexpr int64_t kMost = 8;
  void* data = nullptr;
  int64_t sizes[kMost] = {}, dimensions = 0;

  int64_t size(int dimension) const { return sizes[dimension]; }
  const float* floats() const { return static_cast<const float*>(data); }
  Text shape() const { return Text(sizes, dimensions); }

  // Complains of another shape than `expected`, in which kAny stands for any size.
  template <int64_t count>
  bool expect(const char* name, const int64_t (&expected)[count], Complaint* complaint) const {
    bool same = dimensions == count;
    for (int64_t i = 0; same && i < count; ++i) same = expected[i] == kAny || expected[i] == sizes[i];
    if (!same) complaint->say("%s is %s; expected %s", name, shape().chars, Text(expected, count).chars);
    return !*complaint;
  }
};

// One run of a node.
class Call {
 public:
  Call(const OrtApi& api, OrtKernelContext* context, Complaint* complaint)
      : complaint(complaint), api_(api), context_(context) {}

  Tensor input(size_t index) const {
    const OrtValue* value = nullptr;
    OrtTensorTypeAndShapeInfo* info = nullptr;
    if (!complaint->good(api_.KernelContext_GetInput(context_, index, &value))) return {};
    if (!value) complaint->say("input %d is missing", static_cast<int>(index));
    if (!value || !complaint->good(api_.GetTensorTypeAndShape(value, &info))) return {};
    const Tensor tensor = read(static_cast<int>(index), value, info);
    api_.ReleaseTensorTypeAndShapeInfo(info);
    return tensor;
  }

  // Null if there is a complaint.
  template <size_t dimensions>
  void* output(const int64_t (&sizes)[dimensions]) const {
    OrtValue* value = nullptr;
    void* data = nullptr;
    if (*complaint) return nullptr;
    if (!complaint->good(api_.KernelContext_GetOutput(context_, 0, sizes, dimensions, &value))) return nullptr;
    return complaint->good(api_.GetTensorMutableData(value, &data)) ? data : nullptr;
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
      complaint->good(api_.KernelContext_ParallelFor(context_, run, (count + grain - 1) / grain, 0, &parts));
    };
  }

  Complaint* const complaint;

 private:
  Tensor read(int index, const OrtValue* value, const OrtTensorTypeAndShapeInfo* info) const {
    size_t count = 0;
    Tensor tensor;
    if (!complaint->good(api_.GetDimensionsCount(info, &count))) return {};
    if (count > Tensor::kMost) {
      complaint->say("input %d has %d dimensions; expected %d or fewer", index, static_cast<int>(count),
                     static_cast<int>(Tensor::kMost));
      return {};
    }
    tensor.dimensions = static_cast<int64_t>(count);
    if (!complaint->good(api_.GetDimensions(info, tensor.sizes, count))) return {};
    complaint->good(api_.GetTensorMutableData(const_cast<OrtValue*>(value), &tensor.data));
    return tensor;
  }

  const OrtApi& api_;
  OrtKernelContext* context_;
};

// Geometry of a convolution's node.
class Attributes {
 public:
  Attributes(const OrtApi& api, const OrtKernelInfo* info, Complaint* complaint)
      : api_(api), info_(info), complaint_(complaint) {}

  Geometry geometry() const {
    Geometry g{};
    pair("kernel_shape", 1, &g.kernel_h, &g.kernel_w);
    pair("strides", 1, &g.stride_h, &g.stride_w);
    pair("pads", 0, &g.pad_h, &g.pad_w);
    pair("dilations", 1, &g.dilation_h, &g.dilation_w);
    g.groups = integer("groups", 1, kMost);
    complaint_->good(api_.KernelInfoGetAttribute_float(info_, "offset_scale", &g.scale), "offset_scale");
    g.remove_center = integer("remove_center", 0, 1);
    g.softmax = integer("softmax", 0, 1);
    if (g.points() < 1) complaint_->say("remove_center leaves a kernel of 1 x 1 no point to sample");
    return g;
  }

 private:
  static constexpr int64_t kMost = 1 << 20;  // so that no product of three of them overflows

  int64_t limited(const char* name, int64_t value, int64_t least, int64_t most) const {
    if (value >= least && value <= most) return value;
    complaint_->say("attribute %s is %lld; expected %lld to %lld", name, (long long)value, (long long)least,
                    (long long)most);
    return least;
  }
  int64_t integer(const char* name, int64_t least, int64_t most) const {
    int64_t value = least;
    complaint_->good(api_.KernelInfoGetAttribute_int64(info_, name, &value), name);
    return limited(name, value, least, most);
  }
  void pair(const char* name, int64_t least, int64_t* height, int64_t* width) const {
    int64_t values[2] = {least, least};
    size_t count = 2;
    complaint_->good(api_.KernelInfoGetAttributeArray_int64(info_, name, values, &count), name);
    if (count != 2) complaint_->say("attribute %s needs two numbers, height and width", name);
    *height = limited(name, values[0], least, kMost), *width = limited(name, values[1], least, kMost);
  }

  const OrtApi& api_;
  const OrtKernelInfo* info_;
  Complaint* complaint_;
};

}  // namespace internimage
