// Elementwise arithmetic, sixteen float32 numbers at once; float64 goes one by one, for the tests.
// NaN and infinity pass through, as a network that diverged must be seen.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

typedef float Floats __attribute__((vector_size(64)));
typedef std::int32_t Ints __attribute__((vector_size(64)));

template <class X>
struct Bits;  // integers as wide as X
template <>
struct Bits<float> {
  using type = std::int32_t;
};
template <>
struct Bits<Floats> {
  using type = Ints;
};

template <class X, class T>
inline X load(const T* from) {
  X x;
  std::memcpy(&x, from, sizeof x);
  return x;
}

template <class X, class T>
inline void store(T* to, X x) {
  std::memcpy(to, &x, sizeof x);
}

template <class To, class From>
inline To bits(From x) {
  static_assert(sizeof(To) == sizeof(From));
  To y;
  std::memcpy(&y, &x, sizeof y);
  return y;
}

// Calls f(j, kind) for all j < n. `kind` is a value of the type to work in, `Floats` where a vector
// fits: the last one overlaps the one before, so f must not read what it writes, unless n is a
// multiple of LANES.
template <class F>
inline void sweep(long n, float, F f) {
  constexpr long wide = sizeof(Floats) / sizeof(float);
  if (n < wide) {
    for (long j = 0; j < n; ++j) f(j, float());
    return;
  }
  for (long j = 0; j + wide <= n; j += wide) f(j, Floats());
  if (n % wide) f(n - wide, Floats());
}

template <class F>
inline void sweep(long n, double, F f) {
  for (long j = 0; j < n; ++j) f(j, double());
}

template <class X>
inline X absolute(X x) {
  return bits<X>(bits<typename Bits<X>::type>(x) & INT32_MAX);
}
inline double absolute(double x) { return std::fabs(x); }

// 1 / x for x from 1 to 2, to the last place; NaN of NaN.
template <class X>
inline X reciprocal(X x) {
  return 1.0f / x;
}
#ifdef __AVX512F__
inline Floats reciprocal(Floats x) {
  const Floats y = bits<Floats>(_mm512_rcp14_ps(bits<__m512>(x)));  // 14 bits; Newton doubles them
  return y + y * (1.0f - x * y);
}
#endif

// The larger of a bound and x; NaN of NaN.
template <class X>
inline X at_least(float bound, X x) {
  return x < bound ? X{} + bound : x;
}
#ifdef __AVX512F__
inline Floats at_least(float bound, Floats x) {
  return bits<Floats>(_mm512_max_ps(_mm512_set1_ps(bound), bits<__m512>(x)));
}
#endif

// exp(x) for x <= 0 in two parts, to two units in the last place: scale (1 + rest).
template <class X>
struct Exp {
  X scale, rest;
};
template <class X>
inline Exp<X> exp_of_negative(X x) {
  using I = typename Bits<X>::type;
  x = at_least(-87.0f, x);  // below, the result is no normal number
  const X shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the integer is in the last bits
  const X n = shifted - 12582912.0f;
  const X r = x - n * 0.693147182f;  // ln 2 to 2e-9: n is large where the result is tiny
  X p = r * 1.381461309e-3f + 8.368709832e-3f;  // minimax on +-ln(2)/2, to 3e-9
  p = p * r + 4.166838736e-2f;
  p = p * r + 1.666652069e-1f;
  p = p * r + 4.999999345e-1f;
  return {bits<X>(I((bits<I>(shifted) << 23) + 0x3f800000)), (p * r) * r + r};
}

template <class X>
inline X sigmoid(X x) {
  const Exp<X> exp = exp_of_negative(-absolute(x));
  const X e = exp.scale * exp.rest + exp.scale;
  return (x < 0 ? e : X{} + 1.0f) * reciprocal(X(e + 1.0f));
}
inline double sigmoid(double x) {
  const double e = std::exp(-std::fabs(x));
  return (x < 0 ? e : 1) / (e + 1);
}

template <class X>
inline X tanh_of(X x) {
  using I = typename Bits<X>::type;
  const X size = absolute(x);
  const Exp<X> exp = exp_of_negative(size * -2.0f);
  const X less = exp.scale * exp.rest + (exp.scale - 1.0f);  // exp(-2 |x|) - 1, exact near zero
  const X value = (0.0f - less) * reciprocal(X(less + 2.0f));
  return bits<X>(bits<I>(value) | (bits<I>(x) & INT32_MIN));
}
inline double tanh_of(double x) { return std::tanh(x); }
