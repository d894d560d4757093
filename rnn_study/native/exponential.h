// The exponential of A - A', where A counts only above its diagonal, and its gradient, as in
// cells/exponential.py: a Taylor polynomial of degree 18 in five products, scaling and squaring, and
// a step of Newton's iteration after squarings.
//
// With C = B1 B5 + B4 the polynomial is B2 + (B3 + C) C, and the B are sums of the identity and four
// powers. Odd powers are skew-symmetric and even ones symmetric, so a transposed B is the same sum
// with other signs. Matrices (H, H) lie in rows of `ld` numbers.
#pragma once
#include <array>
#include <cstdint>

#include "products.h"
#include "tiles.h"
#include "vectors.h"

constexpr double COEFFICIENTS[5][5] = {
    {0.0, -1.00365581030144618e-01, -8.02924648241156932e-03, -8.92138498045729985e-04, 0.0},
    {0.0, 3.97849749499645078e-01, 1.36783778460411720e00, 4.98289622525382669e-01,
     -6.37898194594723280e-04},
    {-1.09676396052962062e01, 1.68015813878906206e00, 5.71779846478865511e-02,
     -6.98210122488052056e-03, 3.34975017086070471e-05},
    {-9.04316832390810593e-02, -6.76404519071381882e-02, 6.75961301770459655e-02,
     2.95552570429315521e-02, -1.39180257516060693e-05},
    {0.0, 0.0, -9.23364619367118555e-02, -1.69364939002081723e-02, -1.40086798182036094e-05},
};  // of 1, A, A^2, A^3, A^6

template <class T, class Products>
class Exponential {
 public:
  const long H, ld, size;

  explicit Exponential(long H)
      : H(H), ld(padded(H, LANES)), size(H * ld), products(scratch, H, H),
        room(products.room(scratch, H, H)) {}

  // Four powers of a network's matrix, scaled; returns how often it is halved, -1 if not finite.
  std::int64_t powers(const T* a, T largest, T* powers) {
    T *one = powers, *two = one + size, *three = two + size, *six = three + size;
    std::memset(one, 0, size * sizeof(T));
    for (long i = 0; i < H; ++i)
      for (long j = i + 1; j < H; ++j) {
        one[i * ld + j] = a[i * H + j];
        one[j * ld + i] = -a[i * H + j];
      }
    pack(one);
    times(one, two);
    times(two, three);
    pack(three);
    times(three, six);
    T most = 0;
    for (long i = 0; i < H; ++i) {
      T lanes[LANES] = {}, sum = 0;  // beyond H there are zeros
      for (long j = 0; j < ld; ++j) lanes[j % LANES] += absolute(six[i * ld + j]);
      for (T lane : lanes) sum += lane;
      if (!std::isfinite(sum)) return -1;
      most = sum > most ? sum : most;
    }
    const T halvings = std::ceil(std::log2(std::pow(most, T(1) / 6) / largest));
    if (!(halvings > 0)) return 0;
    const long exponents[] = {1, 2, 3, 6};
    for (int k = 0; k < 4; ++k) {
      const T scale = std::ldexp(T(1), -int(halvings) * exponents[k]);
      each([&](long j, auto kind) { put(powers + k * size, j, get(powers + k * size, j, kind) * scale); });
    }
    return std::int64_t(halvings);
  }

  // The exponential (H, H), with what its gradient needs: C, and every matrix that was squared.
  void value(const T* powers, std::int64_t halvings, T* c, T* squared, T* out) {
    T *b = matrix(0), *last = matrix(1), *next = matrix(2), *b1 = matrix(3), *b5 = matrix(4);
    sums<0, 1, 2, 3, 4>(powers, {b1, last, b, c, b5}, false);
    pack(b5);
    times(b1, next);  // not added while it is summed: squarings double every rounding
    add(next, c);
    add(c, b);
    pack(c);
    times(b, next);
    add(next, last);
    for (long k = 0; k < halvings; ++k) {
      std::memcpy(squared + k * size, last, size * sizeof(T));
      pack(last);
      times(last, next);
      std::swap(last, next);
    }
    if (halvings > 0) {  // they double errors; this takes those that orthogonality shows
      transpose(last, b);
      pack(last);
      times(b, next);
      pack(next);
      times(last, b);
      each([&](long j, auto kind) {
        put(last, j, get(last, j, kind) * T(1.5) - get(b, j, kind) * T(0.5));
      });
    }
    for (long i = 0; i < H; ++i)
      for (long j = 0; j < H; ++j) out[i * H + j] = halvings < 0 ? T(NAN) : last[i * ld + j];
  }

