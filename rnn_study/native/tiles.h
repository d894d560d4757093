// Float32 products on the matrix units of a processor that has them (AMX), through bfloat16.
//
// A float32 number is the sum of three with eight bits each, x = x1 + x2 + x3, exactly. Of the nine
// products of two such sums the six of most weight are taken (1,1 1,2 2,1 2,2 1,3 3,1) and summed in
// float32: what is left out is about 2^-24 of the product, the rounding of float32. In bfloat16 the
// units do eleven times what vectors do in float32, so six products still win. Gradients make do with
// two parts and three products (1,1 1,2 2,1), to 2^-16 of a product. The units take subnormal numbers
// for zero, and infinity gives NaN.
//
// A tile has 16 rows of 64 bytes: of a left factor 16 rows of 32 numbers, of a right one 16 pairs of
// rows of 16 numbers, of a result 16 rows of 16. Factors lie as tiles, in the order (tile along the
// outer axis, tile along the inner axis, part).
#pragma once
#include "parts.h"
#include "products.h"
#ifdef TILES
#include <sys/syscall.h>
#include <unistd.h>

// Linux lets a process use the tiles if it asks.
inline int allowed() {
  constexpr long request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, request, tile_data) == 0;
}

template <int N>
class Parts {
  using Half = tiles::Half;
  static constexpr long SIDE = tiles::SIDE, INNER = tiles::INNER, TILE = tiles::TILE,
                        PARTS = N * TILE;

 public:
  using OfGradients = Parts<2>;
  struct Right {
    Half* tiles;
    long inner, outer;  // in tiles
    long rows;
  };

  // Time steps that `outer` takes at once: those that fill tiles best and lie in the cache.
  static long chunk(long batch, long height, long width) {
    constexpr long most = 8, cache = 3 << 19;
    long best = 1;
    for (long steps = 2; steps <= most; ++steps) {
      const long rows = padded(steps * batch, INNER), bytes = rows * (height + width) * 2 * N;
      const bool fuller = steps * padded(best * batch, INNER) > best * rows;
      if (bytes <= cache && fuller) best = steps;
    }
    return best;
  }

  // For left factors of `product` with so many rows and columns; for `outer` of so many steps.
  Parts(Scratch& scratch, long rows, long cols) : left(space(scratch, rows, cols)) {}
  Parts(Scratch& scratch, long rows, long cols, long steps, long height, long width)
      : left(space(scratch, rows, cols)),
        turned(space(scratch, height, steps * rows)),
        right(space(scratch, width, steps * rows)) {}
  ~Parts() { _tile_release(); }
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;

  using Room = Half*;
  Room room(Scratch& scratch, long rows, long cols) const { return space(scratch, cols, rows); }

  Right pack(const float* w, long rows, long cols, long row, long col, Room room) const {
    if (col == 1)
      tiles::in_pairs<N>(w, row, rows, cols, room);
    else
      tiles::in_turned_rows<N>(w, col, cols, rows, room);
    return {room, count(rows, INNER), count(cols, SIDE), rows};
  }

  void product(const float* a, long lda, long rows, const Right& w, float* c, long ldc,
               bool add = false) const {
    tiles::in_rows<N>(a, lda, rows, w.rows, left);
    const long inner = w.inner * PARTS;
    long m = 0;
    shape(SIDE);
    for (; m + 2 * SIDE <= rows; m += 2 * SIDE)
      for (long n = 0; n < w.outer; n += 2)
        two_rows(left + m / SIDE * inner, w.tiles + n * inner, w.inner, w.outer - n > 1,
                 c + m * ldc + n * SIDE, ldc, add);
    for (; m < rows; m += SIDE) {  // the last tile may have fewer rows, and takes less time then
      if (rows - m < SIDE) shape(rows - m);
      one_row(left + m / SIDE * inner, w.tiles, w.inner, w.outer, c + m * ldc, ldc, add);
    }
  }

  void outer(const float* a, long lda, const float* d, long ldd, long rows, long height, long width,
             float* c, long ldc) const {
    tiles::in_columns<N>(a, lda, rows, height, turned);
    tiles::in_pairs<N>(d, ldd, rows, width, right);
    const long K = count(rows, INNER), down = count(height, SIDE), across = count(width, SIDE);
    const long inner = K * PARTS;
    long m = 0;
    shape(SIDE);
    for (; (m + 2) * SIDE <= height; m += 2)
      for (long n = 0; n < across; n += 2)
        two_rows(turned + m * inner, right + n * inner, K, across - n > 1,
                 c + (m * ldc + n) * SIDE, ldc, true);
    for (; m < down; ++m) {
      if (height - m * SIDE < SIDE) shape(height - m * SIDE);
      one_row(turned + m * inner, right, K, across, c + m * ldc * SIDE, ldc, true);
    }
  }

 private:
  static long count(long n, long side) { return tiles::count(n, side); }

  static Half* space(Scratch& scratch, long outer, long inner) {
    return scratch.take<Half>(count(outer, SIDE) * count(inner, INNER) * PARTS);
  }

