// What the scans of all cells share: their shape, the tape, and the products of the backward pass.
//
// Networks come one after the other, so that the weights of one stay in the core's cache through
// all of its time steps. Arrays are row-major: x (S, T, B, I), states (S, B, H), outputs and their
// gradients (S, T, B, H), weights (S, K, N) with K = H + I, and for the LSTM one row more, the bias.
// The tape (S, T+1, B, K) holds what a step multiplies: h, then x, then a one for the bias.
#pragma once
#include "products.h"
#include "tiles.h"
#include "vectors.h"

struct Shape {
  long members, steps, batch, inputs, hidden;
};

// Gradients of the outputs, null for none: H numbers in a row, the other axes as they come.
template <class T>
struct Outputs {
  const T* start;
  long member, step, sequence;

  const T* row(long s, long t, long b) const {
    return start ? start + s * member + t * step + b * sequence : nullptr;
  }
};

// Puts x, h0 and ones into the tape of a network.
template <class T>
void begin(const Shape& n, const T* x, const T* h0, long K, T* tape) {
  const bool ones = K > n.hidden + n.inputs;
  for (long b = 0; b < n.batch; ++b)
    std::memcpy(tape + b * K, h0 + b * n.hidden, n.hidden * sizeof(T));
  for (long row = 0; row < n.steps * n.batch; ++row) {
    T* to = tape + row * K + n.hidden;
    for (long i = 0; i < n.inputs; ++i) to[i] = x[row * n.inputs + i];
    if (ones) to[n.inputs] = 1;
  }
}

// From the gradients d of a step's products, those of the state before and of x, and once in a while
// those of the weights. For one network after the other.
template <class T, class OfValues>
class Backward {
  using Products = typename OfValues::OfGradients;

 public:
  const long K, N, wide, ld_h;

  Backward(const Shape& n, long K, long N, bool wants_x, Scratch& scratch)
      : K(K),
        N(N),
        wide(padded(N, LANES)),
        ld_h(padded(wants_x ? n.hidden + n.inputs : n.hidden, LANES)),
        n(n),
        chunk(Products::chunk(n.batch, K, N)),
        back(wants_x ? n.hidden + n.inputs : n.hidden),
        wants_x(wants_x),
        products(scratch, n.batch, N, chunk, K, N),
        d(scratch.zeros<T>(chunk * n.batch * wide)),
        d_h(scratch.take<T>(n.batch * ld_h)),
        d_weight(scratch.take<T>(K * wide)),
        room(products.room(scratch, N, back)) {}

  // Of the products of step t, (B, `wide`): to be filled in.
  T* of_step(long t) { return d + (t % chunk) * n.batch * wide; }

  // Of the state after a step, H numbers every `ld_h`.
  T* of_state(long b) { return d_h + b * ld_h; }

  // Weights (K, N) of a network, and the gradient of its last state or null.
  void start(const T* w, const T* d_last) {
    right = products.pack(w, N, back, 1, N, room);
    std::memset(d_weight, 0, K * wide * sizeof(T));
    for (long b = 0; b < n.batch; ++b) {
      if (d_last)
        std::memcpy(of_state(b), d_last + b * n.hidden, n.hidden * sizeof(T));
      else
        std::memset(of_state(b), 0, n.hidden * sizeof(T));
    }
  }

  // Takes the gradients from step t to the state before. `tape` and `d_x` (or null): of the network.
  void step(long t, const T* tape, T* d_x) {
    products.product(of_step(t), wide, n.batch, right, d_h, ld_h);
    if (wants_x)
      for (long b = 0; b < n.batch; ++b)
        std::memcpy(d_x + (t * n.batch + b) * n.inputs, of_state(b) + n.hidden,
                    n.inputs * sizeof(T));
    if (t % chunk == 0) {
      const long steps = n.steps - t < chunk ? n.steps - t : chunk;
      products.outer(tape + t * n.batch * K, K, d, wide, steps * n.batch, K, N, d_weight, wide);
    }
  }

  // Writes the gradients of the weights (K, N) and of the first state (B, H).
  void finish(T* of_weight, T* of_h0) {
    for (long k = 0; k < K; ++k)
      std::memcpy(of_weight + k * N, d_weight + k * wide, N * sizeof(T));
    for (long b = 0; b < n.batch; ++b)
      std::memcpy(of_h0 + b * n.hidden, of_state(b), n.hidden * sizeof(T));
  }

 private:
  const Shape n;
  const long chunk, back;
  const bool wants_x;
  Products products;
  T *d, *d_h, *d_weight;
  typename Products::Room room;
  typename Products::Right right;
};
