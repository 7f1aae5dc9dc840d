// Tiles of AMX, emulated: with these the blocks can be tested where there is AVX512_BF16 alone.
//
// Included before a source by the compiler's option -include. As on the processor, a product sums
// pairs of bfloat16 in float32.

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace emulated {

struct Config {
  uint8_t palette, start, reserved[14];
  uint16_t bytes[16];
  uint8_t rows[16];
};

inline thread_local Config config;
inline thread_local uint8_t tiles[8][16][64];

inline void configure(const void* from) {
  std::memcpy(&config, from, sizeof config);
  std::memset(tiles, 0, sizeof tiles);
}

inline void zero(int tile) { std::memset(tiles[tile], 0, sizeof tiles[tile]); }

inline void load(int tile, const void* from, int64_t stride) {
  zero(tile);
  for (int row = 0; row < config.rows[tile]; ++row)
    std::memcpy(tiles[tile][row], static_cast<const uint8_t*>(from) + row * stride,
                config.bytes[tile]);
}

inline void store(int tile, void* to, int64_t stride) {
  for (int row = 0; row < config.rows[tile]; ++row)
    std::memcpy(static_cast<uint8_t*>(to) + row * stride, tiles[tile][row], config.bytes[tile]);
}

inline float wide(const uint8_t* from) {
  uint16_t half;
  std::memcpy(&half, from, sizeof half);
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline void multiply(int to, int a, int b) {
  for (int m = 0; m < config.rows[to]; ++m) {
    float sums[16];
    std::memcpy(sums, tiles[to][m], sizeof sums);
    for (int k = 0; k < config.bytes[a] / 4; ++k)
      for (int n = 0; n < config.bytes[to] / 4; ++n)
        for (int half = 0; half < 4; half += 2)
          sums[n] += wide(tiles[a][m] + 4 * k + half) * wide(tiles[b][k] + 4 * n + half);
    std::memcpy(tiles[to][m], sums, sizeof sums);
  }
}

}  // namespace emulated

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig(from) emulated::configure(from)
#define _tile_release() ((void)0)
#define _tile_zero(tile) emulated::zero(tile)
#define _tile_loadd(tile, from, stride) emulated::load(tile, from, stride)
#define _tile_stored(tile, to, stride) emulated::store(tile, to, stride)
#define _tile_dpbf16ps(to, a, b) emulated::multiply(to, a, b)
