// The time loop of the orthogonal cell: h' = modReLU(x W + h U), modReLU(z) = sign(z) relu(|z| + b).
// Only the outputs are kept: an output has the sign of its z, and is zero where modReLU is flat.
#pragma once
#include "scan.h"

template <class T, class Products>
void orthogonal_forward(const Shape& n, const T* x, const T* weight, const T* bias, const T* h0,
                        T* tape) {
  const long H = n.hidden, K = H + n.inputs, wide = padded(H, LANES);
  Scratch scratch;
  Products products(scratch, n.batch, K);
  T* z = scratch.take<T>(n.batch * wide);
  const auto room = products.room(scratch, K, H);
  for (long s = 0; s < n.members; ++s) {
    T* h = tape + s * (n.steps + 1) * n.batch * K;
    const T* b = bias + s * H;
    const auto right = products.pack(weight + s * K * H, K, H, H, 1, room);
    begin(n, x + s * n.steps * n.batch * n.inputs, h0 + s * n.batch * H, K, h);
    for (long t = 0; t < n.steps; ++t, h += n.batch * K) {
      products.product(h, K, n.batch, right, z, wide);
      for (long row = 0; row < n.batch; ++row) {
        const T* from = z + row * wide;
        T* to = h + (n.batch + row) * K;
        sweep(H, T(), [&](long j, auto kind) {
          using X = decltype(kind);
          const X value = load<X>(from + j), size = absolute(value) + load<X>(b + j);
          const X kept = size < 0 ? X{} : size;  // NaN is kept
          store(to + j, value < 0 ? -kept : (value == 0 ? X{} : kept));
        });
      }
    }
  }
}

// Gradients of x (null if nobody wants it), weights, bias and h0.
template <class T, class Products>
void orthogonal_backward(const Shape& n, const T* weight, const T* tape, const Outputs<T>& d_outputs,
                         const T* d_last, T* d_x, T* d_weight, T* d_bias, T* d_h0) {
  const long H = n.hidden, K = H + n.inputs, N = n.batch * H;
  Scratch scratch;
  Backward<T, Products> back(n, K, H, d_x != nullptr, scratch);
  T* sums = scratch.take<T>(H);
  for (long s = 0; s < n.members; ++s) {
    T* db = d_bias + s * H;
    back.start(weight + s * K * H, d_last ? d_last + s * N : nullptr);
    std::memset(db, 0, H * sizeof(T));
    const T* of_member = tape + s * (n.steps + 1) * n.batch * K;
    for (long t = n.steps - 1; t >= 0; --t) {
      const T* h = of_member + (t + 1) * n.batch * K;
      T* d_z = back.of_step(t);
      sweep(H, T(), [&](long j, auto kind) {
        using X = decltype(kind);
        X sum{};
        for (long row = 0; row < n.batch; ++row) {
          const T* extra = d_outputs.row(s, t, row);
          const X value = load<X>(h + row * K + j);
          X d = load<X>(back.of_state(row) + j);
          if (extra) d += load<X>(extra + j);
          d = value == 0 ? X{} : d;
          store(d_z + row * back.wide + j, d);
          sum += value < 0 ? -d : d;
        }
        store(sums + j, sum);
      });
      for (long j = 0; j < H; ++j) db[j] += sums[j];
      back.step(t, of_member, d_x ? d_x + s * n.steps * n.batch * n.inputs : nullptr);
    }
    back.finish(d_weight + s * K * H, d_h0 + s * N);
  }
}
