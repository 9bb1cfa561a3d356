// Short vectors of the machine's native width, for code that is compiled once for each instruction set.
//
// GCC's and Clang's vector extensions carry everything but half precision, so one text serves AVX-512, AVX2, SSE2 and
// NEON.  Everything lives in a namespace of the instruction set (SIMD_NAMESPACE): two translation units compiled with
// different flags must never share an inline function.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace internimage {
namespace SIMD_NAMESPACE {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Floats __attribute__((vector_size(kLanes * 4)));
typedef int32_t Ints __attribute__((vector_size(kLanes * 4)));
typedef uint32_t Words __attribute__((vector_size(kLanes * 4)));
typedef uint16_t Halfwords __attribute__((vector_size(kLanes * 2)));
typedef float FloatsAnywhere __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef int32_t IntsAnywhere __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef uint16_t HalfwordsAnywhere __attribute__((vector_size(kLanes * 2), aligned(2), may_alias));

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

#define INLINE static inline __attribute__((always_inline))

INLINE Floats splat(float value) { return value - Floats{}; }
INLINE Ints splat(int32_t value) { return value - Ints{}; }
INLINE Floats bits_to_floats(Words bits) { return (Floats)bits; }

// a * b + c, rounded once where the machine can; the compiler is told to fuse nothing by itself, so that two paths
// through the same formula give the same bits.
INLINE Floats multiply_add(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
  return (Floats)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
  return (Floats)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
  return (Floats)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}

INLINE Floats clamp(Floats x, float low, float high) {  // NaN stays NaN
#if defined(__AVX512F__)
  return (Floats)_mm512_max_ps((__m512)splat(low), _mm512_min_ps((__m512)splat(high), (__m512)x));
#elif defined(__AVX2__)
  return (Floats)_mm256_max_ps((__m256)splat(low), _mm256_min_ps((__m256)splat(high), (__m256)x));
#else
  x = x > high ? splat(high) : x;
  return x < low ? splat(low) : x;
#endif
}

INLINE Floats floor(Floats x) {  // of numbers that an int32 holds
#if defined(__AVX512F__)
  return (Floats)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
#elif defined(__AVX2__)
  return (Floats)_mm256_floor_ps((__m256)x);
#elif defined(__aarch64__)
  return (Floats)vrndmq_f32((float32x4_t)x);
#else
  const Floats whole = __builtin_convertvector(__builtin_convertvector(x, Ints), Floats);
  return whole + __builtin_convertvector((Ints)(whole > x), Floats);
#endif
}

INLINE bool all_true(Ints mask) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask((__m512i)mask) == 0xffff;
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)mask) == 0xff;
#elif defined(__aarch64__)
  return vminvq_u32((uint32x4_t)mask) == 0xffffffffu;
#else
  return mask[0] & mask[1] & mask[2] & mask[3];
#endif
}

INLINE Floats load(const float* p) { return *reinterpret_cast<const FloatsAnywhere*>(p); }
INLINE Ints load(const int32_t* p) { return *reinterpret_cast<const IntsAnywhere*>(p); }
INLINE void store(float* p, Floats v) { *reinterpret_cast<FloatsAnywhere*>(p) = v; }
INLINE void store(int32_t* p, Ints v) { *reinterpret_cast<IntsAnywhere*>(p) = v; }

INLINE Floats load(const BFloat16* p) {
  Halfwords half = *reinterpret_cast<const HalfwordsAnywhere*>(p);
  return bits_to_floats(__builtin_convertvector(half, Words) << 16);
}

INLINE uint16_t bfloat_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if (value != value) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

INLINE void store(BFloat16* p, Floats v) {  // to nearest, ties to even; NaN stays NaN
  Words bits = (Words)v;
  Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  Words nan = (Words)(v != v);
  rounded = (nan & 0x7fc0) | (~nan & rounded);
  *reinterpret_cast<HalfwordsAnywhere*>(p) = __builtin_convertvector(rounded, Halfwords);
}

