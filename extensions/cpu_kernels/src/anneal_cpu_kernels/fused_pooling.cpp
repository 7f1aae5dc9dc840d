// Pooling, ReLU and LRN within channels of Caffe's CIFAR-10 networks, fused, forward and backward.
//
// What torch does in a dozen passes over memory is done image by image in the cache here. The plain
// form is CaffeNet.pool (Caffe @9b89154: pooling_layer.cpp, relu_layer.cpp, lrn_layer.cpp); the
// tests compare both. Compiled on first use by compiler.py.
//
// Shapes, all dense and channels last: z (N, H, W, C) what is pooled, y (N, P, Q, C) what comes out;
// P = ceil((H - 3) / 2) + 1, windows of 3x3 and stride 2, the last one clipped by the image's end.
// C is a multiple of 16: a Block holds 16 channels of one pixel.

#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace {

constexpr int64_t LANES = 16, WINDOW = 3, STRIDE = 2;
constexpr int32_t CLOSED = 255;  // in the place of 0..8 where the ReLU lets no gradient through

// As arguments these would have another ABI with other instruction sets: all is inlined here.
using Block = float __attribute__((vector_size(64)));
using Words = int32_t __attribute__((vector_size(64)));
using Bits = uint32_t __attribute__((vector_size(64)));
using Halves = uint16_t __attribute__((vector_size(32)));

struct BFloat16 {
  uint16_t bits;
};

template <typename To, typename From>
inline To load(const From* from) {
  To to;
  std::memcpy(&to, from, sizeof(To));
  return to;
}

inline Block wide(const float* from) { return load<Block>(from); }
inline Block wide(const BFloat16* from) {
  return (Block)(__builtin_convertvector(load<Halves>(from), Bits) << 16);
}

inline void narrow(Block value, float* to) { std::memcpy(to, &value, sizeof value); }
// To the nearest, ties to even. A NaN stays one: those that come up here have bits in the upper half.
inline void narrow(Block value, BFloat16* to) {
  const Bits bits = (Bits)value;
  const Bits rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Halves halves = __builtin_convertvector(rounded, Halves);
  std::memcpy(to, &halves, sizeof halves);
}

inline Block rectify(Block value) { return value <= 0 ? Block{} : value; }  // NaN stays NaN

// y^-1/4 for y >= 1, 0 for infinity: a guess from the exponent, then Newton's steps; within 1e-6 of
// the value.
inline Block inverse_fourth_root(Block y) {
  Block root = (Block)(0x4f584800 - ((Bits)y >> 2));
  for (int step = 0; step < 3; ++step) {
    const Block square = root * root;
    root *= 1.25f - 0.25f * y * square * square;
  }
  return y > std::numeric_limits<float>::max() ? Block{} : root;
}

struct Shape {
  int64_t height, width, blocks;  // blocks: of 16 channels
  int64_t rows() const { return (height - WINDOW + STRIDE - 1) / STRIDE + 1; }
  int64_t columns() const { return (width - WINDOW + STRIDE - 1) / STRIDE + 1; }
  int64_t inputs() const { return height * width * blocks; }
  int64_t outputs() const { return rows() * columns() * blocks; }
};

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

template <typename T>
inline T* at(T* tensor, int64_t offset) {  // of a tensor that may be left out
  return tensor ? tensor + offset : nullptr;
}

// One image pooled, after the ReLU in the case of means; of maxima the places that won, too, the
// first of equals. NaN wins, as in torch.
template <bool MAXIMUM, typename T>
void pool(const T* z, const Shape& shape, bool relu, Block* pooled, uint16_t* where) {
  const int64_t row = shape.width * shape.blocks;
  for (int64_t p = 0; p < shape.rows(); ++p)
    for (int64_t q = 0; q < shape.columns(); ++q) {
      const int64_t high = least(WINDOW, shape.height - p * STRIDE);
      const int64_t across = least(WINDOW, shape.width - q * STRIDE);
      const Block area = Block{} + static_cast<float>(high * across);
      for (int64_t b = 0; b < shape.blocks; ++b) {
        const int64_t to = (p * shape.columns() + q) * shape.blocks + b;
        const T* first = z + (p * STRIDE * row + q * STRIDE * shape.blocks + b) * LANES;
        Block found = MAXIMUM ? wide(first) : Block{};
        Words place{};
        for (int64_t i = 0; i < high; ++i)
          for (int64_t j = 0; j < across; ++j) {
            const Block value = wide(first + (i * row + j * shape.blocks) * LANES);
            if constexpr (MAXIMUM) {
              const Words wins = (value > found) | (value != value);
              found = wins ? value : found;
              place = wins ? Words{} + static_cast<int32_t>(i * WINDOW + j) : place;
            } else {
              found += relu ? rectify(value) : value;
            }
          }
        if constexpr (MAXIMUM) {
          if (relu) {
            place = found <= 0 ? Words{} + CLOSED : place;
            found = rectify(found);
          }
          const Halves places = __builtin_convertvector(place, Halves);
          std::memcpy(where + to * LANES, &places, sizeof places);
        }
        pooled[to] = MAXIMUM ? found : found / area;
      }
    }
}

