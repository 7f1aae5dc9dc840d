// The blocks of a residual network for small images, forward and backward, in bfloat16 on a
// processor that multiplies matrices in tiles (AMX): 3x3 convolutions, batch normalisation,
// shortcut and ReLU.
//
// The plain form is BasicBlock in anneal/models/resnet.py; the tests compare both.
// Compiled on first use by compiler.py. The caller has asked Linux for the tiles
// (torch.cpu._init_amx).
//
// Shapes, all dense and channels last: z1, z2, y (N, H, W, C), x the same or, with a stride of 2,
// (N, 2 H, 2 W, C / 2); weights (C out, 3, 3, C in). C is 16, 32 or 64, H and W are multiples of 8;
// there is one pixel of zeros around an image. Sums are kept in float32, and over the images in an
// order that does not depend on the threads.
//
// A convolution multiplies tiles of 16 (or 8) pixels of a row by 32 channels: of the same channels
// of the pixel that a tap sees, or, of 16 channels, of two taps beside each other. Both lie in the
// padded image as they are needed.

#include <immintrin.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

namespace {

using Half = uint16_t;                               // the bits of a bfloat16
constexpr int64_t LANES = 16, TAPS = 9, TILE = 512;  // TILE: bfloat16s of 16 rows
constexpr int64_t GROUP = 4;                         // registers of 16 channels: 64 values in a row
constexpr int64_t CHUNKS = 8;                        // of the images, for the weights' gradient

inline __m512 wide(const Half* from) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

inline void narrow(__m512 value, Half* to) {
  const __m256bh bits = _mm512_cvtneps_pbh(value);
  std::memcpy(to, &bits, sizeof bits);
}

struct alignas(64) Line {
  Half values[32];
};

// Room that a thread keeps from call to call: fresh pages cost more than what is done with them.
struct Room {
  std::vector<Line> lines;
  Half* clear(int64_t size) {
    Half* data = take(size);
    std::memset(data, 0, size * sizeof(Half));
    return data;
  }
  Half* take(int64_t size) {
    const auto needed = static_cast<size_t>(size + 31) / 32 + 1;
    if (lines.size() < needed) lines.resize(needed);
    return lines[0].values;
  }
};

// This thread's part of `count`, from its first to its last or back; then it waits for the others.
// Each pass over the images goes the other way than the one before: it begins with what that left
// in the cache.
template <typename Do>
void share(int64_t count, bool back, Do each) {
  const int64_t threads = omp_get_num_threads(), own = omp_get_thread_num();
  const int64_t first = own * count / threads, end = (own + 1) * count / threads;
  for (int64_t i = first; i < end; ++i) each(back ? first + end - 1 - i : i);
#pragma omp barrier
}

// The image that a pass takes next.
inline int64_t following(int64_t n, int64_t count, bool back) {
  return std::clamp<int64_t>(n + (back ? -1 : 1), 0, count - 1);
}

// What is read of the next image, fetched while tiles multiply and leave the memory alone.
struct Ahead {
  struct Stream {
    const Half* from;
    int64_t size;
  } streams[4];
  void fetch(int64_t lines) {
    for (Stream& stream : streams)
      for (int64_t i = 0; i < lines && stream.size > 0; ++i, stream.from += 32, stream.size -= 32)
        _mm_prefetch(reinterpret_cast<const char*>(stream.from), _MM_HINT_T1);
  }
};

struct Shape {  // of what comes out of a block
  int64_t images, height, width;
  int64_t pixels() const { return height * width; }
};

struct Image {  // of `channels`, with a border of zeros
  int64_t height, width, channels;
  int64_t row() const { return (width + 2) * channels; }
  int64_t first() const { return row() + channels; }  // the first pixel
  int64_t size() const { return (height + 2) * row() + TILE; }
};

// Tiles 0 to 3 are sums, 4 and 5 are A, of `rows` rows, 6 and 7 are B. With `halves`, 5 and 7 have
// 16 channels, half of the rest.
void configure(int64_t rows, bool halves) {
  struct {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {};
    uint8_t rows[16] = {};
  } config;
  for (int i = 0; i < 8; ++i) {
    config.bytes[i] = halves && i == 5 ? 32 : 64;
    config.rows[i] = static_cast<uint8_t>(i < 6 ? rows : halves && i == 7 ? 8 : 16);
  }
  // GCC's intrinsics do not say what memory they read.
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

// 16 channels of two pixels, interleaved.
template <int64_t C>
inline __m512i interleave(const Half* two) {
  const auto load = [](const Half* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  };
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  if constexpr (C == LANES) return _mm512_permutexvar_epi16(order, _mm512_loadu_si512(two));
  const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(load(two)), load(two + C), 1);
  return _mm512_permutexvar_epi16(order, both);
}

inline void transpose(__m512i* r) {  // 16 x 16 words of 32 bits
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

// ---------------------------------------------------------------------------- the normalisation

// One number for each channel, repeated over 64 values of an image.
template <int64_t C>
struct Repeated {
  __m512 values[GROUP];
  explicit Repeated(const float* channels) {
    for (int64_t i = 0; i < GROUP; ++i) values[i] = _mm512_loadu_ps(channels + i * LANES % C);
  }
  Repeated() {
    for (auto& value : values) value = _mm512_setzero_ps();
  }
  void fold(float* channels) const {  // into a sum for each
    for (int64_t c = 0; c < C; ++c) channels[c] = 0;
    for (int64_t i = 0; i < GROUP; ++i) {
      float* to = channels + i * LANES % C;
      _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), values[i]));
    }
  }
};

