/* Kiln's runtime, libkiln_rt: a thread pool, mapped weights and aligned workspaces for compiled models.

   A compiled model needs none of it: its own header stands alone, and any pool, file or memory of the
   application's will do. This header and any number of model headers can be included together, in any
   order. C99 or C++; link with libkiln_rt.a and the system's threads (-lpthread -ldl -lm).

   Every function may be called from any thread unless it says otherwise. On failure an out-parameter is
   NULL. What a *_create, *_map or *_alloc gives belongs to the caller, who gives it back to the matching
   *_destroy, *_unmap or *_free, each of which accepts NULL. */
#ifndef KILN_H
#define KILN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef KILN_STATUS_DEFINED
#define KILN_STATUS_DEFINED
/* The result of every entry point; 0 is success. Codes are only ever appended. */
typedef int32_t kiln_status;
enum {
    KILN_OK = 0,
    KILN_NULL_POINTER = 1,
    KILN_BAD_DIM = 2,
    KILN_WORKSPACE_MISALIGNED = 3,
    KILN_WEIGHTS_MISSING = 4,
    KILN_WEIGHTS_MISMATCHED = 5,
    KILN_INDEX_OUT_OF_RANGE = 6,
    KILN_DIVIDE_BY_ZERO = 7,
    KILN_UNINITIALIZED = 8,
    KILN_INTERNAL = 9,
    KILN_IO = 10,
    KILN_BAD_ARGUMENT = 11,
    KILN_UNSUPPORTED = 12,
    KILN_OUT_OF_MEMORY = 13,
    KILN_CORRUPT_FILE = 14,
    KILN_NEGATIVE_EXPONENT = 15,
    KILN_ASSERT_FAILED = 16,
    KILN_CUSTOM_OP = 17
};
/* One line of text for a status; never NULL. */
static inline const char *kiln_status_string(kiln_status status)
{
    switch (status) {
    case KILN_OK: return "ok";
    case KILN_NULL_POINTER: return "a required pointer is NULL";
    case KILN_BAD_DIM: return "a batch size or dimension is outside the range that the model was compiled for";
    case KILN_WORKSPACE_MISALIGNED: return "the workspace is not aligned to 64 bytes";
    case KILN_WEIGHTS_MISSING: return "the model was compiled without embedded weights and none were given";
    case KILN_WEIGHTS_MISMATCHED: return "the weights belong to another model or to another compilation of it";
    case KILN_INDEX_OUT_OF_RANGE: return "an index in the input is outside the dimension that it selects from";
    case KILN_DIVIDE_BY_ZERO: return "integer division or remainder by zero";
    case KILN_UNINITIALIZED: return "a variable was read before it was initialized";
    case KILN_INTERNAL: return "internal error; please report it with the model";
    case KILN_IO: return "the operating system could not open, read or write the file";
    case KILN_BAD_ARGUMENT: return "an argument is outside its documented range";
    case KILN_UNSUPPORTED: return "this processor or build does not support the request";
    case KILN_OUT_OF_MEMORY: return "not enough memory";
    case KILN_CORRUPT_FILE: return "the file is truncated, damaged or not a Kiln file of a known version";
    case KILN_NEGATIVE_EXPONENT: return "integer power with a negative exponent";
    case KILN_ASSERT_FAILED: return "an assertion in the graph failed";
    case KILN_CUSTOM_OP: return "a custom op's function returned an error";
    default: return "unknown status";
    }
}
#endif /* KILN_STATUS_DEFINED */

#ifndef KILN_PARALLEL_DEFINED
#define KILN_PARALLEL_DEFINED
/* How a model runs a loop whose iterations are independent; NULL where one is expected means one thread.
   parallel_for calls body(arg, i) exactly once for each i < n, on any threads and in any order, and returns
   when all calls are done and their writes visible. It may be called from several threads at once and from
   inside a body, and may always run everything on the calling thread. body does not throw. */
typedef struct kiln_parallel {
    void *self;
    void (*parallel_for)(void *self, size_t n, void (*body)(void *arg, size_t i), void *arg);
} kiln_parallel;
#endif /* KILN_PARALLEL_DEFINED */

/* Version of the library that is linked: major * 10000 + minor * 100 + patch. */
uint32_t kiln_rt_version(void);

/* --- Threads --- */

/* A persistent pool. Its loops give range t of n * t / p .. n * (t + 1) / p to thread t of p, so results do
   not depend on timing. A loop that finds the workers busy (nested, or from a second thread) runs on its
   caller's thread. It does not survive fork. */
typedef struct kiln_pool kiln_pool;

/* Starts threads - 1 workers; the caller of a loop is the last thread. 0: one thread for each processor.
   At most 1024. */
kiln_status kiln_pool_create(uint32_t threads, kiln_pool **out_pool);

/* The pool as a model's run function takes it, valid until the pool is destroyed; NULL for NULL. */
const kiln_parallel *kiln_pool_parallel(const kiln_pool *pool);

/* Threads of a pool, the caller included; 0 for NULL. */
uint32_t kiln_pool_threads(const kiln_pool *pool);

/* Stops the workers. No loop may be running, and it may not be called from inside one. */
void kiln_pool_destroy(kiln_pool *pool);

/* --- Weights --- */

/* A weights file (compiled with --weights file), mapped read-only. The file may be replaced by renaming
   another over it while it is mapped, but not truncated. */
typedef struct kiln_weights kiln_weights;

/* Maps a file and checks its header and length, not the payload. The path is in the system's own form on
   Unix, in UTF-8 elsewhere. KILN_IO: cannot be opened; KILN_CORRUPT_FILE: not a whole weights file. */
kiln_status kiln_weights_map(const char *path, kiln_weights **out_weights);

/* Reads the whole payload and compares its checksum: KILN_OK or KILN_CORRUPT_FILE. */
kiln_status kiln_weights_verify(const kiln_weights *weights);

/* The payload, aligned to 64 bytes, as a model takes it; NULL for NULL. */
const void *kiln_weights_data(const kiln_weights *weights);

/* Payload bytes; 0 for NULL. */
size_t kiln_weights_size(const kiln_weights *weights);

/* What the compiler noted about the payload's layout; a model exports the value that it needs. */
uint64_t kiln_weights_layout_id(const kiln_weights *weights);

/* Removes the mapping; nothing may use the data any more. */
void kiln_weights_unmap(kiln_weights *weights);

/* --- Memory --- */

/* Zeroed memory, aligned to 64 bytes; large blocks use huge pages where the system has them. 0 bytes give a
   valid pointer too. KILN_OUT_OF_MEMORY also for a size beyond the address space. */
kiln_status kiln_workspace_alloc(size_t bytes, void **out_workspace);

/* Frees what kiln_workspace_alloc gave. */
void kiln_workspace_free(void *workspace);

#ifdef __cplusplus
}
#endif
#endif /* KILN_H */