// The gradient of each pixel of one image from that of the windows it lies in: the whole of those it
// won (maximum), or its share of each (mean), where the ReLU was open.
template <bool MAXIMUM, typename T>
void pool_backward(const Block* gradient, const T* z, const uint16_t* where, const Shape& shape,
                   bool relu, Block* sums, T* dz) {
  const int64_t P = shape.rows(), Q = shape.columns(), B = shape.blocks;
  const int64_t row = shape.width * B;
  for (int64_t h = 0; h < shape.height; ++h) {
    for (int64_t k = 0; k < row; ++k) sums[k] = Block{};
    const int64_t first = h % STRIDE == 0 && h > 0 ? h / STRIDE - 1 : h / STRIDE;
    for (int64_t p = first; p <= least(h / STRIDE, P - 1); ++p) {
      const float high = static_cast<float>(least(WINDOW, shape.height - p * STRIDE));
      const int32_t tap = static_cast<int32_t>((h - p * STRIDE) * WINDOW);
      for (int64_t q = 0; q < Q; ++q) {
        const int64_t across = least(WINDOW, shape.width - q * STRIDE);
        const Block share = Block{} + 1.0f / (high * static_cast<float>(across));
        for (int64_t b = 0; b < B; ++b) {
          const int64_t from = (p * Q + q) * B + b;
          Block* to = sums + q * STRIDE * B + b;
          if constexpr (MAXIMUM) {
            const Words place =
                __builtin_convertvector(load<Halves>(where + from * LANES), Words) - tap;
            to[0] += place == 0 ? gradient[from] : Block{};
            if (across > 1) to[B] += place == 1 ? gradient[from] : Block{};
            if (across > 2) to[2 * B] += place == 2 ? gradient[from] : Block{};
          } else {
            const Block value = gradient[from] * share;
            for (int64_t j = 0; j < across; ++j) to[j * B] += value;
          }
        }
      }
    }
    for (int64_t k = 0; k < row; ++k) {
      const int64_t here = (h * row + k) * LANES;
      if (!MAXIMUM && relu) sums[k] = wide(z + here) <= 0 ? Block{} : sums[k];
      narrow(sums[k], dz + here);
    }
  }
}

// Sum over each pixel's 3x3 neighbourhood, zeros outside; `column_sums` is room for one row.
void sum_3x3(const Block* values, const Shape& shape, Block* column_sums, Block* sums) {
  const int64_t P = shape.rows(), Q = shape.columns(), B = shape.blocks, row = Q * B;
  for (int64_t p = 0; p < P; ++p) {
    const Block* here = values + p * row;
    const Block* above = p > 0 ? here - row : nullptr;
    const Block* below = p + 1 < P ? here + row : nullptr;
    for (int64_t k = 0; k < row; ++k) {
      Block sum = here[k];
      if (above) sum += above[k];
      if (below) sum += below[k];
      column_sums[k] = sum;
    }
    for (int64_t k = 0; k < row; ++k) {
      Block sum = column_sums[k];
      if (k >= B) sum += column_sums[k - B];
      if (k + B < row) sum += column_sums[k + B];
      sums[p * row + k] = sum;
    }
  }
}

struct Room {  // of one thread, for one image; row: for one row of it
  std::vector<Block> pooled, product, sums, row;
  explicit Room(const Shape& shape)
      : pooled(shape.outputs()), product(shape.outputs()), sums(shape.outputs()),
        row(shape.width * shape.blocks) {}
};

// y = x * s^-3/4 with s = 1 + scale * sum3x3(x^2); x is what was pooled.
template <typename T>
void normalise(const T* x, const Shape& shape, float scale, Room& room, T* y) {
  Block *squares = room.product.data(), *sums = room.sums.data();
  for (int64_t k = 0; k < shape.outputs(); ++k) {
    const Block value = wide(x + k * LANES);
    squares[k] = value * value;
  }
  sum_3x3(squares, shape, room.row.data(), sums);
  for (int64_t k = 0; k < shape.outputs(); ++k) {
    const Block root = inverse_fourth_root(1.0f + scale * sums[k]);
    narrow(wide(x + k * LANES) * root * root * root, y + k * LANES);
  }
}