// Of one image: its first pixel, and the sums of what the others are more and of the squares of
// that.
template <int64_t C>
void moments(const Half* z, int64_t size, float* found) {
  for (int64_t c = 0; c < C; c += LANES) _mm512_storeu_ps(found + c, wide(z + c));
  const Repeated<C> first(found);
  Repeated<C> sums, squares;
  for (int64_t k = 0; k < size; k += GROUP * LANES)
    for (int64_t i = 0; i < GROUP; ++i) {
      const __m512 more = _mm512_sub_ps(wide(z + k + i * LANES), first.values[i]);
      sums.values[i] = _mm512_add_ps(sums.values[i], more);
      squares.values[i] = _mm512_fmadd_ps(more, more, squares.values[i]);
    }
  sums.fold(found + C);
  squares.fold(found + 2 * C);
}

inline __m512 affine(__m512 value, __m512 factor, __m512 offset) {
  return _mm512_fmadd_ps(value, factor, offset);
}
inline __m512 rectify(__m512 value) {  // NaN stays NaN
  return _mm512_max_ps(_mm512_setzero_ps(), value);
}
// A gradient where the ReLU let through what came out as `value`.
inline __m512 open(__m512 gradient, __m512 value) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(value, _mm512_setzero_ps(), _CMP_NLE_UQ), gradient);
}

}  // namespace

extern "C" struct Norm {  // of C channels; mean, scale, factor, offset: of this batch
  const float *weight, *bias;
  float *running_mean, *running_var, *mean, *scale, *factor, *offset;
  float *weight_gradient, *bias_gradient;
};

