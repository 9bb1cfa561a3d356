// A number for the bits of a tensor.  Part of kernels.cpp.
#pragma once

#include "simd.h"

namespace internimage {
namespace SIMD_NAMESPACE {

// A number that is another whenever one word of the data is, and hardly ever the same otherwise.
INLINE uint64_t digest(const void* data, int64_t bytes) {
  constexpr int64_t kTogether = 4, kStep = kTogether * sizeof(Words);
  const char* p = static_cast<const char*>(data);
  Words state[kTogether] = {};
  const auto mix = [&](const char* from) {
    for (int64_t i = 0; i < kTogether; ++i) {
      Words words;
      std::memcpy(&words, from + i * sizeof words, sizeof words);
      const Words mixed = (state[i] ^ words) * 0x9e3779b1u;
      state[i] = mixed << 13 | mixed >> 19;  // a product carries upwards only: signs would never leave their bit
    }
  };
  int64_t at = 0;
  for (; at + kStep <= bytes; at += kStep) mix(p + at);
  char last[kStep] = {};
  std::memcpy(last, p + at, bytes - at);
  mix(last);
  uint64_t all = static_cast<uint64_t>(bytes);
  for (const Words& words : state) {
    for (int64_t i = 0; i < kLanes; ++i) all = (all ^ words[i]) * 0x9e3779b97f4a7c15u, all ^= all >> 29;
  }
  return all;
}

}  // namespace SIMD_NAMESPACE
}  // namespace internimage
