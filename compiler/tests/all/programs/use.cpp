// Reads images from a file through the C++ wrapper: use IMAGES PROBS
#include "digits.hpp"

#include <array>
#include <cstdio>
#include <vector>

int main(int, char **argv) {
  static_assert(app::Digits::image_size(2) == 2 * 28 * 28);
  static_assert(app::Digits::probs_size(200) == 2000);
  std::vector<float> image(app::Digits::image_size(200)), probs(app::Digits::probs_size(200));
  std::FILE *in = std::fopen(argv[1], "rb");
  if (in == nullptr || std::fread(image.data(), 4, image.size(), in) != image.size()) return 2;
  std::fclose(in);
  app::Digits first;
  app::Digits model = std::move(first);
  app::Digits::Args args;
  args.batch = 200;
  args.image = image;
  args.probs = probs;
  if (model.reserve(args) != KILN_OK || model.run(args) != KILN_OK) return 3;
  std::FILE *out = std::fopen(argv[2], "wb");
  if (out == nullptr || std::fwrite(probs.data(), 4, probs.size(), out) != probs.size()) return 4;
  std::fclose(out);
  // A smaller call on the same object, through an array; then lengths and sizes that do not fit.
  std::array<float, 10> one;
  args.batch = 1;
  args.image = {image.data(), 784};
  args.probs = one;
  if (model.run(args) != KILN_OK) return 5;
  for (int i = 0; i < 10; i++)
    if (!(one[i] >= probs[i] - 1e-6f && one[i] <= probs[i] + 1e-6f)) return 6;
  args.batch = 2;
  if (model.run(args) != KILN_BAD_ARGUMENT) return 7;
  args.batch = 0;
  if (model.run(args) != KILN_BAD_DIM) return 8;
  args.batch = INT64_MAX;
  if (model.run(args) != KILN_BAD_ARGUMENT) return 9;
  return 0;
}
