// How float32 numbers become tiles: each is taken apart into N bfloat16, two or three, and they are laid
// out as the matrix units want them (see tiles.h).
#pragma once
#include "memory.h"

#if (defined(__AMX_BF16__) || defined(__AMXBF16__)) && defined(__AVX512BW__) && defined(__linux__)
#define TILES
#include <immintrin.h>

#include <cstdint>

namespace tiles {
using Half = std::uint16_t;
using Vector = __m512i;
constexpr long SIDE = 16, INNER = 32, TILE = SIDE * INNER;

inline long count(long n, long side) { return (n + side - 1) / side; }

// Takes the leading eight bits of x: three times cut off, so that the parts are x exactly, or twice
// rounded, so that they miss 2^-18 of it. NaN stays NaN, and of infinity NaN is left.
template <int N>
inline Vector next_part(__m512& x) {
  Vector high = _mm512_castps_si512(x);
  if (N == 2) high = _mm512_add_epi32(high, _mm512_set1_epi32(0x8000));
  high = _mm512_and_si512(high, _mm512_set1_epi32(int(0xffff0000)));
  x = _mm512_sub_ps(x, _mm512_castsi512_ps(high));
  return high;
}

inline __m512 some(const float* from, long most) {
  if (most >= SIDE) return _mm512_loadu_ps(from);
  return _mm512_maskz_loadu_ps(most > 0 ? (1u << most) - 1 : 0, from);
}

// The parts of 32 numbers in a row, to places that are `apart`.
template <int N>
inline void split_row(const float* from, long most, Half* to, long apart) {
  static const Vector odd = _mm512_set_epi16(
      63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27, 25, 23, 21, 19,
      17, 15, 13, 11, 9, 7, 5, 3, 1);
  __m512 low = some(from, most), high = some(from + SIDE, most - SIDE);
  for (int part = 0; part < N; ++part) {
    const Vector first = next_part<N>(low), second = next_part<N>(high);
    _mm512_storeu_si512(to + part * apart, _mm512_permutex2var_epi16(first, odd, second));
  }
}

// The parts of 16 numbers of each of two rows, in pairs.
template <int N>
inline void split_pair(const float* even, const float* odd, long most, Half* to, long apart) {
  __m512 low = even ? some(even, most) : _mm512_setzero_ps();
  __m512 high = odd ? some(odd, most) : _mm512_setzero_ps();
  for (int part = 0; part < N; ++part) {
    const Vector first = next_part<N>(low), second = next_part<N>(high);
    _mm512_storeu_si512(to + part * apart,
                        _mm512_or_si512(_mm512_srli_epi32(first, 16), second));
  }
}

// Transposes tiles of 16 by 16 pairs.
template <int N>
inline void turn(const Half* from, Half* to) {
  for (int part = 0; part < N; ++part, from += TILE, to += TILE) {
    Vector r[SIDE], s[SIDE];
    for (int i = 0; i < SIDE; ++i) r[i] = _mm512_load_si512(from + i * INNER);
    for (int i = 0; i < SIDE; i += 2) {
      s[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
      s[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < SIDE; i += 4)
      for (int j = 0; j < 2; ++j) {
        r[i + 2 * j] = _mm512_unpacklo_epi64(s[i + j], s[i + j + 2]);
        r[i + 2 * j + 1] = _mm512_unpackhi_epi64(s[i + j], s[i + j + 2]);
      }
    for (int i = 0; i < SIDE; i += 8)
      for (int j = 0; j < 4; ++j) {
        s[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0x88);
        s[i + j + 4] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0xdd);
      }
    for (int j = 0; j < 8; ++j) {
      r[j] = _mm512_shuffle_i32x4(s[j], s[j + 8], 0x88);
      r[j + 8] = _mm512_shuffle_i32x4(s[j], s[j + 8], 0xdd);
    }
    for (int i = 0; i < SIDE; ++i) _mm512_store_si512(to + i * INNER, r[i]);
  }
}

// A left factor from its rows.
template <int N>
inline void in_rows(const float* a, long lda, long rows, long cols, Half* to) {
  for (long m = 0; m < rows; m += SIDE)
    for (long k = 0; k < cols; k += INNER, to += N * TILE)
      for (long r = 0; r < SIDE && m + r < rows; ++r)
        split_row<N>(a + (m + r) * lda + k, cols - k, to + r * INNER, TILE);
}

// A right factor from its rows.
template <int N>
inline void in_pairs(const float* b, long ldb, long rows, long cols, Half* to) {
  for (long n = 0; n < cols; n += SIDE)
    for (long k = 0; k < rows; k += INNER, to += N * TILE)
      for (long r = 0; r < INNER; r += 2) {
        const long row = k + r;
        const float* even = b + row * ldb + n;
        split_pair<N>(row < rows ? even : nullptr, row + 1 < rows ? even + ldb : nullptr, cols - n,
                   to + r * SIDE, TILE);
      }
}

// A left factor from its columns: the transpose of `a`, which has `rows` rows.
template <int N>
inline void in_columns(const float* a, long lda, long rows, long cols, Half* to) {
  const long inner = count(rows, INNER);
  alignas(64) Half parts[N * TILE];
  for (long k = 0; k < inner; ++k)
    for (long n = 0; n < cols; n += SIDE) {
      for (long r = 0; r < INNER; r += 2) {
        const long row = k * INNER + r;
        const float* even = a + row * lda + n;
        split_pair<N>(row < rows ? even : nullptr, row + 1 < rows ? even + lda : nullptr, cols - n,
                   parts + r * SIDE, TILE);
      }
      turn<N>(parts, to + (n / SIDE * inner + k) * N * TILE);
    }
}

// A right factor from its columns, which are the rows of `b`.
template <int N>
inline void in_turned_rows(const float* b, long ldb, long rows, long cols, Half* to) {
  const long inner = count(cols, INNER);
  alignas(64) Half parts[N * TILE];
  for (long n = 0; n < rows; n += SIDE)
    for (long k = 0; k < inner; ++k) {
      for (long r = 0; r < SIDE; ++r)
        split_row<N>(b + (n + r) * ldb + k * INNER, n + r < rows ? cols - k * INNER : 0,
                  parts + r * INNER, TILE);
      turn<N>(parts, to + (n / SIDE * inner + k) * N * TILE);
    }
}
}  // namespace tiles
#endif