INLINE float half_to_float(uint16_t half) {
  uint32_t sign = (half & 0x8000u) << 16, exponent = (half >> 10) & 31, mantissa = half & 1023, bits;
  if (exponent == 31) {
    bits = sign | 0x7f800000u | (mantissa << 13);
  } else if (exponent) {
    bits = sign | ((exponent + 112) << 23) | (mantissa << 13);
  } else {  // zero or subnormal: mantissa * 2^-24, exact in float
    float value = static_cast<float>(mantissa) * 5.9604644775390625e-8f;
    std::memcpy(&bits, &value, 4);
    bits |= sign;
  }
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

INLINE uint16_t float_to_half(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  bits &= 0x7fffffff;
  if (bits > 0x7f800000) return sign | 0x7e00;
  if (bits >= 0x477ff000) return sign | 0x7c00;  // rounds to 65536 or more
  if (bits >= 0x38800000) return sign | static_cast<uint16_t>((bits - 0x38000000 + 0xfff + ((bits >> 13) & 1)) >> 13);
  float magnitude;  // subnormal: adding 0.5 leaves the rounded multiple of 2^-24 in the low bits
  std::memcpy(&magnitude, &bits, 4);
  magnitude += 0.5f;
  std::memcpy(&bits, &magnitude, 4);
  return sign | static_cast<uint16_t>(bits - 0x3f000000);
}

INLINE Floats load(const Float16* p) {
#if defined(__AVX512F__)
  return (Floats)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__F16C__)
  return (Floats)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#elif defined(__aarch64__)
  return (Floats)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(&p->bits)));
#else
  Floats v;
  for (int i = 0; i < kLanes; ++i) v[i] = half_to_float(p[i].bits);
  return v;
#endif
}

INLINE void store(Float16* p, Floats v) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__aarch64__)  // rounds to nearest, ties to even, as long as nobody has told the processor otherwise
  vst1_u16(&p->bits, vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)v)));
#else
  for (int i = 0; i < kLanes; ++i) p[i].bits = float_to_half(v[i]);
#endif
}

#if defined(__AVX2__)
// Eight words of sixteen neighbouring bfloat16: the even channels are the lower halves, the odd ones the upper, and
// either becomes a float with one operation, where widening in order takes a shuffle more.
typedef float EightFloats __attribute__((vector_size(32)));
typedef uint32_t EightWords __attribute__((vector_size(32)));
INLINE EightWords load_words(const BFloat16* p) {
  return (EightWords)_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
INLINE EightWords load_words_if(bool exists, const BFloat16* p) {
  const __m256i mask = _mm256_set1_epi32(-static_cast<int32_t>(exists));
  return (EightWords)_mm256_maskload_epi32(reinterpret_cast<const int*>(p), mask);
}
INLINE EightFloats even_channels(EightWords words) { return (EightFloats)(words << 16); }
INLINE EightFloats odd_channels(EightWords words) { return (EightFloats)(words & 0xffff0000u); }
#if defined(__AVX512F__)  // with AVX2 these are Floats
INLINE EightFloats multiply_add(EightFloats a, EightFloats b, EightFloats c) {
  return (EightFloats)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
#endif
INLINE EightWords rounded_words(EightFloats v) {
  const EightWords bits = (EightWords)v, nan = (EightWords)(v != v);
  return (nan & 0x7fc00000u) | (~nan & (bits + 0x7fff + ((bits >> 16) & 1)));
}
INLINE void store_channels(BFloat16* p, EightFloats even, EightFloats odd) {
  const EightWords words = (rounded_words(even) >> 16) | (rounded_words(odd) & 0xffff0000u);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)words);
}
#endif

INLINE float to_float(float value) { return value; }
INLINE float to_float(BFloat16 value) {
  uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, 4);
  return result;
}
INLINE float to_float(Float16 value) { return half_to_float(value.bits); }
INLINE void put(float* p, float value) { *p = value; }
INLINE void put(BFloat16* p, float value) { p->bits = bfloat_bits(value); }
INLINE void put(Float16* p, float value) { p->bits = float_to_half(value); }