  // From the gradient of the exponential that of A.
  void gradient(const T* powers, std::int64_t halvings, const T* c, const T* squared, const T* of_value,
                T* out) {
    T *d = matrix(0), *turned = matrix(1), *work = matrix(2), *sums_d = matrix(3);
    T *d1 = sums_d, *d3 = sums_d + 2 * size, *d4 = sums_d + 3 * size, *d5 = sums_d + 4 * size;
    for (long i = 0; i < H; ++i) {
      std::memcpy(d + i * ld, of_value + i * H, H * sizeof(T));
      for (long j = H; j < ld; ++j) d[i * ld + j] = 0;
    }
    for (long k = halvings - 1; k >= 0; --k) {
      transpose(squared + k * size, turned);
      pack(turned);
      times(d, d1);
      pack(d);
      times(turned, d1, true);
      std::memcpy(d, d1, size * sizeof(T));
    }
    std::memcpy(sums_d + size, d, size * sizeof(T));
    T *b1 = matrix(9), *b5 = matrix(10);
    sums<0, 2, 4>(powers, {b1, work, b5}, true);
    transpose(c, turned);
    pack(turned);
    times(d, d3);
    add(turned, work);
    std::memcpy(d4, d3, size * sizeof(T));
    pack(d);
    times(work, d4, true);
    pack(b5);
    times(d4, d1);
    pack(d4);
    times(b1, d5);
    of_powers(powers, sums_d, std::ldexp(T(1), -int(halvings > 0 ? halvings : 0)), out);
  }

 private:
  // From those of the five sums. A symmetric power has a symmetric gradient, and so on; twice that.
  void of_powers(const T* powers, const T* d_sums, T scale, T* out) {
    const T *one = powers, *two = one + size, *three = two + size;
    T *d_six = matrix(0), *d_three = matrix(1), *d_two = matrix(2), *d_one = matrix(9);
    T *work = matrix(10), *twice = matrix(8);
    each([&](long j, auto kind) {
      decltype(kind) from[5];
      for (int b = 0; b < 5; ++b) from[b] = get(d_sums + b * size, j, kind);
      T* const to[] = {d_one, d_two, d_three, d_six};
      for (int power = 0; power < 4; ++power) {
        decltype(kind) total{};
        for (int b = 0; b < 5; ++b)
          if (COEFFICIENTS[b][power + 1] != 0) total += from[b] * T(COEFFICIENTS[b][power + 1]);
        put(to[power], j, total);
      }
    });
    symmetric(d_six, T(1), T(-1), twice);  // of six, negative
    pack(twice);
    times(three, d_three, true);
    symmetric(d_three, T(-1), T(-0.5), work);  // of three, times -1/2
    pack(work);
    times(one, d_two, true);
    symmetric(d_two, T(1), T(-1), twice);  // of two, negative
    pack(twice);
    times(one, d_one, true);
    pack(two);
    times(work, d_six);
    each([&](long j, auto kind) { put(d_one, j, get(d_one, j, kind) - get(d_six, j, kind)); });
    symmetric(d_one, T(-1), scale, twice);
    for (long i = 0; i < H; ++i)
      for (long j = 0; j < H; ++j) out[i * H + j] = j > i ? twice[i * ld + j] : T(0);
  }

  void pack(const T* w) { right = products.pack(w, H, H, ld, 1, room); }
  void times(const T* a, T* to, bool add = false) {
    products.product(a, ld, H, right, to, ld, add);
  }
  void add(const T* from, T* to) {
    each([&](long j, auto kind) { put(to, j, get(to, j, kind) + get(from, j, kind)); });
  }

  // The B of these numbers, or their transposes.
  template <int... B>
  void sums(const T* powers, std::array<T*, sizeof...(B)> to, bool transposed) {
    const T sign = transposed ? -1 : 1;
    each([&](long j, auto kind) {
      const auto one = get(powers, j, kind) * sign, two = get(powers + size, j, kind);
      const auto three = get(powers + 2 * size, j, kind) * sign;
      const auto six = get(powers + 3 * size, j, kind);
      int k = 0;
      ((put(to[k++], j, one * T(COEFFICIENTS[B][1]) + two * T(COEFFICIENTS[B][2]) +
                            three * T(COEFFICIENTS[B][3]) + six * T(COEFFICIENTS[B][4]))),
       ...);
    });
    int k = 0;
    (diagonal(to[k++], T(COEFFICIENTS[B][0])), ...);
  }
  void diagonal(T* to, T more) {
    for (long i = 0; i < H; ++i) to[i * ld + i] += more;
  }

  // (d + sign d') scale
  void symmetric(const T* d, T sign, T scale, T* to) {
    transpose(d, to);
    each([&](long j, auto kind) {
      put(to, j, (get(d, j, kind) + get(to, j, kind) * sign) * scale);
    });
  }

  void transpose(const T* from, T* to) {
    for (long i = 0; i < H; i += LANES)
      for (long j = 0; j < H; j += LANES)
        for (long k = i; k < H && k < i + LANES; ++k)
          for (long l = j; l < H && l < j + LANES; ++l) to[k * ld + l] = from[l * ld + k];
  }

  template <class F>
  void each(F f) {
    sweep(size, T(), f);
  }
  template <class X>
  static X get(const T* from, long j, X) {
    return load<X>(from + j);
  }
  template <class X>
  static void put(T* to, long j, X x) {
    store(to + j, x);
  }

  // Number `k` of the matrices to work on; five that follow one another are those of the sums.
  T* matrix(int k) {
    if (work == nullptr) work = scratch.zeros<T>(11 * size);
    return work + k * size;
  }

  Scratch scratch;
  Products products;
  typename Products::Room room;
  typename Products::Right right;
  T* work = nullptr;
};
