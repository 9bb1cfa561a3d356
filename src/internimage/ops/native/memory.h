// Memory without a C++ runtime: PyTorch's library is loaded into processes whose runtime may be another.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace internimage {

// Files compiled for different instruction sets must never share a function, so everything here is inlined.
#define INLINED inline __attribute__((always_inline))

// `count` numbers, all zero; false where there is no memory for them.
template <class T>
class Memory {
 public:
  INLINED explicit Memory(int64_t count) : data_(static_cast<T*>(std::calloc(count > 0 ? count : 1, sizeof(T)))) {}
  INLINED ~Memory() { std::free(data_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  INLINED explicit operator bool() const { return data_ != nullptr; }
  INLINED T* data() const { return data_; }

 private:
  T* data_;
};

}  // namespace internimage
