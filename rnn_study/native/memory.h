// Scratch memory that a thread keeps from call to call: fresh pages would be cleared by the system
// one by one, which takes as long as the work itself.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

constexpr long LINE = 64;  // bytes of a cache line, and of the widest vector

constexpr long padded(long n, long to) { return (n + to - 1) / to * to; }

// Hands out pieces in order; all are free again when the next `Scratch` begins.
class Scratch {
 public:
  Scratch() { used() = 0; }

  template <class T>
  T* take(long count) {
    const std::size_t size = padded(count * long(sizeof(T)) + LINE, LINE);
    auto& pieces = held();
    if (used() == pieces.size()) pieces.push_back({nullptr, 0});
    Piece& piece = pieces[used()++];
    if (piece.size < size) {
      std::free(piece.start);
      piece = {std::aligned_alloc(LINE, size), size};
      if (piece.start == nullptr) {
        piece.size = 0;
        throw std::bad_alloc();
      }
    }
    return static_cast<T*>(piece.start);
  }

  template <class T>
  T* zeros(long count) {
    return static_cast<T*>(std::memset(take<T>(count), 0, count * sizeof(T)));
  }

 private:
  struct Piece {
    void* start;
    std::size_t size;
  };
  static std::vector<Piece>& held() {
    static thread_local std::vector<Piece> pieces;
    return pieces;
  }
  static std::size_t& used() {
    static thread_local std::size_t count = 0;
    return count;
  }
};