// dx = g * s^-3/4 - 3/2 * scale * x * sum3x3(g * x * s^-7/4).
template <typename T>
void normalise_backward(const T* gradient, const T* x, const Shape& shape, float scale, Room& room,
                        Block* dx) {
  Block *product = room.product.data(), *sums = room.sums.data();
  for (int64_t k = 0; k < shape.outputs(); ++k) {
    const Block value = wide(x + k * LANES);
    product[k] = value * value;
  }
  sum_3x3(product, shape, room.row.data(), sums);
  for (int64_t k = 0; k < shape.outputs(); ++k) {
    const Block root = inverse_fourth_root(1.0f + scale * sums[k]);
    const Block square = root * root;
    dx[k] = wide(gradient + k * LANES) * square * root;
    product[k] = dx[k] * wide(x + k * LANES) * square * square;
  }
  sum_3x3(product, shape, room.row.data(), sums);
  for (int64_t k = 0; k < shape.outputs(); ++k)
    dx[k] -= 1.5f * scale * wide(x + k * LANES) * sums[k];
}

template <typename T>
void forward(const T* z, int64_t images, const Shape& shape, bool maximum, bool relu, float alpha,
             T* pooled, uint16_t* where, T* y, int threads) {
  const int64_t inputs = shape.inputs() * LANES, outputs = shape.outputs() * LANES;
#pragma omp parallel num_threads(threads)
  {
    Room room(shape);
#pragma omp for schedule(static)
    for (int64_t n = 0; n < images; ++n) {
      T* x = pooled + n * outputs;
      const auto pooling = maximum ? pool<true, T> : pool<false, T>;
      pooling(z + n * inputs, shape, relu, room.pooled.data(), at(where, n * outputs));
      for (int64_t k = 0; k < shape.outputs(); ++k) narrow(room.pooled[k], x + k * LANES);
      if (alpha > 0) normalise(x, shape, alpha / 9, room, y + n * outputs);
    }
  }
}

template <typename T>
void backward(const T* gradient, const T* z, const T* pooled, const uint16_t* where, int64_t images,
              const Shape& shape, bool maximum, bool relu, float alpha, T* dz, int threads) {
  const int64_t inputs = shape.inputs() * LANES, outputs = shape.outputs() * LANES;
#pragma omp parallel num_threads(threads)
  {
    Room room(shape);
#pragma omp for schedule(static)
    for (int64_t n = 0; n < images; ++n) {
      const T* g = gradient + n * outputs;
      if (alpha > 0)
        normalise_backward(g, pooled + n * outputs, shape, alpha / 9, room, room.pooled.data());
      else
        for (int64_t k = 0; k < shape.outputs(); ++k) room.pooled[k] = wide(g + k * LANES);
      const auto back = maximum ? pool_backward<true, T> : pool_backward<false, T>;
      back(room.pooled.data(), at(z, n * inputs), at(where, n * outputs), shape, relu,
           room.row.data(), dz + n * inputs);
    }
  }
}

}  // namespace

// May be null: `where` (N, P, Q, C) for means; backward `z` for maxima and without the ReLU, `pooled`
// without the LRN (alpha 0), which fills no `y`.
#define FUSED_POOLING(NAME, T)                                                                   \
  extern "C" void NAME##_forward(const T* z, int64_t n, int64_t h, int64_t w, int64_t c,         \
                                 int maximum, int relu, float alpha, T* pooled, uint16_t* where,  \
                                 T* y, int threads) {                                            \
    forward(z, n, Shape{h, w, c / LANES}, maximum != 0, relu != 0, alpha, pooled, where, y,      \
            threads);                                                                            \
  }                                                                                              \
  extern "C" void NAME##_backward(const T* gradient, const T* z, const T* pooled,                \
                                  const uint16_t* where, int64_t n, int64_t h, int64_t w,         \
                                  int64_t c, int maximum, int relu, float alpha, T* dz,          \
                                  int threads) {                                                 \
    backward(gradient, z, pooled, where, n, Shape{h, w, c / LANES}, maximum != 0, relu != 0,     \
             alpha, dz, threads);                                                                \
  }

FUSED_POOLING(float32, float)
FUSED_POOLING(bf16, BFloat16)
