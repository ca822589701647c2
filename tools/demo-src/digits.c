/* Reads handwritten digits with a model that Kiln compiled. Links digits.o and libm, nothing else.
   digits_data.h holds the images: DIGITS_COUNT times 28 x 28 bytes, 0 black to 255 white, and their labels. */
#include <stdio.h>
#include <stdlib.h>

#include "digits.h"
#include "digits_data.h"

enum { SIDE = 28, PIXELS = SIDE * SIDE, CLASSES = 10, SHOWN = 4 };

/* A row of images side by side. */
static void show(const unsigned char *const *images, int count)
{
    static const char ink[] = " .:-=+*#%@";
    int image, x, y;
    for (y = 0; y < SIDE; y += 2) {
        for (image = 0; image < count; image++) {
            for (x = 0; x < SIDE; x++) {
                int two = images[image][y * SIDE + x] + images[image][(y + 1) * SIDE + x];
                putchar(ink[two * 9 / 510]);
            }
            fputs(image + 1 < count ? " " : "\n", stdout);
        }
    }
}

static int largest(const float *probs)
{
    int best = 0, i;
    for (i = 1; i < CLASSES; i++)
        if (probs[i] > probs[best]) best = i;
    return best;
}

int main(int argc, char **argv)
{
    /* Any batch size works; all digits go through the model in one call. */
    static float image[DIGITS_IMAGE_ELEMS(DIGITS_COUNT)], probs[DIGITS_PROBS_ELEMS(DIGITS_COUNT)];
    int quiet = argc > 1 && argv[1][0] == '-', right = 0, i, k;
    digits_args args = { 0 };
    void *memory, *workspace;
    kiln_status status;

    for (i = 0; i < DIGITS_COUNT * PIXELS; i++) image[i] = (float)digits_images[i] / 255.0f;
    args.batch = DIGITS_COUNT;
    args.image = image;
    args.probs = probs;

    /* The workspace is the caller's; C99 has no aligned_alloc. */
    memory = malloc(digits_workspace_size(&args) + 63);
    if (!memory) return 1;
    workspace = (void *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
    status = digits_run(&args, workspace, NULL);
    free(memory);
    if (status) {
        fprintf(stderr, "digits_run: %s\n", kiln_status_string(status));
        return 1;
    }

    for (i = 0; i < DIGITS_COUNT; i += SHOWN) {
        const unsigned char *row[SHOWN];
        int n = DIGITS_COUNT - i < SHOWN ? DIGITS_COUNT - i : SHOWN;
        for (k = 0; k < n; k++) {
            row[k] = digits_images + (i + k) * PIXELS;
            right += largest(probs + (i + k) * CLASSES) == digits_labels[i + k];
        }
        if (quiet) continue;
        show(row, n);
        for (k = 0; k < n; k++) {
            const float *p = probs + (i + k) * CLASSES;
            int read = largest(p), label = digits_labels[i + k];
            printf("%d (%5.1f %%)%-*s", read, 100.0 * p[read], 29 - 11, read == label ? "" : "  wrong");
        }
        puts("\n");
    }
    printf("%d of %d digits read correctly: %.1f %%\n", right, DIGITS_COUNT, 100.0 * right / DIGITS_COUNT);
    return right * 100 >= 97 * DIGITS_COUNT ? 0 : 1;
}
