/* Uses every function of kiln.h; argv[1] is a weights file holding "kiln", argv[2] a file that is not one.
   Prints what went wrong and returns its line. */
#include "kiln.h"

#include <stdio.h>
#include <string.h>

#define CHECK(condition)                                            \
    do {                                                            \
        if (!(condition)) {                                         \
            printf("line %d: %s is false\n", __LINE__, #condition); \
            return 1;                                               \
        }                                                           \
    } while (0)

enum { TASKS = 1000 };

static void square(void *arg, size_t i)
{
    ((uint64_t *)arg)[i] += (uint64_t)i * i;
}

struct nested {
    const kiln_parallel *par;
    uint64_t rows[8][16];
};

static void nest(void *arg, size_t i)
{
    struct nested *n = arg;
    n->par->parallel_for(n->par->self, 16, square, n->rows[i]);
}

static int threads(void)
{
    uint32_t count;
    for (count = 1; count <= 5; count++) {
        static uint64_t squares[TASKS];
        static struct nested nested;
        kiln_pool *pool = NULL;
        size_t i, j;
        memset(squares, 0, sizeof squares);
        memset(&nested, 0, sizeof nested);
        CHECK(kiln_pool_create(count, &pool) == KILN_OK && pool != NULL);
        CHECK(kiln_pool_threads(pool) == count);
        nested.par = kiln_pool_parallel(pool);
        CHECK(nested.par != NULL);
        nested.par->parallel_for(nested.par->self, TASKS, square, squares);
        for (i = 0; i < TASKS; i++)
            CHECK(squares[i] == (uint64_t)i * i);
        nested.par->parallel_for(nested.par->self, 8, nest, &nested);
        for (i = 0; i < 8; i++)
            for (j = 0; j < 16; j++)
                CHECK(nested.rows[i][j] == j * j);
        nested.par->parallel_for(nested.par->self, 0, square, NULL);
        kiln_pool_destroy(pool);
    }
    {
        kiln_pool *pool = (kiln_pool *)&count;
        CHECK(kiln_pool_create(1000000, &pool) == KILN_BAD_ARGUMENT && pool == NULL);
        CHECK(kiln_pool_create(1, NULL) == KILN_NULL_POINTER);
        CHECK(kiln_pool_parallel(NULL) == NULL && kiln_pool_threads(NULL) == 0);
        kiln_pool_destroy(NULL);
    }
    return 0;
}

static int weights(const char *good, const char *bad)
{
    kiln_weights *w = NULL;
    CHECK(kiln_weights_map(good, &w) == KILN_OK && w != NULL);
    CHECK(kiln_weights_size(w) == 4 && memcmp(kiln_weights_data(w), "kiln", 4) == 0);
    CHECK((uintptr_t)kiln_weights_data(w) % 64 == 0);
    CHECK(kiln_weights_layout_id(w) == 77);
    CHECK(kiln_weights_verify(w) == KILN_OK);
    kiln_weights_unmap(w);
    CHECK(kiln_weights_map(bad, &w) == KILN_CORRUPT_FILE && w == NULL);
    CHECK(kiln_weights_map("/nonexistent/weights", &w) == KILN_IO && w == NULL);
    CHECK(kiln_weights_map(NULL, &w) == KILN_NULL_POINTER);
    CHECK(kiln_weights_map(good, NULL) == KILN_NULL_POINTER);
    CHECK(kiln_weights_data(NULL) == NULL && kiln_weights_size(NULL) == 0 && kiln_weights_layout_id(NULL) == 0);
    CHECK(kiln_weights_verify(NULL) == KILN_NULL_POINTER);
    kiln_weights_unmap(NULL);
    return 0;
}

static int memory(void)
{
    static const size_t sizes[] = { 0, 1, 64, 4096, 8u << 20 };
    void *p = NULL;
    size_t i, j;
    for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        CHECK(kiln_workspace_alloc(sizes[i], &p) == KILN_OK && p != NULL);
        CHECK((uintptr_t)p % 64 == 0);
        for (j = 0; j < sizes[i]; j++)
            CHECK(((unsigned char *)p)[j] == 0);
        memset(p, 0xA5, sizes[i]);
        kiln_workspace_free(p);
    }
    CHECK(kiln_workspace_alloc(SIZE_MAX, &p) == KILN_OUT_OF_MEMORY && p == NULL);
    CHECK(kiln_workspace_alloc(SIZE_MAX / 4, &p) == KILN_OUT_OF_MEMORY && p == NULL);
    CHECK(kiln_workspace_alloc(1, NULL) == KILN_NULL_POINTER);
    kiln_workspace_free(NULL);
    return 0;
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    CHECK(strcmp(kiln_status_string(KILN_OK), "ok") == 0);
    CHECK(strcmp(kiln_status_string(-5), "unknown status") == 0);
    CHECK(kiln_rt_version() > 0);
    return threads() || weights(argv[1], argv[2]) || memory();
}
