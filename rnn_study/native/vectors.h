// Elementwise arithmetic, sixteen float32 numbers at once; float64 goes one by one, for the tests.
// NaN and infinity pass through, as a network that diverged must be seen.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

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
// fits: the last one overlaps the one before, so f must not read what it writes.
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

// exp(x) for x <= 0, to two units in the last place: 2^n times a polynomial of the rest.
template <class X>
inline X exp_of_negative(X x) {
  using I = typename Bits<X>::type;
  x = x < -87.0f ? X{} - 87.0f : x;  // below, the result is no normal number
  const X shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the integer is in the last bits
  const X n = shifted - 12582912.0f;
  const X r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  X p = r * 1.381461309e-3f + 8.368709832e-3f;  // minimax on +-ln(2)/2, to 3e-9
  p = p * r + 4.166838736e-2f;
  p = p * r + 1.666652069e-1f;
  p = p * r + 4.999999345e-1f;
  p = (p * r) * r + r + 1.0f;
  return p * bits<X>(I((bits<I>(shifted) << 23) + 0x3f800000));
}
inline double exp_of_negative(double x) { return std::exp(x); }

template <class X>
inline X absolute(X x) {
  return x < 0 ? -x : x;
}

template <class X>
inline X sigmoid(X x) {
  const X e = exp_of_negative(-absolute(x));
  return (x < 0 ? e : X{} + 1) / (e + 1);
}

template <class X>
inline X tanh_of(X x) {
  const X z = x * x;
  X p = z * -5.704986770e-3f + 2.063908700e-2f;  // minimax below 0.625, to 4e-9
  p = p * z - 5.373971500e-2f;
  p = p * z + 1.333144220e-1f;
  p = p * z - 3.333328194e-1f;
  const X small = (p * z) * x + x;
  const X size = absolute(x), e = exp_of_negative(size * -2.0f);
  const X large = (1.0f - e) / (1.0f + e);
  return size < 0.625f ? small : (x < 0 ? -large : large);
}
inline double tanh_of(double x) { return std::tanh(x); }
