// Products of small matrices, all row-major, for any processor: vectors as wide as it has, and a
// block of the result in its registers. `Vectors` and `Tiles` (tiles.h) have the same interface:
//
//   Right   the right factor of `product`, packed once and used at every time step
//   pack    packs it into `room`: entry (k, n) is w[k * row + n * col]
//   product c = a w, or c += a w   c (rows, N), N padded to LANES with zeros
//   OfGradients  the products of a backward pass, which may be less exact
//   outer   c += a' d          c (K, N); a (rows, K), d (rows, N); d and c padded like that
//
// Every result depends on the shapes and on the numbers of its own network alone.
#pragma once
#include "memory.h"

#if defined(__AVX512F__)
constexpr long WIDTH = 64, HEIGHT = 12;  // bytes of a vector; rows of a block: 24 of 32 registers
#elif defined(__AVX__)
constexpr long WIDTH = 32, HEIGHT = 6;  // 12 of 16
#else
constexpr long WIDTH = 16, HEIGHT = 6;
#endif
constexpr long LANES = 16;  // to which rows are padded: whole vectors of any width, whole tiles

template <class T>
class Vectors {
 public:
  using OfGradients = Vectors;

  struct Right {
    T* packed;
    long rows, cols;  // cols padded
  };

  static long chunk(long, long, long) { return 1; }  // time steps that `outer` takes at once

  Vectors(Scratch&, long, long) {}
  Vectors(Scratch&, long, long, long, long, long) {}

  using Room = T*;
  Room room(Scratch& scratch, long rows, long cols) const {
    return scratch.zeros<T>(rows * padded(cols, LANES));
  }

  Right pack(const T* w, long rows, long cols, long row, long col, Room room) const {
    const long wide = padded(cols, LANES);
    for (long k = 0; k < rows; ++k)
      for (long n = 0; n < cols; ++n) room[k * wide + n] = w[k * row + n * col];
    return {room, rows, wide};
  }

  void product(const T* a, long lda, long rows, const Right& w, T* c, long ldc,
               bool add = false) const {
    blocks(rows, w.cols, w.rows, a, lda, 1, w.packed, w.cols, c, ldc, add);
  }

  void outer(const T* a, long lda, const T* d, long ldd, long rows, long height, long width, T* c,
             long ldc) const {
    blocks(height, padded(width, LANES), rows, a, 1, lda, d, ldd, c, ldc, true);
  }

 private:
  typedef T Vector __attribute__((vector_size(WIDTH), aligned(sizeof(T))));
  static constexpr long V = WIDTH / sizeof(T);

  // c (M, N) of a (M, K) and b (K, N); entry (m, k) of a is a[m * row + k * col].
  static void blocks(long M, long N, long K, const T* a, long row, long col, const T* b, long ldb,
                     T* c, long ldc, bool add) {
    for (long n = 0; n < N; n += 2 * V) {
      const bool two = n + 2 * V <= N;
      for (long m = 0; m < M; m += HEIGHT) {
        const T* left = a + m * row;
        T* out = c + m * ldc + n;
        if (two)
          some_rows<2, HEIGHT>(M - m, K, left, row, col, b + n, ldb, out, ldc, add);
        else
          some_rows<1, HEIGHT>(M - m, K, left, row, col, b + n, ldb, out, ldc, add);
      }
    }
  }

  // The block with as many rows as there are left, at most H.
  template <int W, int H>
  static void some_rows(long left, long K, const T* a, long row, long col, const T* b, long ldb,
                        T* c, long ldc, bool add) {
    if constexpr (H > 1) {
      if (left < H) return some_rows<W, H - 1>(left, K, a, row, col, b, ldb, c, ldc, add);
    }
    Vector sums[H][W];
    for (int i = 0; i < H; ++i)
      for (int j = 0; j < W; ++j)
        sums[i][j] = add ? *reinterpret_cast<const Vector*>(c + i * ldc + j * V) : Vector{};
    for (long k = 0; k < K; ++k) {
      Vector right[W];
      for (int j = 0; j < W; ++j)
        right[j] = *reinterpret_cast<const Vector*>(b + k * ldb + j * V);
      for (int i = 0; i < H; ++i) {
        const T one = a[i * row + k * col];
        for (int j = 0; j < W; ++j) sums[i][j] += one * right[j];
      }
    }
    for (int i = 0; i < H; ++i)
      for (int j = 0; j < W; ++j) *reinterpret_cast<Vector*>(c + i * ldc + j * V) = sums[i][j];
  }
};