namespace {

// The batch's mean and variance, by all threads; y = factor * z + offset.
template <int64_t C>
void combine(const float* found, const Shape& shape, const Norm& norm, float eps, float momentum) {
  const double images = static_cast<double>(shape.images);
  const double pixels = static_cast<double>(shape.pixels()), each = 1 / pixels;
#pragma omp for schedule(static)
  for (int64_t c = 0; c < C; ++c) {
    double mean = 0, apart = 0;
    for (int64_t n = 0; n < shape.images; ++n)
      mean += found[n * 3 * C + c] + found[n * 3 * C + C + c] * each;
    mean /= images;
    for (int64_t n = 0; n < shape.images; ++n) {
      const float* of = found + n * 3 * C + c;
      const double sum = of[C], own = of[0] + sum * each - mean;
      apart += of[2 * C] - sum * sum * each + own * own * pixels;
    }
    const double total = pixels * images;
    const double scale = 1 / std::sqrt(apart / total + eps), factor = scale * norm.weight[c];
    norm.mean[c] = static_cast<float>(mean);
    norm.scale[c] = static_cast<float>(scale);
    norm.factor[c] = static_cast<float>(factor);
    norm.offset[c] = static_cast<float>(norm.bias[c] - mean * factor);
    const auto follow = [momentum](float& state, double now) {
      state = static_cast<float>(state + momentum * (now - state));
    };
    follow(norm.running_mean[c], mean);
    follow(norm.running_var[c], apart / (total - 1));
  }
}

// y = relu(normalised z + x) of one image. A block of stride 2 takes every second pixel of x, which
// has half the channels; there may be no x.
template <int64_t C, int64_t S>
void normalise(const Half* z, const Half* x, const Norm& norm, const Shape& shape, Half* y) {
  const Repeated<C> factors(norm.factor), offsets(norm.offset);
  if constexpr (S == 1) {
    for (int64_t k = 0; k < shape.pixels() * C; k += GROUP * LANES)
      for (int64_t i = 0; i < GROUP; ++i) {
        const int64_t at = k + i * LANES;
        __m512 value = affine(wide(z + at), factors.values[i], offsets.values[i]);
        if (x) value = _mm512_add_ps(value, wide(x + at));
        narrow(rectify(value), y + at);
      }
  } else {
    for (int64_t h = 0; h < shape.height; ++h, x += 2 * shape.width * C / 2)
      for (int64_t w = 0; w < shape.width; ++w, x += C, z += C, y += C)
        for (int64_t c = 0; c < C; c += LANES) {
          __m512 value = affine(wide(z + c), factors.values[c / LANES], offsets.values[c / LANES]);
          if (c < C / 2) value = _mm512_add_ps(value, wide(x + c));
          narrow(rectify(value), y + c);
        }
  }
}

// dx += the gradient of what normalise added.
template <int64_t C, int64_t S>
void join(const Half* gradient, const Shape& shape, Half* dx) {
  for (int64_t h = 0; h < shape.height; ++h, dx += (S - 1) * S * shape.width * (C / S))
    for (int64_t w = 0; w < shape.width; ++w, dx += C, gradient += C)
      for (int64_t c = 0; c < C / S; c += LANES)
        narrow(_mm512_add_ps(wide(dx + c), wide(gradient + c)), dx + c);
}

// Of one image: the sums of the gradient behind the ReLU, and of its products with z - mean. What
// the ReLU gave is y or, where that is null, follows from z; its gradient is dy and, where there is
// one, `more`. The gradient behind it goes to `behind`, which may be y or z.
template <int64_t C>
void gradient_moments(const Half* dy, const Half* more, const Half* y, const Half* z,
                      const Norm& norm, int64_t size, Half* behind, float* found) {
  const Repeated<C> mean(norm.mean), factors(norm.factor), offsets(norm.offset);
  Repeated<C> sums, products;
  for (int64_t k = 0; k < size; k += GROUP * LANES)
    for (int64_t i = 0; i < GROUP; ++i) {
      const int64_t at = k + i * LANES;
      const __m512 here = wide(z + at);
      const __m512 value = y ? wide(y + at) : affine(here, factors.values[i], offsets.values[i]);
      __m512 whole = wide(dy + at);
      if (more) whole = _mm512_add_ps(whole, wide(more + at));
      const __m512 gradient = open(whole, value);
      sums.values[i] = _mm512_add_ps(sums.values[i], gradient);
      products.values[i] =
          _mm512_fmadd_ps(gradient, _mm512_sub_ps(here, mean.values[i]), products.values[i]);
      narrow(gradient, behind + at);
    }
  sums.fold(found);
  products.fold(found + C);
}

// dz = factor * gradient behind the ReLU + slope * z + offset.
template <int64_t C>
struct Slope {
  float slope[C], offset[C];
  void find(const float* found, const Shape& shape, const Norm& norm) {
    const double total = static_cast<double>(shape.images * shape.pixels());
#pragma omp for schedule(static)
    for (int64_t c = 0; c < C; ++c) {
      double sum = 0, product = 0;
      for (int64_t n = 0; n < shape.images; ++n) {
        sum += found[n * 2 * C + c];
        product += found[n * 2 * C + C + c];
      }
      const double scale = norm.scale[c], factor = norm.factor[c];
      const double by = -factor * scale * scale * product / total;
      norm.bias_gradient[c] = static_cast<float>(sum);
      norm.weight_gradient[c] = static_cast<float>(product * scale);
      slope[c] = static_cast<float>(by);
      offset[c] = static_cast<float>(-factor * sum / total - by * norm.mean[c]);
    }
  }
};

// dz, each pixel S pixels from the one before in a row of `row` values. Of S 2 the others are zero
// already.
template <int64_t C, int64_t S>
void normalise_backward(const Half* behind, const Half* z, const Norm& norm, const Slope<C>& of,
                        const Shape& shape, int64_t row, Half* dz) {
  const Repeated<C> factors(norm.factor), slopes(of.slope), offsets(of.offset);
  const auto gradient = [&](int64_t at, int64_t i) {
    const __m512 through = affine(wide(z + at), slopes.values[i], offsets.values[i]);
    return _mm512_fmadd_ps(wide(behind + at), factors.values[i], through);
  };
  const int64_t width = shape.width * C;
  for (int64_t h = 0; h < shape.height; ++h, behind += width, z += width, dz += S * row)
    if constexpr (S == 1) {
      for (int64_t k = 0; k < width; k += GROUP * LANES)
        for (int64_t i = 0; i < GROUP; ++i) narrow(gradient(k + i * LANES, i), dz + k + i * LANES);
    } else {
      for (int64_t k = 0; k < width; k += C)
        for (int64_t i = 0; i < C / LANES; ++i)
          narrow(gradient(k + i * LANES, i), dz + S * k + i * LANES);
    }
}

// ---------------------------------------------------------------------------- the convolution

// From K channels to N; K and N change places on the way back.
template <int64_t K>
constexpr int64_t STEPS = (3 * K + 31) / 32;  // of a row of the window: 3 K values, 32 at a time
template <int64_t K, int64_t N>
constexpr int64_t TILES = N / LANES * 3 * STEPS<K>;  // for 16 of N, for a row of the window, a step

// A tile of the weights (out, 3, 3, in): [16 pairs of k][16 of n][2].
template <int64_t K, int64_t N, bool BACK>
void pack(const float* weights, int64_t tile, Half* packed) {
  const int64_t n = tile / (3 * STEPS<K>)*LANES, row = tile / STEPS<K> % 3;
  const int64_t first = tile % STEPS<K> * 32;
  __m512i rows[LANES];
  for (int64_t i = 0; i < LANES; ++i) {
    if constexpr (BACK) {
      const int64_t k = first + 2 * i, tap = (2 - row) * 3 + 2 - k / K;
      alignas(64) Half pair[2 * LANES] = {};
      if (k < 3 * K)
        for (int64_t j = 0; j < 2; ++j)
          narrow(_mm512_loadu_ps(weights + ((k % K + j) * TAPS + tap) * N + n), pair + j * LANES);
      rows[i] = interleave<LANES>(pair);
    } else {
      const float* from = weights + ((n + i) * 3 + row) * 3 * K + first;
      const bool whole = first + 32 <= 3 * K;
      const __m512 high = whole ? _mm512_loadu_ps(from + LANES) : _mm512_setzero_ps();
      rows[i] = (__m512i)_mm512_cvtne2ps_pbh(high, _mm512_loadu_ps(from));
    }
  }
  if constexpr (!BACK) transpose(rows);
  for (int64_t i = 0; i < LANES; ++i) _mm512_store_si512(packed + tile * TILE + i * 32, rows[i]);
}

// x within its border, or what a normalisation and a ReLU make of it.
template <int64_t C>
void pad(const Half* x, const Norm* norm, const Image& image, Half* padded) {
  const int64_t width = image.width * C;
  padded += image.first();
  if (!norm) {
    for (int64_t h = 0; h < image.height; ++h, x += width, padded += image.row())
      std::memcpy(padded, x, width * sizeof(Half));
    return;
  }
  const Repeated<C> factors(norm->factor), offsets(norm->offset);
  for (int64_t h = 0; h < image.height; ++h, x += width, padded += image.row())
    for (int64_t k = 0; k < width; k += GROUP * LANES)
      for (int64_t i = 0; i < GROUP; ++i) {
        const int64_t at = k + i * LANES;
        narrow(rectify(affine(wide(x + at), factors.values[i], offsets.values[i])), padded + at);
      }
}

// One image, of stride S.
template <int64_t K, int64_t N, int64_t S>
void convolve(const Half* padded, const Image& image, const Half* packed, Half* out, Ahead& ahead) {
  alignas(64) float sums[4][LANES * LANES];
  constexpr int64_t row = S * K * sizeof(Half);  // of A, in bytes
  const int64_t width = image.width / S, rows = width % LANES ? 8 : LANES, across = width / rows;
  const int64_t tiles = image.height / S * across, below = image.row();
  const auto place = [&](int64_t tile) {
    return padded + tile / across * S * below + tile % across * rows * S * K;
  };
  configure(rows, K == 16);
  for (int64_t n = 0; n < N; n += LANES, packed += 3 * STEPS<K> * TILE)
    for (int64_t t = 0; t < tiles; t += 4) {
      const Half *a0 = place(t), *a1 = place(t + 1), *a2 = place(t + 2), *a3 = place(t + 3);
      const Half* b = packed;
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      for (int64_t i = 0; i < 3 * below; i += below) {
        for (int64_t k = i; k + 32 <= i + 3 * K; k += 32, b += TILE) {
          _tile_loadd(6, b, 64);
          _tile_loadd(4, a0 + k, row);
          _tile_dpbf16ps(0, 4, 6);
          _tile_loadd(4, a1 + k, row);
          _tile_dpbf16ps(1, 4, 6);
          _tile_loadd(4, a2 + k, row);
          _tile_dpbf16ps(2, 4, 6);
          _tile_loadd(4, a3 + k, row);
          _tile_dpbf16ps(3, 4, 6);
        }
        if constexpr (K == 16) {
          _tile_loadd(7, b, 64);
          _tile_loadd(5, a0 + i + 32, row);
          _tile_dpbf16ps(0, 5, 7);
          _tile_loadd(5, a1 + i + 32, row);
          _tile_dpbf16ps(1, 5, 7);
          _tile_loadd(5, a2 + i + 32, row);
          _tile_dpbf16ps(2, 5, 7);
          _tile_loadd(5, a3 + i + 32, row);
          _tile_dpbf16ps(3, 5, 7);
          b += TILE;
        }
      }
      ahead.fetch(16);
      _tile_stored(0, sums[0], 64);
      _tile_stored(1, sums[1], 64);
      _tile_stored(2, sums[2], 64);
      _tile_stored(3, sums[3], 64);
      Half* to = out + t * rows * N + n;
      for (const auto& tile : sums)
        for (int64_t i = 0; i < rows; ++i, to += N) narrow(_mm512_load_ps(tile + i * LANES), to);
    }
}

// What the weights' gradient needs of a few images, in tiles of 32 pixels by 16 channels: dz
// transposed, and x in pairs of pixels as the left, the middle and the right taps see it.
struct Operands {
  int64_t images;
  Half *dz, *x[3];
};

// Image i of those; `image` is that of dz, x has C channels. Both come with their border.
template <int64_t C, int64_t K>
void arrange(const Half* x, const Half* dz, const Image& image, int64_t i, const Operands& operands,
             Ahead& ahead) {
  const int64_t row = image.row(), width = image.width, size = image.height * width * LANES;
  for (int64_t c = 0; c < K; c += LANES) {
    Half* to = operands.dz + (c / LANES * operands.images + i) * size;
    __m512i rows[LANES];
    int64_t pair = 0;
    for (int64_t h = 0; h < image.height; ++h)
      for (int64_t w = 0; w < width; w += 2) {
        rows[pair++] = interleave<K>(dz + image.first() + h * row + w * K + c);
        if (pair < LANES) continue;
        transpose(rows);
        ahead.fetch(8);
        for (pair = 0; pair < LANES; ++pair) _mm512_store_si512(to + pair * 32, rows[pair]);
        to += TILE;
        pair = 0;
      }
  }
  const int64_t high = image.height + 2;
  for (int64_t c = 0; c < C; c += LANES) {
    const int64_t to = (c / LANES * operands.images + i) * high * width * LANES;
    Half *left = operands.x[0] + to, *middle = operands.x[1] + to, *right = operands.x[2] + to;
    for (int64_t h = 0; h < high;
         ++h, left += width * LANES, middle += width * LANES, right += width * LANES) {
      const Half* from = x + h * (width + 2) * C + c;
      _mm512_store_si512(left, interleave<C>(from));
      for (int64_t w = 0; w < width; w += 2) {
        _mm512_store_si512(middle + w * LANES, interleave<C>(from + (w + 1) * C));
        const __m512i pair = interleave<C>(from + (w + 2) * C);
        _mm512_store_si512(right + w * LANES, pair);
        if (w + 2 < width) _mm512_store_si512(left + (w + 2) * LANES, pair);
      }
    }
  }
}

// sums (9, K, C) += dz^T x over the pixels of the first `count` images.
template <int64_t C, int64_t K>
void weight_gradient(const Operands& operands, const Image& image, int64_t count, float* sums) {
  constexpr int64_t row = C * sizeof(float), next = K * C;
  const int64_t line = image.width * LANES, size = image.height * line, part = 8 * TILE;
  configure(16, false);
  for (int64_t first = 0; first < size; first += part) {  // what stays in the first cache
    const int64_t end = first + part < size ? first + part : size;
    for (int64_t c = 0; c < C; c += LANES)
      for (int64_t k = 0; k < K; k += LANES)
        for (int64_t i = 0; i < 3; ++i) {
          const Half* a = operands.dz + k / LANES * operands.images * size;
          const int64_t from = c / LANES * operands.images * (size + 2 * line) + i * line;
          const Half *left = operands.x[0] + from, *middle = operands.x[1] + from;
          const Half* right = operands.x[2] + from;
          float* to = sums + 3 * i * next + k * C + c;
          _tile_loadd(0, to, row);
          _tile_loadd(1, to + next, row);
          _tile_loadd(2, to + 2 * next, row);
          for (int64_t n = 0; n < count; ++n) {
            for (int64_t p = first; p < end; p += TILE) {
              _tile_loadd(4, a + p, 64);
              _tile_loadd(5, left + p, 64);
              _tile_dpbf16ps(0, 4, 5);
              _tile_loadd(6, middle + p, 64);
              _tile_dpbf16ps(1, 4, 6);
              _tile_loadd(7, right + p, 64);
              _tile_dpbf16ps(2, 4, 7);
            }
            a += size;
            left += size + 2 * line;
            middle += size + 2 * line;
            right += size + 2 * line;
          }
          _tile_stored(0, to, row);
          _tile_stored(1, to + next, row);
          _tile_stored(2, to + 2 * next, row);
        }
  }
}

// dx and the weights' gradient, by all threads; `prepare` puts image n of x and dz into their
// borders and says what another needs, `done` takes its dx. C channels come in, K go out; `image`
// is that of dz, whatever the stride: between its pixels there are zeros.
template <int64_t C, int64_t K, typename Prepare, typename Done>
void convolution_backward(const float* weights, const Image& image, int64_t images, bool back,
                          float* gradient, Half* tiles, float* sums, const Half* padded_x,
                          const Half* padded_dz, Prepare prepare, Done done) {
  static thread_local Room room[5];
  const int64_t pixels = image.height * image.width, most = pixels < 256 ? 256 / pixels : 1;
  const int64_t high = most * (pixels + 2 * image.width) * C;
  const Operands operands{most,
                          room[0].take(most * pixels * K),
                          {room[1].take(high), room[2].take(high), room[3].take(high)}};
  Half* dx = room[4].take(pixels * C);
#pragma omp for schedule(static)
  for (int64_t t = 0; t < TILES<K, C>; ++t) pack<K, C, true>(weights, t, tiles);
  share(CHUNKS, back, [&](int64_t chunk) {
    float* own = sums + chunk * TAPS * K * C;
    std::memset(own, 0, TAPS * K * C * sizeof(float));
    const int64_t first = chunk * images / CHUNKS, end = (chunk + 1) * images / CHUNKS;
    int64_t together = 0;
    for (int64_t i = first; i < end; ++i) {
      const int64_t n = back ? first + end - 1 - i : i;
      Ahead ahead = prepare(n, following(n, images, back));
      convolve<K, C, 1>(padded_dz, image, tiles, dx, ahead);
      done(n, dx);
      arrange<C, K>(padded_x, padded_dz, image, together++, operands, ahead);
      if (together == most || i + 1 == end) {
        weight_gradient<C, K>(operands, image, together, own);
        together = 0;
      }
    }
  });
#pragma omp for schedule(static)
  for (int64_t line = 0; line < TAPS * K; ++line) {
    float* to = gradient + (line % K * TAPS + line / K) * C;
    for (int64_t c = 0; c < C; ++c) to[c] = 0;
    for (int64_t chunk = 0; chunk < CHUNKS; ++chunk)
      for (int64_t c = 0; c < C; ++c) to[c] += sums[(chunk * TAPS * K + line) * C + c];
  }
}

// ---------------------------------------------------------------------------- the blocks

}  // namespace

