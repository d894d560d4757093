// The time loop of the LSTM. Gates (S, T, B, 4H) lie in the order i, f, o, g:
//
//   i, f, o = sigmoid(z)   g = tanh(z)   c' = f c + i g   h' = o tanh(c')   z = (h, x, 1) weights
#pragma once
#include "scan.h"

// Cells are (S, T+1, B, H). If no gradient is wanted (not `kept`), gates have room for one step and
// cells for two.
template <class T, class Products>
void lstm_forward(const Shape& n, const T* x, const T* weight, const T* h0, const T* c0, T* tape,
                  T* gates, T* cells, T* last_c, bool kept) {
  const long H = n.hidden, K = H + n.inputs + 1, N = n.batch * H, wide = padded(4 * H, LANES);
  Scratch scratch;
  Products products(scratch, n.batch, K);
  T* z = scratch.take<T>(n.batch * wide);
  const auto room = products.room(scratch, K, 4 * H);
  for (long s = 0; s < n.members; ++s) {
    T* h = tape + s * (n.steps + 1) * n.batch * K;
    T* of_gates = gates + s * (kept ? n.steps : 1) * 4 * N;
    T* of_cells = cells + s * (kept ? n.steps + 1 : 2) * N;
    const auto right = products.pack(weight + s * K * 4 * H, K, 4 * H, 4 * H, 1, room);
    begin(n, x + s * n.steps * n.batch * n.inputs, h0 + s * N, K, h);
    std::memcpy(of_cells, c0 + s * N, N * sizeof(T));
    T* next = of_cells;
    for (long t = 0; t < n.steps; ++t, h += n.batch * K) {
      const T* c = next;
      next = of_cells + (kept ? t + 1 : (t + 1) % 2) * N;
      T* step = of_gates + (kept ? t : 0) * 4 * N;
      products.product(h, K, n.batch, right, z, wide);
      for (long row = 0; row < n.batch; ++row) {
        const T *from = z + row * wide, *before = c + row * H;
        T *to = step + row * 4 * H, *to_h = h + (n.batch + row) * K, *to_c = next + row * H;
        sweep(H, T(), [&](long j, auto kind) {
          using X = decltype(kind);
          const X i = sigmoid(load<X>(from + j)), f = sigmoid(load<X>(from + H + j));
          const X o = sigmoid(load<X>(from + 2 * H + j)), g = tanh_of(load<X>(from + 3 * H + j));
          const X new_c = f * load<X>(before + j) + i * g;
          store(to + j, i);
          store(to + H + j, f);
          store(to + 2 * H + j, o);
          store(to + 3 * H + j, g);
          store(to_c + j, new_c);
          store(to_h + j, X(o * tanh_of(new_c)));
        });
      }
    }
    std::memcpy(last_c + s * N, next, N * sizeof(T));
  }
}

// Gradients of x (null if nobody wants it), weights, h0 and c0.
template <class T, class Products>
void lstm_backward(const Shape& n, const T* weight, const T* tape, const T* gates, const T* cells,
                   const Outputs<T>& d_outputs, const T* d_last_h, const T* d_last_c, T* d_x,
                   T* d_weight, T* d_h0, T* d_c0) {
  const long H = n.hidden, K = H + n.inputs + 1, N = n.batch * H;
  Scratch scratch;
  Backward<T, Products> back(n, K, 4 * H, d_x != nullptr, scratch);
  T *d_c = scratch.take<T>(N), *d_c_before = scratch.take<T>(N);
  for (long s = 0; s < n.members; ++s) {
    back.start(weight + s * K * 4 * H, d_last_h ? d_last_h + s * N : nullptr);
    if (d_last_c)
      std::memcpy(d_c, d_last_c + s * N, N * sizeof(T));
    else
      std::memset(d_c, 0, N * sizeof(T));
    const T* of_member = tape + s * (n.steps + 1) * n.batch * K;
    for (long t = n.steps - 1; t >= 0; --t) {
      const T* step = gates + (s * n.steps + t) * 4 * N;
      const T* before = cells + (s * (n.steps + 1) + t) * N;
      T* d_gates = back.of_step(t);
      for (long row = 0; row < n.batch; ++row) {
        const T *gate = step + row * 4 * H, *c = before + row * H, *new_c = c + N;
        const T *given = back.of_state(row), *extra = d_outputs.row(s, t, row);
        const T* given_c = d_c + row * H;
        T *to = d_gates + row * back.wide, *to_c = d_c_before + row * H;
        sweep(H, T(), [&](long j, auto kind) {
          using X = decltype(kind);
          const X i = load<X>(gate + j), f = load<X>(gate + H + j);
          const X o = load<X>(gate + 2 * H + j), g = load<X>(gate + 3 * H + j);
          const X squashed = tanh_of(load<X>(new_c + j));
          X dh = load<X>(given + j);
          if (extra) dh += load<X>(extra + j);
          const X dc = load<X>(given_c + j) + dh * o * (1 - squashed * squashed);
          store(to + j, X(dc * g * i * (1 - i)));
          store(to + H + j, X(dc * load<X>(c + j) * f * (1 - f)));
          store(to + 2 * H + j, X(dh * squashed * o * (1 - o)));
          store(to + 3 * H + j, X(dc * i * (1 - g * g)));
          store(to_c + j, X(dc * f));
        });
      }
      T* spare = d_c;
      d_c = d_c_before;
      d_c_before = spare;
      back.step(t, of_member, d_x ? d_x + s * n.steps * n.batch * n.inputs : nullptr);
    }
    back.finish(d_weight + s * K * 4 * H, d_h0 + s * N);
    std::memcpy(d_c0 + s * N, d_c, N * sizeof(T));
  }
}
