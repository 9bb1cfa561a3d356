// Values of PyTorch's stack: tensors, lists of integers or tensors, numbers.
//
// No C++ runtime is used: exceptions of one runtime would end a process in which PyTorch has another.  PyTorch itself
// throws what fails here.
#pragma once

#include <cstring>

#include "memory.h"
#include "problems.h"
#include "torch_abi.h"

namespace internimage {

[[noreturn]] inline void fail(const char* what) {
  aoti_torch_check(false, "internimage", "operators.cpp", 0, what);
  __builtin_unreachable();  // it has thrown
}

inline void check(AOTITorchError error) {
  if (error) fail("internimage: a call of LibTorch's stable interface failed");
}

// A tensor received from PyTorch or made here, which is false where there is no memory; released at the end unless
// handed over.
class Tensor {
 public:
  explicit Tensor(StableIValue value = 0) : handle_(reinterpret_cast<AtenTensorHandle>(value)) {}
  template <size_t dimensions>
  Tensor(const int64_t (&sizes)[dimensions], int32_t dtype) {
    int64_t strides[dimensions], stride = 1;
    for (size_t i = dimensions; i-- > 0;) strides[i] = stride, stride *= sizes[i] > 0 ? sizes[i] : 1;
    if (aoti_torch_empty_strided(dimensions, sizes, strides, dtype, aoti_torch_device_type_cpu(), 0, &handle_)) {
      handle_ = nullptr;
    }
  }
  ~Tensor() {
    if (handle_) aoti_torch_delete_tensor_object(handle_);
  }
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;

  explicit operator bool() const { return handle_ != nullptr; }
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
  void take(StableIValue value) { handle_ = reinterpret_cast<AtenTensorHandle>(value); }
  StableIValue hand_over() {
    const StableIValue value = reinterpret_cast<StableIValue>(handle_);
    handle_ = nullptr;
    return value;
  }

 private:
  AtenTensorHandle handle_ = nullptr;
};

// A list received from PyTorch; released at the end.
class List {
 public:
  explicit List(StableIValue value) : handle_(reinterpret_cast<StableListHandle>(value)) {}
  ~List() { torch_delete_list(handle_); }
  List(const List&) = delete;
  List& operator=(const List&) = delete;

  int64_t size() const {
    size_t size = 0;
    check(torch_list_size(handle_, &size));
    return static_cast<int64_t>(size);
  }
  StableIValue operator[](int64_t index) const {
    StableIValue item = 0;
    check(torch_list_get_item(handle_, index, &item));
    return item;
  }

 private:
  StableListHandle handle_;
};

// Height, width, height, ... of attention's levels.
struct Shapes {
  int64_t levels;
  Memory<int64_t> sizes;
  explicit Shapes(const List& list) : levels(list.size() / 2), sizes(2 * levels) {
    for (int64_t i = 0; sizes && i < 2 * levels; ++i) sizes.data()[i] = static_cast<int64_t>(list[i]);
  }
};

inline double as_double(StableIValue value) {
  double result;
  std::memcpy(&result, &value, sizeof result);
  return result;
}
inline bool as_bool(StableIValue value) { return value & 0xff; }

}  // namespace internimage
