// What Python calls. Every function comes for float32 and float64 on vectors, and where the processor
// has them for float32 on tiles. All return zero, or one if there was no memory.
#include "adam.h"
#include "exponential.h"
#include "lstm.h"
#include "orthogonal.h"

namespace {

template <class F>
int guarded(F f) {
  try {
    f();
    return 0;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

}  // namespace

#define EXPONENTIAL(KIND, T, PRODUCTS)                                                            \
  int powers_##KIND(Shape n, const T* a, double largest, T* powers, std::int64_t* halvings) {      \
    return guarded([&] {                                                                          \
      Exponential<T, PRODUCTS> e(n.hidden);                                                       \
      for (long s = 0; s < n.members; ++s)                                                        \
        halvings[s] = e.powers(a + s * n.hidden * n.hidden, largest, powers + 4 * s * e.size);    \
    });                                                                                           \
  }                                                                                               \
  int exponential_##KIND(Shape n, const T* powers, const std::int64_t* halvings, T* c,            \
                         T* squared, T* out) {                                                    \
    return guarded([&] {                                                                          \
      Exponential<T, PRODUCTS> e(n.hidden);                                                       \
      for (long s = 0; s < n.members; ++s)                                                        \
        e.value(powers + 4 * s * e.size, halvings[s], c + s * e.size,                             \
                squared + s * n.steps * e.size, out + s * n.hidden * n.hidden);                   \
    });                                                                                           \
  }                                                                                               \
  int exponential_backward_##KIND(Shape n, const T* powers, const std::int64_t* halvings,         \
                                  const T* c, const T* squared, const T* d, T* d_a) {             \
    return guarded([&] {                                                                          \
      Exponential<T, PRODUCTS::OfGradients> e(n.hidden);                                                       \
      for (long s = 0; s < n.members; ++s)                                                        \
        e.gradient(powers + 4 * s * e.size, halvings[s], c + s * e.size,                          \
                   squared + s * n.steps * e.size, d + s * n.hidden * n.hidden,                   \
                   d_a + s * n.hidden * n.hidden);                                                \
    });                                                                                           \
  }
#define FUNCTIONS(KIND, T, PRODUCTS)                                                              \
  int orthogonal_forward_##KIND(Shape n, const T* x, const T* w, const T* b, const T* h0,         \
                                T* tape) {                                                        \
    return guarded([&] { orthogonal_forward<T, PRODUCTS>(n, x, w, b, h0, tape); });               \
  }                                                                                               \
  int orthogonal_backward_##KIND(Shape n, const T* w, const T* tape, Outputs<T> d_outputs,        \
                                 const T* d_last, T* d_x, T* d_w, T* d_b, T* d_h0) {              \
    return guarded([&] {                                                                          \
      orthogonal_backward<T, PRODUCTS>(n, w, tape, d_outputs, d_last, d_x, d_w, d_b, d_h0);       \
    });                                                                                           \
  }                                                                                               \
  int lstm_forward_##KIND(Shape n, const T* x, const T* w, const T* h0, const T* c0, T* tape,     \
                          T* gates, T* cells, T* last_c, long kept) {                             \
    return guarded([&] {                                                                          \
      lstm_forward<T, PRODUCTS>(n, x, w, h0, c0, tape, gates, cells, last_c, kept);               \
    });                                                                                           \
  }                                                                                               \
  int lstm_backward_##KIND(Shape n, const T* w, const T* tape, const T* gates, const T* cells,    \
                           Outputs<T> d_outputs, const T* d_last_h, const T* d_last_c, T* d_x,    \
                           T* d_w, T* d_h0, T* d_c0) {                                            \
    return guarded([&] {                                                                          \
      lstm_backward<T, PRODUCTS>(n, w, tape, gates, cells, d_outputs, d_last_h, d_last_c, d_x,    \
                                 d_w, d_h0, d_c0);                                                \
    });                                                                                           \
  }

#define OPTIMISER(KIND, T)                                                                        \
  int clip_##KIND(Shape n, double largest, T* gradient, T* norms) {                               \
    clip(n.members, n.inputs, largest, gradient, norms);                                          \
    return 0;                                                                                     \
  }                                                                                               \
  int adam_##KIND(Shape n, long from, long to, double pace, double beta1, double beta2,           \
                  double epsilon, const T* correction, const T* gradient, T* first, T* second,    \
                  T* params) {                                                                    \
    adam(n.members, n.inputs, from, to, pace, beta1, beta2, epsilon, correction, gradient, first, \
         second, params);                                                                         \
    return 0;                                                                                     \
  }

extern "C" {
OPTIMISER(float32, float)
OPTIMISER(float64, double)
FUNCTIONS(float32, float, Vectors<float>)
EXPONENTIAL(float32, float, Vectors<float>)
FUNCTIONS(float64, double, Vectors<double>)
EXPONENTIAL(float64, double, Vectors<double>)
#ifdef TILES
FUNCTIONS(tiles, float, Tiles)
EXPONENTIAL(tiles, float, Tiles)
int tiles_allowed() { return allowed(); }
#endif
}