#if defined(__AVX2__) && !defined(__AVX512F__)
INLINE __m256i first_lanes(int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

// The first `count` < kLanes elements, zeros after them; nothing beyond them is touched.
template <class T>
INLINE Floats load_part(const T* p, int64_t count) {
#if defined(__AVX512F__)
  const __mmask16 mask = static_cast<__mmask16>((1u << count) - 1);
  if constexpr (sizeof(T) == 4) {
    return (Floats)_mm512_maskz_loadu_ps(mask, p);
  } else {
    alignas(32) T bits[kLanes];
    _mm256_store_si256(reinterpret_cast<__m256i*>(bits), _mm256_maskz_loadu_epi16(mask, p));
    return load(bits);
  }
#else
#if defined(__AVX2__)
  if constexpr (sizeof(T) == 4) return (Floats)_mm256_maskload_ps(reinterpret_cast<const float*>(p), first_lanes(count));
#endif
  T part[kLanes] = {};
  std::memcpy(part, p, count * sizeof(T));
  return load(part);
#endif
}
template <class T>
INLINE void store_part(T* p, Floats v, int64_t count) {
#if defined(__AVX512F__)
  const __mmask16 mask = static_cast<__mmask16>((1u << count) - 1);
  if constexpr (sizeof(T) == 4) {
    _mm512_mask_storeu_ps(p, mask, (__m512)v);
  } else {
    alignas(32) T bits[kLanes];
    store(bits, v);
    _mm256_mask_storeu_epi16(p, mask, _mm256_load_si256(reinterpret_cast<const __m256i*>(bits)));
  }
#else
#if defined(__AVX2__)
  if constexpr (sizeof(T) == 4) {
    return _mm256_maskstore_ps(reinterpret_cast<float*>(p), first_lanes(count), (__m256)v);
  }
#endif
  T part[kLanes];
  store(part, v);
  std::memcpy(p, part, count * sizeof(T));
#endif
}

template <class T>
INLINE Floats load_some(const T* p, int64_t count) {  // count is kLanes or, at the end of a row of channels, fewer
  return count == kLanes ? load(p) : load_part(p, count);
}

#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Ints{__VA_ARGS__})
#endif

// Elements 0 2 4 ... of the concatenation of a and b, and elements 1 3 5 ...
INLINE Floats evens(Floats a, Floats b) {
#if defined(__AVX512F__)
  return SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
#elif defined(__AVX2__)
  return SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
#else
  return SHUFFLE(a, b, 0, 2, 4, 6);
#endif
}
INLINE Floats odds(Floats a, Floats b) {
#if defined(__AVX512F__)
  return SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif defined(__AVX2__)
  return SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
  return SHUFFLE(a, b, 1, 3, 5, 7);
#endif
}
// a0 b0 a1 b1 ...: the two halves of the interleaved sequence.
INLINE void interleave(Floats a, Floats b, Floats* low, Floats* high) {
#if defined(__AVX512F__)
  *low = SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  *high = SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif defined(__AVX2__)
  *low = SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  *high = SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
  *low = SHUFFLE(a, b, 0, 4, 1, 5);
  *high = SHUFFLE(a, b, 2, 6, 3, 7);
#endif
}

// The sums of four vectors, written to p[0..3].
INLINE void sum_each(Floats a, Floats b, Floats c, Floats d, float* p) {
  typedef float Four __attribute__((vector_size(16)));
  typedef float FourAnywhere __attribute__((vector_size(16), aligned(4), may_alias));
#if defined(__AVX512F__)
  Floats ab = (Floats)_mm512_add_ps(_mm512_unpacklo_ps((__m512)a, (__m512)b), _mm512_unpackhi_ps((__m512)a, (__m512)b));
  Floats cd = (Floats)_mm512_add_ps(_mm512_unpacklo_ps((__m512)c, (__m512)d), _mm512_unpackhi_ps((__m512)c, (__m512)d));
  __m512 all = _mm512_add_ps(_mm512_shuffle_ps((__m512)ab, (__m512)cd, 0x44), _mm512_shuffle_ps((__m512)ab, (__m512)cd, 0xee));
  __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(all), 1)));
  Four sum = (Four)_mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#elif defined(__AVX2__)
  __m256 ab = _mm256_hadd_ps((__m256)a, (__m256)b), cd = _mm256_hadd_ps((__m256)c, (__m256)d);
  __m256 all = _mm256_hadd_ps(ab, cd);
  Four sum = (Four)_mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