// x -> convolution (of stride 1, or 2 and twice the channels) -> z1 -> norm1, ReLU, convolution ->
// z2 -> norm2, plus x, ReLU -> y. Without weights z1 is given, and y = relu(norm1(z1)) is all.
extern "C" struct Block {
  int64_t height, width, channels, stride;  // of y
  const Half* x;
  const float *weights1, *weights2;
  Half *z1, *z2, *y;
  Norm norm1, norm2;
  float *weights1_gradient, *weights2_gradient;
};

namespace {

const Half* last(const Block& block) { return block.weights1 ? block.z2 : block.z1; }
const Norm& last_norm(const Block& block) { return block.weights1 ? block.norm2 : block.norm1; }

// y of image n, which has C channels.
template <int64_t C>
void finish(const Block& block, int64_t n) {
  const Shape shape{1, block.height, block.width};
  const int64_t at = n * shape.pixels() * C;
  const Half* x = block.weights1 ? block.x + at * block.stride : nullptr;
  if constexpr (C > LANES)
    if (block.stride == 2)
      return normalise<C, 2>(last(block) + at, x, last_norm(block), shape, block.y + at);
  normalise<C, 1>(last(block) + at, x, last_norm(block), shape, block.y + at);
}

// A block without the last of it, which is left to the one behind.
template <int64_t C, int64_t S>
void forward(const Block& block, const Block* before, int64_t images, float eps, float momentum,
             int threads) {
  constexpr int64_t IN = C / S;
  static thread_local Room packed[2], moments_of;
  const Shape shape{images, block.height, block.width};
  const int64_t size = shape.pixels() * C;
  const Image inner{shape.height, shape.width, C}, outer{S * shape.height, S * shape.width, IN};
  Half *tiles1 = packed[0].take(TILES<IN, C> * TILE), *tiles2 = packed[1].take(TILES<C, C> * TILE);
  auto* found = reinterpret_cast<float*>(moments_of.take(images * 6 * C));
#pragma omp parallel num_threads(threads)
  if (block.weights1) {
    static thread_local Room border[2];
    Half *x = border[0].clear(outer.size()), *middle = border[1].clear(inner.size());
#pragma omp for schedule(static) nowait
    for (int64_t t = 0; t < TILES<IN, C>; ++t) pack<IN, C, false>(block.weights1, t, tiles1);
#pragma omp for schedule(static)
    for (int64_t t = 0; t < TILES<C, C>; ++t) pack<C, C, false>(block.weights2, t, tiles2);
    share(images, true, [&](int64_t n) {
      const int64_t next = following(n, images, true) * S * size;
      Ahead ahead{{{before ? last(*before) + next : nullptr, before ? S * size : 0},
                   {before ? before->x + next * before->stride : block.x + next, S * size}}};
      if (before) finish<IN>(*before, n);
      pad<IN>(block.x + n * S * size, nullptr, outer, x);
      convolve<IN, C, S>(x, outer, tiles1, block.z1 + n * size, ahead);
      moments<C>(block.z1 + n * size, size, found + n * 3 * C);
    });
    combine<C>(found, shape, block.norm1, eps, momentum);
    share(images, false, [&](int64_t n) {
      Ahead ahead{{{block.z1 + following(n, images, false) * size, size}}};
      pad<C>(block.z1 + n * size, &block.norm1, inner, middle);
      convolve<C, C, 1>(middle, inner, tiles2, block.z2 + n * size, ahead);
      moments<C>(block.z2 + n * size, size, found + n * 3 * C);
    });
    combine<C>(found, shape, block.norm2, eps, momentum);
    _tile_release();
  } else {
    share(images, false,
          [&](int64_t n) { moments<C>(block.z1 + n * size, size, found + n * 3 * C); });
    combine<C>(found, shape, block.norm1, eps, momentum);
  }
}

// From the gradient behind a block's last ReLU, `open`, to that behind the one of the block before
// it, which takes the place of x, or to dx where there is none before it. Of each image there are
// the sums that the last normalisation needs in `found`. z2 is overwritten, too.
template <int64_t C, int64_t S>
void backward(const Block& block, const Block* before, const Half* open, Half* dx, float* found,
              int64_t images, int threads) {
  constexpr int64_t IN = C / S;
  static thread_local Room packed, sums_of;
  const Shape shape{images, block.height, block.width};
  const int64_t size = shape.pixels() * C;
  const Norm &norm1 = block.norm1, &norm2 = block.norm2;
  // With zeros between the pixels dz has the size of x, and a stride of 1 is all that is needed.
  const Image inner{shape.height, shape.width, C}, outer{S * shape.height, S * shape.width, C};
  const Image around{outer.height, outer.width, IN};
  Half *tiles = packed.take(TILES<C, C> * TILE), *behind1 = block.z2;
  auto* sums = reinterpret_cast<float*>(sums_of.take(2 * CHUNKS * TAPS * C * C));
  Slope<C> slope1, slope2;
#pragma omp parallel num_threads(threads)
  if (block.weights1) {
    static thread_local Room border[4];
    Half *x = border[0].clear(around.size()), *dz1 = border[1].clear(outer.size());
    Half *middle = border[2].clear(inner.size()), *dz2 = border[3].clear(inner.size());
    slope2.find(found, shape, norm2);
    convolution_backward<C, C>(
        block.weights2, inner, images, true, block.weights2_gradient, tiles, sums, middle, dz2,
        [&](int64_t n, int64_t next) {
          normalise_backward<C, 1>(open + n * size, block.z2 + n * size, norm2, slope2, shape,
                                   inner.row(), dz2 + inner.first());
          pad<C>(block.z1 + n * size, &norm1, inner, middle);
          next *= size;
          return Ahead{{{open + next, size}, {block.z2 + next, size}, {block.z1 + next, size}}};
        },
        [&](int64_t n, const Half* dy1) {
          gradient_moments<C>(dy1, nullptr, nullptr, block.z1 + n * size, norm1, size,
                              behind1 + n * size, found + n * 2 * C);
        });
    slope1.find(found, shape, norm1);
    convolution_backward<IN, C>(
        block.weights1, outer, images, false, block.weights1_gradient, tiles, sums, x, dz1,
        [&](int64_t n, int64_t next) {
          normalise_backward<C, S>(behind1 + n * size, block.z1 + n * size, norm1, slope1, shape,
                                   outer.row(), dz1 + outer.first());
          pad<IN>(block.x + n * S * size, nullptr, around, x);
          next *= size;
          return Ahead{{{behind1 + next, size},
                        {block.z1 + next, size},
                        {block.x + S * next, S * size},
                        {before ? last(*before) + S * next : nullptr, before ? S * size : 0}}};
        },
        [&](int64_t n, Half* own) {
          const int64_t at = n * S * size;
          const Half* more = open + n * size;
          if (S == 2 || !before) {
            join<C, S>(more, shape, own);
            more = nullptr;
          }
          if (before)
            gradient_moments<IN>(own, more, block.x + at, last(*before) + at, last_norm(*before),
                                 S * size, before->y + at, found + n * 2 * IN);
          else
            std::memcpy(dx + at, own, S * size * sizeof(Half));
        });
    _tile_release();
  } else {
    slope1.find(found, shape, norm1);
    share(images, true, [&](int64_t n) {
      normalise_backward<C, 1>(open + n * size, block.z1 + n * size, norm1, slope1, shape,
                               shape.width * C, dx + n * size);
    });
  }
}

template <int64_t SIZE>
using Constant = std::integral_constant<int64_t, SIZE>;

// Call what is compiled for a block's channels and stride.
template <typename Do>
void compiled(const Block& block, Do call) {
  const bool whole = block.stride == 1;
  if (block.channels == 16) call(Constant<16>(), Constant<1>());
  if (block.channels == 32 && whole) call(Constant<32>(), Constant<1>());
  if (block.channels == 32 && !whole) call(Constant<32>(), Constant<2>());
  if (block.channels == 64 && whole) call(Constant<64>(), Constant<1>());
  if (block.channels == 64 && !whole) call(Constant<64>(), Constant<2>());
}

}  // namespace

