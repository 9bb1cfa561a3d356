// What an x86 processor and its operating system offer, asked of the processor itself: the compilers' own functions for
// it need a runtime library, which in some of them is empty and answers "nothing".
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>

namespace internimage {

struct Processor {
  bool avx2 = false, avx512 = false;

  Processor() {
    uint32_t a, b, c, d;
    if (__get_cpuid_max(0, nullptr) < 7) return;
    __cpuid(1, a, b, c, d);
    constexpr uint32_t kFma = 1u << 12, kSaves = 1u << 27, kAvx = 1u << 28, kHalf = 1u << 29;
    constexpr uint32_t kFirst = kFma | kSaves | kAvx | kHalf;
    if ((c & kFirst) != kFirst) return;
    // registers that the operating system does not save when it switches threads may not be used
    uint32_t saved, upper;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(upper) : "c"(0));
    constexpr uint32_t kYmm = 0x06, kZmm = 0xe6;  // SSE and AVX; these, masks and both halves of AVX-512
    __cpuid_count(7, 0, a, b, c, d);
    constexpr uint32_t kAvx2 = 1u << 5, kAvx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // F, DQ, BW, VL
    avx2 = (saved & kYmm) == kYmm && (b & kAvx2);
    avx512 = avx2 && (saved & kZmm) == kZmm && (b & kAvx512) == kAvx512;
  }
};

}  // namespace internimage
#endif
