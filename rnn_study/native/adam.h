// Clipping and Adam in one pass each over a member's parameters, which lie in rows of `size` numbers.
#pragma once
#include <cmath>

constexpr long SUMS = 64;  // partial sums of squares, in an order that depends on nothing but `size`

// Scales each row down to the norm `largest`; `norms` are those before.
template <class T>
void clip(long members, long size, double largest, T* gradient, T* norms) {
  for (long s = 0; s < members; ++s, gradient += size) {
    T sums[SUMS] = {}, total = 0;
    long i = 0;
    for (; i + SUMS <= size; i += SUMS)
      for (long k = 0; k < SUMS; ++k) sums[k] += gradient[i + k] * gradient[i + k];
    for (; i < size; ++i) sums[i % SUMS] += gradient[i] * gradient[i];
    for (T sum : sums) total += sum;
    norms[s] = std::sqrt(total);
    const T scale = T(largest) / (norms[s] + T(1e-6));
    if (scale >= 1) continue;  // but NaN is passed on
    for (long j = 0; j < size; ++j) gradient[j] *= scale;
  }
}

// One step of parameters `from` to `to` of each row; `correction` (2, S) as in training/adam.py.
template <class T>
void adam(long members, long size, long from, long to, double pace, double beta1, double beta2,
          double epsilon, const T* correction, const T* gradient, T* first, T* second, T* params) {
  const T b1 = beta1, b2 = beta2, rest1 = 1 - beta1, rest2 = 1 - beta2, least = epsilon;
  for (long s = 0; s < members; ++s) {
    const T rate = correction[s] * T(pace), spread = correction[members + s];
    const T* __restrict g = gradient + s * size;
    T *__restrict m = first + s * size, *__restrict v = second + s * size;
    T* __restrict p = params + s * size;
    for (long i = from; i < to; ++i) {
      m[i] = m[i] * b1 + g[i] * rest1;
      v[i] = v[i] * b2 + g[i] * g[i] * rest2;
      p[i] -= rate * m[i] / (std::sqrt(v[i]) * spread + least);
    }
  }
}