  // How many rows the tiles of results and of left factors have.
  static void shape(long rows) {
    struct alignas(64) {
      std::uint8_t palette = 1, start = 0, none[14] = {};
      std::uint16_t bytes[16] = {};
      std::uint8_t rows[16] = {};
    } layout;
    for (int tile = 0; tile < 8; ++tile) {
      layout.bytes[tile] = 64;
      layout.rows[tile] = tile < 6 ? rows : SIDE;
    }
    written(&layout);
    _tile_loadconfig(&layout);
  }

  // The compiler must not know better: it does not see that the tile instructions read memory.
  static void written(const void* memory) { asm volatile("" : : "r"(memory) : "memory"); }

#define LEFT(part)                             \
  _tile_loadd(4, a + (part) * TILE, 64);       \
  _tile_loadd(5, a + inner + (part) * TILE, 64)
#define RIGHT(part)                                      \
  _tile_loadd(6, b + (part) * TILE, 64);                 \
  if (wide) _tile_loadd(7, b + inner + (part) * TILE, 64)
#define MULTIPLY                         \
  _tile_dpbf16ps(0, 4, 6);               \
  _tile_dpbf16ps(1, 5, 6);               \
  if (wide) {                            \
    _tile_dpbf16ps(2, 4, 7);             \
    _tile_dpbf16ps(3, 5, 7);             \
  }

  // Two tiles of rows by two of columns, or by one: an order in which few tiles are loaded.
  static void two_rows(const Half* a, const Half* b, long K, bool wide, float* c, long ldc,
                       bool add) {
    const long inner = K * PARTS, stride = ldc * sizeof(float);
    written(a);
    if (add) {
      _tile_loadd(0, c, stride);
      _tile_loadd(1, c + SIDE * ldc, stride);
      if (wide) _tile_loadd(2, c + SIDE, stride);
      if (wide) _tile_loadd(3, c + SIDE * ldc + SIDE, stride);
    } else {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    }
    for (long k = 0; k < K; ++k, a += PARTS, b += PARTS) {
      LEFT(0);
      if constexpr (N == 3) {
        RIGHT(2);
        MULTIPLY
      }
      RIGHT(1);
      MULTIPLY
      if constexpr (N == 3) {
        LEFT(1);
        MULTIPLY
      }
      RIGHT(0);
      MULTIPLY
      LEFT(N == 3 ? 0 : 1);
      MULTIPLY
      if constexpr (N == 3) {
        LEFT(2);
        MULTIPLY
      }
    }
    _tile_stored(0, c, stride);
    _tile_stored(1, c + SIDE * ldc, stride);
    if (wide) _tile_stored(2, c + SIDE, stride);
    if (wide) _tile_stored(3, c + SIDE * ldc + SIDE, stride);
  }
#undef LEFT
#undef RIGHT
#undef MULTIPLY

#define FOR_EACH(DO)   \
  DO(0, 6);            \
  if (n > 1) DO(1, 7); \
  if (n > 2) DO(2, 6)
#define LOAD(j, _) _tile_loadd(j, c + j * SIDE, stride)
#define STORE(j, _) _tile_stored(j, c + j * SIDE, stride)
#define BY_FIRST(j, tile)                             \
  {                                                   \
    _tile_loadd(tile, b + j * inner, 64);             \
    if constexpr (N == 3) _tile_dpbf16ps(j, 5, tile); \
    _tile_dpbf16ps(j, 4, tile);                       \
    _tile_dpbf16ps(j, 3, tile);                       \
  }
#define BY_SECOND(j, tile)                            \
  {                                                   \
    _tile_loadd(tile, b + j * inner + TILE, 64);      \
    if constexpr (N == 3) _tile_dpbf16ps(j, 4, tile); \
    _tile_dpbf16ps(j, 3, tile);                       \
  }
#define BY_THIRD(j, tile)                            \
  {                                                  \
    _tile_loadd(tile, b + j * inner + 2 * TILE, 64); \
    _tile_dpbf16ps(j, 3, tile);                      \
  }

  // One tile of rows by all of columns, three at a time; the parts of the left factor stay.
  static void one_row(const Half* a, const Half* right, long K, long across, float* c,
                      long ldc, bool add) {
    const long inner = K * PARTS, stride = ldc * sizeof(float);
    written(a);
    for (long done = 0; done < across; done += 3, c += 3 * SIDE) {
      const long n = across - done;
      const Half *left = a, *b = right + done * inner;
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      if (add) {
        FOR_EACH(LOAD);
      }
      for (long k = 0; k < K; ++k, left += PARTS, b += PARTS) {
        _tile_loadd(3, left, 64);
        _tile_loadd(4, left + TILE, 64);
        if constexpr (N == 3) {
          _tile_loadd(5, left + 2 * TILE, 64);
          FOR_EACH(BY_THIRD);
        }
        FOR_EACH(BY_SECOND);
        FOR_EACH(BY_FIRST);
      }
      FOR_EACH(STORE);
    }
  }
#undef FOR_EACH
#undef LOAD
#undef STORE
#undef BY_FIRST
#undef BY_SECOND
#undef BY_THIRD

  Half *left, *turned = nullptr, *right = nullptr;
};

using Tiles = Parts<3>;
#endif