// Blocks behind each other: x of each is y of the one before. The first alone may be one without
// weights.
extern "C" void forward_blocks(const Block* blocks, int64_t count, int64_t images, float eps,
                               float momentum, int threads) {
  for (int64_t i = 0; i < count; ++i)
    compiled(blocks[i], [&](auto of, auto stride) {
      forward<of(), stride()>(blocks[i], i ? blocks + i - 1 : nullptr, images, eps, momentum,
                              threads);
    });
  compiled(blocks[count - 1], [&](auto of, auto) {
#pragma omp parallel num_threads(threads)
    share(images, true, [&](int64_t n) { finish<of()>(blocks[count - 1], n); });
  });
}

// From the gradient of the last y to that of the first x, or z1 where that was given. Every z2 and
// every y but the last are lost: gradients take their place, in the cache.
extern "C" void backward_blocks(const Block* blocks, int64_t count, int64_t images, const Half* dy,
                                Half* dx, int threads) {
  static thread_local Room open_of, moments_of;
  const Block& end = blocks[count - 1];
  int64_t channels = 0;
  for (int64_t i = 0; i < count; ++i) channels = std::max(channels, blocks[i].channels);
  auto* found = reinterpret_cast<float*>(moments_of.take(images * 4 * channels));
  Half* open = open_of.take(images * end.height * end.width * end.channels);
  compiled(end, [&](auto of, auto) {
    constexpr int64_t C = of();
    const int64_t size = end.height * end.width * C;
#pragma omp parallel num_threads(threads)
    share(images, false, [&](int64_t n) {
      gradient_moments<C>(dy + n * size, nullptr, end.y + n * size, last(end) + n * size,
                          last_norm(end), size, open + n * size, found + n * 2 * C);
    });
  });
  for (int64_t i = count - 1; i >= 0; --i)
    compiled(blocks[i], [&](auto of, auto stride) {
      backward<of(), stride()>(blocks[i], i ? blocks + i - 1 : nullptr,
                               i == count - 1 ? open : blocks[i].y, dx, found, images, threads);
    });
}