#else
  Floats low = SHUFFLE(a, b, 0, 4, 1, 5) + SHUFFLE(a, b, 2, 6, 3, 7);
  Floats high = SHUFFLE(c, d, 0, 4, 1, 5) + SHUFFLE(c, d, 2, 6, 3, 7);
  Four sum = SHUFFLE(low, high, 0, 1, 4, 5) + SHUFFLE(low, high, 2, 3, 6, 7);
#endif
  *reinterpret_cast<FourAnywhere*>(p) = sum;
}

// e^x within 2 units in the last place for |x| < 87; e^x of NaN is NaN, and below -87 it is almost nothing.
INLINE Floats exponential(Floats x) {
  x = clamp(x, -87.0f, 88.0f);
  const Floats n = floor(multiply_add(x, splat(1.44269504088896341f), splat(0.5f)));
  Floats r = multiply_add(n, splat(-0.693359375f), x);
  r = multiply_add(n, splat(2.12194440e-4f), r);
  Floats y = splat(1.9875691500e-4f);
  y = multiply_add(y, r, splat(1.3981999507e-3f));
  y = multiply_add(y, r, splat(8.3334519073e-3f));
  y = multiply_add(y, r, splat(4.1665795894e-2f));
  y = multiply_add(y, r, splat(1.6666665459e-1f));
  y = multiply_add(y, r, splat(5.0000001201e-1f));
  y = multiply_add(y, r * r, r + 1.0f);
  return y * (Floats)((__builtin_convertvector(n, Ints) + 127) << 23);
}

// x times the normal distribution's function, off by less than 3e-7 max(1, |x|), as PyTorch's is.  The error function is
// a quotient of polynomials between -4 and 4, with the coefficients that Eigen and XLA use.
INLINE Floats gelu(Floats x) {
  const Floats z = clamp(x * 0.70710678118654752f, -4.0f, 4.0f), square = z * z;
  constexpr float kAbove[] = {2.77068142495902e-08f,  -2.10102402082508e-06f, -5.69250639462346e-05f,
                              -7.34990630326855e-04f, -2.95459980854025e-03f, -1.60960333262415e-02f};
  constexpr float kBelow[] = {-2.13374055278905e-04f, -1.68282697438203e-03f, -7.37332916720468e-03f,
                              -1.42647390514189e-02f};
  Floats above = splat(-2.72614225801306e-10f), below = splat(-1.45660718464996e-05f);
  for (const float factor : kAbove) above = multiply_add(above, square, splat(factor));
  for (const float factor : kBelow) below = multiply_add(below, square, splat(factor));
  const Floats erf = clamp(z * above / below, -1.0f, 1.0f);  // so that nothing is left far below zero
  return x * multiply_add(erf, splat(0.5f), splat(0.5f));
}

// Loads that touch memory only if `exists`; zeros otherwise.
INLINE Floats load_if(bool exists, const float* p) {
#if defined(__AVX512F__)
  return (Floats)_mm512_maskz_loadu_ps(static_cast<__mmask16>(-static_cast<int>(exists)), p);
#elif defined(__AVX2__)
  return (Floats)_mm256_maskload_ps(p, (__m256i)splat(-static_cast<int32_t>(exists)));
#else
  return exists ? load(p) : Floats{};
#endif
}
template <class T>
INLINE Floats load_if(bool exists, const T* p) {
#if defined(__AVX512F__)
  const __mmask16 mask = static_cast<__mmask16>(-static_cast<int>(exists));
  alignas(32) T bits[kLanes];
  _mm256_store_si256(reinterpret_cast<__m256i*>(bits), _mm256_maskz_loadu_epi16(mask, p));
  return load(bits);
#else
  return exists ? load(p) : Floats{};
#endif
}

}  // namespace SIMD_NAMESPACE
}  // namespace internimage
